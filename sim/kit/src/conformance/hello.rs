//! The check of AGENT-HELLO, by HAProxy's own rules.

use serde::{Deserialize, Serialize};

use crate::bytes::{AGENT_HELLO, FIN, Frame, Value, read_kv};

/// The content of an AGENT-HELLO.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The negotiated frame size, in bytes.
    pub max_frame_size: u64,
    /// The capabilities.
    pub capabilities: Vec<String>,
}

impl Announced {
    /// Reads the AGENT-HELLO to a HELLO that offered frames of `offered` bytes. Returns a description of what is wrong with it.
    pub fn read(frame: &Frame, offered: u64) -> Result<Self, String> {
        if frame.kind != AGENT_HELLO {
            return Err(describe(frame));
        }
        if (frame.sid, frame.fid) != (0, 0) {
            return Err(format!("AGENT-HELLO with the ids {} and {}", frame.sid, frame.fid));
        }
        if frame.flags & FIN == 0 {
            return Err("AGENT-HELLO without FIN".into());
        }
        let items = read_kv(&frame.payload).ok_or("AGENT-HELLO with malformed keys")?;
        let value = |key: &str| items.iter().rfind(|(known, _)| known == key).map(|(_, value)| value);
        match value("version") {
            Some(Value::String(version)) if version == b"2.0" => {}
            Some(Value::String(version)) => {
                return Err(format!("AGENT-HELLO with the version {:?}", String::from_utf8_lossy(version)));
            }
            Some(_) => return Err("AGENT-HELLO with a version that is no string".into()),
            None => return Err("AGENT-HELLO without version".into()),
        }
        let max_frame_size = match value("max-frame-size") {
            Some(size) => size.as_unsigned().ok_or("AGENT-HELLO with a max-frame-size that is no positive integer")?,
            None => return Err("AGENT-HELLO without max-frame-size".into()),
        };
        if !(256..=offered).contains(&max_frame_size) {
            return Err(format!("AGENT-HELLO with max-frame-size {max_frame_size}, {offered} being offered"));
        }
        let capabilities = match value("capabilities") {
            Some(Value::String(list)) => String::from_utf8_lossy(list).into_owned(),
            Some(_) => return Err("AGENT-HELLO with capabilities that are no string".into()),
            // HAProxy requires the key in answers to health checks only.
            None => String::new(),
        };
        let capabilities = capabilities.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        Ok(Self { max_frame_size, capabilities: capabilities.collect() })
    }

    /// True if the agent announces this capability.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|name| name == capability)
    }
}

/// Describes a frame of the agent in a few words.
pub(super) fn describe(frame: &Frame) -> String {
    let Frame { kind, flags, sid, fid, payload } = frame;
    match kind {
        101 => "AGENT-HELLO".into(),
        102 => match disconnect_code(frame) {
            Some(code) => format!("AGENT-DISCONNECT {code}"),
            None => "AGENT-DISCONNECT without a status".into(),
        },
        103 if *flags == FIN && payload.is_empty() => format!("ACK {sid}/{fid} without actions"),
        103 if *flags == FIN => format!("ACK {sid}/{fid}"),
        103 => format!("ACK {sid}/{fid} with flags {flags:#x}"),
        _ => format!("a frame of type {kind}"),
    }
}

/// Returns the status code of an AGENT-DISCONNECT.
pub(crate) fn disconnect_code(frame: &Frame) -> Option<u64> {
    let items = read_kv(&frame.payload)?;
    items.iter().find(|(key, _)| key == "status-code")?.1.as_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::{hex, kv};
    use crate::frames::agent_hello;

    fn read(bytes: &[u8]) -> Result<Announced, String> {
        Announced::read(&Frame::take(&mut &*bytes).expect("a whole frame"), 16380)
    }

    #[test]
    fn a_good_hello_is_read() {
        let announced = read(&agent_hello(1000, " pipelining ,fragmentation")).expect("a good HELLO");
        assert_eq!((announced.max_frame_size, announced.capabilities.len()), (1000, 2));
        assert!(announced.has("pipelining") && !announced.has("pipe"));
    }

    #[test]
    fn each_fault_of_a_hello_is_described() {
        for (size, expected) in [(255, "max-frame-size 255"), (16381, "max-frame-size 16381")] {
            assert!(read(&agent_hello(size, "")).expect_err("a bad size").contains(expected));
        }
        let version = |text: &str| ("version", Value::text(text));
        let size = ("max-frame-size", Value::Uint32(256));
        for (items, expected) in [
            (vec![version("1.0"), size.clone()], "the version \"1.0\""),
            (vec![("version", Value::Null), size.clone()], "a version that is no string"),
            (vec![size.clone()], "without version"),
            (vec![version("2.0")], "without max-frame-size"),
            (
                vec![version("2.0"), ("max-frame-size", Value::text("256"))],
                "a max-frame-size that is no positive integer",
            ),
            (vec![version("2.0"), size, ("capabilities", Value::Null)], "capabilities that are no string"),
        ] {
            let frame = Frame::new(AGENT_HELLO, (0, 0), kv(&items)).encode();
            let error = read(&frame).expect_err(expected);
            assert!(error.contains(expected), "expected {expected}, got {error}");
        }
        assert!(read(&hex("00000008 65 00000001 00 00 05")).expect_err("malformed").contains("malformed keys"));
        let ids = Frame::new(AGENT_HELLO, (1, 0), []).encode();
        assert!(read(&ids).expect_err("bad ids").contains("ids 1 and 0"));
    }
}
