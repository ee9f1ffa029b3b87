//! Encodes and decodes the variable-length integers of SPOE.txt section 3.1. Decoding is as lenient as in HAProxy.

/// Appends `value`: one byte below 240, otherwise four bits in the first byte and seven bits in each further byte.
#[inline]
pub fn encode_varint(value: u64, out: &mut Vec<u8>) {
    if value < 240 {
        return out.push(value as u8);
    }
    out.push(value as u8 | 0xf0);
    let mut rest = (value - 240) >> 4;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest = (rest - 128) >> 7;
    }
    out.push(rest as u8);
}

/// Returns the number of bytes that [`encode_varint`] appends for `value`.
#[inline]
pub const fn varint_len(value: u64) -> usize {
    if value < 240 {
        return 1;
    }
    let mut rest = (value - 240) >> 4;
    let mut len = 2;
    while rest >= 128 {
        rest = (rest - 128) >> 7;
        len += 1;
    }
    len
}

/// Reads a varint at the front of `bytes`. Returns its value and length, or `None` if the bytes end inside it.
///
/// HAProxy's `decode_varint` checks only the end of the buffer. Longer sequences wrap modulo 2^64, and the shift count
/// wraps at 64 as in the processor's instruction, so a varint of thirty bytes is valid.
#[inline]
pub fn decode_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let mut value = u64::from(first);
    if value < 240 {
        return Some((value, 1));
    }
    let mut shift = 4u32;
    for (at, &byte) in rest.iter().enumerate() {
        value = value.wrapping_add(u64::from(byte).wrapping_shl(shift));
        if byte < 128 {
            return Some((value, at + 2));
        }
        shift = shift.wrapping_add(7);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn varints_are_encoded_and_decoded() {
        for (number, bytes) in vectors::varints() {
            // HAProxy does not notice an overflow.
            assert_eq!(decode_varint(&bytes).map(|(_, len)| len), Some(bytes.len()), "{bytes:x?}");
            let Some(number) = number else { continue };
            let mut out = Vec::new();
            encode_varint(number, &mut out);
            assert_eq!(out, bytes, "{number}");
            assert_eq!(varint_len(number), bytes.len());
            assert_eq!(decode_varint(&bytes), Some((number, bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(decode_varint(&bytes[..cut]), None, "{number} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_varint_of_thirty_bytes_is_valid() {
        let mut bytes = [0xff; 30];
        bytes[29] = 0;
        assert_eq!(decode_varint(&bytes).map(|(_, len)| len), Some(30));
    }
}
