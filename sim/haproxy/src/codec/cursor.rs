//! Reads from the front of a payload. Bytes that HAProxy reads without an error cause no error here.

use super::varint::decode_varint;

/// The unread bytes. After a method has returned `None`, the position is unspecified.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'b> {
    bytes: &'b [u8],
}

impl<'b> Cursor<'b> {
    /// Starts at the front of `bytes`.
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }

    /// True if all bytes are read.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the unread bytes.
    pub const fn rest(&self) -> &'b [u8] {
        self.bytes
    }

    /// Reads one byte.
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    /// Reads `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }

    /// Reads a varint.
    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let (value, len) = decode_varint(self.bytes)?;
        self.bytes = &self.bytes[len..];
        Some(value)
    }

    /// Reads a varint and as many bytes as it says.
    #[inline]
    pub fn string(&mut self) -> Option<&'b [u8]> {
        let len = self.varint()?;
        self.take(usize::try_from(len).ok()?)
    }

    /// Skips one typed value as `spoe_skip_data` does: the reserved types 10..=15 have no content, like NULL.
    pub fn skip_value(&mut self) -> Option<()> {
        match self.byte()? & 0x0f {
            2..=5 => drop(self.varint()?),
            6 => drop(self.take(4)?),
            7 => drop(self.take(16)?),
            8 | 9 => drop(self.string()?),
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_skipped_by_their_type_alone() {
        for bytes in [&b"\x00"[..], b"\x11", b"\x31", b"\x04\xff\x00", b"\x06abcd", b"\x08\x02ab", b"\x09\x00", b"\x0c"]
        {
            let mut cursor = Cursor::new(bytes);
            assert_eq!(cursor.skip_value(), Some(()), "{bytes:x?}");
            assert!(cursor.is_empty(), "{bytes:x?}");
        }
        for bytes in [&b""[..], b"\x04", b"\x04\xff", b"\x06abc", b"\x07abc", b"\x08\x03ab", b"\x08"] {
            assert_eq!(Cursor::new(bytes).skip_value(), None, "{bytes:x?}");
        }
    }
}
