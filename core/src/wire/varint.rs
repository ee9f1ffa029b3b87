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
    use crate::vectors;

    #[test]
    fn varints_are_encoded_and_decoded() {
        for (number, bytes) in vectors::varints() {
            let Some(number) = number else {
                assert_eq!(decode_varint(&bytes), Err(Fault::VarintOverflow), "{bytes:x?}");
                continue;
            };
            let mut out = Vec::new();
            encode_varint(number, &mut out);
            assert_eq!(out, bytes, "{number}");
            assert_eq!(varint_len(number), bytes.len(), "{number}");
            assert_eq!(decode_varint(&bytes), Ok((number, bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(decode_varint(&bytes[..cut]), Err(Fault::Truncated), "{number} cut at {cut}");
            }
        }
    }
}
