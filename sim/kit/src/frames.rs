//! Builds the frames that HAProxy sends and the frames that the agent should answer with.

use spoa_sim_checker::codec;

use crate::bytes::{ACK, AGENT_DISCONNECT, DISCONNECT, Frame, HELLO, NOTIFY, Value, hex, kv, message, string};

/// A HAPROXY-HELLO. Its keys are in HAProxy's order unless a test changes it.
#[derive(Clone, Debug)]
pub struct Hello {
    items: Vec<(String, Value)>,
    flags: u32,
    ids: (u64, u64),
}

impl Hello {
    /// Returns the HELLO of HAProxy 3.1 and later, whose SPOE is a multiplexer: 123 bytes.
    pub fn mux() -> Self {
        Self::of("pipelining").with("engine-id", Value::text("5e2c04bd-7a4f-4d3c-9a53-6f0a1c1a7d11"))
    }

    /// Returns the HELLO of HAProxy 2.1 to 3.0, whose SPOE is an applet: 129 bytes.
    pub fn applet() -> Self {
        Self::of("pipelining,async").with("engine-id", Value::text("0d9c7d9e-9f7e-4a39-8ed1-0f2b3c4d5e6f"))
    }

    /// Returns the HELLO of a health check by `option spop-check`: 78 bytes.
    pub fn health_check() -> Self {
        Self::of("").with("healthcheck", Value::Bool(true))
    }

    /// Returns a HELLO with these capabilities, and without an engine-id.
    pub fn of(capabilities: &str) -> Self {
        Self { items: Vec::new(), flags: 1, ids: (0, 0) }
            .with("supported-versions", Value::text("2.0"))
            .with("max-frame-size", Value::Uint32(16380))
            .with("capabilities", Value::text(capabilities))
    }

    /// Replaces the value of `key`, or appends the key if it is missing.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        match self.items.iter_mut().find(|(known, _)| known == key) {
            Some(item) => item.1 = value,
            None => self.items.push((key.into(), value)),
        }
        self
    }

    /// Appends an item, even if there is one with the same key.
    #[must_use]
    pub fn and(mut self, key: &str, value: Value) -> Self {
        self.items.push((key.into(), value));
        self
    }

    /// Removes `key`.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.items.retain(|(known, _)| known != key);
        self
    }

    /// Reverses the order of the items.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.items.reverse();
        self
    }

    /// Sets the flags.
    #[must_use]
    pub fn flags(self, flags: u32) -> Self {
        Self { flags, ..self }
    }

    /// Sets stream-id and frame-id.
    #[must_use]
    pub fn ids(self, sid: u64, fid: u64) -> Self {
        Self { ids: (sid, fid), ..self }
    }

    /// Encodes the frame.
    pub fn encode(&self) -> Vec<u8> {
        let items: Vec<_> = self.items.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        Frame::new(HELLO, self.ids, kv(&items)).flags(self.flags).encode()
    }
}

/// Encodes the AGENT-HELLO that is expected from the agent. The capabilities are in the order in which the agent lists
/// them.
pub fn agent_hello(max_frame_size: u64, capabilities: &str) -> Vec<u8> {
    let items = [
        ("version", Value::text("2.0")),
        ("max-frame-size", Value::Uint32(max_frame_size)),
        ("capabilities", Value::text(capabilities)),
    ];
    Frame::new(crate::bytes::AGENT_HELLO, (0, 0), kv(&items)).encode()
}

/// Encodes a NOTIFY that is not fragmented.
pub fn notify(sid: u64, fid: u64, messages: &[Vec<u8>]) -> Vec<u8> {
    Frame::new(NOTIFY, (sid, fid), messages.concat()).encode()
}

/// Encodes the message that HAProxy sends for `spoe-message check-client-ip` with `args src`: one argument without a
/// name.
pub fn check_client_ip(value: Value) -> Vec<u8> {
    message("check-client-ip", &[("", value)])
}

/// Encodes the message that HAProxy sends for `spoe-message get-ip-reputation` with `args ip=src`.
pub fn get_ip_reputation(value: Value) -> Vec<u8> {
    message("get-ip-reputation", &[("ip", value)])
}

/// Returns the bytes of the documented NOTIFY: stream-id 1, frame-id 1, check-client-ip for 192.0.2.1.
pub fn documented_notify() -> Vec<u8> {
    hex(r#"0000001e 03 00000001 01 01 0f"check-client-ip" 01 00 06c0000201"#)
}

/// Encodes an ACK that sets `sess.ip_score` once per score.
pub fn ack(sid: u64, fid: u64, scores: &[u64]) -> Vec<u8> {
    let actions: Vec<u8> = scores.iter().flat_map(|score| set_var(1, "ip_score", &Value::Uint32(*score))).collect();
    Frame::new(ACK, (sid, fid), actions).encode()
}

/// Encodes an action SET-VAR.
pub fn set_var(scope: u8, name: &str, value: &Value) -> Vec<u8> {
    [&[1, 3, scope][..], &string(name), &value.encode()].concat()
}

/// Encodes a HAPROXY-DISCONNECT with this code and its canonical text.
pub fn disconnect(code: u64) -> Vec<u8> {
    disconnect_frame(DISCONNECT, code)
}

/// Encodes an AGENT-DISCONNECT with this code and its canonical text: D(n) of the conformance table.
pub fn agent_disconnect(code: u64) -> Vec<u8> {
    disconnect_frame(AGENT_DISCONNECT, code)
}

fn disconnect_frame(kind: u8, code: u64) -> Vec<u8> {
    let items = [("status-code", Value::Uint32(code)), ("message", Value::text(codec::reason(code as u32)))];
    Frame::new(kind, (0, 0), kv(&items)).encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the frames whose bytes the protocol's document has in full.
    #[test]
    fn frames_have_their_documented_bytes() {
        assert_eq!(
            Hello::mux().encode()[..91],
            hex(r#"0000007b 01 00000001 00 00 12 "supported-versions" 08 03 "2.0" 0e "max-frame-size" 03 fcf006
                0c "capabilities" 08 0a "pipelining" 09 "engine-id" 08 24"#)
        );
        assert_eq!(Hello::mux().encode().len(), 4 + 123);
        assert_eq!(Hello::applet().encode().len(), 4 + 129);
        assert_eq!(
            Hello::health_check().encode(),
            hex(r#"0000004e 01 00000001 00 00 12"supported-versions"0803"2.0" 0e"max-frame-size"03 fcf006
                0c"capabilities"0800 0b"healthcheck"11"#)
        );
        assert_eq!(
            agent_hello(16380, "pipelining"),
            hex(r#"00000040 65 00000001 00 00 07"version"0803"2.0" 0e"max-frame-size"03fcf006
                0c"capabilities"080a"pipelining""#)
        );
        assert_eq!(documented_notify(), notify(1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]));
        assert_eq!(
            notify(3, 1, &[get_ip_reputation(Value::Ipv4([192, 0, 2, 1]))]),
            hex(r#"00000022 03 00000001 03 01 11"get-ip-reputation" 01 02"ip" 06c0000201"#)
        );
        assert_eq!(ack(1, 1, &[42]), hex(r#"00000015 67 00000001 01 01 01 03 01 08"ip_score" 032a"#));
        assert_eq!(agent_disconnect(0), hex(r#"0000002566000000010000 0b"status-code"0300 07"message"0806"normal""#));
        assert_eq!(disconnect(0)[4], 2);
    }
}
