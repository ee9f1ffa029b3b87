//! The receive buffer: where the socket writes, and where frames are found.

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::PeerError;
use crate::spare;
use crate::wire::{FRAME_LEN_MIN, FrameType, LENGTH_LEN};

/// Bytes from the socket, in order:
///
/// ```text
/// buf:  [ frames handed out | not looked at yet | room for the socket ]
///       0                   start               end                   buf.len()
/// ```
///
/// Invariant: `start <= end <= buf.len() <= len_max`, and `len_max` holds two frames of the largest size. Frames that
/// were handed out stay where they are until the next [`space`](Self::space), so events may borrow them. When the
/// tail reaches the end, what is not looked at moves to the front:
///
/// ```text
/// before  [ ......... | half a frame ]
/// after   [ half a frame | ......... ]
/// ```
#[derive(Debug)]
pub(crate) struct RecvBuf {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read took all the room there was: with more of it, more would have come at once.
    is_short: bool,
    len_max: usize,
}

/// The first allocation. Enough for any HELLO and for dozens of small NOTIFYs; a busy connection grows from here.
const LEN_FIRST: usize = 4096;

impl RecvBuf {
    pub(crate) const fn new(len_max: usize) -> Self {
        Self { buf: Vec::new(), start: 0, end: 0, is_short: true, len_max }
    }

    /// Room for the socket, at least one byte unless the buffer is full of frames nobody took.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        if self.is_short {
            self.make_room();
        }
        self.invariants();
        &mut self.buf[self.end..]
    }

    /// `len` bytes of [`space`](Self::space) were filled.
    ///
    /// # Panics
    /// If that is more than there were.
    pub(crate) fn filled(&mut self, len: usize) {
        assert!(len <= self.buf.len() - self.end, "more bytes filled than lent");
        self.end += len;
        self.is_short = self.end == self.buf.len();
        self.invariants();
    }

    /// Takes the next frame: where it is, without its length. `None` while it is not all there.
    ///
    /// # Errors
    /// The length alone says that the frame is shorter than any frame or longer than `frame_max`.
    #[inline]
    pub(crate) fn next_frame(&mut self, frame_max: u32) -> Result<Option<Range<usize>>, PeerError> {
        let Some(len) = self.peek(frame_max)? else { return Ok(None) };
        let start = self.start + LENGTH_LEN;
        self.start = start + len;
        self.invariants();
        Ok(Some(start..self.start))
    }

    /// True if there is something to take: a frame, or a length that is wrong.
    pub(crate) fn has_frame(&self, frame_max: u32) -> bool {
        !matches!(self.peek(frame_max), Ok(None))
    }

    /// How long the next frame is, without its length.
    #[inline]
    fn peek(&self, frame_max: u32) -> Result<Option<usize>, PeerError> {
        let Some((length, rest)) = self.buf[self.start..self.end].split_first_chunk::<LENGTH_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*length);
        if len > frame_max {
            return Err(PeerError::FrameTooBig { len, max: frame_max });
        }
        if (len as usize) < FRAME_LEN_MIN {
            return Err(PeerError::FrameTooShort { len });
        }
        Ok((rest.len() >= len as usize).then_some(len as usize))
    }

    /// The bytes of a frame that was taken, until the next call of [`space`](Self::space).
    #[inline]
    pub(crate) fn bytes(&self, frame: Range<usize>) -> &[u8] {
        &self.buf[frame]
    }

    /// True if nothing waits: no frame, no part of one.
    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// True if there is no room for another byte.
    pub(crate) const fn is_full(&self) -> bool {
        self.end - self.start == self.len_max
    }

    /// The type of the frame that is next, as soon as its first byte is there.
    #[inline]
    pub(crate) fn next_type(&self) -> Option<FrameType> {
        self.buf[self.start..self.end].get(LENGTH_LEN).copied().map(FrameType)
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        self.start = self.end;
    }

    /// Takes the memory of `spare` if it has none.
    #[inline]
    pub(crate) fn lend(&mut self, spare: &mut Vec<u8>) {
        spare::lend(&mut self.buf, spare, self.len_max);
        self.is_short = self.end == self.buf.len();
    }

    /// Gives the memory back if nothing waits.
    #[inline]
    pub(crate) fn release(&mut self, spare: &mut Vec<u8>) {
        if self.is_empty() {
            spare::release(&mut self.buf, spare);
            (self.start, self.end, self.is_short) = (0, 0, true);
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.buf.capacity()
    }

    #[cold]
    fn make_room(&mut self) {
        self.buf.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let len = (self.buf.len() * 4).clamp(LEN_FIRST, self.len_max.max(LEN_FIRST)).min(self.len_max);
        if len > self.buf.len() {
            self.buf.reserve_exact(len - self.buf.len());
            self.buf.resize(len, 0);
        }
        self.is_short = self.end == self.buf.len();
    }

    fn invariants(&self) {
        debug_assert!(self.start <= self.end && self.end <= self.buf.len(), "{self:?}");
        debug_assert!(self.buf.len() <= self.len_max && (self.is_short || self.end < self.buf.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(recv: &mut RecvBuf, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = recv.space();
            let len = space.len().min(bytes.len());
            assert!(len > 0, "no room");
            space[..len].copy_from_slice(&bytes[..len]);
            recv.filled(len);
            bytes = &bytes[len..];
        }
    }

    fn frame(len: u32) -> Vec<u8> {
        let mut bytes = len.to_be_bytes().to_vec();
        bytes.extend((0..len).map(|n| n as u8));
        bytes
    }

    #[test]
    fn frames_of_the_largest_size_pass_at_every_offset() {
        let mut recv = RecvBuf::new(2 * 260);
        for offset in 7..256 {
            write(&mut recv, &frame(offset));
            write(&mut recv, &frame(256)[..100]);
            assert_eq!(recv.next_frame(256).unwrap().map(|f| f.len()), Some(offset as usize));
            assert_eq!(recv.next_frame(256), Ok(None));
            write(&mut recv, &frame(256)[100..]);
            let found = recv.next_frame(256).unwrap().unwrap();
            assert_eq!(recv.bytes(found), &frame(256)[4..]);
        }
        assert!(recv.memory() <= 2 * 260);
    }

    #[test]
    fn a_full_buffer_lends_nothing_until_a_frame_is_taken() {
        let mut recv = RecvBuf::new(2 * 260);
        write(&mut recv, &[frame(256), frame(256)].concat());
        assert!(recv.space().is_empty());
        recv.next_frame(256).unwrap().unwrap();
        assert!(!recv.space().is_empty());
    }

    #[test]
    fn lengths_are_judged_before_the_frame_arrives() {
        for (len, error) in [
            (0, PeerError::FrameTooShort { len: 0 }),
            (6, PeerError::FrameTooShort { len: 6 }),
            (257, PeerError::FrameTooBig { len: 257, max: 256 }),
            (u32::MAX, PeerError::FrameTooBig { len: u32::MAX, max: 256 }),
        ] {
            let mut recv = RecvBuf::new(520);
            write(&mut recv, &len.to_be_bytes());
            assert_eq!(recv.next_frame(256), Err(error));
        }
    }

    #[test]
    fn an_empty_buffer_gives_its_memory_back() {
        let mut recv = RecvBuf::new(2 * 16388);
        let mut spare = Vec::new();
        write(&mut recv, &frame(16384));
        recv.release(&mut spare);
        assert!(recv.memory() > 0, "half a frame is kept");
        recv.next_frame(16384).unwrap().unwrap();
        recv.release(&mut spare);
        assert_eq!(recv.memory(), 0);
        let mut other = RecvBuf::new(2 * 16388);
        other.lend(&mut spare);
        assert!(other.memory() > 16384);
        write(&mut other, &frame(7));
        let found = other.next_frame(256).unwrap().unwrap();
        assert_eq!(other.bytes(found), &frame(7)[4..], "nothing is left of the other connection");
        assert_eq!(other.next_frame(256), Ok(None));
    }
}
