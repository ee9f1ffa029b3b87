//! Reads frame headers, and writes the frames that HAProxy sends after its HELLO (SPOE.txt section 3.2).

use super::code;
use super::varint::{decode_varint, encode_varint};

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u8);

impl Kind {
    /// A further fragment of a NOTIFY.
    pub const UNSET: Self = Self(0);
    /// HAPROXY-HELLO.
    pub const HELLO: Self = Self(1);
    /// HAPROXY-DISCONNECT.
    pub const DISCONNECT: Self = Self(2);
    /// NOTIFY.
    pub const NOTIFY: Self = Self(3);
    /// AGENT-HELLO.
    pub const AGENT_HELLO: Self = Self(101);
    /// AGENT-DISCONNECT.
    pub const AGENT_DISCONNECT: Self = Self(102);
    /// ACK.
    pub const ACK: Self = Self(103);
}

/// The flags of the frame that aborts a fragmented NOTIFY: FIN and ABORT.
pub const FIN_ABORT: u32 = 3;

/// The header of a frame as the mux reads it (`spop_peek_frame_hdr`). No limit is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The length field: the number of bytes after it.
    pub len: u32,
    /// The type byte.
    pub kind: Kind,
    /// All 32 bits of the flags.
    pub flags: u32,
    /// The stream-id.
    pub sid: u64,
    /// The frame-id.
    pub fid: u64,
    /// The number of bytes from the start of the length field to the payload.
    pub size: usize,
}

impl Header {
    /// Reads the header at the front of `bytes`. Returns `None` if it is incomplete, and always for fewer than 11
    /// bytes.
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 11 {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (sid, sid_len) = decode_varint(&bytes[9..])?;
        let (fid, fid_len) = decode_varint(&bytes[9 + sid_len..])?;
        Some(Self { len: word(0), kind: Kind(bytes[4]), flags: word(5), sid, fid, size: 9 + sid_len + fid_len })
    }

    /// True if FIN is set.
    pub const fn is_fin(&self) -> bool {
        self.flags & 1 != 0
    }

    /// True if ABORT is set.
    pub const fn is_abort(&self) -> bool {
        self.flags & 2 != 0
    }

    /// Returns the length of the payload as the mux computes it: negative if the length field is smaller than the
    /// header.
    pub const fn payload_len(&self) -> i32 {
        self.len.wrapping_sub(self.size as u32 - 4) as i32
    }
}

/// Appends a frame, whose payload `payload` writes. Returns the value of the length field.
pub(super) fn frame(
    out: &mut Vec<u8>,
    kind: Kind,
    flags: u32,
    ids: (u64, u64),
    payload: impl FnOnce(&mut Vec<u8>),
) -> u32 {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind.0]);
    out.extend_from_slice(&flags.to_be_bytes());
    encode_varint(ids.0, out);
    encode_varint(ids.1, out);
    payload(out);
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    len
}

/// Appends a NOTIFY. `flags` is 1, or 0 for the first of several fragments. Returns the value of the length field.
pub fn encode_notify(out: &mut Vec<u8>, flags: u32, sid: u64, fid: u64, messages: &[u8]) -> u32 {
    frame(out, Kind::NOTIFY, flags, (sid, fid), |out| out.extend_from_slice(messages))
}

/// Appends a further fragment. `flags` is 0, or 1 for the last fragment, or [`FIN_ABORT`] to abort the NOTIFY. Returns
/// the value of the length field.
pub fn encode_fragment(out: &mut Vec<u8>, flags: u32, sid: u64, fid: u64, piece: &[u8]) -> u32 {
    frame(out, Kind::UNSET, flags, (sid, fid), |out| out.extend_from_slice(piece))
}

/// Appends a HAPROXY-DISCONNECT: `status-code` as UINT32, then `message`. Returns the value of the length field.
pub fn encode_disconnect(out: &mut Vec<u8>, status: u32) -> u32 {
    let status = if code::reason(status).is_some() { status } else { code::UNKNOWN };
    let reason = code::reason(status).unwrap_or_default();
    frame(out, Kind::DISCONNECT, 1, (0, 0), |out| {
        out.extend_from_slice(b"\x0bstatus-code\x03");
        encode_varint(u64::from(status), out);
        out.extend_from_slice(b"\x07message\x08");
        encode_varint(reason.len() as u64, out);
        out.extend_from_slice(reason.as_bytes());
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_frame_is_eleven_bytes() {
        let mut out = Vec::new();
        assert_eq!(encode_notify(&mut out, 1, 1, 1, b""), 7);
        assert_eq!(out, b"\0\0\0\x07\x03\0\0\0\x01\x01\x01");
        assert_eq!(Header::peek(&out[..10]), None);
        let header = Header::peek(&out).unwrap();
        assert_eq!((header.len, header.kind, header.sid, header.fid, header.size), (7, Kind::NOTIFY, 1, 1, 11));
        assert_eq!(header.payload_len(), 0);
        assert!(header.is_fin() && !header.is_abort());
    }

    #[test]
    fn ids_may_have_several_bytes() {
        let mut out = Vec::new();
        encode_notify(&mut out, 0, 4_294_967_295, 2288, b"x");
        assert_eq!(&out[9..17], b"\xff\xf0\xfe\xfe\x7e\xf0\x80\x00");
        let header = Header::peek(&out).unwrap();
        assert_eq!((header.sid, header.fid, header.payload_len()), (4_294_967_295, 2288, 1));
        assert_eq!(Header::peek(&out[..15]), None, "the frame-id is cut off");
    }

    #[test]
    fn a_length_below_seven_gives_a_negative_payload() {
        for len in 0..7u8 {
            let header = Header::peek(&[0, 0, 0, len, 103, 0, 0, 0, 1, 1, 1]).unwrap();
            assert!(header.payload_len() < 0, "{len}");
        }
    }

    #[test]
    fn disconnects_have_the_expected_bytes() {
        let mut out = Vec::new();
        encode_disconnect(&mut out, 0);
        assert_eq!(out, b"\0\0\0\x25\x02\0\0\0\x01\0\0\x0bstatus-code\x03\0\x07message\x08\x06normal");
        out.clear();
        encode_disconnect(&mut out, 1000);
        assert!(out.ends_with(b"\x03\x63\x07message\x08\x19an unknown error occurred"));
    }

    #[test]
    fn an_abort_has_the_expected_bytes() {
        let mut out = Vec::new();
        encode_fragment(&mut out, FIN_ABORT, 0, 1, b"");
        assert_eq!(out, b"\0\0\0\x07\0\0\0\0\x03\0\x01");
    }
}
