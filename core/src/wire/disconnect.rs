//! HAPROXY-DISCONNECT and AGENT-DISCONNECT (SPOE.txt sections 3.2.8 and 3.2.9).

use alloc::vec::Vec;

use super::frame::{Flags, FrameEncoder, FrameId, FrameType, StreamId};
use super::kv::{KvList, encode_item};
use super::typed_data::TypedData;
use crate::error::{DecodeError, Fault, Field};
use crate::status::Status;

const STATUS_CODE: &str = "status-code";
const MESSAGE: &str = "message";

/// A DISCONNECT, the last frame of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'b> {
    /// The reason as a code.
    pub status: Status,
    /// The reason as text. HAProxy up to 3.0 ignores a frame whose text is longer than 255 bytes.
    pub reason: &'b [u8],
}

impl<'b> Disconnect<'b> {
    /// Decodes the payload. If `status-code` is absent, it is 0; if `message` is absent, it is empty. Unknown keys are
    /// skipped.
    ///
    /// # Errors
    /// The list is malformed, or a known key has a value of the wrong type.
    pub fn decode(payload: &'b [u8]) -> Result<Self, DecodeError> {
        let mut disconnect = Self { status: Status::NORMAL, reason: b"" };
        for item in KvList::new(payload) {
            let (key, value) = item?;
            if key == STATUS_CODE.as_bytes() {
                disconnect.status = status(value)?;
            } else if key == MESSAGE.as_bytes() {
                let TypedData::String(reason) = value else {
                    return Err(DecodeError::new(Field::Reason, Fault::WrongType));
                };
                disconnect.reason = reason;
            }
        }
        Ok(disconnect)
    }

    /// Appends the whole frame: a HAPROXY-DISCONNECT or an AGENT-DISCONNECT.
    pub fn encode(&self, frame_type: FrameType, out: &mut Vec<u8>) {
        let mut frame = FrameEncoder::begin(out, frame_type, Flags::FIN, StreamId(0), FrameId(0));
        let payload = frame.payload();
        encode_item(STATUS_CODE, TypedData::Uint32(self.status.0), payload);
        encode_item(MESSAGE, TypedData::String(self.reason), payload);
        frame.finish();
    }
}

/// Reads a code of any integer type. A code that does not fit into `u32` is [`Status::UNKNOWN`].
fn status(value: TypedData<'_>) -> Result<Status, DecodeError> {
    match value {
        TypedData::Uint32(code) => Ok(Status(code)),
        TypedData::Int32(_) | TypedData::Int64(_) | TypedData::Uint64(_) => {
            let code = value.as_i64().and_then(|code| u32::try_from(code).ok());
            Ok(code.map_or(Status::UNKNOWN, Status))
        }
        _ => Err(DecodeError::new(Field::StatusCode, Fault::WrongType)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_0_has_the_expected_bytes() {
        let disconnect = Disconnect { status: Status::NORMAL, reason: b"normal" };
        let mut out = Vec::new();
        disconnect.encode(FrameType::HAPROXY_DISCONNECT, &mut out);
        assert_eq!(out, b"\0\0\0\x25\x02\0\0\0\x01\0\0\x0bstatus-code\x03\0\x07message\x08\x06normal");
        assert_eq!(Disconnect::decode(&out[11..]), Ok(disconnect));
    }

    #[test]
    fn absent_keys_have_defaults() {
        assert_eq!(Disconnect::decode(b""), Ok(Disconnect { status: Status::NORMAL, reason: b"" }));
        assert_eq!(Disconnect::decode(b"\x0bstatus-code\x05\x08").unwrap().status, Status::BAD_VERSION);
    }

    #[test]
    fn a_code_outside_u32_is_unknown() {
        let mut payload = Vec::new();
        encode_item(STATUS_CODE, TypedData::Int64(-1), &mut payload);
        assert_eq!(Disconnect::decode(&payload).unwrap().status, Status::UNKNOWN);
    }

    #[test]
    fn wrong_types_and_truncated_lists_are_errors() {
        for payload in [&b"\x0bstatus-code\x08\x010"[..], b"\x07message\x03\x01", b"\x0bstatus-code", b"\x0bstatus"] {
            assert!(Disconnect::decode(payload).is_err());
        }
    }
}
