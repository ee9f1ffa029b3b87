//! NOTIFYs that come in fragments: HAProxy 1.8 to 3.0, where the event is larger than a frame.

use alloc::vec::Vec;

use crate::error::PeerError;
use crate::wire::{FrameId, FrameType, StreamId};

/// At most one NOTIFY in pieces: the fragments of one come without anything between.
#[derive(Debug)]
pub(crate) struct Reassembly {
    state: State,
    payload: Vec<u8>,
    max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// None begun.
    Idle,
    /// The first fragments are in `payload`.
    Pending(StreamId, FrameId),
    /// It grew too large and was aborted; what still comes of it is dropped.
    ///
    /// HAProxy stops at our ABORT, so its last fragment may never come and the next NOTIFY may follow at once.
    Aborted(StreamId, FrameId),
    /// `payload` is whole and handed out.
    Whole,
}

/// What a fragment led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    /// More is to come, or it was dropped.
    Taken,
    /// It was the last one: the payload is whole.
    Last,
    /// The NOTIFY is too large: tell HAProxy, once.
    TooLarge,
}

impl Reassembly {
    pub(crate) const fn new(max: usize) -> Self {
        Self { state: State::Idle, payload: Vec::new(), max }
    }

    /// True while fragments of a NOTIFY wait for the rest.
    pub(crate) const fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending(..))
    }

    /// A NOTIFY without FIN.
    ///
    /// # Errors
    /// Another one is not complete yet.
    pub(crate) fn begin(&mut self, ids: (StreamId, FrameId), payload: &[u8]) -> Result<Fragment, PeerError> {
        self.no_other(FrameType::NOTIFY)?;
        self.state = State::Pending(ids.0, ids.1);
        Ok(self.append(ids, payload))
    }

    /// A NOTIFY that is whole, which has no place amid the fragments of another.
    ///
    /// # Errors
    /// Another one is not complete yet.
    #[inline]
    pub(crate) fn no_other(&mut self, frame_type: FrameType) -> Result<(), PeerError> {
        match self.state {
            State::Idle => {}
            State::Pending(..) => return Err(PeerError::Interlaced(frame_type)),
            State::Aborted(..) | State::Whole => self.clear(),
        }
        Ok(())
    }

    /// An UNSET frame with more of the payload.
    ///
    /// # Errors
    /// It continues nothing.
    pub(crate) fn extend(
        &mut self,
        ids: (StreamId, FrameId),
        is_fin: bool,
        payload: &[u8],
    ) -> Result<Fragment, PeerError> {
        match self.state {
            State::Pending(stream_id, frame_id) if (stream_id, frame_id) == ids => {
                let fragment = self.append(ids, payload);
                if !is_fin {
                    return Ok(fragment);
                }
                if fragment == Fragment::TooLarge {
                    self.state = State::Idle;
                    return Ok(fragment);
                }
                self.state = State::Whole;
                Ok(Fragment::Last)
            }
            State::Aborted(stream_id, frame_id) if (stream_id, frame_id) == ids => {
                if is_fin {
                    self.state = State::Idle;
                }
                Ok(Fragment::Taken)
            }
            _ => Err(PeerError::Interlaced(FrameType::UNSET)),
        }
    }

    /// An UNSET frame with ABORT: HAProxy gave the event up.
    ///
    /// # Errors
    /// It aborts nothing.
    pub(crate) fn abort(&mut self, ids: (StreamId, FrameId)) -> Result<(), PeerError> {
        match self.state {
            State::Pending(stream_id, frame_id) | State::Aborted(stream_id, frame_id)
                if (stream_id, frame_id) == ids =>
            {
                self.clear();
                Ok(())
            }
            _ => Err(PeerError::Interlaced(FrameType::UNSET)),
        }
    }

    /// The whole payload, after [`Fragment::Last`] and until [`settle`](Self::settle).
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Whoever had the whole payload is done with it.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.state == State::Whole {
            self.clear();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.state = State::Idle;
        self.payload = Vec::new();
    }

    pub(crate) fn memory(&self) -> usize {
        self.payload.capacity()
    }

    fn append(&mut self, ids: (StreamId, FrameId), payload: &[u8]) -> Fragment {
        let len = self.payload.len() + payload.len();
        if len > self.max {
            self.payload = Vec::new();
            self.state = State::Aborted(ids.0, ids.1);
            return Fragment::TooLarge;
        }
        if len > self.payload.capacity() {
            let capacity = (2 * self.payload.capacity()).min(self.max).max(len);
            self.payload.reserve_exact(capacity - self.payload.len());
        }
        self.payload.extend_from_slice(payload);
        Fragment::Taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: (StreamId, FrameId) = (StreamId(1), FrameId(1));
    const B: (StreamId, FrameId) = (StreamId(1), FrameId(2));

    #[test]
    fn fragments_join() {
        let mut reassembly = Reassembly::new(100);
        assert_eq!(reassembly.begin(A, b"ab"), Ok(Fragment::Taken));
        assert_eq!(reassembly.extend(A, false, b""), Ok(Fragment::Taken));
        assert_eq!(reassembly.extend(A, true, b"cd"), Ok(Fragment::Last));
        assert_eq!(reassembly.payload(), b"abcd");
        reassembly.settle();
        assert_eq!(reassembly.memory(), 0);
        assert_eq!(reassembly.begin(B, b""), Ok(Fragment::Taken));
    }

    #[test]
    fn fragments_of_two_notifies_do_not_mix() {
        let interlaced = |frame_type| Err(PeerError::Interlaced(frame_type));
        let mut reassembly = Reassembly::new(100);
        assert_eq!(reassembly.extend(A, true, b"x"), interlaced(FrameType::UNSET));
        reassembly.begin(A, b"a").unwrap();
        assert_eq!(reassembly.extend(B, true, b"x"), interlaced(FrameType::UNSET));
        assert_eq!(reassembly.begin(B, b"x"), interlaced(FrameType::NOTIFY));
        assert_eq!(reassembly.no_other(FrameType::NOTIFY).map(|()| Fragment::Taken), interlaced(FrameType::NOTIFY));
        assert_eq!(reassembly.abort(B).map(|()| Fragment::Taken), interlaced(FrameType::UNSET));
        assert_eq!(reassembly.extend(A, true, b"b"), Ok(Fragment::Last));
    }

    #[test]
    fn a_notify_above_the_limit_is_aborted_once_and_swallowed() {
        let mut reassembly = Reassembly::new(10);
        reassembly.begin(A, &[0; 10]).unwrap();
        assert_eq!(reassembly.extend(A, false, &[0]), Ok(Fragment::TooLarge));
        assert_eq!(reassembly.memory(), 0);
        assert_eq!(reassembly.extend(A, false, &[0; 50]), Ok(Fragment::Taken));
        assert_eq!(reassembly.extend(A, true, &[0; 50]), Ok(Fragment::Taken));
        assert_eq!(reassembly.extend(A, true, &[]), Err(PeerError::Interlaced(FrameType::UNSET)));
    }

    #[test]
    fn after_an_abort_the_next_notify_may_follow_at_once() {
        let mut reassembly = Reassembly::new(10);
        assert_eq!(reassembly.begin(A, &[0; 11]), Ok(Fragment::TooLarge));
        assert_eq!(reassembly.begin(B, b"b"), Ok(Fragment::Taken));
        assert_eq!(reassembly.extend(B, true, b"b"), Ok(Fragment::Last));
        assert_eq!(reassembly.payload(), b"bb");
    }

    #[test]
    fn the_last_fragment_may_be_the_one_too_many() {
        let mut reassembly = Reassembly::new(10);
        reassembly.begin(A, &[0; 10]).unwrap();
        assert_eq!(reassembly.extend(A, true, &[0]), Ok(Fragment::TooLarge));
        assert_eq!(reassembly.extend(A, true, &[]), Err(PeerError::Interlaced(FrameType::UNSET)));
    }

    #[test]
    fn haproxy_may_give_up() {
        let mut reassembly = Reassembly::new(10);
        reassembly.begin(A, b"a").unwrap();
        assert_eq!(reassembly.abort(A), Ok(()));
        assert_eq!(reassembly.memory(), 0);
        assert_eq!(reassembly.begin(B, b"b"), Ok(Fragment::Taken));
    }

    #[test]
    fn memory_stays_at_the_limit() {
        let mut reassembly = Reassembly::new(1000);
        reassembly.begin(A, &[0; 7]).unwrap();
        while reassembly.extend(A, false, &[0; 7]) == Ok(Fragment::Taken) {
            assert!(reassembly.memory() <= 1000);
        }
    }
}
