//! Writes and reads the message list of one NOTIFY (SPOE.txt section 3.2.6), and finds the positions at which HAProxy
//! may cut it into fragments.

use super::cursor::Cursor;
use super::varint::{encode_varint, varint_len};

/// The value of an argument, in the forms that HAProxy writes (`spoe_encode_data`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg<'a> {
    /// No value: there is no address or no such header, or a fetch failed.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer, which HAProxy always writes as INT64.
    Int(i64),
    /// An IPv4 address.
    Ipv4([u8; 4]),
    /// An IPv6 address.
    Ipv6([u8; 16]),
    /// A string, or the name of an HTTP method.
    Str(&'a [u8]),
    /// Bytes.
    Bin(&'a [u8]),
}

/// An item that the encoder of HAProxy 1.8 to 3.0 writes: the name and argument count of a message, the name of an
/// argument, or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The position after its last byte.
    pub end: u32,
    /// The free bytes without which the encoder does not start the item. The header of a message requires its name and
    /// three more bytes, even if it takes fewer.
    pub need: u32,
    /// The first position at which the item may be cut: in a string, after the first byte of its text. For other items
    /// it is `end`.
    pub text: u32,
}

/// Encoded messages. [`clear`](Self::clear) keeps the memory, so that it can be used again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Messages {
    /// Returns an empty list.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), pieces: Vec::new() }
    }

    /// Removes all messages.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
    }

    /// Becomes a copy of `other`, and keeps its own memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.clear();
        self.bytes.extend_from_slice(&other.bytes);
        self.pieces.extend_from_slice(&other.pieces);
    }

    /// Starts a message with `nargs` arguments, which have to be added next. More than 255 wrap, as in HAProxy.
    pub fn message(&mut self, name: &[u8], nargs: usize) -> &mut Self {
        let start = self.bytes.len();
        encode_varint(name.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(name);
        self.bytes.push(nargs as u8);
        let end = self.bytes.len() as u32;
        let need = (name.len() + 3).max(self.bytes.len() - start) as u32;
        self.pieces.push(Piece { end, need, text: end });
        self
    }

    /// Adds an argument. An unnamed one has an empty name.
    pub fn arg(&mut self, name: &[u8], value: Arg<'_>) -> &mut Self {
        let start = self.bytes.len();
        encode_varint(name.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(name);
        self.whole_piece(start);
        let start = self.bytes.len();
        match value {
            Arg::Null => self.bytes.push(0x00),
            Arg::Bool(value) => self.bytes.push(if value { 0x11 } else { 0x01 }),
            Arg::Int(value) => {
                self.bytes.push(0x04);
                encode_varint(value as u64, &mut self.bytes);
            }
            Arg::Ipv4(addr) => {
                self.bytes.push(0x06);
                self.bytes.extend_from_slice(&addr);
            }
            Arg::Ipv6(addr) => {
                self.bytes.push(0x07);
                self.bytes.extend_from_slice(&addr);
            }
            Arg::Str(text) => return self.text_piece(start, 0x08, text),
            Arg::Bin(text) => return self.text_piece(start, 0x09, text),
        }
        self.whole_piece(start);
        self
    }

    /// Adds the item from `start` to the end, which cannot be cut.
    fn whole_piece(&mut self, start: usize) {
        let end = self.bytes.len() as u32;
        self.pieces.push(Piece { end, need: end - start as u32, text: end });
    }

    /// Adds a string or binary value, which can be cut inside its text.
    fn text_piece(&mut self, start: usize, kind: u8, text: &[u8]) -> &mut Self {
        self.bytes.push(kind);
        encode_varint(text.len() as u64, &mut self.bytes);
        let from = self.bytes.len();
        self.bytes.extend_from_slice(text);
        let first = usize::from(!text.is_empty());
        let need = (from - start + first) as u32;
        self.pieces.push(Piece { end: self.bytes.len() as u32, need, text: (from + first) as u32 });
        self
    }

    /// Reads an encoded list. Returns `None` for what HAProxy would not write: other types, other flags, or varints
    /// that are longer than necessary.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut list = Self { bytes: bytes.to_vec(), pieces: Vec::new() };
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let start = bytes.len() - cursor.rest().len();
            let name = exact_string(&mut cursor)?;
            let nargs = cursor.byte()?;
            let end = bytes.len() - cursor.rest().len();
            let need = (name.len() + 3).max(end - start) as u32;
            list.pieces.push(Piece { end: end as u32, need, text: end as u32 });
            for _ in 0..nargs {
                list.parse_arg(bytes, &mut cursor)?;
            }
        }
        Some(list)
    }

    fn parse_arg(&mut self, bytes: &[u8], cursor: &mut Cursor<'_>) -> Option<()> {
        let at = |cursor: &Cursor<'_>| (bytes.len() - cursor.rest().len()) as u32;
        let start = at(cursor);
        exact_string(cursor)?;
        let end = at(cursor);
        self.pieces.push(Piece { end, need: end - start, text: end });
        let text = match cursor.byte()? {
            0x00 | 0x01 | 0x11 => None,
            0x04 => exact_varint(cursor).map(|_| None)?,
            0x06 => cursor.take(4).map(|_| None)?,
            0x07 => cursor.take(16).map(|_| None)?,
            0x08 | 0x09 => {
                let len = exact_string(cursor)?.len() as u32;
                Some(at(cursor) - len + u32::from(len > 0))
            }
            _ => return None,
        };
        let (start, end) = (end, at(cursor));
        let text = text.unwrap_or(end);
        self.pieces.push(Piece { end, need: text - start, text });
        Some(())
    }

    /// Returns the encoded list.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the items, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// True if there is no message, because all conditions were false.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// True if the encoder of HAProxy 3.1 and later can write all messages into `room` bytes.
    pub fn fits(&self, room: usize) -> bool {
        let mut start = 0;
        self.bytes.len() <= room
            && self.pieces.iter().all(|piece| {
                let fits = start + piece.need as usize <= room;
                start = piece.end as usize;
                fits
            })
    }

    /// Returns the end of a frame that starts at `from` and has `room` bytes for messages: the end of the list, or a
    /// position at which HAProxy may cut. Returns `None` if the next item does not fit, which HAProxy reports as
    /// "message too big".
    pub fn cut(&self, from: usize, room: usize) -> Option<usize> {
        cut(&self.pieces, from, room).filter(|&end| end > from)
    }
}

/// Cuts as the encoder of HAProxy 1.8 to 3.0 does (`spoe_encode_messages`): it writes whole items while they fit, and
/// of a text as much as fits.
pub(crate) fn cut(pieces: &[Piece], from: usize, room: usize) -> Option<usize> {
    let first = pieces.partition_point(|piece| piece.end as usize <= from);
    let started = if first == 0 { 0 } else { pieces[first - 1].end as usize };
    let limit = from + room;
    let mut at = from;
    let mut is_inside_text = from > started;
    for piece in &pieces[first..] {
        if !is_inside_text && at + piece.need as usize > limit {
            return Some(at);
        }
        if piece.end as usize > limit {
            return Some(limit); // only a text can be cut: other items were checked to fit
        }
        at = piece.end as usize;
        is_inside_text = false;
    }
    Some(at)
}

fn exact_varint(cursor: &mut Cursor<'_>) -> Option<u64> {
    let before = cursor.rest().len();
    let value = cursor.varint()?;
    (before - cursor.rest().len() == varint_len(value)).then_some(value)
}

fn exact_string<'b>(cursor: &mut Cursor<'b>) -> Option<&'b [u8]> {
    let len = exact_varint(cursor)?;
    cursor.take(usize::try_from(len).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reputation_messages_have_the_expected_bytes() {
        let mut messages = Messages::new();
        messages.message(b"check-client-ip", 1).arg(b"", Arg::Ipv4([192, 0, 2, 1]));
        assert_eq!(messages.bytes(), b"\x0fcheck-client-ip\x01\x00\x06\xc0\x00\x02\x01");
        messages.clear();
        messages.message(b"get-ip-reputation", 1).arg(b"ip", Arg::Ipv4([192, 0, 2, 1]));
        assert_eq!(messages.bytes(), b"\x11get-ip-reputation\x01\x02ip\x06\xc0\x00\x02\x01");
    }

    #[test]
    fn values_have_the_expected_bytes() {
        for (value, bytes) in [
            (Arg::Null, &b"\x00"[..]),
            (Arg::Bool(true), b"\x11"),
            (Arg::Bool(false), b"\x01"),
            (Arg::Int(0), b"\x04\x00"),
            (Arg::Int(-1), b"\x04\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e"),
            (Arg::Str(b""), b"\x08\x00"),
            (Arg::Bin(b""), b"\x09\x00"),
            (Arg::Str(b"GET"), b"\x08\x03GET"),
        ] {
            let mut messages = Messages::new();
            messages.arg(b"", value);
            assert_eq!(&messages.bytes()[1..], bytes, "{value:?}");
        }
    }

    fn sample() -> Messages {
        let mut messages = Messages::new();
        // Offsets: header 0..4, name 4..6, text 6..(2+10)=18, name 18..20, address 20..25.
        messages.message(b"mm", 2).arg(b"a", Arg::Str(b"0123456789")).arg(b"b", Arg::Ipv4([1, 2, 3, 4]));
        messages
    }

    #[test]
    fn messages_are_cut_where_the_room_ends() {
        let messages = sample();
        for (room, end) in [
            (4, None),    // the header requires its name and three bytes
            (5, Some(4)), // the header fits, the name of the argument does not
            (6, Some(6)),
            (7, Some(6)),
            (8, Some(6)),
            (9, Some(9)), // type, length and one byte of text
            (17, Some(17)),
            (18, Some(18)),
            (19, Some(18)),
            (20, Some(20)),
            (24, Some(20)), // never inside an address
            (25, Some(25)),
            (99, Some(25)),
        ] {
            assert_eq!(messages.cut(0, room), end, "{room}");
        }
    }

    #[test]
    fn the_next_frame_continues_after_the_cut() {
        let messages = sample();
        assert_eq!(messages.cut(9, 3), Some(12), "more of the text");
        assert_eq!(messages.cut(9, 9), Some(18), "the end of the text, then no room for the name");
        assert_eq!(messages.cut(9, 11), Some(20));
        assert_eq!(messages.cut(9, 16), Some(25));
        assert_eq!(messages.cut(20, 4), None, "an address is never cut");
    }

    #[test]
    fn messages_fit_only_with_a_spare_byte_for_the_header() {
        let messages = sample();
        assert!(messages.fits(25) && !messages.fits(24));
        let mut bare = Messages::new();
        bare.message(b"mm", 0);
        assert!(!bare.fits(4) && bare.fits(5), "the header requires a spare byte");
    }

    #[test]
    fn parsing_returns_the_same_pieces() {
        let mut messages = sample();
        messages.message(b"all", 6).arg(b"", Arg::Null).arg(b"b", Arg::Bool(true)).arg(b"i", Arg::Int(-1));
        messages.arg(b"s", Arg::Str(b"")).arg(b"x", Arg::Ipv6([7; 16])).arg(b"long", Arg::Bin(&[1; 3000]));
        assert_eq!(Messages::parse(messages.bytes()), Some(messages.clone()));
        for cut in 1..messages.bytes().len() {
            let whole = messages.bytes()[..cut].len() == 25;
            assert_eq!(Messages::parse(&messages.bytes()[..cut]).is_some(), whole, "{cut}");
        }
        for bad in [&b"\x01m\x01\x00\x31"[..], b"\x01m\x01\x00\x03\x01", b"\x01m\x01\x00\x0c", b"\x01m\x02\x00\x00"] {
            assert_eq!(Messages::parse(bad), None, "{bad:x?}");
        }
    }
}
