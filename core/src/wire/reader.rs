//! A cursor over the bytes of one frame.

use super::varint::decode_varint;
use crate::error::{DecodeError, Fault, Field};

/// A cursor over the bytes of a frame that were not read yet.
///
/// Every method takes the field that it reads, for the error if the field is truncated or out of range. Lengths are
/// compared with the number of remaining bytes and never added to a position: such an addition could wrap, as it did in
/// HAProxy before 3.4.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// Creates a cursor at the start of `bytes`, which end with the frame.
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// True if no bytes remain.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the remaining bytes without reading them.
    pub const fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// Reads a byte.
    ///
    /// # Errors
    /// `field` is truncated.
    #[inline]
    pub fn u8(&mut self, field: Field) -> Result<u8, DecodeError> {
        let (&first, rest) = self.rest.split_first().ok_or(DecodeError::new(field, Fault::Truncated))?;
        self.rest = rest;
        Ok(first)
    }

    /// Reads `len` bytes.
    ///
    /// # Errors
    /// `field` is truncated.
    #[inline]
    pub fn bytes(&mut self, len: u64, field: Field) -> Result<&'b [u8], DecodeError> {
        let truncated = DecodeError::new(field, Fault::Truncated);
        let len = usize::try_from(len).map_err(|_| truncated)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads `N` bytes.
    ///
    /// # Errors
    /// `field` is truncated.
    #[inline]
    pub fn array<const N: usize>(&mut self, field: Field) -> Result<[u8; N], DecodeError> {
        let (&taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::new(field, Fault::Truncated))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a varint.
    ///
    /// # Errors
    /// `field` is truncated or above 2^64-1.
    #[inline]
    pub fn varint(&mut self, field: Field) -> Result<u64, DecodeError> {
        let (value, len) = decode_varint(self.rest).map_err(|fault| DecodeError::new(field, fault))?;
        self.rest = &self.rest[len..];
        Ok(value)
    }

    /// Reads a STRING without its type byte: a length as a varint, then that many bytes of any encoding.
    ///
    /// # Errors
    /// `field` is truncated, or its length is above 2^64-1.
    #[inline]
    pub fn string(&mut self, field: Field) -> Result<&'b [u8], DecodeError> {
        let len = self.varint(field)?;
        self.bytes(len, field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_past_the_end_is_an_error_whatever_its_size() {
        for bytes in [&[2, b'a'][..], &[0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e, b'a'], &[]] {
            let error = Reader::new(bytes).string(Field::Key).unwrap_err();
            assert_eq!(error, DecodeError::new(Field::Key, Fault::Truncated));
        }
    }

    #[test]
    fn fields_are_read_one_after_the_other() {
        let mut reader = Reader::new(&[7, 1, b'x', 0xf0, 0, 9, 8]);
        assert_eq!(reader.u8(Field::ArgCount), Ok(7));
        assert_eq!(reader.string(Field::ArgName), Ok(&b"x"[..]));
        assert_eq!(reader.varint(Field::Value), Ok(240));
        assert_eq!(reader.array(Field::Value), Ok([9, 8]));
        assert!(reader.is_empty());
        assert!(reader.u8(Field::Value).is_err());
    }
}
