//! The receive buffer: holds bytes from the socket and splits them into frames.

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::PeerError;
use crate::spare;
use crate::wire::{FRAME_LEN_MIN, FrameType, LENGTH_LEN};

/// Bytes from the socket, in order of arrival:
///
/// ```text
/// buf:  [ frames handed out | not processed yet | room for the socket ]
///       0                   start               end                   buf.len()
/// ```
///
/// Invariant: `start <= end <= buf.len() <= len_max`, and `len_max` holds two frames of the largest size. Frames that
/// were handed out are not moved before the next call of [`space`](Self::space), so events may borrow them. When `end`
/// reaches the end of the buffer, the bytes that were not processed yet move to the front:
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
    /// True if the last read filled the buffer. More bytes are probably available, so the next call of
    /// [`space`](Self::space) makes room.
    needs_room: bool,
    len_max: usize,
}

/// The first size of the buffer: enough for any HELLO and for dozens of small NOTIFYs. It grows on busy connections.
const LEN_FIRST: usize = 4096;

impl RecvBuf {
    pub(crate) const fn new(len_max: usize) -> Self {
        Self { buf: Vec::new(), start: 0, end: 0, needs_room: true, len_max }
    }

    /// Returns the room for bytes from the socket. It is empty only if the buffer is full of bytes that were not
    /// processed yet.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        if self.needs_room {
            self.make_room();
        }
        self.invariants();
        &mut self.buf[self.end..]
    }

    /// Reports that the first `len` bytes of [`space`](Self::space) were filled.
    ///
    /// # Panics
    /// If `len` is larger than that space.
    pub(crate) fn filled(&mut self, len: usize) {
        assert!(len <= self.buf.len() - self.end, "more bytes were reported as filled than the buffer has room for");
        self.end += len;
        self.needs_room = self.end == self.buf.len();
        self.invariants();
    }

    /// Takes the next frame and returns its range, without its length; `None` while it is incomplete.
    ///
    /// # Errors
    /// The announced length is below [`FRAME_LEN_MIN`] or above `frame_max`. This is checked before the frame has
    /// arrived.
    #[inline]
    pub(crate) fn next_frame(&mut self, frame_max: u32) -> Result<Option<Range<usize>>, PeerError> {
        debug_assert!(LENGTH_LEN + frame_max as usize <= self.len_max, "the buffer has room for the largest frame");
        let Some(len) = self.peek(frame_max)? else { return Ok(None) };
        let start = self.start + LENGTH_LEN;
        self.start = start + len;
        self.invariants();
        Ok(Some(start..self.start))
    }

    /// True if [`next_frame`](Self::next_frame) would return a frame or an error.
    pub(crate) fn has_frame(&self, frame_max: u32) -> bool {
        !matches!(self.peek(frame_max), Ok(None))
    }

    /// Returns the size of the next frame, without its length; `None` while it is incomplete.
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

    /// Returns the bytes of a frame that was taken. Its range is valid until the next call of [`space`](Self::space).
    #[inline]
    pub(crate) fn bytes(&self, frame: Range<usize>) -> &[u8] {
        debug_assert!(frame.end <= self.start, "only a frame that was taken is read");
        &self.buf[frame]
    }

    /// True if no frame and no part of one is buffered.
    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns the number of buffered bytes.
    pub(crate) const fn len(&self) -> usize {
        self.end - self.start
    }

    /// True if there is no room for another byte.
    pub(crate) const fn is_full(&self) -> bool {
        self.len() == self.len_max
    }

    /// Returns the type of the next frame, once its first byte has arrived.
    #[inline]
    pub(crate) fn next_type(&self) -> Option<FrameType> {
        self.buf[self.start..self.end].get(LENGTH_LEN).copied().map(FrameType)
    }

    /// Drops the bytes that were not processed yet.
    pub(crate) fn clear(&mut self) {
        self.start = self.end;
    }

    /// Takes the memory of `spare` if this buffer has none.
    #[inline]
    pub(crate) fn lend(&mut self, spare: &mut Vec<u8>) {
        spare::lend(&mut self.buf, spare, self.len_max);
        self.needs_room = self.end == self.buf.len();
        self.invariants();
    }

    /// Moves the memory to `spare` if no frame and no part of one is buffered.
    #[inline]
    pub(crate) fn release(&mut self, spare: &mut Vec<u8>) {
        if self.is_empty() {
            spare::release(&mut self.buf, spare);
            (self.start, self.end, self.needs_room) = (0, 0, true);
        }
        debug_assert!(self.buf.capacity() == 0 || !self.is_empty(), "a buffer without bytes is given back");
    }

    pub(crate) fn memory(&self) -> usize {
        self.buf.capacity()
    }

    /// Moves the bytes that were not processed yet to the front, and grows the buffer up to its limit.
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
        debug_assert!(self.buf.capacity() <= self.len_max, "the buffer is within its limit");
        self.needs_room = self.end == self.buf.len();
    }

    fn invariants(&self) {
        debug_assert!(self.start <= self.end && self.end <= self.buf.len(), "{self:?}");
        debug_assert!(self.buf.len() <= self.len_max && (self.needs_room || self.end < self.buf.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(recv: &mut RecvBuf, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = recv.space();
            let len = space.len().min(bytes.len());
            assert!(len > 0, "expected room for {} more bytes, got none", bytes.len());
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
    fn frames_of_the_largest_size_are_found_at_every_offset() {
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
    fn a_full_buffer_has_no_space_until_a_frame_is_taken() {
        let mut recv = RecvBuf::new(2 * 260);
        write(&mut recv, &[frame(256), frame(256)].concat());
        assert!(recv.space().is_empty());
        recv.next_frame(256).unwrap().unwrap();
        assert!(!recv.space().is_empty());
    }

    #[test]
    fn lengths_are_checked_before_the_frame_arrives() {
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
    fn a_buffer_is_released_once_it_is_empty() {
        let mut recv = RecvBuf::new(2 * 16388);
        let mut spare = Vec::new();
        write(&mut recv, &frame(16384));
        recv.release(&mut spare);
        assert!(recv.memory() > 0, "the buffer of an unprocessed frame was released");
        recv.next_frame(16384).unwrap().unwrap();
        recv.release(&mut spare);
        assert_eq!(recv.memory(), 0);
        let mut other = RecvBuf::new(2 * 16388);
        other.lend(&mut spare);
        assert!(other.memory() > 16384);
        write(&mut other, &frame(7));
        let found = other.next_frame(256).unwrap().unwrap();
        assert_eq!(other.bytes(found), &frame(7)[4..], "bytes of the other connection were parsed as input");
        assert_eq!(other.next_frame(256), Ok(None));
    }
}
