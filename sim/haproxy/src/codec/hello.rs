//! Writes HAPROXY-HELLO (SPOE.txt section 3.2.4): all versions send the same keys in the same order.

use super::frame::{Kind, frame};
use super::varint::encode_varint;

/// The text of an `engine-id`, a UUID.
pub type EngineId = [u8; 36];

/// The values that differ between HELLOs.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// The largest frame that HAProxy accepts: `max-frame-size`, or `tune.bufsize` minus 4.
    pub max_frame_size: u32,
    /// "pipelining", "pipelining,async", "async" or empty. Never "fragmentation", because HAProxy cannot receive
    /// fragments.
    pub capabilities: &'static str,
    /// The engine-id; `None` in health checks.
    pub engine_id: Option<&'a EngineId>,
}

/// Appends the HELLO of a connection. Returns the value of the length field.
pub fn encode_hello(out: &mut Vec<u8>, hello: &Hello<'_>) -> u32 {
    frame(out, Kind::HELLO, 1, (0, 0), |out| keys(out, hello))
}

/// Appends the HELLO of a health check (`option spop-check`): without capabilities and engine-id, and with
/// `healthcheck` set to true. Returns the value of the length field.
pub fn encode_healthcheck(out: &mut Vec<u8>, max_frame_size: u32) -> u32 {
    frame(out, Kind::HELLO, 1, (0, 0), |out| {
        keys(out, &Hello { max_frame_size, capabilities: "", engine_id: None });
        out.extend_from_slice(b"\x0bhealthcheck\x11");
    })
}

fn keys(out: &mut Vec<u8>, hello: &Hello<'_>) {
    out.extend_from_slice(b"\x12supported-versions\x08\x032.0\x0emax-frame-size\x03");
    encode_varint(u64::from(hello.max_frame_size), out);
    out.extend_from_slice(b"\x0ccapabilities\x08");
    encode_varint(hello.capabilities.len() as u64, out);
    out.extend_from_slice(hello.capabilities.as_bytes());
    if let Some(id) = hello.engine_id {
        out.extend_from_slice(b"\x09engine-id\x08\x24");
        out.extend_from_slice(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &EngineId = b"0123abcd-89ab-4def-8123-456789abcdef";

    #[test]
    fn the_hello_of_the_mux_has_the_expected_bytes() {
        let mut out = Vec::new();
        encode_hello(&mut out, &Hello { max_frame_size: 16380, capabilities: "pipelining", engine_id: Some(ID) });
        let mut bytes = b"\x00\x00\x00\x7b\x01\x00\x00\x00\x01\x00\x00".to_vec();
        bytes.extend_from_slice(b"\x12supported-versions\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06");
        bytes.extend_from_slice(b"\x0ccapabilities\x08\x0apipelining\x09engine-id\x08\x24");
        bytes.extend_from_slice(ID);
        assert_eq!(out, bytes);
    }

    #[test]
    fn the_length_depends_on_the_capabilities() {
        for (capabilities, len) in [("pipelining", 123), ("", 113), ("pipelining,async", 129), ("async", 118)] {
            let hello = Hello { max_frame_size: 16380, capabilities, engine_id: Some(ID) };
            assert_eq!(encode_hello(&mut Vec::new(), &hello), len, "{capabilities}");
        }
    }

    #[test]
    fn the_hello_of_a_health_check_has_the_expected_bytes() {
        let mut out = Vec::new();
        assert_eq!(encode_healthcheck(&mut out, 16380), 78);
        let bytes = b"\0\0\0\x4e\x01\0\0\0\x01\0\0\x12supported-versions\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06\
            \x0ccapabilities\x08\0\x0bhealthcheck\x11";
        assert_eq!(out, bytes);
    }
}
