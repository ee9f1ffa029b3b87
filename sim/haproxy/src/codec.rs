//! Encodes and decodes SPOP frames as HAProxy does.
//!
//! Nothing here comes from the agent's codec: the simulator compares the bytes of both, so they must not share a
//! mistake. Encoders write exactly the bytes that HAProxy writes (order of keys, types, lengths). Decoders are lenient
//! exactly where HAProxy's decoders are.

mod action;
mod cursor;
mod frame;
mod hello;
mod messages;
mod reply;
mod varint;

pub use action::{Applied, AppliedActions, Scope, Value};
pub use cursor::Cursor;
pub use frame::{FIN_ABORT, Header, Kind, encode_disconnect, encode_fragment, encode_notify};
pub use hello::{EngineId, Hello, encode_healthcheck, encode_hello};
pub use messages::{Arg, Messages, Piece};
pub use reply::{AgentHello, Capabilities, HelloRules, decode_agent_disconnect, decode_agent_hello};
pub use varint::{decode_varint, encode_varint, varint_len};

/// The status codes of DISCONNECT frames (SPOE.txt section 3.5) that the models use.
pub mod code {
    /// Normal end.
    pub const NORMAL: u32 = 0;
    /// The connection was lost. The mux never sends this code, but logs it as 257.
    pub const IO: u32 = 1;
    /// A timeout occurred.
    pub const TIMEOUT: u32 = 2;
    /// The length of a frame is above the limit.
    pub const TOO_BIG: u32 = 3;
    /// A frame is malformed.
    pub const INVALID: u32 = 4;
    /// AGENT-HELLO without `version`.
    pub const NO_VERSION: u32 = 5;
    /// AGENT-HELLO without `max-frame-size`.
    pub const NO_FRAME_SIZE: u32 = 6;
    /// A health check's reply without `capabilities`.
    pub const NO_CAPABILITIES: u32 = 7;
    /// A version other than 2.0.
    pub const BAD_VERSION: u32 = 8;
    /// `max-frame-size` below 256 or above the offer.
    pub const BAD_FRAME_SIZE: u32 = 9;
    /// FIN is not set, or a NOTIFY is too large for an agent that accepts no fragments.
    pub const FRAGMENTED: u32 = 10;
    /// An ACK for a NOTIFY that is not in flight.
    pub const UNKNOWN_FRAME_ID: u32 = 12;
    /// Any other error.
    pub const UNKNOWN: u32 = 99;

    /// Returns HAProxy's text for a code, or `None` if its table (`spoe_frm_err_reasons`) has none: 14..=98 are
    /// missing, and 99 is the last.
    pub const fn reason(code: u32) -> Option<&'static str> {
        Some(match code {
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
            99 => "an unknown error occurred",
            _ => return None,
        })
    }
}

/// The bytes that every sender reserves for the header of a frame (`FRAME_HDR_SIZE`): messages take at most the frame
/// size minus this.
pub const HEADER_RESERVE: u32 = 32;
/// The smallest `max-frame-size` that may be negotiated (SPOE.txt section 3.2.4).
pub const FRAME_SIZE_MIN: u32 = 256;
/// The length field of the smallest frame: type, flags and two ids of one byte each.
pub const FRAME_LEN_MIN: u32 = 7;

#[cfg(test)]
mod tests {
    use super::code;
    use crate::vectors;

    #[test]
    fn codes_have_the_texts_of_haproxy() {
        for (code, text) in vectors::statuses() {
            assert_eq!(code::reason(code), Some(text), "{code}");
        }
    }
}
