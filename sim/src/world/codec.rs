//! The core writes HAProxy's frames too, for those who test an agent with them: what a model of HAProxy sends, the core
//! must read, and write again byte for byte.

use spoa_core::DecodeError;
use spoa_core::wire::{Disconnect, Frame, FrameType, HaproxyHello, MessageEncoder, Messages};

/// Compares whole frames with what the core makes of them; what is different otherwise.
pub(super) fn check(mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let (frame, rest) = Frame::split(bytes).ok().flatten().ok_or("the core finds no frame in what HAProxy sent")?;
        let own = &bytes[..bytes.len() - rest.len()];
        let again =
            again(&frame).map_err(|error| format!("the core cannot read HAProxy's {}: {error}", frame.frame_type))?;
        if again != own {
            return Err(format!(
                "the core writes {} in {} bytes, HAProxy in {}",
                frame.frame_type,
                again.len(),
                own.len()
            ));
        }
        bytes = rest;
    }
    Ok(())
}

/// The frame as the core writes it, from what it read of it.
fn again(frame: &Frame<'_>) -> Result<Vec<u8>, DecodeError> {
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

/// Appends the messages; false if a name is not text, which the core's encoder does not take.
fn write_messages(messages: Messages<'_>, out: &mut Vec<u8>) -> bool {
    for message in messages {
        let Ok(name) = str::from_utf8(message.name()) else { return false };
        let mut encoder = MessageEncoder::begin(out, name);
        for (name, value) in message.args() {
            let Ok(name) = str::from_utf8(name) else { return false };
            encoder.arg(name, value).expect("it has no more arguments than were read");
        }
    }
    true
}
