//! Frames: length, type, flags, ids, payload (SPOE.txt section 3.2).

use alloc::vec::Vec;
use core::fmt;

use super::reader::Reader;
use super::varint::{VARINT_LEN_MAX, encode_varint};
use crate::error::{DecodeError, Field};

/// The size in bytes of the length before each frame. The length does not count itself.
pub const LENGTH_LEN: usize = 4;
/// The size in bytes of the shortest valid frame: type, flags and two ids of one byte. HAProxy up to 3.0 loops forever
/// on a shorter frame (#2490).
pub const FRAME_LEN_MIN: usize = 7;
/// The smallest `max-frame-size` that a peer may offer.
pub const MAX_FRAME_SIZE_MIN: u32 = 256;
/// The size in bytes of the longest header: length, type, flags and two ids of ten bytes.
pub(crate) const HEADER_LEN_MAX: usize = LENGTH_LEN + 5 + 2 * VARINT_LEN_MAX;

/// A FRAME-TYPE. It may be unknown to SPOE.txt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameType(pub u8);

impl FrameType {
    /// A further fragment of a NOTIFY, from HAProxy up to 3.0.
    pub const UNSET: Self = Self(0);
    /// HAProxy's first frame on a connection.
    pub const HAPROXY_HELLO: Self = Self(1);
    /// HAProxy's last frame on a connection.
    pub const HAPROXY_DISCONNECT: Self = Self(2);
    /// The messages of an event, from HAProxy.
    pub const NOTIFY: Self = Self(3);
    /// The agent's answer to a HELLO.
    pub const AGENT_HELLO: Self = Self(101);
    /// The agent's last frame on a connection.
    pub const AGENT_DISCONNECT: Self = Self(102);
    /// The agent's answer to a NOTIFY.
    pub const ACK: Self = Self(103);
}

/// Shows the name in SPOE.txt, or the number of an unknown type, such as `type 77`.
impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::UNSET => "UNSET",
            Self::HAPROXY_HELLO => "HAPROXY-HELLO",
            Self::HAPROXY_DISCONNECT => "HAPROXY-DISCONNECT",
            Self::NOTIFY => "NOTIFY",
            Self::AGENT_HELLO => "AGENT-HELLO",
            Self::AGENT_DISCONNECT => "AGENT-DISCONNECT",
            Self::ACK => "ACK",
            Self(other) => return write!(f, "type {other}"),
        })
    }
}

/// The FLAGS of a frame. The reserved bits 2..31 are kept unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// More fragments follow.
    pub const NONE: Self = Self(0);
    /// The last or only fragment.
    pub const FIN: Self = Self(1);
    /// FIN and ABORT: the fragmented NOTIFY is aborted.
    pub const FIN_ABORT: Self = Self(3);

    /// True if FIN is set.
    pub const fn is_fin(self) -> bool {
        self.0 & 1 != 0
    }

    /// True if ABORT is set.
    pub const fn is_abort(self) -> bool {
        self.0 & 2 != 0
    }
}

/// A STREAM-ID. HAProxy's applet engine (up to 3.0) counts from 0 to 2^32-1, and its multiplexer (since 3.1) uses odd
/// numbers on each connection. The agent only returns the id, so all 64 bits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A FRAME-ID: the number of an event within its stream. The agent only returns it, like the [`StreamId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(pub u64);

/// A frame with a decoded header. The payload is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// The type.
    pub frame_type: FrameType,
    /// FIN, ABORT and the reserved bits.
    pub flags: Flags,
    /// The id of the stream; 0 in HELLO and DISCONNECT.
    pub stream_id: StreamId,
    /// The id of the event; 0 in HELLO and DISCONNECT.
    pub frame_id: FrameId,
    /// The bytes after the header.
    pub payload: &'b [u8],
}

impl<'b> Frame<'b> {
    /// Decodes a whole frame, without its length.
    ///
    /// # Errors
    /// The header is truncated, or an id is above 2^64-1.
    #[inline]
    pub fn decode(bytes: &'b [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let frame_type = FrameType(reader.u8(Field::FrameType)?);
        let flags = Flags(u32::from_be_bytes(reader.array(Field::Flags)?));
        let stream_id = StreamId(reader.varint(Field::StreamId)?);
        let frame_id = FrameId(reader.varint(Field::FrameId)?);
        Ok(Self { frame_type, flags, stream_id, frame_id, payload: reader.rest() })
    }

    /// Decodes the first frame of `bytes`. Returns it and the bytes after it, or `None` while it is incomplete.
    ///
    /// The length is not checked against a limit. Check it first if the bytes are from a socket.
    ///
    /// # Errors
    /// The same as those of [`Frame::decode`].
    pub fn split(bytes: &'b [u8]) -> Result<Option<(Self, &'b [u8])>, DecodeError> {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else { return Ok(None) };
        let Some((frame, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize) else { return Ok(None) };
        Ok(Some((Self::decode(frame)?, rest)))
    }

    /// Appends the frame with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoder = FrameEncoder::begin(out, self.frame_type, self.flags, self.stream_id, self.frame_id);
        encoder.payload().extend_from_slice(self.payload);
        encoder.finish();
    }
}

/// A frame under construction at the end of a buffer.
///
/// [`finish`](Self::finish) writes its length. Until then the length is 2^32-1, which every peer refuses, so that an
/// unfinished frame that is sent by mistake cannot be taken for a whole one.
#[derive(Debug)]
pub struct FrameEncoder<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl<'o> FrameEncoder<'o> {
    /// Appends the header of a frame to `out`.
    #[inline]
    pub fn begin(
        out: &'o mut Vec<u8>,
        frame_type: FrameType,
        flags: Flags,
        stream_id: StreamId,
        frame_id: FrameId,
    ) -> Self {
        let start = out.len();
        let [a, b, c, d] = flags.0.to_be_bytes();
        out.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, frame_type.0, a, b, c, d]);
        encode_varint(stream_id.0, out);
        encode_varint(frame_id.0, out);
        Self { out, start }
    }

    /// Returns the buffer to append the payload to.
    #[inline]
    pub fn payload(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Writes the length of the frame and returns it.
    #[inline]
    pub fn finish(self) -> usize {
        patch_length(self.out, self.start)
    }
}

/// Writes the length of the frame that starts at `start` and ends at the end of `out`. Returns it.
///
/// # Panics
/// If the frame is larger than 4 GiB, which no configuration allows.
#[inline]
pub(crate) fn patch_length(out: &mut [u8], start: usize) -> usize {
    debug_assert_eq!(out[start..start + LENGTH_LEN], [0xff; LENGTH_LEN], "the length of a frame is written once");
    let len = out.len() - start - LENGTH_LEN;
    debug_assert!(len >= FRAME_LEN_MIN, "a frame has a header");
    let length = u32::try_from(len).expect("the limits keep every frame below 4 GiB");
    out[start..start + LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_ACK: [u8; 11] = [0, 0, 0, 7, 103, 0, 0, 0, 1, 1, 1];

    #[test]
    fn the_smallest_frame_has_the_expected_bytes() {
        let frame = Frame {
            frame_type: FrameType::ACK,
            flags: Flags::FIN,
            stream_id: StreamId(1),
            frame_id: FrameId(1),
            payload: &[],
        };
        let mut out = Vec::new();
        frame.encode(&mut out);
        assert_eq!(out, EMPTY_ACK);
        assert_eq!(Frame::split(&out), Ok(Some((frame, &[][..]))));
        assert_eq!(out.len() - LENGTH_LEN, FRAME_LEN_MIN);
    }

    #[test]
    fn an_incomplete_frame_is_not_decoded() {
        for cut in 0..EMPTY_ACK.len() {
            assert_eq!(Frame::split(&EMPTY_ACK[..cut]), Ok(None));
        }
    }

    #[test]
    fn the_error_of_a_truncated_header_names_the_truncated_field() {
        let fields = [Field::FrameType, Field::Flags, Field::Flags, Field::Flags, Field::Flags, Field::StreamId];
        for (cut, field) in fields.into_iter().chain([Field::FrameId]).enumerate() {
            assert_eq!(Frame::decode(&EMPTY_ACK[4..4 + cut]).unwrap_err().field, field);
        }
    }

    #[test]
    fn reserved_flags_are_kept() {
        let frame = Frame::decode(&[3, 0x80, 0, 0, 3, 0xff, 0xf0, 0xfe, 0xfe, 0x7e, 0xf0, 0x80, 0]).unwrap();
        assert_eq!(frame.flags, Flags(0x8000_0003));
        assert!(frame.flags.is_fin() && frame.flags.is_abort());
        assert_eq!((frame.stream_id, frame.frame_id), (StreamId(u64::from(u32::MAX)), FrameId(2288)));
    }
}
