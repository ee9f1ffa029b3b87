//! The protocol errors of a peer, and the only mapping of them to status codes.

use core::fmt;

use crate::status::Status;
use crate::wire::FrameType;

/// A decoding error: the field that is wrong, and the fault in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {fault}")]
pub struct DecodeError {
    /// The field that is wrong.
    pub field: Field,
    /// The fault in that field.
    pub fault: Fault,
}

impl DecodeError {
    /// Creates the error of `fault` in `field`.
    pub const fn new(field: Field, fault: Fault) -> Self {
        Self { field, fault }
    }
}

/// The fault in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The frame ends within the field.
    Truncated,
    /// The field is a varint of more than 64 bits.
    VarintOverflow,
    /// The value has a type (10..=15) that SPOE.txt does not define, so that its size is unknown.
    ReservedType(u8),
    /// The field is empty where bytes are required.
    Empty,
    /// The value does not have the type that SPOE.txt defines.
    WrongType,
    /// The value is not one of the allowed values.
    OutOfRange,
    /// The field is missing.
    Missing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("runs past the end of the frame"),
            Self::VarintOverflow => f.write_str("is a varint of more than 64 bits"),
            Self::ReservedType(kind) => write!(f, "is of the reserved type {kind}"),
            Self::Empty => f.write_str("is empty"),
            Self::WrongType => f.write_str("is of the wrong type"),
            Self::OutOfRange => f.write_str("is out of range"),
            Self::Missing => f.write_str("is missing"),
        }
    }
}

/// A field of a frame, by its name in SPOE.txt; or a header in an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of that name in SPOE.txt")]
pub enum Field {
    FrameType,
    Flags,
    StreamId,
    FrameId,
    Key,
    Value,
    SupportedVersions,
    Version,
    MaxFrameSize,
    Capabilities,
    Healthcheck,
    EngineId,
    StatusCode,
    Reason,
    MessageName,
    ArgCount,
    ArgName,
    ArgValue,
    ActionType,
    Scope,
    VarName,
    Header,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FrameType => "frame type",
            Self::Flags => "flags",
            Self::StreamId => "stream-id",
            Self::FrameId => "frame-id",
            Self::Key => "key",
            Self::Value => "value",
            Self::SupportedVersions => "supported-versions",
            Self::Version => "version",
            Self::MaxFrameSize => "max-frame-size",
            Self::Capabilities => "capabilities",
            Self::Healthcheck => "healthcheck",
            Self::EngineId => "engine-id",
            Self::StatusCode => "status-code",
            Self::Reason => "message of the DISCONNECT",
            Self::MessageName => "message name",
            Self::ArgCount => "number of arguments",
            Self::ArgName => "argument name",
            Self::ArgValue => "argument value",
            Self::ActionType => "action type",
            Self::Scope => "variable scope",
            Self::VarName => "variable name",
            Self::Header => "header",
        })
    }
}

/// A protocol error of the peer. Each ends the conversation with an AGENT-DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// A frame cannot be decoded.
    #[error("malformed {frame_type}: {error}")]
    Malformed {
        /// The type in the first byte of the frame.
        frame_type: FrameType,
        /// The field that is wrong, and the fault in it.
        error: DecodeError,
    },
    /// The length of a frame is below [`FRAME_LEN_MIN`](crate::wire::FRAME_LEN_MIN).
    #[error("a frame of {len} bytes is too short")]
    FrameTooShort {
        /// The announced length, in bytes.
        len: u32,
    },
    /// The length of a frame is above the limit. This is reported as soon as the length has arrived, so that no memory
    /// is allocated for the frame.
    #[error("a frame of {len} bytes is above the limit of {max}{}", Hint(*len))]
    FrameTooBig {
        /// The announced length, in bytes.
        len: u32,
        /// The limit in bytes: our own before the HELLO, the negotiated one after it.
        max: u32,
    },
    /// A frame of this type is not allowed in this state of the conversation.
    #[error("{0} is out of order")]
    Unexpected(FrameType),
    /// A HELLO or DISCONNECT has a stream-id or frame-id other than 0.
    #[error("{0} with a stream-id or frame-id other than 0")]
    NonZeroId(FrameType),
    /// A frame is a fragment, but fragmentation was not negotiated or is not allowed for its type.
    #[error("{0} is a fragment, but fragmentation was not negotiated")]
    Fragmented(FrameType),
    /// A fragment does not continue the incomplete NOTIFY, or a NOTIFY arrived between the fragments of another one.
    #[error("{0} is out of sequence: the fragments of one NOTIFY must directly follow each other")]
    Interlaced(FrameType),
    /// The HELLO has no `supported-versions`.
    #[error("HAPROXY-HELLO without supported-versions")]
    NoVersion,
    /// The HELLO has no `max-frame-size`.
    #[error("HAPROXY-HELLO without max-frame-size")]
    NoMaxFrameSize,
    /// The HELLO has no `capabilities`.
    #[error("HAPROXY-HELLO without capabilities")]
    NoCapabilities,
    /// The HELLO lists no version 2.x.
    #[error("HAPROXY-HELLO with no version 2.x")]
    BadVersion,
    /// The `max-frame-size` of the HELLO is below [`MAX_FRAME_SIZE_MIN`](crate::wire::MAX_FRAME_SIZE_MIN).
    #[error("HAPROXY-HELLO with a max-frame-size below 256")]
    BadMaxFrameSize,
    /// No whole HELLO arrived within [`hello_timeout`](crate::Config::hello_timeout).
    #[error("no HAPROXY-HELLO arrived in time")]
    HelloTimeout,
}

impl PeerError {
    /// Returns the protocol that the peer seems to speak instead of SPOP, if it is recognised.
    pub fn other_protocol(&self) -> Option<OtherProtocol> {
        match self {
            Self::FrameTooBig { len, .. } => OtherProtocol::of_length(*len),
            _ => None,
        }
    }

    /// True if the error is in a HELLO.
    pub const fn is_of_hello(&self) -> bool {
        match self {
            Self::NoVersion
            | Self::NoMaxFrameSize
            | Self::NoCapabilities
            | Self::BadVersion
            | Self::BadMaxFrameSize => true,
            Self::Malformed { frame_type, .. } | Self::NonZeroId(frame_type) | Self::Fragmented(frame_type) => {
                frame_type.0 == FrameType::HAPROXY_HELLO.0
            }
            _ => false,
        }
    }

    /// Returns the status code of our AGENT-DISCONNECT (SPOE.txt section 3.5). This is the only mapping from errors to
    /// codes.
    pub const fn status(&self) -> Status {
        match self {
            Self::HelloTimeout => Status::TIMEOUT,
            Self::FrameTooBig { .. } => Status::TOO_BIG,
            Self::Malformed { .. } | Self::FrameTooShort { .. } | Self::Unexpected(_) | Self::NonZeroId(_) => {
                Status::INVALID
            }
            Self::NoVersion => Status::NO_VERSION,
            Self::NoMaxFrameSize => Status::NO_FRAME_SIZE,
            Self::NoCapabilities => Status::NO_CAPABILITIES,
            Self::BadVersion => Status::BAD_VERSION,
            Self::BadMaxFrameSize => Status::BAD_FRAME_SIZE,
            Self::Fragmented(_) => Status::FRAGMENTED,
            Self::Interlaced(_) => Status::INTERLACED,
        }
    }
}

/// A protocol other than SPOP, recognised by the first four bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherProtocol {
    /// TLS: the bytes are those of a ClientHello.
    Tls,
    /// The PROXY protocol, version 1 or 2.
    Proxy,
    /// HTTP, version 1 or 2.
    Http,
}

impl OtherProtocol {
    /// Recognises another protocol by the four bytes that SPOP reads as a length. Load balancers probe with HTTP and
    /// browsers connect with TLS; without this the operator would only see an impossible length in the log.
    fn of_length(len: u32) -> Option<Self> {
        match &len.to_be_bytes() {
            [0x16, 3, _, _] => Some(Self::Tls),
            b"PROX" | b"\r\n\r\n" => Some(Self::Proxy),
            b"GET " | b"HEAD" | b"POST" | b"PUT " | b"OPTI" | b"PRI " => Some(Self::Http),
            _ => None,
        }
    }
}

impl fmt::Display for OtherProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Proxy => "the PROXY protocol",
            Self::Http => "HTTP",
        })
    }
}

/// Shows the protocol that a length seems to be from, if it is recognised.
struct Hint(u32);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OtherProtocol::of_length(self.0).map_or(Ok(()), |other| write!(f, " (it looks like {other}, not SPOP)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn other_protocols_are_recognised_by_the_first_four_bytes() {
        for (bytes, name) in [(*b"GET ", "HTTP"), (*b"PROX", "PROXY"), ([0x16, 3, 1, 2], "TLS")] {
            let error = PeerError::FrameTooBig { len: u32::from_be_bytes(bytes), max: 16384 };
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(!PeerError::FrameTooBig { len: 20000, max: 16384 }.to_string().contains("looks like"));
    }
}
