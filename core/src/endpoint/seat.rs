//! One connection of an endpoint: the state machine on its socket.

use alloc::vec::Vec;
use core::cmp::Reverse;
use core::mem;
use core::time::Duration;

use crate::connection::{Connection, InputWait};
use crate::endpoint::admission::{Permit, Usage};
use crate::endpoint::handover::{Handover, TurnSummary};
use crate::endpoint::host::{Answer, Handled, Host, Io, Readiness, Report, Socket};
use crate::endpoint::queue::{Position, Rank};
use crate::endpoint::readiness::{Inbound, Outbound};
use crate::endpoint::timers::Armed;
use crate::endpoint::{Drain, Key, Origin, Shared};
use crate::event::{CloseReason, Event, LocalReason};
use crate::in_flight::TicketId;
use crate::stats::Stats;
use crate::time::Instant;

/// How often a connection reads in one turn while no other has one.
const READS_MAX: usize = 8;
/// How often it does while others wait for theirs.
const READS_MAX_CONTENDED: usize = 1;
/// The most bytes that it reads then: the latency of each connection is this much input of every other one.
const READ_LEN_CONTENDED: usize = 8 << 10;

/// The time after which a stalled peer is shed before queued ones.
const STALL_TIME: Duration = Duration::from_secs(1);

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

/// A wait for the peer: for the rest of a frame, or until it reads.
///
/// It ends when nothing is left of what was waited for at its start. A peer that reads a few bytes now and then, or completes one
/// frame and begins the next but never reads, does not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stall {
    since: Instant,
    /// The bytes that were unsent at the start and still are.
    unsent: usize,
    /// The NOTIFY that was incomplete at the start still is.
    is_incomplete: bool,
}

/// The order in which connections are shed. An honest peer whose frame arrives in two pieces is shed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ShedOrder {
    /// The peer has been stalled for [`STALL_TIME`], since this time: HAProxy completes a frame, and reads, within moments.
    Stalled(Instant),
    /// A limit of its own holds frames back, this many bytes. HAProxy waits for ACKs before it sends so much.
    HeldBack(Reverse<usize>),
    /// It is queued. The one that would be served last waits longest, and its peer has the most connections before it.
    Queued(Reverse<Rank>),
    /// The peer has been stalled for moments.
    JustStalled(Instant),
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

    /// Ends the wait for the peer if nothing is left of what was waited for. `notified` is true if a NOTIFY was completed.
    const fn note_progress(&mut self, notified: bool) {
        if let Some(stall) = &mut self.stall {
            stall.unsent = stall.unsent.saturating_sub(self.wrote);
            stall.is_incomplete &= !notified;
            if stall.unsent == 0 && !stall.is_incomplete {
                self.stall = None;
            }
        }
    }

    /// Returns buffers that are not needed between turns, and counts what the connection holds.
    fn settle_usage(&mut self, now: Instant, shared: &mut Shared) {
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

    /// Returns its place in the order in which connections are shed; `None` if it must not be. `rank` is its rank in the queue.
    pub(super) fn shed_order(&self, now: Instant, rank: Option<&Rank>) -> Option<ShedOrder> {
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

    fn serve(&mut self, now: Instant, shared: &mut Shared, host: &mut H) -> Next {
        self.send_answers(now, host);
        self.begin_drain(now, shared.drain);
        if matches!(self.ending, Ending::Handover(_)) {
            // A NOTIFY may have arrived since the last read.
            self.inbound.suspect();
        }
        let reads_max = if shared.is_contended { READS_MAX_CONTENDED } else { READS_MAX };
        let len_max = if shared.is_contended { READ_LEN_CONTENDED } else { usize::MAX };
        for _ in 0..reads_max {
            self.read(now, len_max);
            // Input that has arrived counts before a deadline that has passed meanwhile.
            self.hand_out_events(shared, host);
            self.expire(now, shared, host);
            self.hand_over(now, shared, host);
            while self.write(now) {
                // Sending made room for NOTIFYs that were held back.
                self.hand_out_events(shared, host);
            }
            if !self.wants_read() {
                break;
            }
        }
        if self.inbound == Inbound::Reset && !self.connection.wants_input() {
            // Its input is full, so that no read would find the end; and nobody waits for an answer.
            self.connection.handle_eof(now);
        }
        if self.connection.is_closed() {
            // A failed write may have closed it.
            self.hand_out_events(shared, host);
        } else if self.connection.is_send_finished() && self.outbound != Outbound::Shut {
            self.socket.shut_down();
            self.outbound = Outbound::Shut;
        }
        self.count_held(now, host);
        if self.connection.is_closed() {
            Next::Closed
        } else if self.wants_read() {
            Next::Turn
        } else {
            Next::Wait
        }
    }

    /// Counts the time in which a limit held NOTIFYs back.
    fn count_held(&mut self, now: Instant, host: &mut H) {
        if let Some(since) = self.held_since {
            host.report(&mut self.socket, Report::HeldBack(now.saturating_since(since)));
        }
        self.held_since = self.connection.blocked().is_held_back().then_some(now);
    }

    /// Cancels its pending deferred answers.
    fn cancel_work(&mut self, host: &mut H) {
        self.deferred.drain(..).for_each(|(_, work)| host.cancel(work));
    }

    /// Writes finished answers.
    fn send_answers(&mut self, now: Instant, host: &mut H) {
        let mut answers = mem::take(&mut self.answers);
        for Answer { ticket, since, actions, .. } in answers.drain(..) {
            if let Some(done) = self.deferred.iter().position(|(id, _)| *id == ticket.id()) {
                self.deferred.swap_remove(done);
            }
            let Ok(mut ack) = self.connection.ack(now, ticket) else { continue };
            match actions {
                Ok(actions) => {
                    self.sent_deferred += 1;
                    ack.actions(&actions);
                    let cut = ack.finish();
                    host.report(&mut self.socket, Report::Answered(now.saturating_since(since)));
                    if let Err(cut) = cut {
                        host.report(&mut self.socket, Report::AckCut(cut));
                    }
                }
                // The unfinished ACK is sent empty.
                Err(error) => host.report(&mut self.socket, Report::Failed(&error)),
            }
        }
        self.answers = answers;
    }

    fn begin_drain(&mut self, now: Instant, drain: Option<Drain>) {
        if let Some(drain) = drain
            && self.ending == Ending::No
        {
            if self.was_ready && !drain.patience.is_zero() {
                self.ending = Ending::Handover(Handover::new(now, drain));
            } else {
                self.ending = Ending::Begun;
                self.connection.disconnect(now, drain.grace);
            }
        }
    }

    /// Closes a draining connection at the best moment.
    fn hand_over(&mut self, now: Instant, shared: &mut Shared, host: &mut H) {
        let Ending::Handover(handover) = &mut self.ending else { return };
        debug_assert!(shared.drain.is_some(), "a handover begins with a drain");
        let (unsent, is_idle) = (self.connection.poll_transmit().is_some(), self.connection.is_idle());
        if handover.should_close(TurnSummary { time: now, unsent, is_idle, notified: self.notified }) {
            let grace = handover.grace(now);
            self.ending = Ending::Begun;
            self.connection.disconnect(now, grace);
            self.hand_out_events(shared, host);
        }
    }

    /// True while ACKs are held back, to be sent together with AGENT-DISCONNECT.
    const fn holds_acks(&self) -> bool {
        matches!(&self.ending, Ending::Handover(handover) if handover.holds_acks())
    }

    fn wants_read(&self) -> bool {
        self.inbound.is_readable() && self.connection.wants_input()
    }

    /// Reads once, at most so many bytes, if there may be something to read.
    fn read(&mut self, now: Instant, len_max: usize) {
        if !self.wants_read() {
            return;
        }
        let buf = self.connection.recv_buf();
        let len = buf.len().min(len_max);
        let buf = &mut buf[..len];
        match self.socket.read(buf) {
            Io::Done(0) | Io::Failed => self.connection.handle_eof(now),
            Io::Done(len) => {
                debug_assert!(len <= buf.len(), "a socket returns at most what was asked for");
                if len < buf.len() {
                    self.inbound.was_short();
                }
                self.connection.handle_input(now, len);
            }
            Io::WouldBlock => self.inbound.was_empty(),
        }
    }

    /// Writes output as far as the socket takes it; returns true if it took any.
    fn write(&mut self, now: Instant) -> bool {
        let mut wrote = false;
        while self.outbound == Outbound::Open
            && !self.holds_acks()
            && let Some(bytes) = self.connection.poll_transmit()
        {
            match self.socket.write(bytes) {
                Io::Done(len) => {
                    debug_assert!(len <= bytes.len(), "a socket takes at most what it was given");
                    if len < bytes.len() {
                        self.outbound = Outbound::Blocked;
                    }
                    self.connection.transmitted(now, len);
                    wrote |= len > 0;
                    self.wrote += len;
                }
                Io::WouldBlock => self.outbound = Outbound::Blocked,
                Io::Failed => self.connection.handle_eof(now),
            }
        }
        wrote
    }

    fn expire(&mut self, now: Instant, shared: &mut Shared, host: &mut H) {
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now);
            let Self { connection, deferred, .. } = self;
            deferred.retain(|(ticket, work)| {
                let is_live = connection.is_live(*ticket);
                if !is_live {
                    host.cancel(*work);
                }
                is_live
            });
            self.hand_out_events(shared, host);
        }
    }

    /// Holds NOTIFYs back while the limits of all connections are reached, or others are queued for a permit.
    fn apply_limits(&mut self, shared: &mut Shared) {
        let usage = self.usage.during_turn(&self.connection);
        shared.admission.change(&mut self.usage, usage);
        self.connection.hold_back(!shared.admission.admits(self.permit.is_some()));
    }

    fn hand_out_events(&mut self, shared: &mut Shared, host: &mut H) {
        self.apply_limits(shared);
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Ready { negotiated, engine_id } => {
                    self.was_ready = true;
                    host.report(&mut self.socket, Report::Ready { negotiated, engine_id });
                }
                Event::Notify(notify) => {
                    if let Handled::Deferred(ticket, work) = host.notify(self.key, &mut self.socket, notify) {
                        debug_assert!(self.connection.is_live(ticket), "a deferred NOTIFY is in flight");
                        self.deferred.push((ticket, work));
                    }
                    // A handler may also defer its answer and then fail, so that the NOTIFY stays in flight until its deadline.
                    if self.connection.usage().in_flight > self.usage.in_flight {
                        if let Some(permit) = self.permit.take() {
                            shared.admission.put_back(permit);
                        }
                        self.apply_limits(shared);
                    }
                }
                Event::Closed(reason) => self.closed(reason, host),
            }
        }
        self.count(host);
    }

    fn closed(&mut self, reason: CloseReason, host: &mut H) {
        if reason == CloseReason::Local(LocalReason::ConnectionLimit) && !self.was_refused {
            self.was_refused = true;
            host.report(&mut self.socket, Report::Refused(reason));
        }
        debug_assert_eq!(self.connection.usage().in_flight, 0, "the end cancels the NOTIFYs in flight");
        // Whichever side closed it, remaining output is sent now.
        self.ending = Ending::Begun;
        self.cancel_work(host);
        let (was_ready, was_refused) = (self.was_ready, self.was_refused);
        let (can_send, stats) = (!self.connection.is_closed(), self.connection.stats());
        host.report(&mut self.socket, Report::Closed { reason, was_ready, was_refused, can_send, stats: &stats });
    }

    /// Reports what was counted since the last call, and a refusal as soon as it is decided, because HAProxy may close before it
    /// is sent.
    pub(super) fn count(&mut self, host: &mut H) {
        let (before, now) = (self.reported, self.connection.stats());
        debug_assert!(before.notifies <= now.notifies && before.acks <= now.acks, "counters only grow");
        self.notified = before.notifies < now.notifies;
        if before == now {
            return;
        }
        self.reported = now;
        self.report_refusal(host);
        let deferred = mem::take(&mut self.sent_deferred);
        host.report(&mut self.socket, Report::Counted { before: &before, now: &now, deferred });
    }

    pub(super) fn report_refusal(&mut self, host: &mut H) {
        if let Some(reason) = self.connection.refusal()
            && !self.was_refused
        {
            self.was_refused = true;
            host.report(&mut self.socket, Report::Refused(reason));
        }
    }
}
