//! Lists of keys with typed values (KV-LIST, SPOE.txt section 3.2), the payload of HELLO and DISCONNECT.

use super::reader::Reader;
use super::typed_data::TypedData;
use crate::error::{DecodeError, Fault, Field};

/// An iterator over the items of a KV-LIST. It ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct KvList<'b> {
    reader: Reader<'b>,
}

impl<'b> KvList<'b> {
    /// Iterates over the items of `payload`, which are decoded one by one.
    pub const fn new(payload: &'b [u8]) -> Self {
        Self { reader: Reader::new(payload) }
    }

    fn item(&mut self) -> Result<(&'b [u8], TypedData<'b>), DecodeError> {
        let key = self.reader.string(Field::Key)?;
        if key.is_empty() {
            return Err(DecodeError::new(Field::Key, Fault::Empty));
        }
        Ok((key, TypedData::decode(&mut self.reader, Field::Value)?))
    }
}

impl<'b> Iterator for KvList<'b> {
    type Item = Result<(&'b [u8], TypedData<'b>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let item = self.item();
        if item.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(item)
    }
}

/// Appends one item.
pub(super) fn encode_item(key: &str, value: TypedData<'_>, out: &mut alloc::vec::Vec<u8>) {
    debug_assert!(!key.is_empty(), "HAProxy refuses an empty key");
    super::encode_varint(key.len() as u64, out);
    out.extend_from_slice(key.as_bytes());
    value.encode(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn items_are_returned_in_order() {
        let mut payload = Vec::new();
        encode_item("a", TypedData::Bool(true), &mut payload);
        encode_item("b", TypedData::String(b"x"), &mut payload);
        let items: Vec<_> = KvList::new(&payload).map(Result::unwrap).collect();
        assert_eq!(items, [(&b"a"[..], TypedData::Bool(true)), (&b"b"[..], TypedData::String(b"x"))]);
    }

    #[test]
    fn iteration_ends_after_the_first_error() {
        let empty_key = [0, 0x11, 1, b'a', 0x11];
        let mut list = KvList::new(&empty_key);
        assert_eq!(list.next(), Some(Err(DecodeError::new(Field::Key, Fault::Empty))));
        assert_eq!(list.next(), None);
        assert_eq!(
            KvList::new(&[1, b'a']).next(),
            Some(Err(DecodeError::new(Field::Value, Fault::Truncated))),
            "a key without a value"
        );
    }
}
