//! What can be wrong with what a peer sends, and the one place that turns it into a status code.

use core::fmt;

use crate::status::Status;
use crate::wire::FrameType;

/// Bytes that are no frame: which field, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {fault}")]
pub struct DecodeError {
    /// The field at fault.
    pub field: Field,
    /// What is wrong with it.
    pub fault: Fault,
}

impl DecodeError {
    /// `fault` in `field`.
    pub const fn new(field: Field, fault: Fault) -> Self {
        Self { field, fault }
    }
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The frame ends inside it.
    Truncated,
    /// A varint of more than 64 bits.
    VarintOverflow,
    /// A value of a type (10..=15) that SPOE.txt does not define, so of unknown size.
    ReservedType(u8),
    /// It has no bytes where some are needed.
    Empty,
    /// Its value is of another type than SPOE.txt says.
    WrongType,
    /// Its value is not among those allowed.
    OutOfRange,
    /// It is not there.
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

/// A field of a frame, by its name in SPOE.txt.
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
        })
    }
}

/// What HAProxy, or whoever is there, did wrong. Each ends the conversation with an AGENT-DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// A frame that cannot be read.
    #[error("malformed {frame_type}: {error}")]
    Malformed {
        /// What the frame says it is; UNSET if even that cannot be read.
        frame_type: FrameType,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A length below [`FRAME_LEN_MIN`](crate::wire::FRAME_LEN_MIN).
    #[error("a frame of {len} bytes is too short")]
    FrameTooShort {
        /// The length it announces.
        len: u32,
    },
    /// A length above the limit, refused before anything is buffered.
    #[error("a frame of {len} bytes is above the limit of {max}{}", Hint(*len))]
    FrameTooBig {
        /// The length it announces.
        len: u32,
        /// The limit: ours before the HELLO, the negotiated one after it.
        max: u32,
    },
    /// A frame that has no place in this state of the conversation.
    #[error("{0} is out of order")]
    Unexpected(FrameType),
    /// A HELLO or DISCONNECT with a stream-id or frame-id.
    #[error("{0} with a stream-id or frame-id other than 0")]
    NonZeroId(FrameType),
    /// FIN is clear, or a fragment comes, where fragments are not agreed on.
    #[error("{0} is a fragment, and fragmentation is not agreed on")]
    Fragmented(FrameType),
    /// A fragment that continues nothing, or a NOTIFY amid the fragments of another.
    #[error("{0} is out of sequence: fragments of one NOTIFY come without anything between")]
    Interlaced(FrameType),
    /// A HELLO without `supported-versions`.
    #[error("HAPROXY-HELLO without supported-versions")]
    NoVersion,
    /// A HELLO without `max-frame-size`.
    #[error("HAPROXY-HELLO without max-frame-size")]
    NoMaxFrameSize,
    /// A HELLO without `capabilities`.
    #[error("HAPROXY-HELLO without capabilities")]
    NoCapabilities,
    /// No SPOP 2.x among the versions.
    #[error("HAPROXY-HELLO with no version 2.x")]
    BadVersion,
    /// A `max-frame-size` below [`MAX_FRAME_SIZE_MIN`](crate::wire::MAX_FRAME_SIZE_MIN).
    #[error("HAPROXY-HELLO with a max-frame-size below 256")]
    BadMaxFrameSize,
    /// Nothing, or not a whole HELLO, in [`hello_timeout`](crate::Config::hello_timeout).
    #[error("no HAPROXY-HELLO in time")]
    HelloTimeout,
}

impl PeerError {
    /// What was spoken instead of SPOP, if that shows.
    pub fn other_protocol(&self) -> Option<OtherProtocol> {
        match self {
            Self::FrameTooBig { len, .. } => OtherProtocol::of_length(*len),
            _ => None,
        }
    }

    /// True if a HELLO is at fault, which is why there is no conversation.
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

    /// The code that our AGENT-DISCONNECT carries: the only mapping there is (SPOE.txt section 3.5).
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

/// Another protocol than SPOP, as the first four bytes of a conversation tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherProtocol {
    /// A ClientHello.
    Tls,
    /// A PROXY header, of version 1 or 2.
    Proxy,
    /// A request, of version 1 or 2.
    Http,
}

impl OtherProtocol {
    /// What the four bytes of a length are when somebody speaks another protocol: load balancers probe with HTTP, and
    /// browsers with TLS; agents report them as absurd lengths and leave the operator guessing.
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
    fn other_protocols_are_recognised_by_their_absurd_length() {
        for (bytes, name) in [(*b"GET ", "HTTP"), (*b"PROX", "PROXY"), ([0x16, 3, 1, 2], "TLS")] {
            let error = PeerError::FrameTooBig { len: u32::from_be_bytes(bytes), max: 16384 };
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(!PeerError::FrameTooBig { len: 20000, max: 16384 }.to_string().contains("looks like"));
    }
}
