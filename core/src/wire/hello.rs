//! HAPROXY-HELLO and AGENT-HELLO (SPOE.txt sections 3.2.4 and 3.2.5).

use alloc::string::ToString;
use alloc::vec::Vec;

use super::capabilities::Capabilities;
use super::frame::{Flags, FrameEncoder, FrameId, FrameType, StreamId};
use super::kv::{KvList, encode_item};
use super::typed_data::TypedData;
use crate::error::{DecodeError, Fault, Field};

const SUPPORTED_VERSIONS: &str = "supported-versions";
const VERSION: &str = "version";
const MAX_FRAME_SIZE: &str = "max-frame-size";
const CAPABILITIES: &str = "capabilities";
const HEALTHCHECK: &str = "healthcheck";
const ENGINE_ID: &str = "engine-id";

/// HAProxy's HELLO. A key that is absent is `None`; the negotiation checks which keys are required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HaproxyHello<'b> {
    /// The versions, as a comma-separated list of `major.minor`.
    pub supported_versions: Option<&'b [u8]>,
    /// The largest frame that HAProxy sends and accepts, in bytes without its length. The value is not range-checked
    /// and may be negative.
    pub max_frame_size: Option<TypedData<'b>>,
    /// The capabilities, as a comma-separated list; empty in health checks.
    pub capabilities: Option<&'b [u8]>,
    /// True in a health check, which is answered by an AGENT-HELLO and the end of the connection.
    pub healthcheck: bool,
    /// The id of the SPOE filter (since 3.1) or of its thread (up to 3.0); absent in health checks.
    pub engine_id: Option<&'b [u8]>,
}

impl<'b> HaproxyHello<'b> {
    /// Decodes the payload. If a key occurs twice, the last one counts, as in HAProxy. Unknown keys are skipped.
    ///
    /// # Errors
    /// The list is malformed, or a known key has a value of the wrong type.
    pub fn decode(payload: &'b [u8]) -> Result<Self, DecodeError> {
        let mut hello = Self::default();
        for item in KvList::new(payload) {
            let (key, value) = item?;
            if key == SUPPORTED_VERSIONS.as_bytes() {
                hello.supported_versions = Some(string(value, Field::SupportedVersions)?);
            } else if key == MAX_FRAME_SIZE.as_bytes() {
                hello.max_frame_size = Some(integer(value, Field::MaxFrameSize)?);
            } else if key == CAPABILITIES.as_bytes() {
                hello.capabilities = Some(string(value, Field::Capabilities)?);
            } else if key == HEALTHCHECK.as_bytes() {
                hello.healthcheck = value.as_bool().ok_or(DecodeError::new(Field::Healthcheck, Fault::WrongType))?;
            } else if key == ENGINE_ID.as_bytes() {
                hello.engine_id = Some(string(value, Field::EngineId)?);
            }
        }
        Ok(hello)
    }

    /// True if `payload` is the HELLO of a health check, judged by the items before the first malformed one.
    pub fn is_healthcheck(payload: &[u8]) -> bool {
        KvList::new(payload)
            .map_while(Result::ok)
            .filter(|(key, _)| *key == HEALTHCHECK.as_bytes())
            .last()
            .is_some_and(|(_, value)| value == TypedData::Bool(true))
    }

    /// Appends the whole frame, with its keys in HAProxy's order.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut frame = hello_frame(FrameType::HAPROXY_HELLO, out);
        let payload = frame.payload();
        if let Some(versions) = self.supported_versions {
            encode_item(SUPPORTED_VERSIONS, TypedData::String(versions), payload);
        }
        if let Some(size) = self.max_frame_size {
            encode_item(MAX_FRAME_SIZE, size, payload);
        }
        if let Some(capabilities) = self.capabilities {
            encode_item(CAPABILITIES, TypedData::String(capabilities), payload);
        }
        if self.healthcheck {
            encode_item(HEALTHCHECK, TypedData::Bool(true), payload);
        }
        if let Some(id) = self.engine_id {
            encode_item(ENGINE_ID, TypedData::String(id), payload);
        }
        frame.finish();
    }
}

/// The agent's answer to a HELLO: one version, the smaller frame size and the common capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentHello<'b> {
    /// The version, as `major.minor`.
    pub version: &'b [u8],
    /// The largest frame from now on, in bytes without its length.
    pub max_frame_size: u32,
    /// The capabilities that both sides may use.
    pub capabilities: Capabilities,
}

impl<'b> AgentHello<'b> {
    /// Decodes the payload. All three keys are required, as in HAProxy's health check since 3.1.
    ///
    /// # Errors
    /// The list is malformed, or the value of a key is missing, of the wrong type or out of range.
    pub fn decode(payload: &'b [u8]) -> Result<Self, DecodeError> {
        let (mut version, mut max_frame_size, mut capabilities) = (None, None, None);
        for item in KvList::new(payload) {
            let (key, value) = item?;
            if key == VERSION.as_bytes() {
                version = Some(string(value, Field::Version)?);
            } else if key == MAX_FRAME_SIZE.as_bytes() {
                let size = integer(value, Field::MaxFrameSize)?.as_i64().and_then(|size| u32::try_from(size).ok());
                max_frame_size = Some(size.ok_or(DecodeError::new(Field::MaxFrameSize, Fault::OutOfRange))?);
            } else if key == CAPABILITIES.as_bytes() {
                capabilities = Some(Capabilities::parse(string(value, Field::Capabilities)?));
            }
        }
        let missing = |field| DecodeError::new(field, Fault::Missing);
        Ok(Self {
            version: version.ok_or(missing(Field::Version))?,
            max_frame_size: max_frame_size.ok_or(missing(Field::MaxFrameSize))?,
            capabilities: capabilities.ok_or(missing(Field::Capabilities))?,
        })
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut frame = hello_frame(FrameType::AGENT_HELLO, out);
        let payload = frame.payload();
        encode_item(VERSION, TypedData::String(self.version), payload);
        encode_item(MAX_FRAME_SIZE, TypedData::Uint32(self.max_frame_size), payload);
        encode_item(CAPABILITIES, TypedData::String(self.capabilities.to_string().as_bytes()), payload);
        frame.finish();
    }
}

fn hello_frame(frame_type: FrameType, out: &mut Vec<u8>) -> FrameEncoder<'_> {
    FrameEncoder::begin(out, frame_type, Flags::FIN, StreamId(0), FrameId(0))
}

fn string(value: TypedData<'_>, field: Field) -> Result<&[u8], DecodeError> {
    match value {
        TypedData::String(bytes) => Ok(bytes),
        _ => Err(DecodeError::new(field, Fault::WrongType)),
    }
}

/// Returns the value if it has an integer type. Its range is checked later.
fn integer(value: TypedData<'_>, field: Field) -> Result<TypedData<'_>, DecodeError> {
    match value {
        TypedData::Int32(_) | TypedData::Uint32(_) | TypedData::Int64(_) | TypedData::Uint64(_) => Ok(value),
        _ => Err(DecodeError::new(field, Fault::WrongType)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frame;

    const MUX: HaproxyHello<'_> = HaproxyHello {
        supported_versions: Some(b"2.0"),
        max_frame_size: Some(TypedData::Uint32(16380)),
        capabilities: Some(b"pipelining"),
        healthcheck: false,
        engine_id: Some(b"7f8e2d10-1111-2222-3333-444455556666"),
    };

    fn encoded(hello: &HaproxyHello<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        hello.encode(&mut out);
        out
    }

    #[test]
    fn haproxy_hellos_have_their_recorded_lengths() {
        let applet = HaproxyHello { capabilities: Some(b"pipelining,async"), ..MUX };
        let check = HaproxyHello { capabilities: Some(b""), healthcheck: true, engine_id: None, ..MUX };
        for (hello, len) in
            [(MUX, 123), (HaproxyHello { capabilities: Some(b""), ..MUX }, 113), (applet, 129), (check, 78)]
        {
            let bytes = encoded(&hello);
            assert_eq!(bytes.len(), 4 + len);
            let (frame, _) = Frame::split(&bytes).unwrap().unwrap();
            assert_eq!(HaproxyHello::decode(frame.payload), Ok(hello));
            assert_eq!(HaproxyHello::is_healthcheck(frame.payload), hello.healthcheck);
        }
    }

    #[test]
    fn the_agent_hello_has_the_expected_bytes() {
        let hello = AgentHello { version: b"2.0", max_frame_size: 16380, capabilities: Capabilities::PIPELINING };
        let mut out = Vec::new();
        hello.encode(&mut out);
        let expected = b"\0\0\0\x40\x65\0\0\0\x01\0\0\x07version\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06\x0ccapabilities\x08\x0apipelining";
        assert_eq!(out, expected);
        assert_eq!(AgentHello::decode(&out[11..]), Ok(hello));
    }

    #[test]
    fn keys_are_compared_whole() {
        let mut payload = Vec::new();
        encode_item("max-frame-siz", TypedData::Uint32(1), &mut payload);
        encode_item("supported-versionsX", TypedData::Uint32(1), &mut payload);
        assert_eq!(HaproxyHello::decode(&payload), Ok(HaproxyHello::default()));
    }

    #[test]
    fn a_known_key_of_the_wrong_type_is_an_error() {
        for (key, value, field) in [
            (SUPPORTED_VERSIONS, TypedData::Uint32(2), Field::SupportedVersions),
            (MAX_FRAME_SIZE, TypedData::String(b"16380"), Field::MaxFrameSize),
            (CAPABILITIES, TypedData::Binary(b""), Field::Capabilities),
            (HEALTHCHECK, TypedData::Uint32(1), Field::Healthcheck),
            (ENGINE_ID, TypedData::Null, Field::EngineId),
        ] {
            let mut payload = Vec::new();
            encode_item(key, value, &mut payload);
            assert_eq!(HaproxyHello::decode(&payload), Err(DecodeError::new(field, Fault::WrongType)));
        }
    }

    #[test]
    fn a_health_check_is_recognised_before_a_malformed_item() {
        let mut payload = Vec::new();
        encode_item(HEALTHCHECK, TypedData::Bool(true), &mut payload);
        payload.extend_from_slice(&[3, b'x']);
        assert!(HaproxyHello::decode(&payload).is_err());
        assert!(HaproxyHello::is_healthcheck(&payload));
    }
}
