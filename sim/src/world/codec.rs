//! Checks the core's codec of HAProxy's frames, which users of the library need to test an agent: the core must decode
//! each frame of a model of HAProxy, and encode it to the same bytes.

use spoa_core::DecodeError;
use spoa_core::wire::{Disconnect, Frame, FrameType, HaproxyHello, MessageEncoder, Messages};

/// Decodes whole frames and encodes them again.
///
/// # Errors
/// A description of the first frame that the core cannot decode, or encodes to other bytes.
pub(super) fn check(mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let (frame, rest) = Frame::split(bytes).ok().flatten().ok_or("the core finds no frame in HAProxy's bytes")?;
        let original = &bytes[..bytes.len() - rest.len()];
        let encoded =
            reencode(&frame).map_err(|error| format!("the core cannot decode a {}: {error}", frame.frame_type))?;
        if encoded != original {
            return Err(format!(
                "the core encodes a {} to other bytes than HAProxy: {} bytes, HAProxy {} bytes",
                frame.frame_type,
                encoded.len(),
                original.len()
            ));
        }
        bytes = rest;
    }
    Ok(())
}

/// Returns the bytes to which the core encodes a frame after it has decoded it.
fn reencode(frame: &Frame<'_>) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    match frame.frame_type {
        FrameType::HAPROXY_HELLO => HaproxyHello::decode(frame.payload)?.encode(&mut out),
        FrameType::HAPROXY_DISCONNECT => Disconnect::decode(frame.payload)?.encode(frame.frame_type, &mut out),
        FrameType::NOTIFY if frame.flags.is_fin() => {
            let mut payload = Vec::new();
            let is_text = write_messages(Messages::decode(frame.payload)?, &mut payload);
            Frame { payload: if is_text { &payload } else { frame.payload }, ..*frame }.encode(&mut out);
        }
        _ => frame.encode(&mut out),
    }
    Ok(out)
}

/// Appends the messages. Returns false if a name is not UTF-8, which the core's encoder does not accept.
fn write_messages(messages: Messages<'_>, out: &mut Vec<u8>) -> bool {
    for message in messages {
        let Ok(name) = str::from_utf8(message.name()) else { return false };
        let mut encoder = MessageEncoder::begin(out, name);
        for (name, value) in message.args() {
            let Ok(name) = str::from_utf8(name) else { return false };
            encoder.arg(name, value).expect("the number of arguments was decoded from one byte");
        }
    }
    true
}
