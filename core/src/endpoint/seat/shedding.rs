//! How long a connection has waited for its peer, and its place in the order in which connections are shed.

use core::cmp::Reverse;
use core::time::Duration;

use super::Seat;
use crate::connection::InputWait;
use crate::endpoint::Shared;
use crate::endpoint::admission::Usage;
use crate::endpoint::host::{Host, Socket};
use crate::endpoint::queue::Rank;
use crate::time::Instant;

/// The time after which a stalled peer is shed before queued ones.
const STALL_TIME: Duration = Duration::from_secs(1);

/// A wait for the peer: for the rest of a frame, or until it reads.
///
/// It ends when nothing is left of what was waited for at its start. A peer that reads a few bytes now and then, or completes one
/// frame and begins the next but never reads, does not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::endpoint) struct Stall {
    since: Instant,
    /// The bytes that were unsent at the start and still are.
    unsent: usize,
    /// The NOTIFY that was incomplete at the start still is.
    is_incomplete: bool,
}

/// The order in which connections are shed. An honest peer whose frame arrives in two pieces is shed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::endpoint) enum ShedOrder {
    /// The peer has been stalled for [`STALL_TIME`], since this time: HAProxy completes a frame, and reads, within moments.
    Stalled(Instant),
    /// A limit of its own holds frames back, this many bytes. HAProxy waits for ACKs before it sends so much.
    HeldBack(Reverse<usize>),
    /// It is queued. The one that would be served last waits longest, and its peer has the most connections before it.
    Queued(Reverse<Rank>),
    /// The peer has been stalled for moments.
    JustStalled(Instant),
}

impl<H: Host> Seat<H> {
    /// Ends the wait for the peer if nothing is left of what was waited for. `notified` is true if a NOTIFY was completed.
    pub(super) const fn note_progress(&mut self, notified: bool) {
        if let Some(stall) = &mut self.stall {
            stall.unsent = stall.unsent.saturating_sub(self.wrote);
            stall.is_incomplete &= !notified;
            if stall.unsent == 0 && !stall.is_incomplete {
                self.stall = None;
            }
        }
    }

    /// Returns buffers that are not needed between turns, and counts what the connection holds.
    pub(super) fn settle_usage(&mut self, now: Instant, shared: &mut Shared) {
        self.connection.release_buffers(&mut shared.spare);
        let usage = Usage::of(&self.connection, self.socket.memory());
        shared.admission.change(&mut self.usage, usage);
        let blocked = self.connection.blocked();
        if !blocked.waits_for_peer() {
            self.stall = None;
        } else if self.stall.is_none() {
            let unsent = self.connection.poll_transmit().map_or(0, <[u8]>::len);
            self.stall = Some(Stall { since: now, unsent, is_incomplete: blocked.input == InputWait::Peer });
        }
    }

    /// Returns its place in the order in which connections are shed; `None` if it must not be. `rank` is its rank in the queue.
    pub(in crate::endpoint) fn shed_order(&self, now: Instant, rank: Option<&Rank>) -> Option<ShedOrder> {
        let since = self.stall.map(|stall| stall.since);
        match (since, rank) {
            (Some(since), _) if now.saturating_since(since) >= STALL_TIME => Some(ShedOrder::Stalled(since)),
            (_, Some(rank)) => Some(ShedOrder::Queued(Reverse(*rank))),
            _ if self.connection.blocked().is_held_back() => {
                Some(ShedOrder::HeldBack(Reverse(self.connection.usage().unprocessed)))
            }
            (Some(since), None) => Some(ShedOrder::JustStalled(since)),
            (None, None) => None,
        }
    }
}
