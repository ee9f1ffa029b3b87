//! ACKs under construction.

use alloc::vec::Vec;

use crate::outbox::Outbox;
use crate::wire::{Actions, Append, Flags, FrameId, FrameType, LENGTH_LEN, StreamId};

/// An ACK under construction, written directly into the send buffer.
///
/// [`SetVars`](crate::wire::SetVars) adds actions. Call [`finish`](Self::finish) to send it. If it is dropped before that, its actions are removed and an empty ACK is
/// sent, so that HAProxy does not wait until its timeout.
#[derive(Debug)]
#[must_use = "an ACK that is not finished is sent empty"]
pub struct Ack<'c> {
    outbox: &'c mut Outbox,
    /// The number of actions that did not fit. Once one did not fit, all later ones are dropped, so that the ACK has
    /// the first actions without gaps.
    dropped: u32,
}

/// Some actions did not fit into a frame of the negotiated size. The ACK is sent with the actions before them.
///
/// It must not be larger: HAProxy fails the event, or stalls the whole connection, at an ACK above that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{dropped} of the actions did not fit into a frame of {max_frame_size} bytes")]
pub struct AckTooBig {
    /// The number of actions that were not sent.
    pub dropped: u32,
    /// The negotiated frame size.
    pub max_frame_size: u32,
}

impl<'c> Ack<'c> {
    #[inline]
    pub(crate) fn begin(outbox: &'c mut Outbox, (stream_id, frame_id): (StreamId, FrameId)) -> Self {
        outbox.open = Some((stream_id, frame_id));
        outbox.send.begin(FrameType::ACK, Flags::FIN, stream_id, frame_id);
        Self { outbox, dropped: 0 }
    }

    /// Appends actions that were built separately.
    pub fn actions(&mut self, actions: &Actions) -> &mut Self {
        let bytes = actions.as_bytes();
        let fitting = if self.dropped > 0 {
            0
        } else if bytes.len() <= self.room() {
            bytes.len()
        } else {
            actions.prefix_len(self.room())
        };
        debug_assert!(fitting <= self.room(), "only actions that fit are sent");
        self.outbox.send.draft(fitting).extend_from_slice(&bytes[..fitting]);
        if fitting < bytes.len() {
            self.dropped += actions.iter().count() as u32 - count(&bytes[..fitting]);
        }
        self
    }

    /// Completes the ACK. The next [`poll_transmit`](crate::Connection::poll_transmit) returns it.
    ///
    /// # Errors
    /// The last actions did not fit. The ACK is sent with the actions before them.
    #[inline]
    pub fn finish(self) -> Result<(), AckTooBig> {
        let Self { outbox, dropped } = self;
        let len = outbox.send.draft_len() - LENGTH_LEN;
        debug_assert!(len <= outbox.max_frame_size as usize, "HAProxy accepts no larger frame");
        debug_assert!(outbox.open.is_some(), "an ACK is that of a NOTIFY that was handed out");
        outbox.send.commit();
        outbox.open = None;
        outbox.stats.acks += 1;
        if dropped > 0 {
            outbox.stats.acks_cut += 1;
            return Err(AckTooBig { dropped, max_frame_size: outbox.max_frame_size });
        }
        Ok(())
    }

    fn room(&self) -> usize {
        (self.outbox.max_frame_size as usize + LENGTH_LEN).saturating_sub(self.outbox.send.draft_len())
    }
}

impl Append for Ack<'_> {
    #[inline]
    fn append(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.dropped > 0 || len > self.room() {
            self.dropped += 1;
            return;
        }
        let before = self.outbox.send.draft_len();
        encode(self.outbox.send.draft(len));
        debug_assert_eq!(self.outbox.send.draft_len(), before + len, "an action has the length that was computed");
    }
}

fn count(actions: &[u8]) -> u32 {
    crate::wire::ActionIter::new(actions).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Stats;
    use crate::wire::{Scope, SetVars};

    const IDS: (StreamId, FrameId) = (StreamId(1), FrameId(1));

    fn with_ack(write: impl FnOnce(Ack<'_>) -> Result<(), AckTooBig>) -> (Vec<u8>, Result<(), AckTooBig>, Stats) {
        let mut outbox = Outbox::new(4096, 256);
        let result = write(Ack::begin(&mut outbox, IDS));
        assert_eq!(outbox.open, None);
        (outbox.send.bytes().to_vec(), result, outbox.stats)
    }

    #[test]
    fn an_ack_has_the_same_bytes_as_that_of_the_reference_agent() {
        let (bytes, result, stats) = with_ack(|mut ack| {
            ack.set_var(Scope::Session, "ip_score", 42u32).unwrap();
            ack.finish()
        });
        assert_eq!(bytes, b"\0\0\0\x15\x67\0\0\0\x01\x01\x01\x01\x03\x01\x08ip_score\x03\x2a");
        assert_eq!((result, stats.acks, stats.acks_cut), (Ok(()), 1, 0));
    }

    #[test]
    fn actions_that_do_not_fit_are_dropped_from_the_end() {
        let text = "x".repeat(100);
        // 7 bytes of header and two actions of 107 bytes are 221 bytes. The third action of 107 bytes does not fit into
        // 256, and the two small ones after it are dropped as well.
        let (bytes, result, stats) = with_ack(|mut ack| {
            for name in ["a", "b", "c"] {
                ack.set_var(Scope::Session, name, text.as_str()).unwrap();
            }
            ack.set_var(Scope::Session, "d", 1u32).unwrap().unset_var(Scope::Session, "e").unwrap();
            ack.finish()
        });
        assert_eq!(result, Err(AckTooBig { dropped: 3, max_frame_size: 256 }));
        assert_eq!(bytes.len(), 4 + 7 + 2 * 107, "an action after the first one that did not fit was sent");
        assert_eq!((stats.acks, stats.acks_cut), (1, 1));
    }

    #[test]
    fn a_frame_of_exactly_the_negotiated_size_fits() {
        let fill = |len| {
            let text = "x".repeat(len);
            with_ack(move |mut ack| {
                ack.set_var(Scope::Session, "a", text.as_str()).unwrap();
                ack.finish()
            })
        };
        // 7 bytes of header; 3 bytes and a name of 2 bytes; 1 byte of type and 2 bytes of length before the text.
        let (bytes, result, _) = fill(256 - 15);
        assert_eq!((bytes.len(), result.is_ok()), (260, true));
        let (bytes, result, _) = fill(256 - 14);
        assert_eq!((bytes.len(), result.is_ok()), (11, false));
    }

    #[test]
    fn actions_that_were_built_separately_are_dropped_in_the_same_way() {
        let mut actions = Actions::new();
        for name in ["a", "b", "c"] {
            actions.set_var(Scope::Session, name, "x".repeat(100).as_str()).unwrap();
        }
        let (bytes, result, _) = with_ack(|mut ack| {
            ack.actions(&actions).actions(&actions);
            ack.finish()
        });
        assert_eq!(result, Err(AckTooBig { dropped: 4, max_frame_size: 256 }));
        assert_eq!(bytes.len(), 4 + 7 + 2 * 107);
    }
}
