//! Encoding of SPOP: the frames of the agent, for comparison, and the parts of any frame, for the code that plays
//! HAProxy.

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
pub fn string(text: &[u8], out: &mut Vec<u8>) {
    varint(text.len() as u64, out);
    out.extend_from_slice(text);
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

/// Appends an AGENT-HELLO.
pub fn hello(max_frame_size: u32, capabilities: &[&str], out: &mut Vec<u8>) {
    frame(101, 1, (0, 0), out, |out| {
        string(b"version", out);
        out.push(8);
        string(b"2.0", out);
        string(b"max-frame-size", out);
        out.push(3);
        varint(u64::from(max_frame_size), out);
        string(b"capabilities", out);
        out.push(8);
        string(capabilities.join(",").as_bytes(), out);
    });
}

/// Appends an AGENT-DISCONNECT with `code`, which is one of SPOE.txt section 3.5, and the text of that section.
pub fn disconnect(code: u32, out: &mut Vec<u8>) {
    let text = match code {
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
    };
    frame(102, 1, (0, 0), out, |out| {
        string(b"status-code", out);
        out.push(3);
        varint(u64::from(code), out);
        string(b"message", out);
        out.push(8);
        string(text.as_bytes(), out);
    });
}
