//! A second implementation of SPOP's encoding, so that the tests do not rely on the codec that they test.
//!
//! It is written from SPOE.txt section 3 and shares no code with `spoa_core::wire`. It favours simplicity over speed:
//! values own their bytes, and a function that cannot read its input returns `None`.

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

/// Encodes a varint. Each length encodes the values from a certain offset on: `value` minus that offset, as one digit
/// of 4 bits and further digits of 7 bits, the least significant first.
pub fn varint(value: u64) -> Vec<u8> {
    if value < 240 {
        return vec![value as u8];
    }
    let (mut more, mut offset, mut span) = (1, 240u128, 128u128 << 4);
    while u128::from(value) >= offset + span {
        offset += span;
        span <<= 7;
        more += 1;
    }
    let digits = u128::from(value) - offset;
    let mut out = vec![0xf0 | (digits & 15) as u8];
    for n in 0..more {
        let digit = (digits >> (4 + 7 * n)) as u8 & 0x7f;
        out.push(if n + 1 < more { digit | 0x80 } else { digit });
    }
    out
}

/// Reads a varint from the front of `bytes`; `None` if it is cut off or above 64 bits.
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = u128::from(take(bytes, 1)?[0]);
    if value < 240 {
        return Some(value as u64);
    }
    for n in 0..9 {
        let byte = take(bytes, 1)?[0];
        value += u128::from(byte) << (4 + 7 * n);
        if byte < 128 {
            return u64::try_from(value).ok();
        }
    }
    None
}

/// Encodes a STRING without its type: length and bytes.
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    [&varint(text.as_ref().len() as u64)[..], text.as_ref()].concat()
}

fn take<'b>(bytes: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn take_string(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let len = take_varint(bytes)?;
    Some(take(bytes, usize::try_from(len).ok()?)?.to_vec())
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

    /// Encodes the value, type first.
    pub fn encode(&self) -> Vec<u8> {
        let tagged = |kind: u8, body: &[u8]| [&[kind], body].concat();
        match self {
            Self::Null => vec![0],
            Self::Bool(value) => vec![if *value { 0x11 } else { 0x01 }],
            Self::Int32(value) => tagged(2, &varint(*value as u64)),
            Self::Uint32(value) => tagged(3, &varint(*value)),
            Self::Int64(value) => tagged(4, &varint(*value as u64)),
            Self::Uint64(value) => tagged(5, &varint(*value)),
            Self::Ipv4(octets) => tagged(6, octets),
            Self::Ipv6(octets) => tagged(7, octets),
            Self::String(text) => tagged(8, &string(text)),
            Self::Binary(bytes) => tagged(9, &string(bytes)),
            Self::Raw(bytes) => bytes.clone(),
        }
    }

    /// Reads a value from the front of `bytes`. Treats flags as HAProxy does: a BOOL is true only with the flags 1, and
    /// a STRING with any flags is a BINARY.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let first = take(bytes, 1)?[0];
        Some(match first & 15 {
            0 => Self::Null,
            1 => Self::Bool(first == 0x11),
            2 => Self::Int32(take_varint(bytes)? as i64),
            3 => Self::Uint32(take_varint(bytes)?),
            4 => Self::Int64(take_varint(bytes)? as i64),
            5 => Self::Uint64(take_varint(bytes)?),
            6 => Self::Ipv4(take(bytes, 4)?.try_into().ok()?),
            7 => Self::Ipv6(take(bytes, 16)?.try_into().ok()?),
            8 if first == 8 => Self::String(take_string(bytes)?),
            8 | 9 => Self::Binary(take_string(bytes)?),
            _ => return None,
        })
    }
}

/// Encodes a KV-LIST.
pub fn kv(items: &[(&str, Value)]) -> Vec<u8> {
    items.iter().flat_map(|(key, value)| [string(key), value.encode()].concat()).collect()
}

/// Reads a KV-LIST that is all of `bytes`.
pub fn read_kv(mut bytes: &[u8]) -> Option<Vec<(String, Value)>> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        items.push((String::from_utf8(take_string(&mut bytes)?).ok()?, Value::take(&mut bytes)?));
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
pub fn read_messages(mut bytes: &[u8]) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let name = take_string(&mut bytes)?;
        let count = take(&mut bytes, 1)?[0];
        let args = (0..count).map(|_| Some((take_string(&mut bytes)?, Value::take(&mut bytes)?)));
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
pub fn read_actions(mut bytes: &[u8]) -> Option<Vec<Action>> {
    let mut actions = Vec::new();
    while !bytes.is_empty() {
        let head = take(&mut bytes, 3)?;
        let (kind, scope) = (&head[..2], head[2]);
        let name = String::from_utf8(take_string(&mut bytes)?).ok()?;
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
        let body = [&[*kind], &flags.to_be_bytes()[..], &varint(*sid), &varint(*fid), payload].concat();
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    }

    /// Reads a frame from the front of `bytes`. If the frame is incomplete or malformed, returns `None` and leaves
    /// `bytes` unchanged.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut rest = *bytes;
        let len = u32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let mut body = take(&mut rest, len as usize)?;
        let kind = take(&mut body, 1)?[0];
        let flags = u32::from_be_bytes(take(&mut body, 4)?.try_into().ok()?);
        let (sid, fid) = (take_varint(&mut body)?, take_varint(&mut body)?);
        *bytes = rest;
        Some(Self { kind, flags, sid, fid, payload: body.to_vec() })
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

    /// Checks the smallest and the largest value of each length, from the protocol's own table.
    #[test]
    fn varints_have_the_bytes_of_the_table() {
        for (value, bytes) in [
            (239, "ef"),
            (240, "f0 00"),
            (255, "ff00"),
            (256, "f001"),
            (2287, "ff 7f"),
            (2288, "f0 80 00"),
            (16380, "fcf006"),
            (16384, "f0f106"),
            (264_431, "ff ff 7f"),
            (264_432, "f0 80 80 00"),
            (u64::from(u32::MAX), "fff0fefe7e"),
            (1_161_999_626_690_365_679, "ffffffffffffffff7f"),
            (1_161_999_626_690_365_680, "f0808080808080808000"),
            (u64::MAX, "fff0fefefefefefefe0e"),
        ] {
            assert_eq!(varint(value), hex(bytes), "{value}");
            assert_eq!(take_varint(&mut &hex(bytes)[..]), Some(value));
        }
        assert_eq!(take_varint(&mut &hex("fff0fefefefefefefe0f")[..]), None);
        assert_eq!(take_varint(&mut &hex("f080808080808080808000")[..]), None);
    }

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
}
