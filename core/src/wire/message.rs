//! The messages of a NOTIFY and their arguments (LIST-OF-MESSAGES, SPOE.txt section 3.2).

use alloc::vec::Vec;

use super::encode_varint;
use super::reader::Reader;
use super::typed_data::TypedData;
use crate::error::{DecodeError, Field};

/// The messages of one NOTIFY, in the order of HAProxy's configuration.
///
/// A value of this type has been checked to its last byte, so iterating over it cannot fail.
#[derive(Clone, Debug)]
pub struct Messages<'b> {
    reader: Reader<'b>,
    /// Arguments of the message handed out last, which are only stepped over when there is another one.
    behind: u8,
    left: u32,
}

impl<'b> Messages<'b> {
    /// Checks a NOTIFY's whole payload. None at all is legal: HAProxy 3.1.0 sends that.
    ///
    /// # Errors
    /// The first field that is cut, overflows or is of a reserved type.
    #[inline]
    pub fn decode(payload: &'b [u8]) -> Result<Self, DecodeError> {
        Ok(Self::of_checked(payload, Self::check(payload)?))
    }

    /// How many messages are in `payload`.
    #[inline(never)] // it has all registers for itself
    fn check(payload: &[u8]) -> Result<u32, DecodeError> {
        let (mut reader, mut count) = (Reader::new(payload), 0);
        while !reader.is_empty() {
            let message = Message::decode(&mut reader)?;
            Args::skip(&mut reader, message.args.left)?;
            count += 1;
        }
        Ok(count)
    }

    /// The `count` messages of a payload that [`decode`](Self::decode) has passed.
    #[inline]
    pub(crate) const fn of_checked(payload: &'b [u8], count: u32) -> Self {
        Self { reader: Reader::new(payload), behind: 0, left: count }
    }

    #[inline(never)]
    fn step_over_args(&mut self) {
        let stepped = Args::skip(&mut self.reader, self.behind);
        debug_assert!(stepped.is_ok(), "the payload was checked when this was made");
    }
}

impl<'b> Iterator for Messages<'b> {
    type Item = Message<'b>;

    #[inline]
    fn next(&mut self) -> Option<Message<'b>> {
        self.left = self.left.checked_sub(1)?;
        if self.behind > 0 {
            self.step_over_args();
        }
        let message = Message::decode(&mut self.reader);
        debug_assert!(message.is_ok(), "the payload was checked when this was made");
        let message = message.ok()?;
        self.behind = message.args.left;
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Messages<'_> {}

/// One message: what a `spoe-message` section of HAProxy's configuration sends.
#[derive(Clone, Debug)]
pub struct Message<'b> {
    name: &'b [u8],
    args: Args<'b>,
}

impl<'b> Message<'b> {
    /// The name of the `spoe-message` section.
    pub const fn name(&self) -> &'b [u8] {
        self.name
    }

    /// The arguments, in order.
    pub fn args(&self) -> Args<'b> {
        self.args.clone()
    }

    /// The value of the first argument called `name`; `""` is the first unnamed one.
    pub fn arg(&self, name: &str) -> Option<TypedData<'b>> {
        self.args().find(|(arg, _)| *arg == name.as_bytes()).map(|(_, value)| value)
    }

    /// Reads the head of a message, up to its arguments.
    #[inline]
    fn decode(reader: &mut Reader<'b>) -> Result<Self, DecodeError> {
        let name = reader.string(Field::MessageName)?;
        let left = reader.u8(Field::ArgCount)?;
        Ok(Self { name, args: Args { reader: *reader, left } })
    }
}

/// The arguments of a message: names, empty where the configuration gives none, with their values.
#[derive(Clone, Debug)]
pub struct Args<'b> {
    reader: Reader<'b>,
    left: u8,
}

impl<'b> Args<'b> {
    /// Steps over `count` arguments, each of which it checks.
    #[inline(always)] // where it is called, its reader is in registers
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

impl<'b> Iterator for Args<'b> {
    type Item = (&'b [u8], TypedData<'b>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let arg = Self::decode(&mut self.reader);
        debug_assert!(arg.is_ok(), "the payload was checked when the message was made");
        arg.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Args<'_> {}

/// A message under construction: HAProxy's side.
#[derive(Debug)]
pub struct MessageEncoder<'o> {
    out: &'o mut Vec<u8>,
    count: usize,
}

/// A message takes 255 arguments at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message takes 255 arguments at most")]
pub struct ArgError;

impl<'o> MessageEncoder<'o> {
    /// Appends the name of a message that has no arguments yet.
    pub fn begin(out: &'o mut Vec<u8>, name: &str) -> Self {
        encode_varint(name.len() as u64, out);
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        let count = out.len() - 1;
        Self { out, count }
    }

    /// Appends an argument; `""` for an unnamed one.
    ///
    /// # Errors
    /// There are 255 already; the message stays as it is.
    pub fn arg<'v>(&mut self, name: &str, value: impl Into<TypedData<'v>>) -> Result<&mut Self, ArgError> {
        self.out[self.count] = self.out[self.count].checked_add(1).ok_or(ArgError)?;
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
    fn the_bytes_of_haproxy() {
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
    fn the_count_is_a_byte_without_a_sign() {
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
    fn every_cut_inside_a_message_is_found() {
        let payload = [CHECK, CHECK].concat();
        for cut in 0..payload.len() {
            let whole = cut == 0 || cut == CHECK.len();
            assert_eq!(Messages::decode(&payload[..cut]).is_ok(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn more_arguments_than_data_is_truncated() {
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
