//! Encodes the frames of a script, with the codec of the checker. With the codec of the core on both sides, its
//! mistakes would cancel out.

use spoa_sim_checker::codec::{self, IntegerType, string, varint};

use crate::script::{Bytes, Damage, FrameKind, FrameSpec, MessageSpec, Value};

/// The content of long strings: the alphabet, repeated.
const ALPHABET: [u8; 26 * 40] = {
    let mut letters = [0; 26 * 40];
    let mut at = 0;
    while at < letters.len() {
        letters[at] = b'a' + (at % 26) as u8;
        at += 1;
    }
    letters
};

impl FrameSpec {
    /// Returns the bytes of the frame, with its damage.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }

    /// Appends the bytes of the frame, with its damage.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(self.kind.type_byte());
        out.extend_from_slice(&self.flags.to_be_bytes());
        varint(self.stream_id, out);
        varint(self.frame_id, out);
        let payload = out.len();
        match &self.kind {
            FrameKind::Hello(items) | FrameKind::Disconnect(items) => encode_items(items, out),
            FrameKind::Notify(messages) | FrameKind::Unset(messages) => encode_messages(messages, out),
            FrameKind::Other(_, bytes) => out.extend_from_slice(bytes),
        }
        if let Some((from, to)) = self.slice {
            out.truncate(out.len().min(payload + to as usize));
            let from = out.len().min(payload + from as usize);
            out.drain(payload..from);
        }
        self.damage.apply(out, start, payload);
    }
}

impl FrameKind {
    const fn type_byte(&self) -> u8 {
        match self {
            Self::Unset(_) => 0,
            Self::Hello(_) => 1,
            Self::Disconnect(_) => 2,
            Self::Notify(_) => 3,
            Self::Other(kind, _) => *kind,
        }
    }
}

impl Damage {
    /// Damages the frame that starts at `start` in `out`, and writes its length.
    fn apply(self, out: &mut Vec<u8>, start: usize, payload: usize) {
        match self {
            Self::None | Self::Length(_) => {}
            Self::Trim(bytes) => out.truncate(out.len().saturating_sub(bytes as usize).max(start + 4)),
            Self::Pad(bytes) => out.resize(out.len() + bytes as usize, 0),
            Self::Flip(bit) => {
                let payload = &mut out[payload..];
                if !payload.is_empty() {
                    payload[bit as usize / 8 % payload.len()] ^= 1 << (bit % 8);
                }
            }
        }
        let length = if let Self::Length(length) = self { length } else { (out.len() - start - 4) as u32 };
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn encode_items(items: &[(Bytes, Value)], out: &mut Vec<u8>) {
    for (key, value) in items {
        string(key, out);
        value.encode(out);
    }
}

/// Appends messages. The number of arguments is one byte, as in HAProxy, so it is wrong above 255 arguments.
pub(crate) fn encode_messages(messages: &[MessageSpec], out: &mut Vec<u8>) {
    for message in messages {
        string(&message.name, out);
        out.push(message.args.len() as u8);
        for (name, value) in &message.args {
            string(name, out);
            value.encode(out);
        }
    }
}

impl Value {
    /// Appends the value, type first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let integer = |wire, integer| codec::Value::Integer(wire, integer);
        let value = match self {
            Self::Null => codec::Value::Null,
            Self::Bool(value) => codec::Value::Bool(*value),
            Self::Int32(value) => integer(*value as u64, IntegerType::Signed32),
            Self::Uint32(value) => integer(*value, IntegerType::Unsigned32),
            Self::Int64(value) => integer(*value as u64, IntegerType::Signed64),
            Self::Uint64(value) => integer(*value, IntegerType::Unsigned64),
            Self::Ipv4(octets) => codec::Value::Address(octets),
            Self::Ipv6(octets) => codec::Value::Address(octets),
            Self::Text(text) => codec::Value::Text(text),
            Self::Binary(bytes) => codec::Value::Binary(bytes),
            Self::Plan(plan) => integer(plan.to_wire() as u64, IntegerType::Signed64),
            Self::LongText(len) => {
                out.push(8);
                varint((*len).into(), out);
                return append_long_text(*len, out);
            }
            Self::Bytes(bytes) => return out.extend_from_slice(bytes),
        };
        value.encode(out);
    }
}

fn append_long_text(len: u32, out: &mut Vec<u8>) {
    let len = len as usize;
    (0..len / ALPHABET.len()).for_each(|_| out.extend_from_slice(&ALPHABET));
    out.extend_from_slice(&ALPHABET[..len % ALPHABET.len()]);
}

/// Returns the text of [`Value::LongText`] with this length in bytes.
pub(crate) fn long_text(len: u32) -> Vec<u8> {
    let mut text = Vec::new();
    append_long_text(len, &mut text);
    text
}

/// Returns the encoded length of these messages, in bytes.
pub(crate) fn encoded_len(messages: &[MessageSpec]) -> u32 {
    let mut out = Vec::new();
    encode_messages(messages, &mut out);
    out.len() as u32
}

/// Returns the encoded length of the two ids, in bytes.
pub(crate) fn ids_len(stream_id: u64, frame_id: u64) -> u32 {
    let mut out = Vec::new();
    varint(stream_id, &mut out);
    varint(frame_id, &mut out);
    out.len() as u32
}
