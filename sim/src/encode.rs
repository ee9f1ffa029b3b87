//! Frames of a script into bytes, by the checker's codec: the core's own must not be on both ends.

use spoa_sim_checker::write::{string, varint};

use crate::script::{Bytes, Damage, FrameKind, FrameSpec, MessageSpec, Value};

/// What most frames have room in, so that a buffer is made once.
const SIZE_USUAL: usize = 192;
/// What long strings are made of.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

impl FrameSpec {
    /// The bytes of the frame, damage included.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(SIZE_USUAL);
        let kind = match &self.kind {
            FrameKind::Unset(messages) => encode_messages(0, messages, &mut payload),
            FrameKind::Hello(items) => encode_items(1, items, &mut payload),
            FrameKind::Disconnect(items) => encode_items(2, items, &mut payload),
            FrameKind::Notify(messages) => encode_messages(3, messages, &mut payload),
            FrameKind::Other(kind, bytes) => {
                payload.extend_from_slice(bytes);
                *kind
            }
        };
        if let Some((start, end)) = self.slice {
            let end = (end as usize).min(payload.len());
            payload = payload[(start as usize).min(end)..end].to_vec();
        }
        let mut out = Vec::with_capacity(payload.len() + SIZE_USUAL);
        out.extend_from_slice(&[0; 4]);
        out.push(kind);
        out.extend_from_slice(&self.flags.to_be_bytes());
        varint(self.stream_id, &mut out);
        varint(self.frame_id, &mut out);
        let header = out.len();
        out.append(&mut payload);
        self.damage.apply(&mut out, header);
        out
    }
}

impl Damage {
    fn apply(self, frame: &mut Vec<u8>, header: usize) {
        match self {
            Self::None | Self::Length(_) => {}
            Self::Trim(bytes) => frame.truncate(frame.len().saturating_sub(bytes as usize).max(4)),
            Self::Pad(bytes) => frame.resize(frame.len() + bytes as usize, 0),
            Self::Flip(bit) => {
                let payload = &mut frame[header..];
                if !payload.is_empty() {
                    payload[bit as usize / 8 % payload.len().max(1)] ^= 1 << (bit % 8);
                }
            }
        }
        let length = if let Self::Length(length) = self { length } else { (frame.len() - 4) as u32 };
        frame[..4].copy_from_slice(&length.to_be_bytes());
    }
}

fn encode_items(kind: u8, items: &[(Bytes, Value)], out: &mut Vec<u8>) -> u8 {
    for (key, value) in items {
        string(key, out);
        value.encode(out);
    }
    kind
}

/// Appends messages. A message has at most 255 arguments; any more spill over, as they do in HAProxy, which counts them
/// in one byte.
pub(crate) fn encode_messages(kind: u8, messages: &[MessageSpec], out: &mut Vec<u8>) -> u8 {
    for message in messages {
        string(&message.name, out);
        out.push(message.args.len() as u8);
        for (name, value) in &message.args {
            string(name, out);
            value.encode(out);
        }
    }
    kind
}

impl Value {
    fn encode(&self, out: &mut Vec<u8>) {
        let tagged = |out: &mut Vec<u8>, tag, value| {
            out.push(tag);
            varint(value, out);
        };
        match self {
            Self::Null => out.push(0),
            Self::Bool(value) => out.push(if *value { 0x11 } else { 0x01 }),
            Self::Int32(value) => tagged(out, 2, *value as u64),
            Self::Uint32(value) => tagged(out, 3, *value),
            Self::Int64(value) => tagged(out, 4, *value as u64),
            Self::Uint64(value) => tagged(out, 5, *value),
            Self::Ipv4(octets) => {
                out.push(6);
                out.extend_from_slice(octets);
            }
            Self::Ipv6(octets) => {
                out.push(7);
                out.extend_from_slice(octets);
            }
            Self::Text(text) => {
                tagged(out, 8, text.len() as u64);
                out.extend_from_slice(text);
            }
            Self::LongText(len) => {
                tagged(out, 8, u64::from(*len));
                append_long_text(*len, out);
            }
            Self::Binary(bytes) => {
                tagged(out, 9, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Plan(plan) => tagged(out, 4, plan.to_wire() as u64),
        }
    }
}

fn append_long_text(len: u32, out: &mut Vec<u8>) {
    let len = len as usize;
    (0..len / ALPHABET.len()).for_each(|_| out.extend_from_slice(ALPHABET));
    out.extend_from_slice(&ALPHABET[..len % ALPHABET.len()]);
}

/// The text of so many bytes that stands for any long one.
pub(crate) fn long_text(len: u32) -> Vec<u8> {
    let mut text = Vec::new();
    append_long_text(len, &mut text);
    text
}

/// How many bytes the payload of these messages has.
pub(crate) fn encoded_len(messages: &[MessageSpec]) -> u32 {
    let mut out = Vec::new();
    encode_messages(3, messages, &mut out);
    out.len() as u32
}

/// How many bytes two ids have.
pub(crate) fn ids_len(stream_id: u64, frame_id: u64) -> u32 {
    let mut out = Vec::new();
    varint(stream_id, &mut out);
    varint(frame_id, &mut out);
    out.len() as u32
}
