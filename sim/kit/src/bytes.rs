//! Frames, values and actions that own their bytes. The checker's codec encodes and decodes them, so that tests of the core do
//! not rely on the core's codec.
//!
//! A function that cannot read its input returns `None`.

use spoa_sim_checker::codec::{self, Bytes, IntegerType};

/// UNSET: a fragment after the first one.
pub const UNSET: u8 = 0;
/// HAPROXY-HELLO.
pub const HELLO: u8 = 1;
/// HAPROXY-DISCONNECT.
pub const DISCONNECT: u8 = 2;
/// NOTIFY.
pub const NOTIFY: u8 = 3;
/// AGENT-HELLO.
pub const AGENT_HELLO: u8 = 101;
/// AGENT-DISCONNECT.
pub const AGENT_DISCONNECT: u8 = 102;
/// ACK.
pub const ACK: u8 = 103;
/// The largest frame that is read from a peer or a capture, in bytes. HAProxy offers 16380, or what `tune.bufsize` allows.
const FRAME_MAX: usize = 16 << 20;

/// The flag FIN, set in a frame that is whole and in the last fragment of one.
pub const FIN: u32 = 1;
/// The flag ABORT, by which either side gives up a fragmented NOTIFY.
pub const ABORT: u32 = 2;

/// Parses the notation of the protocol's tables: pairs of hex digits and text in double quotes. Blanks between digits
/// are ignored.
///
/// # Panics
/// If `text` has another form.
pub fn hex(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, part) in text.split('"').enumerate() {
        if n % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        for pair in digits.chunks(2) {
            let pair = str::from_utf8(pair).expect("hex digits are ASCII");
            assert_eq!(pair.len(), 2, "odd number of digits in {text:?}");
            out.push(u8::from_str_radix(pair, 16).expect("the digits are hex digits"));
        }
    }
    out
}

/// Encodes a varint.
pub fn varint(value: u64) -> Vec<u8> {
    written(|out| codec::varint(value, out))
}

/// Encodes a STRING without its type: length and bytes.
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    written(|out| codec::string(text.as_ref(), out))
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// A TYPED-DATA.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the type of that name in SPOE.txt")]
pub enum Value {
    Null,
    Bool(bool),
    Int32(i64),
    Uint32(u64),
    Int64(i64),
    Uint64(u64),
    Ipv4([u8; 4]),
    Ipv6([u8; 16]),
    String(Vec<u8>),
    Binary(Vec<u8>),
    /// Arbitrary bytes, which need not be a valid value.
    Raw(Vec<u8>),
}

impl Value {
    /// Returns a STRING.
    pub fn text(text: &str) -> Self {
        Self::String(text.into())
    }

    /// Returns the number if the value is an integer of any type and not negative.
    pub fn as_unsigned(&self) -> Option<u64> {
        match self {
            Self::Uint32(number) | Self::Uint64(number) => Some(*number),
            Self::Int32(number) | Self::Int64(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// Encodes the value, type first.
    pub fn encode(&self) -> Vec<u8> {
        let value = match self {
            Self::Null => codec::Value::Null,
            Self::Bool(value) => codec::Value::Bool(*value),
            Self::Int32(value) => codec::Value::Integer(*value as u64, IntegerType::Signed32),
            Self::Uint32(value) => codec::Value::Integer(*value, IntegerType::Unsigned32),
            Self::Int64(value) => codec::Value::Integer(*value as u64, IntegerType::Signed64),
            Self::Uint64(value) => codec::Value::Integer(*value, IntegerType::Unsigned64),
            Self::Ipv4(octets) => codec::Value::Address(octets),
            Self::Ipv6(octets) => codec::Value::Address(octets),
            Self::String(text) => codec::Value::Text(text),
            Self::Binary(bytes) => codec::Value::Binary(bytes),
            Self::Raw(bytes) => return bytes.clone(),
        };
        written(|out| value.encode(out))
    }

    /// Reads a value. Treats flags as HAProxy does: a BOOL is true only with the flags 1, and a STRING with any flags is a
    /// BINARY.
    pub fn take(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(match bytes.value()? {
            codec::Value::Null => Self::Null,
            codec::Value::Bool(value) => Self::Bool(value),
            codec::Value::Integer(wire, IntegerType::Signed32) => Self::Int32(wire as i64),
            codec::Value::Integer(wire, IntegerType::Unsigned32) => Self::Uint32(wire),
            codec::Value::Integer(wire, IntegerType::Signed64) => Self::Int64(wire as i64),
            codec::Value::Integer(wire, IntegerType::Unsigned64) => Self::Uint64(wire),
            codec::Value::Address(octets) => match octets.try_into() {
                Ok(octets) => Self::Ipv4(octets),
                Err(_) => Self::Ipv6(octets.try_into().ok()?),
            },
            codec::Value::Text(text) => Self::String(text.into()),
            codec::Value::Binary(bytes) => Self::Binary(bytes.into()),
        })
    }
}

/// Encodes a KV-LIST.
pub fn kv(items: &[(&str, Value)]) -> Vec<u8> {
    items.iter().flat_map(|(key, value)| [string(key), value.encode()].concat()).collect()
}

/// Reads a KV-LIST that is all of `bytes`.
pub fn read_kv(bytes: &[u8]) -> Option<Vec<(String, Value)>> {
    let mut bytes = Bytes(bytes);
    let mut items = Vec::new();
    while !bytes.is_empty() {
        items.push((String::from_utf8(bytes.string()?.into()).ok()?, Value::take(&mut bytes)?));
    }
    Some(items)
}

/// Encodes a message of a NOTIFY.
pub fn message(name: &str, args: &[(&str, Value)]) -> Vec<u8> {
    let count = u8::try_from(args.len()).expect("a message has at most 255 arguments");
    [string(name), vec![count], kv(args)].concat()
}

/// A decoded message: its name, and its arguments as pairs of name and value.
pub type Message = (Vec<u8>, Vec<(Vec<u8>, Value)>);

/// Reads a LIST-OF-MESSAGES that is all of `bytes`.
pub fn read_messages(bytes: &[u8]) -> Option<Vec<Message>> {
    let mut bytes = Bytes(bytes);
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let name = bytes.string()?.to_vec();
        let count = bytes.byte()?;
        let args = (0..count).map(|_| Some((bytes.string()?.to_vec(), Value::take(&mut bytes)?)));
        let args = args.collect::<Option<Vec<_>>>()?;
        messages.push((name, args));
    }
    Some(messages)
}

/// An action of an ACK.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields have their names from SPOE.txt")]
pub enum Action {
    SetVar { scope: u8, name: String, value: Value },
    UnsetVar { scope: u8, name: String },
}

/// Reads a LIST-OF-ACTIONS that is all of `bytes`.
pub fn read_actions(bytes: &[u8]) -> Option<Vec<Action>> {
    let mut bytes = Bytes(bytes);
    let mut actions = Vec::new();
    while !bytes.is_empty() {
        let head = bytes.take(3)?;
        let (kind, scope) = (&head[..2], head[2]);
        let name = String::from_utf8(bytes.string()?.into()).ok()?;
        actions.push(match kind {
            [1, 3] => Action::SetVar { scope, name, value: Value::take(&mut bytes)? },
            [2, 2] => Action::UnsetVar { scope, name },
            _ => return None,
        });
    }
    Some(actions)
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of SPOE.txt; sid and fid are stream-id and frame-id")]
pub struct Frame {
    pub kind: u8,
    pub flags: u32,
    pub sid: u64,
    pub fid: u64,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Creates a frame with FIN as its only flag.
    pub fn new(kind: u8, (sid, fid): (u64, u64), payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags: FIN, sid, fid, payload: payload.into() }
    }

    /// Sets the flags.
    #[must_use]
    pub fn flags(self, flags: u32) -> Self {
        Self { flags, ..self }
    }

    /// Encodes the frame, length first.
    pub fn encode(&self) -> Vec<u8> {
        let Self { kind, flags, sid, fid, payload } = self;
        written(|out| codec::frame(*kind, *flags, (*sid, *fid), out, |out| out.extend_from_slice(payload)))
    }

    /// Reads a frame from the front of `bytes`. If the frame is incomplete or malformed, returns `None` and leaves
    /// `bytes` unchanged.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut rest = Bytes(bytes);
        let len = u32::from_be_bytes(rest.take(4)?.try_into().ok()?);
        let mut body = Bytes(rest.take(len as usize)?);
        let kind = body.byte()?;
        let flags = u32::from_be_bytes(body.take(4)?.try_into().ok()?);
        let (sid, fid) = (body.varint()?, body.varint()?);
        *bytes = rest.0;
        Some(Self { kind, flags, sid, fid, payload: body.0.to_vec() })
    }

    /// Reads the first frame of `bytes` if it is whole, and returns it with its length on the wire.
    ///
    /// # Errors
    /// A description of the first bytes if they are no frame of 7 bytes to 16 MiB.
    pub fn first(bytes: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let Some(length) = bytes.first_chunk() else { return Ok(None) };
        let len = u32::from_be_bytes(*length) as usize;
        if !(7..=FRAME_MAX).contains(&len) {
            return Err(format!("a frame with the length {len}"));
        }
        let Some(mut whole) = bytes.get(..4 + len) else { return Ok(None) };
        let frame = Self::take(&mut whole).ok_or_else(|| format!("a frame of {len} bytes without ids"))?;
        Ok(Some((frame, 4 + len)))
    }

    /// Removes the first frame from `bytes`, if it is whole.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn take_first(bytes: &mut Vec<u8>) -> Result<Option<Self>, String> {
        let first = Self::first(bytes)?;
        Ok(first.map(|(frame, len)| {
            bytes.drain(..len);
            frame
        }))
    }

    /// Reads all of `bytes` as frames.
    ///
    /// # Panics
    /// If the last frame is incomplete.
    pub fn read_all(mut bytes: &[u8]) -> Vec<Self> {
        let frames = std::iter::from_fn(|| Self::take(&mut bytes)).collect();
        assert!(bytes.is_empty(), "expected a complete frame, got {bytes:02x?}");
        frames
    }

    /// Returns the value of a key, if the payload is a KV-LIST with this key.
    pub fn value(&self, key: &str) -> Option<Value> {
        Some(read_kv(&self.payload)?.into_iter().find(|(name, _)| name == key)?.1)
    }

    /// Returns the actions of an ACK.
    ///
    /// # Panics
    /// If the payload is no LIST-OF-ACTIONS.
    pub fn actions(&self) -> Vec<Action> {
        read_actions(&self.payload).unwrap_or_else(|| panic!("malformed actions: {self:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_quotes_is_copied() {
        assert_eq!(hex(r#"08 03"2.0"ff"#), b"\x08\x032.0\xff");
    }

    #[test]
    fn an_incomplete_frame_is_none() {
        let bytes = Frame::new(ACK, (1, 1), []).encode();
        assert_eq!(bytes, hex("00000007 67 00000001 01 01"));
        for cut in 0..bytes.len() {
            assert_eq!(Frame::take(&mut &bytes[..cut]), None);
        }
    }

    #[test]
    fn frames_are_taken_when_they_are_whole() {
        let frame = crate::frames::ack(1, 1, &[42]);
        let mut bytes = [&frame[..], &frame[..5]].concat();
        assert!(matches!(Frame::take_first(&mut bytes), Ok(Some(Frame { kind: ACK, .. }))));
        assert_eq!((Frame::take_first(&mut bytes), bytes.len()), (Ok(None), 5));
        for bad in [&[0, 0, 0, 6][..], &[1, 0, 0, 1], &[0, 0, 0, 7, 103, 0, 0, 0, 1, 0xff, 0xff]] {
            assert!(Frame::first(bad).is_err(), "{bad:?}");
        }
    }
}
