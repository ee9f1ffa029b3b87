//! The headers of a request or a response in the binary form of HAProxy's `req.hdrs_bin` and `res.hdrs_bin`.

use super::reader::Reader;
use crate::error::{DecodeError, Fault, Field};

/// A header: its name and its value.
type Header<'b> = (&'b [u8], &'b [u8]);

/// An iterator over the headers in an argument such as `headers=req.hdrs_bin`: the name and the value of each, in order.
///
/// Names are in lower case, as HAProxy sends them. The bytes were checked when this was created, so iteration cannot fail.
/// (HAProxy's configuration manual, `req.hdrs_bin`: each name and each value is a length as varint and bytes; a pair of empty strings
/// is the end.)
#[derive(Clone, Debug)]
pub struct Headers<'b> {
    reader: Reader<'b>,
}

impl<'b> Headers<'b> {
    /// Checks the bytes of the argument.
    ///
    /// # Errors
    /// A name or a value is truncated, or the pair of empty strings is missing, or bytes follow it.
    pub fn decode(bytes: &'b [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        while Self::read(&mut reader)?.is_some() {}
        if !reader.is_empty() {
            return Err(DecodeError::new(Field::Header, Fault::OutOfRange));
        }
        Ok(Self { reader: Reader::new(bytes) })
    }

    /// Returns the value of the first header called `name`, whose case does not matter.
    pub fn get(&self, name: &str) -> Option<&'b [u8]> {
        self.clone().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    fn read(reader: &mut Reader<'b>) -> Result<Option<Header<'b>>, DecodeError> {
        let (name, value) = (reader.string(Field::Header)?, reader.string(Field::Header)?);
        Ok((!name.is_empty() || !value.is_empty()).then_some((name, value)))
    }
}

impl<'b> Iterator for Headers<'b> {
    type Item = Header<'b>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let header = Self::read(&mut self.reader);
        debug_assert!(header.is_ok(), "the bytes were checked when this was created");
        let header = header.ok().flatten();
        if header.is_none() {
            self.reader = Reader::new(&[]);
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn headers_are_read_to_the_pair_of_empty_strings() {
        let bytes = b"\x04host\x07example\x06accept\x00\x04HOST\x01b\x00\x00";
        let headers = Headers::decode(bytes).expect("they are complete");
        let all: Vec<_> = headers.clone().collect();
        assert_eq!(all, [(&b"host"[..], &b"example"[..]), (b"accept", b""), (b"HOST", b"b")]);
        assert_eq!((headers.get("Host"), headers.get("cookie")), (Some(&b"example"[..]), None));
        assert_eq!(Headers::decode(b"\x00\x00").expect("there are none").count(), 0);
    }

    #[test]
    fn incomplete_headers_are_an_error() {
        let bytes = b"\x04host\x07example\x00\x00";
        for len in 0..bytes.len() {
            assert!(Headers::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(Headers::decode(b"\x00\x00\x00").is_err());
        assert!(Headers::decode(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }
}
