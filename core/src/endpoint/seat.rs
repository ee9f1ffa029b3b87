//! One connection of an endpoint: the state machine on its socket.

mod events;
mod serving;
mod shedding;

use alloc::vec::Vec;

use crate::connection::Connection;
use crate::endpoint::admission::{Permit, Usage};
use crate::endpoint::handover::Handover;
use crate::endpoint::host::{Answer, Host, Readiness, Report};
use crate::endpoint::queue::Position;
use crate::endpoint::readiness::{Inbound, Outbound};
use crate::endpoint::timers::Armed;
use crate::endpoint::{Key, Origin, Shared};
use crate::in_flight::TicketId;
use crate::stats::Stats;
use crate::time::Instant;

use shedding::Stall;

/// A connection, its socket, and its state among the others.
///
/// In each turn it sends finished answers, reads, hands out events, and writes all frames that are ready at once, until nothing
/// is left to do. The rules of SPOP are those of [`Connection`].
pub(super) struct Seat<H: Host> {
    pub(super) key: Key,
    pub(super) socket: H::Socket,
    origin: Origin,
    pub(super) connection: Connection,
    /// It is in the ready set.
    pub(super) is_ready: bool,
    pub(super) armed: Armed,
    /// Its queue position, while it waits for a permit.
    pub(super) position: Option<Position>,
    /// A permit that it was granted for its next turn.
    pub(super) permit: Option<Permit>,
    /// The time at which it was accepted, until it sends a NOTIFY.
    pub(super) unused_since: Option<Instant>,
    /// Its usage, as far as it is counted.
    pub(super) usage: Usage,
    /// Its queue position before a permit was of no use, because the rest of a NOTIFY in fragments has not arrived.
    pub(super) kept: Option<Position>,
    /// Its wait for its peer, with bytes in its buffers.
    pub(super) stall: Option<Stall>,
    /// The deferred NOTIFYs whose answers are in the making, and the answers that have arrived.
    pub(super) deferred: Vec<(TicketId, H::Work)>,
    pub(super) answers: Vec<Answer<H::Error>>,
    inbound: Inbound,
    pub(super) outbound: Outbound,
    pub(super) ending: Ending,
    /// A HELLO was accepted.
    pub(super) was_ready: bool,
    /// Its refusal was reported.
    was_refused: bool,
    /// A NOTIFY arrived since the counters were last looked at.
    notified: bool,
    /// Deferred answers that were sent and are not reported yet.
    pub(super) sent_deferred: u64,
    /// The bytes that the socket has taken in this turn.
    wrote: usize,
    /// Since when a limit holds its NOTIFYs back.
    pub(super) held_since: Option<Instant>,
    /// The counters that were reported.
    pub(super) reported: Stats,
}

/// The way of a connection to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is served.
    No,
    /// The agent drains; it is closed at the best moment.
    Handover(Handover),
    /// It was told to end, or has ended.
    Begun,
}

/// The step of a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It has more to do.
    Turn,
    /// It waits for its socket, an answer or its timer.
    Wait,
    /// It is closed.
    Closed,
}

impl<H: Host> Seat<H> {
    pub(super) fn new(key: Key, socket: H::Socket, origin: Origin, connection: Connection) -> Self {
        Self {
            key,
            socket,
            origin,
            connection,
            is_ready: false,
            armed: Armed::default(),
            position: None,
            permit: None,
            unused_since: None,
            usage: Usage::default(),
            kept: None,
            stall: None,
            deferred: Vec::new(),
            answers: Vec::new(),
            inbound: Inbound::Empty,
            outbound: Outbound::Open,
            ending: Ending::No,
            was_ready: false,
            was_refused: false,
            notified: false,
            sent_deferred: 0,
            wrote: 0,
            held_since: None,
            reported: Stats::default(),
        }
    }

    pub(super) fn report_readiness(&mut self, readiness: Readiness) {
        self.inbound.report(readiness);
        self.outbound.report(readiness);
    }

    /// True if it has to know when its socket has room. Not always: a unix socket reports room whenever HAProxy has read an ACK.
    pub(super) fn is_blocked(&self) -> bool {
        self.outbound == Outbound::Blocked
    }

    /// Returns the time of its next turn, if nothing happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        let handover = match self.ending {
            Ending::Handover(handover) => Some(handover.due(self.connection.is_idle())),
            Ending::No | Ending::Begun => None,
        };
        self.connection.poll_timeout().into_iter().chain(handover).min()
    }

    /// Takes the answer to one of its NOTIFYs, for its next turn.
    pub(super) fn answer(&mut self, answer: Answer<H::Error>) {
        self.answers.push(answer);
    }

    /// Does everything that there is to do, in buffers that are lent for the turn.
    pub(super) fn turn(&mut self, now: Instant, shared: &mut Shared, host: &mut H) -> Next {
        self.connection.lend_buffers(&mut shared.spare);
        let before = self.connection.stats().notifies;
        self.wrote = 0;
        let next = self.serve(now, shared, host);
        let notified = self.connection.stats().notifies > before;
        if notified {
            self.kept = None;
            shared.forget_unused(self.unused_since.take(), self.key);
        }
        self.note_progress(notified);
        self.settle_usage(now, shared);
        if self.deferred.is_empty() {
            (self.deferred, self.answers) = (Vec::new(), Vec::new());
        }
        next
    }

    /// Closes it to free memory.
    pub(super) fn shed(&mut self, now: Instant, shared: &mut Shared, host: &mut H) {
        let (bytes, max) = (self.usage.bytes(), shared.admission.limits().bytes_max);
        host.report(&mut self.socket, Report::Shed { bytes, max });
        self.connection.shed(now);
        if let Some(position) = self.position.take() {
            shared.admission.leave(position);
        }
        self.hand_out_events(shared, host);
        self.settle_usage(now, shared);
    }

    /// Closes it to make room for another connection, and sends why if its socket has room.
    pub(super) fn evict(&mut self, now: Instant, shared: &mut Shared, host: &mut H) {
        self.connection.evict(now);
        self.hand_out_events(shared, host);
        self.write(now);
    }

    /// Gives everything back that it holds.
    pub(super) fn release(&mut self, shared: &mut Shared, host: &mut H) {
        self.cancel_work(host);
        shared.forget_unused(self.unused_since.take(), self.key);
        shared.admission.change(&mut self.usage, Usage::default());
        if let Some(permit) = self.permit.take() {
            shared.admission.put_back(permit);
        }
        if let Some(position) = self.position.take() {
            shared.admission.leave(position);
        }
    }

    /// Queues it if its turn has left a NOTIFY without a permit, and takes it out of the queue if it needs none any more. A permit
    /// that it was granted is given back.
    pub(super) fn settle_permit(&mut self, shared: &mut Shared, host: &mut H) {
        let unused = self.permit.take();
        let blocked = self.connection.blocked();
        match (blocked.needs_permit(), self.position) {
            (true, None) => {
                self.position = Some(shared.admission.queue(self.key, self.origin, unused, self.kept.take()));
                host.report(&mut self.socket, Report::Queued(shared.admission.congestion()));
                return;
            }
            (false, Some(position)) => {
                shared.admission.leave(position);
                self.position = None;
            }
            _ => {}
        }
        let position = unused.map(|permit| shared.admission.put_back(permit));
        // A large NOTIFY takes several turns. Its place among the connections of its peer is kept until it is whole.
        self.kept = position.map(Position::in_next_turn).or(self.kept).filter(|_| blocked.is_reassembling);
    }
}
