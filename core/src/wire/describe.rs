//! Shows frames on one readable line, for logs and traces.

use core::fmt::{self, Write};

use super::{
    Action, ActionIter, AgentHello, Capabilities, Disconnect, Frame, FrameType, HaproxyHello, Messages, TypedData,
};
use crate::error::DecodeError;

/// The number of bytes of a string or of binary data that are shown.
const SHOWN_LEN_MAX: usize = 64;

/// Shows the frame on one line, without control characters: `NOTIFY sid=1 fid=1 check-client-ip(192.0.2.1)` or
/// `ACK sid=1 fid=1 set sess.ip_score=42`.
impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.frame_type)?;
        if (self.stream_id.0, self.frame_id.0) != (0, 0) || self.frame_type == FrameType::NOTIFY {
            write!(f, " sid={} fid={}", self.stream_id.0, self.frame_id.0)?;
        }
        if self.flags.0 != 1 {
            write!(f, " flags={:#x}", self.flags.0)?;
        }
        // The payload of a fragment cannot be decoded without the other fragments.
        if !self.flags.is_fin() || self.frame_type == FrameType::UNSET {
            return write!(f, " ({} bytes of payload)", self.payload.len());
        }
        match self.frame_type {
            FrameType::HAPROXY_HELLO => or_fault(f, HaproxyHello::decode(self.payload), haproxy_hello),
            FrameType::AGENT_HELLO => or_fault(f, AgentHello::decode(self.payload), agent_hello),
            FrameType::HAPROXY_DISCONNECT | FrameType::AGENT_DISCONNECT => {
                or_fault(f, Disconnect::decode(self.payload), |f, disconnect| {
                    write!(f, " status={} message={}", disconnect.status.0, Text(disconnect.reason))
                })
            }
            FrameType::NOTIFY => or_fault(f, Messages::decode(self.payload), messages),
            FrameType::ACK => {
                ActionIter::new(self.payload).try_for_each(|action| or_fault(f, action, |f, a| write!(f, " {a}")))
            }
            _ => write!(f, " ({} bytes of payload)", self.payload.len()),
        }
    }
}

/// Shows what was decoded, or the decoding error.
fn or_fault<T>(
    f: &mut fmt::Formatter<'_>,
    decoded: Result<T, DecodeError>,
    show: impl FnOnce(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    match decoded {
        Ok(decoded) => show(f, decoded),
        Err(error) => write!(f, " malformed: {error}"),
    }
}

fn haproxy_hello(f: &mut fmt::Formatter<'_>, hello: HaproxyHello<'_>) -> fmt::Result {
    let text = |f: &mut fmt::Formatter<'_>, key, value: Option<&[u8]>| match value {
        Some(value) => write!(f, " {key}={}", Text(value)),
        None => Ok(()),
    };
    text(f, "supported-versions", hello.supported_versions)?;
    if let Some(size) = hello.max_frame_size {
        write!(f, " max-frame-size={size}")?;
    }
    text(f, "capabilities", hello.capabilities)?;
    if hello.healthcheck {
        f.write_str(" healthcheck")?;
    }
    text(f, "engine-id", hello.engine_id)
}

fn agent_hello(f: &mut fmt::Formatter<'_>, hello: AgentHello<'_>) -> fmt::Result {
    write!(f, " version={} max-frame-size={}", Text(hello.version), hello.max_frame_size)?;
    match hello.capabilities {
        Capabilities::NONE => Ok(()),
        capabilities => write!(f, " capabilities={capabilities}"),
    }
}

fn messages(f: &mut fmt::Formatter<'_>, messages: Messages<'_>) -> fmt::Result {
    for message in messages {
        write!(f, " {}(", Bare(message.name()))?;
        for (n, (name, value)) in message.args().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            if !name.is_empty() {
                write!(f, "{}=", Bare(name))?;
            }
            write!(f, "{value}")?;
        }
        f.write_str(")")?;
    }
    Ok(())
}

/// Shows the action, such as `set sess.ip_score=42` or `unset sess.ip_score`.
impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SetVar { scope, name, value } => write!(f, "set {}.{}={value}", scope.name(), Bare(name)),
            Self::UnsetVar { scope, name } => write!(f, "unset {}.{}", scope.name(), Bare(name)),
        }
    }
}

/// Shows the value, such as `null`, `true`, `-7`, `192.0.2.1`, `"text"` or `x'00ff'`. Long values are cut.
impl fmt::Display for TypedData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int32(value) => write!(f, "{value}"),
            Self::Uint32(value) => write!(f, "{value}"),
            Self::Int64(value) => write!(f, "{value}"),
            Self::Uint64(value) => write!(f, "{value}"),
            Self::Ipv4(address) => write!(f, "{address}"),
            Self::Ipv6(address) => write!(f, "{address}"),
            Self::String(bytes) => write!(f, "{}", Text(bytes)),
            Self::Binary(bytes) => {
                f.write_str("x'")?;
                bytes.iter().take(SHOWN_LEN_MAX).try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_char('\'')?;
                more(f, bytes)
            }
        }
    }
}

/// Shows bytes from a peer in quotes, escaped and cut.
struct Text<'b>(&'b [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0[..self.0.len().min(SHOWN_LEN_MAX)].escape_ascii())?;
        more(f, self.0)
    }
}

/// Shows a name from a peer without quotes, escaped and cut.
struct Bare<'b>(&'b [u8]);

impl fmt::Display for Bare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0[..self.0.len().min(SHOWN_LEN_MAX)].escape_ascii())?;
        more(f, self.0)
    }
}

/// Shows the number of bytes that were cut, if any were.
fn more(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    match bytes.len().checked_sub(SHOWN_LEN_MAX) {
        Some(hidden) if hidden > 0 => write!(f, "+{hidden} bytes"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;
    use crate::wire::{Actions, Flags, FrameId, MessageEncoder, Scope, SetVars, StreamId};
    use alloc::string::ToString;
    use alloc::vec::Vec;

    fn line(frame_type: FrameType, flags: Flags, ids: (u64, u64), payload: &[u8]) -> alloc::string::String {
        Frame { frame_type, flags, stream_id: StreamId(ids.0), frame_id: FrameId(ids.1), payload }.to_string()
    }

    #[test]
    fn every_frame_type_is_shown_on_one_line() {
        let mut payload = Vec::new();
        let mut message = MessageEncoder::begin(&mut payload, "check");
        message.arg("", core::net::Ipv4Addr::LOCALHOST).unwrap().arg("path", "/\n").unwrap();
        message.arg("body", &[0u8, 255][..]).unwrap().arg("no", TypedData::Null).unwrap();
        assert_eq!(
            line(FrameType::NOTIFY, Flags::FIN, (0, 1), &payload),
            r#"NOTIFY sid=0 fid=1 check(127.0.0.1, path="/\n", body=x'00ff', no=null)"#
        );
        let mut actions = Actions::new();
        actions.set_var(Scope::Session, "ip_score", 42u32).unwrap().unset_var(Scope::Request, "x").unwrap();
        assert_eq!(
            line(FrameType::ACK, Flags::FIN, (1, 1), actions.as_bytes()),
            "ACK sid=1 fid=1 set sess.ip_score=42 unset req.x"
        );
        let mut out = Vec::new();
        Disconnect { status: Status::INVALID, reason: b"bad" }.encode(FrameType::AGENT_DISCONNECT, &mut out);
        assert_eq!(Frame::decode(&out[4..]).unwrap().to_string(), r#"AGENT-DISCONNECT status=4 message="bad""#);
        assert_eq!(
            line(FrameType::UNSET, Flags::NONE, (7, 1), b"xyz"),
            "UNSET sid=7 fid=1 flags=0x0 (3 bytes of payload)"
        );
        assert_eq!(line(FrameType(77), Flags::FIN, (0, 0), b""), "type 77 (0 bytes of payload)");
    }

    #[test]
    fn a_malformed_payload_is_shown_as_its_error() {
        let text = line(FrameType::NOTIFY, Flags::FIN, (1, 1), b"\x05ab");
        assert_eq!(text, "NOTIFY sid=1 fid=1 malformed: message name runs past the end of the frame");
    }

    #[test]
    fn long_values_are_cut() {
        let text = TypedData::String(&[b'x'; 70]).to_string();
        assert!(text.ends_with("x\"+6 bytes"), "{text}");
    }
}
