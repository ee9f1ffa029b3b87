//! The messages of a NOTIFY and their arguments (LIST-OF-MESSAGES, SPOE.txt section 3.2).

use alloc::vec::Vec;

use super::encode_varint;
use super::reader::Reader;
use super::typed_data::TypedData;
use crate::error::{DecodeError, Field};

/// An iterator over the messages of one NOTIFY, in the order of HAProxy's configuration.
///
/// The payload was checked to its last byte when this was created, so iteration cannot fail.
#[derive(Clone, Debug)]
pub struct Messages<'b> {
    reader: Reader<'b>,
    /// The number of arguments of the last message returned. They are skipped only when the next message is requested.
    args_to_skip: u8,
    left: u32,
}

impl<'b> Messages<'b> {
    /// Checks the whole payload of a NOTIFY. An empty payload is valid: HAProxy 3.1.0 sends it.
    ///
    /// # Errors
    /// A field is truncated, overflows or has a reserved type. The error names the first such field.
    #[inline]
    pub fn decode(payload: &'b [u8]) -> Result<Self, DecodeError> {
        Ok(Self::of_checked(payload, Self::check(payload)?))
    }

    /// Checks `payload` and returns the number of its messages.
    #[inline(never)] // in a separate function, all registers are available to the loop
    fn check(payload: &[u8]) -> Result<u32, DecodeError> {
        let (mut reader, mut count) = (Reader::new(payload), 0);
        while !reader.is_empty() {
            let message = Message::decode(&mut reader)?;
            Args::skip(&mut reader, message.args.left)?;
            count += 1;
        }
        Ok(count)
    }

    /// Iterates over the `count` messages of a payload that [`decode`](Self::decode) accepted.
    #[inline]
    pub(crate) const fn of_checked(payload: &'b [u8], count: u32) -> Self {
        Self { reader: Reader::new(payload), args_to_skip: 0, left: count }
    }

    #[inline(never)]
    fn skip_args(&mut self) {
        let skipped = Args::skip(&mut self.reader, self.args_to_skip);
        debug_assert!(skipped.is_ok(), "the payload was checked when this was created");
    }
}

impl<'b> Iterator for Messages<'b> {
    type Item = Message<'b>;

    #[inline]
    fn next(&mut self) -> Option<Message<'b>> {
        self.left = self.left.checked_sub(1)?;
        if self.args_to_skip > 0 {
            self.skip_args();
        }
        let message = Message::decode(&mut self.reader);
        debug_assert!(message.is_ok(), "the payload was checked when this was created");
        let message = message.ok()?;
        self.args_to_skip = message.args.left;
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Messages<'_> {}

/// A message, as defined by a `spoe-message` section of HAProxy's configuration.
#[derive(Clone, Debug)]
pub struct Message<'b> {
    name: &'b [u8],
    args: Args<'b>,
}

impl<'b> Message<'b> {
    /// Returns the name of the `spoe-message` section.
    pub const fn name(&self) -> &'b [u8] {
        self.name
    }

    /// Iterates over the arguments, in order.
    pub fn args(&self) -> Args<'b> {
        self.args.clone()
    }

    /// Returns the value of the first argument called `name`. The name `""` finds the first unnamed argument.
    pub fn arg(&self, name: &str) -> Option<TypedData<'b>> {
        self.args().find(|(arg, _)| *arg == name.as_bytes()).map(|(_, value)| value)
    }

    /// Reads a message up to its arguments, which are decoded later.
    #[inline]
    fn decode(reader: &mut Reader<'b>) -> Result<Self, DecodeError> {
        let name = reader.string(Field::MessageName)?;
        let left = reader.u8(Field::ArgCount)?;
        Ok(Self { name, args: Args { reader: *reader, left } })
    }
}

/// An iterator over the arguments of a message: their names, empty for unnamed arguments, and their values.
#[derive(Clone, Debug)]
pub struct Args<'b> {
    reader: Reader<'b>,
    left: u8,
}

impl<'b> Args<'b> {
    /// Checks and skips `count` arguments.
    #[inline(always)] // keeps the caller's reader in registers
    fn skip(reader: &mut Reader<'b>, count: u8) -> Result<(), DecodeError> {
        for _ in 0..count {
            reader.string(Field::ArgName)?;
            TypedData::skip(reader, Field::ArgValue)?;
        }
        Ok(())
    }

    #[inline]
    fn decode(reader: &mut Reader<'b>) -> Result<(&'b [u8], TypedData<'b>), DecodeError> {
        let name = reader.string(Field::ArgName)?;
        Ok((name, TypedData::decode(reader, Field::ArgValue)?))
    }
}

impl<'b> Args<'b> {
    /// Calls `each` with the name and value of every argument, in order. This is faster than a loop, for which a value is
    /// returned through memory.
    #[inline]
    pub fn visit(mut self, mut each: impl FnMut(&'b [u8], TypedData<'b>)) {
        for _ in 0..self.left {
            let Ok(name) = self.reader.string(Field::ArgName) else { break };
            let visited = TypedData::visit(&mut self.reader, Field::ArgValue, |value| each(name, value));
            debug_assert!(visited.is_ok(), "the payload was checked when the message was created");
            if visited.is_err() {
                break;
            }
        }
    }
}

impl<'b> Iterator for Args<'b> {
    type Item = (&'b [u8], TypedData<'b>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let arg = Self::decode(&mut self.reader);
        debug_assert!(arg.is_ok(), "the payload was checked when the message was created");
        arg.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Args<'_> {}

/// A message under construction, as HAProxy writes it.
#[derive(Debug)]
pub struct MessageEncoder<'o> {
    out: &'o mut Vec<u8>,
    /// The index in `out` of the byte that holds the number of arguments.
    count_at: usize,
}

/// The error returned when an argument is added to a message that already has 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message can have at most 255 arguments")]
pub struct ArgError;

impl<'o> MessageEncoder<'o> {
    /// Appends a message with this name and no arguments.
    pub fn begin(out: &'o mut Vec<u8>, name: &str) -> Self {
        encode_varint(name.len() as u64, out);
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        let count_at = out.len() - 1;
        Self { out, count_at }
    }

    /// Appends an argument. An empty name makes it unnamed.
    ///
    /// # Errors
    /// The message has 255 arguments already. It is unchanged.
    pub fn arg<'v>(&mut self, name: &str, value: impl Into<TypedData<'v>>) -> Result<&mut Self, ArgError> {
        self.out[self.count_at] = self.out[self.count_at].checked_add(1).ok_or(ArgError)?;
        encode_varint(name.len() as u64, self.out);
        self.out.extend_from_slice(name.as_bytes());
        value.into().encode(self.out);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    /// `check-client-ip` with one unnamed argument, 192.0.2.1, as HAProxy sends it.
    const CHECK: &[u8] = b"\x0fcheck-client-ip\x01\x00\x06\xc0\x00\x02\x01";

    #[test]
    fn a_message_has_the_same_bytes_as_in_haproxy() {
        let mut out = Vec::new();
        MessageEncoder::begin(&mut out, "check-client-ip").arg("", core::net::Ipv4Addr::new(192, 0, 2, 1)).unwrap();
        assert_eq!(out, CHECK);
    }

    #[test]
    fn each_message_has_its_own_arguments() {
        let payload = [CHECK, CHECK, b"\x04none\x00", CHECK].concat();
        let messages: Vec<_> = Messages::decode(&payload).unwrap().collect();
        assert_eq!(messages.iter().map(|m| m.args().len()).collect::<Vec<_>>(), [1, 1, 0, 1]);
        assert_eq!(messages[2].name(), b"none");
        assert_eq!(messages[3].arg("").and_then(|v| v.as_ip()), Some([192, 0, 2, 1].into()));
    }

    #[test]
    fn a_message_has_up_to_255_arguments() {
        let mut out = Vec::new();
        let mut message = MessageEncoder::begin(&mut out, "m");
        for n in 0..255 {
            message.arg("n", n).unwrap();
        }
        assert_eq!(message.arg("n", 255).unwrap_err(), ArgError);
        let message = Messages::decode(&out).unwrap().next().unwrap();
        assert!(message.args().map(|(_, value)| value.as_i64().unwrap()).eq(0..255));
    }

    #[test]
    fn a_message_truncated_anywhere_is_an_error() {
        let payload = [CHECK, CHECK].concat();
        for cut in 0..payload.len() {
            let whole = cut == 0 || cut == CHECK.len();
            assert_eq!(Messages::decode(&payload[..cut]).is_ok(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_count_above_the_number_of_arguments_is_an_error() {
        let mut payload = CHECK.to_vec();
        payload[16] = 2;
        assert_eq!(Messages::decode(&payload).unwrap_err(), DecodeError::new(Field::ArgName, Fault::Truncated));
    }

    #[test]
    fn an_argument_is_found_by_its_whole_name() {
        let mut out = Vec::new();
        MessageEncoder::begin(&mut out, "m").arg("ipx", 1).unwrap().arg("ip", 2).unwrap().arg("ip", 3).unwrap();
        let message = Messages::decode(&out).unwrap().next().unwrap();
        assert_eq!(message.arg("ip"), Some(TypedData::Int32(2)));
        assert_eq!(message.arg("i"), None);
        assert_eq!(message.arg(""), None);
    }
}
