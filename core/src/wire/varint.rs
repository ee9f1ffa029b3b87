//! The variable-length integers of SPOE.txt section 3.1 ("peers encoding").
//!
//! A value below 240 is encoded as one byte. For larger values the first byte holds four bits and each further byte
//! seven, the lowest bits first, and each further byte also adds an offset. So each value has exactly one encoding, and
//! there are no overlong forms to reject: `f0 80 80 00` is 264432, not 240.

use alloc::vec::Vec;

use crate::error::Fault;

/// The size in bytes of the longest varint, which encodes `u64::MAX`.
pub const VARINT_LEN_MAX: usize = 10;

/// Appends `value` to `out`.
#[inline]
pub fn encode_varint(mut value: u64, out: &mut Vec<u8>) {
    if value < 240 {
        out.push(value as u8);
        return;
    }
    out.push(value as u8 | 0xf0);
    value = (value - 240) >> 4;
    while value >= 128 {
        out.push(value as u8 | 0x80);
        value = (value - 128) >> 7;
    }
    out.push(value as u8);
}

/// Returns the number of bytes that [`encode_varint`] appends for `value`: 1..=10.
#[inline]
pub const fn varint_len(mut value: u64) -> usize {
    if value < 240 {
        return 1;
    }
    value = (value - 240) >> 4;
    let mut len = 2;
    while value >= 128 {
        value = (value - 128) >> 7;
        len += 1;
    }
    len
}

/// Decodes the varint at the start of `bytes`, which end with the frame. Returns its value and its length in bytes.
///
/// HAProxy's decoder does not check the length and wraps modulo 2^64. Here an eleventh byte and a sum above `u64::MAX`
/// are a [`Fault::VarintOverflow`].
#[inline]
pub(super) fn decode_varint(bytes: &[u8]) -> Result<(u64, usize), Fault> {
    match *bytes {
        [first, ..] if first < 240 => Ok((u64::from(first), 1)),
        [first, second, ..] if second < 128 => Ok((u64::from(first) + (u64::from(second) << 4), 2)),
        _ => decode_long(bytes),
    }
}

#[inline(never)] // rare: most numbers take one byte, and only the ids on long-lived connections take three or four
fn decode_long(bytes: &[u8]) -> Result<(u64, usize), Fault> {
    let mut value = u64::from(*bytes.first().ok_or(Fault::Truncated)?);
    debug_assert!(value >= 240, "a smaller first byte is the whole value");
    let mut shift = 4;
    for len in 2..=VARINT_LEN_MAX {
        let byte = *bytes.get(len - 1).ok_or(Fault::Truncated)?;
        let part = u64::from(byte) << shift;
        if part >> shift != u64::from(byte) {
            return Err(Fault::VarintOverflow);
        }
        value = value.checked_add(part).ok_or(Fault::VarintOverflow)?;
        if byte < 128 {
            debug_assert_eq!(varint_len(value), len, "each value has one encoding");
            return Ok((value, len));
        }
        shift += 7;
    }
    Err(Fault::VarintOverflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values at the limits of each size and common examples, with their encodings.
    const TABLE: &[(u64, &[u8])] = &[
        (0, &[0]),
        (239, &[0xef]),
        (240, &[0xf0, 0]),
        (255, &[0xff, 0]),
        (256, &[0xf0, 1]),
        (2287, &[0xff, 0x7f]),
        (2288, &[0xf0, 0x80, 0]),
        (16380, &[0xfc, 0xf0, 6]),
        (16384, &[0xf0, 0xf1, 6]),
        (264_431, &[0xff, 0xff, 0x7f]),
        (264_432, &[0xf0, 0x80, 0x80, 0]),
        (33_818_863, &[0xff, 0xff, 0xff, 0x7f]),
        (33_818_864, &[0xf0, 0x80, 0x80, 0x80, 0]),
        (i32::MAX as u64, &[0xff, 0xf0, 0xfe, 0xfe, 0x3e]),
        (u32::MAX as u64, &[0xff, 0xf0, 0xfe, 0xfe, 0x7e]),
        (4_328_786_159, &[0xff, 0xff, 0xff, 0xff, 0x7f]),
        (4_328_786_160, &[0xf0, 0x80, 0x80, 0x80, 0x80, 0]),
        (554_084_600_047, &[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        (554_084_600_048, &[0xf0, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
        (70_922_828_777_711, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        (70_922_828_777_712, &[0xf0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
        (9_078_122_083_518_703, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        (9_078_122_083_518_704, &[0xf0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
        (1_161_999_626_690_365_679, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        (1_161_999_626_690_365_680, &[0xf0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
        (i64::MAX as u64, &[0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 6]),
        (i64::MIN as u64, &[0xf0, 0xf1, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 6]),
        (u64::MAX, &[0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e]),
    ];

    #[test]
    fn values_at_the_limits_are_encoded_and_decoded() {
        for &(value, bytes) in TABLE {
            let mut out = Vec::new();
            encode_varint(value, &mut out);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(varint_len(value), bytes.len(), "{value}");
            assert_eq!(decode_varint(bytes), Ok((value, bytes.len())), "{value}");
        }
    }

    #[test]
    fn a_varint_truncated_at_any_length_is_an_error() {
        for &(value, bytes) in TABLE {
            for cut in 0..bytes.len() {
                assert_eq!(decode_varint(&bytes[..cut]), Err(Fault::Truncated), "{value} cut at {cut}");
            }
        }
    }

    #[test]
    fn more_than_64_bits_are_an_overflow() {
        let max = TABLE[TABLE.len() - 1].1;
        let mut above = max.to_vec();
        above[9] = 0x0f;
        assert_eq!(decode_varint(&above), Err(Fault::VarintOverflow), "a sum above u64::MAX");
        above[9] = 0x10;
        assert_eq!(decode_varint(&above), Err(Fault::VarintOverflow), "bits shifted out");
        let mut eleven = [0x80; 11];
        eleven[0] = 0xf0;
        eleven[10] = 0;
        assert_eq!(decode_varint(&eleven), Err(Fault::VarintOverflow), "an eleventh byte");
    }
}
