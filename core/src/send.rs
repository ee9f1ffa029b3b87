//! The send buffer: whole frames for the socket, and one frame under construction.

use alloc::vec::Vec;

use crate::spare;
use crate::status::Status;
use crate::wire::{
    Disconnect, FRAME_LEN_MIN, Flags, FrameEncoder, FrameId, FrameType, HEADER_LEN_MAX, LENGTH_LEN, StreamId,
    patch_length,
};

/// Bytes for the socket, in order:
///
/// ```text
/// buf:  [ sent | whole frames, not sent yet | a frame under construction ]
///       0      head                         committed                    buf.len()
/// ```
///
/// Invariant: `head <= committed <= buf.len()`, and the capacity is at most `capacity_max`. Only whole frames are ever
/// sent: an unfinished ACK, for example after a panic of its handler, is removed again.
#[derive(Debug)]
pub(crate) struct SendBuf {
    buf: Vec<u8>,
    head: usize,
    committed: usize,
    capacity_max: usize,
}

/// The largest size of a control frame: an AGENT-HELLO has at most 91 bytes, an AGENT-DISCONNECT at most 75.
const CONTROL_LEN_MAX: usize = 128;

impl SendBuf {
    pub(crate) const fn new(capacity_max: usize) -> Self {
        Self { buf: Vec::new(), head: 0, committed: 0, capacity_max }
    }

    /// Returns the number of unsent bytes of whole frames.
    #[inline]
    pub(crate) const fn unsent(&self) -> usize {
        self.committed - self.head
    }

    /// Returns the unsent bytes of whole frames.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf[self.head..self.committed]
    }

    /// Marks the first `len` unsent bytes as sent.
    ///
    /// # Panics
    /// If there are fewer unsent bytes.
    pub(crate) fn sent(&mut self, len: usize) {
        assert!(len <= self.unsent(), "more bytes were reported as sent than there were to send");
        self.head += len;
        if self.head == self.buf.len() {
            self.buf.clear();
            self.head = 0;
            self.committed = 0;
        }
        self.invariants();
    }

    /// Starts a frame. An unfinished one is removed.
    #[inline]
    pub(crate) fn begin(&mut self, frame_type: FrameType, flags: Flags, stream_id: StreamId, frame_id: FrameId) {
        self.discard();
        debug_assert_eq!(self.draft_len(), 0, "one frame is under construction");
        self.reserve(HEADER_LEN_MAX);
        FrameEncoder::begin(&mut self.buf, frame_type, flags, stream_id, frame_id);
    }

    /// Returns the buffer to append to the frame under construction, with room for `additional` bytes.
    #[inline]
    pub(crate) fn draft(&mut self, additional: usize) -> &mut Vec<u8> {
        self.reserve(additional);
        &mut self.buf
    }

    /// Returns the size of the frame under construction in bytes, including its length.
    #[inline]
    pub(crate) fn draft_len(&self) -> usize {
        self.buf.len() - self.committed
    }

    /// Completes the frame under construction, so that it will be sent.
    #[inline]
    pub(crate) fn commit(&mut self) {
        debug_assert!(self.draft_len() >= LENGTH_LEN + FRAME_LEN_MIN, "a frame has a header");
        patch_length(&mut self.buf, self.committed);
        self.committed = self.buf.len();
        self.invariants();
    }

    /// Removes the frame under construction.
    #[inline]
    pub(crate) fn discard(&mut self) {
        self.buf.truncate(self.committed);
    }

    /// Appends an ACK without actions.
    pub(crate) fn empty_ack(&mut self, flags: Flags, stream_id: StreamId, frame_id: FrameId) {
        self.begin(FrameType::ACK, flags, stream_id, frame_id);
        self.commit();
    }

    /// Appends an AGENT-DISCONNECT with the canonical text of `status`.
    pub(crate) fn disconnect(&mut self, status: Status) {
        self.control_frame(|out| {
            Disconnect { status, reason: status.reason().as_bytes() }.encode(FrameType::AGENT_DISCONNECT, out);
        });
    }

    /// Appends a control frame that `encode` writes, of at most [`CONTROL_LEN_MAX`] bytes.
    pub(crate) fn control_frame(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.discard();
        self.reserve(CONTROL_LEN_MAX);
        encode(&mut self.buf);
        debug_assert!(self.draft_len() <= CONTROL_LEN_MAX);
        self.committed = self.buf.len();
        self.invariants();
    }

    /// Drops all bytes, sent or not.
    pub(crate) fn clear(&mut self) {
        self.buf.clear();
        (self.head, self.committed) = (0, 0);
    }

    /// Takes the memory of `spare` if this buffer has none.
    #[inline]
    pub(crate) fn lend(&mut self, spare: &mut Vec<u8>) {
        spare::lend(&mut self.buf, spare, self.capacity_max);
    }

    /// Moves the memory to `spare` if there are no unsent bytes.
    #[inline]
    pub(crate) fn release(&mut self, spare: &mut Vec<u8>) {
        if self.unsent() == 0 {
            self.clear();
            spare::release(&mut self.buf, spare);
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.buf.capacity()
    }

    #[inline]
    fn reserve(&mut self, additional: usize) {
        if self.buf.capacity() - self.buf.len() < additional {
            self.make_room(additional);
        }
    }

    #[cold]
    fn make_room(&mut self, additional: usize) {
        if self.head > 0 {
            self.buf.drain(..self.head);
            self.committed -= self.head;
            self.head = 0;
        }
        let needed = self.buf.len() + additional;
        debug_assert!(needed <= self.capacity_max, "the limits leave room for every frame: {needed} bytes");
        if needed > self.buf.capacity() {
            let capacity = (2 * self.buf.capacity()).min(self.capacity_max).max(needed);
            self.buf.reserve_exact(capacity - self.buf.len());
        }
        self.invariants();
    }

    fn invariants(&self) {
        debug_assert!(self.head <= self.committed && self.committed <= self.buf.len());
        debug_assert!(self.buf.capacity() <= self.capacity_max, "{} > {}", self.buf.capacity(), self.capacity_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_frames_are_returned_for_sending() {
        let mut send = SendBuf::new(1024);
        send.empty_ack(Flags::FIN, StreamId(1), FrameId(1));
        send.begin(FrameType::ACK, Flags::FIN, StreamId(2), FrameId(1));
        send.draft(3).extend_from_slice(b"abc");
        assert_eq!(send.bytes(), [0, 0, 0, 7, 103, 0, 0, 0, 1, 1, 1]);
        send.sent(5);
        send.empty_ack(Flags::FIN_ABORT, StreamId(3), FrameId(4));
        assert_eq!(send.bytes(), [0, 0, 0, 1, 1, 1, 0, 0, 0, 7, 103, 0, 0, 0, 3, 3, 4]);
    }

    #[test]
    fn the_space_of_sent_bytes_is_reused() {
        let mut send = SendBuf::new(11 + HEADER_LEN_MAX);
        for n in 0..1000 {
            send.empty_ack(Flags::FIN, StreamId(n % 240), FrameId(1));
            assert_eq!(send.bytes()[9], (n % 240) as u8);
            send.sent(send.unsent() - 3);
            send.sent(3);
        }
    }

    #[test]
    fn a_buffer_is_released_once_all_is_sent() {
        let mut send = SendBuf::new(1024);
        let mut spare = Vec::new();
        send.disconnect(Status::NORMAL);
        send.release(&mut spare);
        assert!(send.memory() > 0);
        send.sent(send.unsent());
        send.begin(FrameType::ACK, Flags::FIN, StreamId(1), FrameId(1));
        send.release(&mut spare);
        assert_eq!(send.memory(), 0);
        let mut other = SendBuf::new(1024);
        other.lend(&mut spare);
        assert!(
            other.memory() > 0 && other.bytes().is_empty(),
            "expected the buffer without the bytes of the other connection"
        );
        other.empty_ack(Flags::FIN, StreamId(2), FrameId(1));
        assert_eq!(other.bytes(), [0, 0, 0, 7, 103, 0, 0, 0, 1, 2, 1]);
    }
}
