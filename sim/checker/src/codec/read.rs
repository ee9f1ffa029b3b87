//! Decoding of SPOP. Functions return `None` for malformed bytes.

use super::{IntegerType, Value};

/// The unread rest of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'b>(
    /// The bytes that are not read yet.
    pub &'b [u8],
);

impl<'b> Bytes<'b> {
    /// Reads `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        if len > self.0.len() {
            return None;
        }
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(taken)
    }

    /// Reads one byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// Reads a varint. A first byte below 240 is the value. Otherwise the value is the sum of the first byte and the
    /// following bytes, shifted by 4, 11, 18 and so on; the last byte is the first of them below 0x80.
    pub fn varint(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let mut sum = u128::from(first);
        if first < 240 {
            return Some(sum as u64);
        }
        for n in 0..9 {
            let byte = self.byte()?;
            sum += u128::from(byte) << (4 + 7 * n);
            if byte < 0x80 {
                return u64::try_from(sum).ok();
            }
        }
        None
    }

    /// Reads a length and as many bytes.
    pub fn string(&mut self) -> Option<&'b [u8]> {
        let len = self.varint()?;
        self.take(usize::try_from(len).ok()?)
    }

    /// Reads a typed value. A BOOL is true only with the flags 1, and a STRING with flags is a BINARY, as in HAProxy.
    pub fn value(&mut self) -> Option<Value<'b>> {
        let tag = self.byte()?;
        Some(match tag % 16 {
            0 => Value::Null,
            1 => Value::Bool(tag == 0x11),
            2 => Value::Integer(self.varint()?, IntegerType::Signed32),
            3 => Value::Integer(self.varint()?, IntegerType::Unsigned32),
            4 => Value::Integer(self.varint()?, IntegerType::Signed64),
            5 => Value::Integer(self.varint()?, IntegerType::Unsigned64),
            6 => Value::Address(self.take(4)?),
            7 => Value::Address(self.take(16)?),
            8 if tag == 8 => Value::Text(self.string()?),
            8 | 9 => Value::Binary(self.string()?),
            _ => return None,
        })
    }

    /// True if all bytes are read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Calls `each` with each key and value of a KV-LIST. Returns false if the list is malformed or `each` returns false.
pub fn pairs<'b>(payload: &'b [u8], mut each: impl FnMut(&'b [u8], Value<'b>) -> bool) -> bool {
    let mut bytes = Bytes(payload);
    while !bytes.is_empty() {
        let Some(key) = bytes.string().filter(|key| !key.is_empty()) else { return false };
        let Some(value) = bytes.value() else { return false };
        if !each(key, value) {
            return false;
        }
    }
    true
}

/// Calls `visit` with each part of a list of messages. Returns false if the list is malformed.
pub fn messages<'b>(payload: &'b [u8], visit: &mut impl FnMut(Part<'b>)) -> bool {
    let mut bytes = Bytes(payload);
    while !bytes.is_empty() {
        let Some(name) = bytes.string() else { return false };
        let Some(args) = bytes.byte() else { return false };
        visit(Part::Message(name));
        for _ in 0..args {
            let Some(name) = bytes.string() else { return false };
            let Some(value) = bytes.value() else { return false };
            visit(Part::Arg(name, value));
        }
        visit(Part::End);
    }
    true
}

/// A part of a list of messages.
#[derive(Clone, Copy, Debug)]
pub enum Part<'b> {
    /// The start of a message, with its name.
    Message(&'b [u8]),
    /// An argument of the message: name and value.
    Arg(&'b [u8], Value<'b>),
    /// The end of the message.
    End,
}
