//! Reassembles NOTIFYs from fragments, which HAProxy 1.8 to 3.0 sends for events that are larger than a frame.

use alloc::vec::Vec;

use crate::error::PeerError;
use crate::wire::{FrameId, FrameType, StreamId};

/// The fragments of at most one NOTIFY: interleaved fragments of several NOTIFYs are an error.
#[derive(Debug)]
pub(crate) struct Reassembly {
    state: State,
    payload: Vec<u8>,
    max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No NOTIFY has been started.
    Idle,
    /// The first fragments are in `payload`.
    Pending(StreamId, FrameId),
    /// The NOTIFY became too large and was aborted. Its further fragments are dropped.
    ///
    /// HAProxy stops when it reads our ABORT. So the last fragment may never arrive, and the next NOTIFY may follow
    /// immediately.
    Aborted(StreamId, FrameId),
    /// `payload` is whole and was handed out.
    Whole,
}

/// The result of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    /// The fragment was stored or dropped; the NOTIFY is not whole yet.
    Taken,
    /// The fragment was the last one: the payload is whole.
    Last,
    /// The NOTIFY is too large, and an ABORT must be sent to HAProxy. Returned once for each such NOTIFY.
    TooLarge,
}

impl Reassembly {
    pub(crate) const fn new(max: usize) -> Self {
        Self { state: State::Idle, payload: Vec::new(), max }
    }

    /// True while fragments of an incomplete NOTIFY are stored.
    pub(crate) const fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending(..))
    }

    /// Starts a NOTIFY with its first fragment, which has no FIN.
    ///
    /// # Errors
    /// Another NOTIFY is incomplete.
    pub(crate) fn begin(&mut self, ids: (StreamId, FrameId), payload: &[u8]) -> Result<Fragment, PeerError> {
        self.require_none_pending(FrameType::NOTIFY)?;
        debug_assert!(self.payload.is_empty(), "a NOTIFY does not begin with fragments of another one");
        self.state = State::Pending(ids.0, ids.1);
        Ok(self.append(ids, payload))
    }

    /// Checks that no other NOTIFY is incomplete. A new NOTIFY must not arrive between the fragments of another one.
    ///
    /// # Errors
    /// Another NOTIFY is incomplete.
    #[inline]
    pub(crate) fn require_none_pending(&mut self, frame_type: FrameType) -> Result<(), PeerError> {
        match self.state {
            State::Idle => {}
            State::Pending(..) => return Err(PeerError::Interlaced(frame_type)),
            State::Aborted(..) | State::Whole => self.clear(),
        }
        Ok(())
    }

    /// Adds the payload of an UNSET frame to its NOTIFY.
    ///
    /// # Errors
    /// The frame does not continue the incomplete NOTIFY.
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
                debug_assert_eq!(fragment, Fragment::Taken, "a NOTIFY that is too large is never whole");
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

    /// Drops a NOTIFY that HAProxy gave up on, after an UNSET frame with ABORT.
    ///
    /// # Errors
    /// The frame does not abort the incomplete NOTIFY.
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

    /// Returns the whole payload. It is available after [`Fragment::Last`] and until [`settle`](Self::settle).
    pub(crate) fn payload(&self) -> &[u8] {
        debug_assert_eq!(self.state, State::Whole, "a payload is handed out once it is whole");
        &self.payload
    }

    /// Frees the payload if it was handed out: its borrower is done with it.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.state == State::Whole {
            self.clear();
        }
    }

    /// Drops the NOTIFY, if there is one, and frees its memory.
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
        debug_assert!(self.payload.capacity() <= self.max, "fragments have no more room than the limit");
        debug_assert!(matches!(self.state, State::Pending(..)), "fragments belong to a NOTIFY");
        Fragment::Taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: (StreamId, FrameId) = (StreamId(1), FrameId(1));
    const B: (StreamId, FrameId) = (StreamId(1), FrameId(2));

    #[test]
    fn fragments_are_joined() {
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
        let whole_notify = reassembly.require_none_pending(FrameType::NOTIFY).map(|()| Fragment::Taken);
        assert_eq!(whole_notify, interlaced(FrameType::NOTIFY));
        assert_eq!(reassembly.abort(B).map(|()| Fragment::Taken), interlaced(FrameType::UNSET));
        assert_eq!(reassembly.extend(A, true, b"b"), Ok(Fragment::Last));
    }

    #[test]
    fn a_notify_above_the_limit_is_aborted_once_and_its_rest_dropped() {
        let mut reassembly = Reassembly::new(10);
        reassembly.begin(A, &[0; 10]).unwrap();
        assert_eq!(reassembly.extend(A, false, &[0]), Ok(Fragment::TooLarge));
        assert_eq!(reassembly.memory(), 0);
        assert_eq!(reassembly.extend(A, false, &[0; 50]), Ok(Fragment::Taken));
        assert_eq!(reassembly.extend(A, true, &[0; 50]), Ok(Fragment::Taken));
        assert_eq!(reassembly.extend(A, true, &[]), Err(PeerError::Interlaced(FrameType::UNSET)));
    }

    #[test]
    fn after_our_abort_the_next_notify_may_follow_immediately() {
        let mut reassembly = Reassembly::new(10);
        assert_eq!(reassembly.begin(A, &[0; 11]), Ok(Fragment::TooLarge));
        assert_eq!(reassembly.begin(B, b"b"), Ok(Fragment::Taken));
        assert_eq!(reassembly.extend(B, true, b"b"), Ok(Fragment::Last));
        assert_eq!(reassembly.payload(), b"bb");
    }

    #[test]
    fn the_last_fragment_may_exceed_the_limit() {
        let mut reassembly = Reassembly::new(10);
        reassembly.begin(A, &[0; 10]).unwrap();
        assert_eq!(reassembly.extend(A, true, &[0]), Ok(Fragment::TooLarge));
        assert_eq!(reassembly.extend(A, true, &[]), Err(PeerError::Interlaced(FrameType::UNSET)));
    }

    #[test]
    fn haproxy_may_abort_a_notify() {
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
