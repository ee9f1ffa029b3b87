//! Encoding of SPOP: the parts of any frame, and the frames of the agent.

use super::{IntegerType, Value};

/// Appends a varint.
#[inline]
pub fn varint(value: u64, out: &mut Vec<u8>) {
    if value < 240 {
        return out.push(value as u8);
    }
    long_varint(value, out);
}

fn long_varint(value: u64, out: &mut Vec<u8>) {
    let mut bytes = [0; 10];
    bytes[0] = 0xf0 | (value % 16) as u8;
    let (mut rest, mut len) = ((value - 240) / 16, 1);
    while rest >= 128 {
        bytes[len] = 0x80 | (rest % 128) as u8;
        rest = (rest - 128) / 128;
        len += 1;
    }
    bytes[len] = rest as u8;
    out.extend_from_slice(&bytes[..=len]);
}

/// Appends the length and the bytes of a string, without its type.
#[inline]
pub fn string(text: &[u8], out: &mut Vec<u8>) {
    varint(text.len() as u64, out);
    out.extend_from_slice(text);
}

impl Value<'_> {
    /// Appends the value, type first.
    #[inline]
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::Bool(value) => out.push(if value { 0x11 } else { 0x01 }),
            Self::Integer(wire, integer) => {
                out.push(match integer {
                    IntegerType::Signed32 => 2,
                    IntegerType::Unsigned32 => 3,
                    IntegerType::Signed64 => 4,
                    IntegerType::Unsigned64 => 5,
                });
                varint(wire, out);
            }
            Self::Address(octets) => {
                out.push(if octets.len() == 4 { 6 } else { 7 });
                out.extend_from_slice(octets);
            }
            Self::Text(bytes) => {
                out.push(8);
                string(bytes, out);
            }
            Self::Binary(bytes) => {
                out.push(9);
                string(bytes, out);
            }
        }
    }
}

/// Appends a whole frame. `payload` appends its payload.
pub fn frame(kind: u8, flags: u32, ids: (u64, u64), out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out.extend_from_slice(&flags.to_be_bytes());
    varint(ids.0, out);
    varint(ids.1, out);
    payload(out);
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends a key of a KV-LIST and its value.
fn item(key: &[u8], value: Value<'_>, out: &mut Vec<u8>) {
    string(key, out);
    value.encode(out);
}

/// Appends an AGENT-HELLO.
pub fn hello(max_frame_size: u32, capabilities: &[&str], out: &mut Vec<u8>) {
    frame(101, 1, (0, 0), out, |out| {
        item(b"version", Value::Text(b"2.0"), out);
        item(b"max-frame-size", Value::Integer(max_frame_size.into(), IntegerType::Unsigned32), out);
        item(b"capabilities", Value::Text(capabilities.join(",").as_bytes()), out);
    });
}

/// Appends an AGENT-DISCONNECT with `code` and its text.
pub fn disconnect(code: u32, out: &mut Vec<u8>) {
    frame(102, 1, (0, 0), out, |out| {
        item(b"status-code", Value::Integer(code.into(), IntegerType::Unsigned32), out);
        item(b"message", Value::Text(reason(code).as_bytes()), out);
    });
}

/// Returns the text of a status code (SPOE.txt section 3.5). An unknown code has the text of 99.
pub const fn reason(code: u32) -> &'static str {
    match code {
        0 => "normal",
        1 => "I/O error",
        2 => "a timeout occurred",
        3 => "frame is too big",
        4 => "invalid frame received",
        5 => "version value not found",
        6 => "max-frame-size value not found",
        7 => "capabilities value not found",
        8 => "unsupported version",
        9 => "max-frame-size too big or too small",
        10 => "fragmentation not supported",
        11 => "invalid interlaced frames",
        12 => "frame-id not found",
        13 => "resource allocation error",
        _ => "an unknown error occurred",
    }
}
