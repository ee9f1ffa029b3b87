//! The connections of a simulated endpoint, as HAProxy and the checker see them. At each call of the endpoint the checker makes the
//! same step, and what they say is compared.

use std::collections::VecDeque;

use spoa_core::endpoint::{Handled, Io, Key};
use spoa_core::{CloseReason, Event, Notify, Ticket};
use spoa_sim_checker::{Event as Expected, Limits, Oracle};

use super::admission::{Admission, Load};
use super::handover::Ending;
use crate::application::{DeferredAnswer, handle};
use crate::coverage::{Coverage, Mark};
use crate::failure::{Failure, compare_output};
use crate::link::{Inlet, Outlet};
use crate::plan::Answer;
use crate::script::{Link, Nanos};
use crate::trace::{Kind, Trace};
use crate::world::seen;

/// One connection, as the checker and HAProxy see it.
pub(super) struct Peer {
    pub(super) link: Link,
    /// The number of the peer.
    pub(super) origin: u8,
    pub(super) key: Option<Key>,
    pub(super) oracle: Oracle,
    pub(super) inlet: Inlet,
    pub(super) outlet: Outlet,
    /// HAProxy has closed or reset the connection.
    pub(super) has_closed: bool,
    pub(super) was_reset: bool,
    /// The agent has not removed the connection.
    pub(super) is_open: bool,
    pub(super) ending: Ending,
    pub(super) was_ready: bool,
    /// The NOTIFYs whose answers the next turn sends.
    pub(super) answers: VecDeque<u64>,
    /// The number of NOTIFYs that were handed out.
    pub(super) delivered: u64,
    /// A NOTIFY was handed out since the end of the handover was last considered.
    notified: bool,
    /// The endpoint has read in this turn.
    has_read: bool,
    /// The deadlines and the handover were considered since the last read.
    is_settled: bool,
    is_shut: bool,
    /// Bytes were sent in this turn.
    wrote: bool,
    /// The number of NOTIFYs before this turn.
    notifies_before: u64,
    /// Since when HAProxy has neither completed a NOTIFY nor read, although there is a part of a frame or unsent bytes.
    pub(super) stalled_since: Option<Nanos>,
    /// The pass in which it was shed.
    shed_in: Option<u32>,
}

impl Peer {
    pub(super) fn new(link: Link, origin: u8, limits: Limits, now: Nanos) -> Self {
        Self {
            link,
            origin,
            key: None,
            oracle: Oracle::new(limits, now),
            inlet: Inlet::default(),
            outlet: Outlet::default(),
            has_closed: false,
            was_reset: false,
            is_open: true,
            ending: Ending::No,
            was_ready: false,
            answers: VecDeque::new(),
            delivered: 0,
            notified: false,
            has_read: false,
            is_settled: false,
            is_shut: false,
            wrote: false,
            notifies_before: 0,
            stalled_since: None,
            shed_in: None,
        }
    }
}

impl Peer {
    /// True if HAProxy has reset the connection while the input was full, so that no read finds the end.
    fn is_dead(&self) -> bool {
        self.was_reset && !self.oracle.wants_input()
    }
}

/// A deferred answer that a handler is working on.
pub(super) struct Work {
    pub(super) id: u64,
    pub(super) at: usize,
    pub(super) key: Key,
    /// The number of NOTIFYs that were handed out on the connection before this one.
    pub(super) index: u64,
    pub(super) ticket: Ticket,
    pub(super) since: Nanos,
    /// The time of the answer; `None` if it never comes.
    pub(super) due: Option<Nanos>,
    pub(super) answer: DeferredAnswer,
}

/// Everything that the sockets and the host of an endpoint share.
pub(super) struct State {
    pub(super) now: Nanos,
    pub(super) pass: u32,
    pub(super) step: usize,
    pub(super) peers: Vec<Peer>,
    pub(super) work: Vec<Work>,
    work_ids: u64,
    /// The connections whose sockets took some of the bytes, and have room for more.
    pub(super) has_room_again: Vec<usize>,
    pub(super) admission: Admission,
    pub(super) trace: Trace,
    pub(super) coverage: Coverage,
    pub(super) failure: Option<Failure>,
}

impl State {
    pub(super) fn new(admission: Admission, recording: bool) -> Self {
        Self {
            now: 0,
            pass: 0,
            step: 0,
            peers: Vec::new(),
            work: Vec::new(),
            work_ids: 0,
            has_room_again: Vec::new(),
            admission,
            trace: Trace::new(recording),
            coverage: Coverage::default(),
            failure: None,
        }
    }

    /// Records the first failure.
    pub(super) fn fail(&mut self, at: usize, check: &'static str, detail: String) {
        let peer = self.peers.get(at);
        let failure = Failure {
            check,
            state: peer.map_or("none", |peer| peer.oracle.state()),
            link: peer.map_or(Link::Scripted(0), |peer| peer.link),
            step: self.step,
            at: self.now,
            detail,
        };
        self.failure.get_or_insert(failure);
    }

    pub(super) fn load(&self) -> Load {
        let open = || self.peers.iter().filter(|peer| peer.is_open).map(|peer| &peer.oracle);
        Load { in_flight: open().map(Oracle::in_flight).sum(), copies: open().map(Oracle::in_flight_bytes).sum() }
    }

    /// Tells the checker whether the limits of all connections hold NOTIFYs of this one back.
    fn apply_limits(&mut self, at: usize) {
        let is_admitted = self.admission.admits(at, self.load());
        self.peers[at].oracle.hold_back(!is_admitted);
    }

    /// Begins a turn: answers that have arrived are sent first, then a drain begins.
    pub(super) fn begin_turn(&mut self, at: usize, drain: Option<(Nanos, Nanos)>) {
        let (now, peer) = (self.now, &mut self.peers[at]);
        (peer.has_read, peer.is_settled, peer.wrote) = (false, false, false);
        peer.notifies_before = peer.oracle.counts().notifies;
        for index in std::mem::take(&mut peer.answers) {
            if !peer.oracle.answer(now, index) {
                self.coverage.reach(Mark::LateForDeadline);
            }
        }
        if let Some((grace, patience)) = drain
            && matches!(peer.ending, Ending::No)
        {
            if peer.was_ready && patience > 0 {
                let close_at = now + patience.min(grace);
                peer.ending = Ending::Handover { close_at, grace_end: now + grace, held: None };
            } else {
                peer.ending = Ending::Begun;
                peer.oracle.stop(now, grace);
            }
        }
    }

    /// Considers the deadlines and the handover, as the endpoint does once between a read and a write.
    fn settle(&mut self, at: usize) {
        self.expect_no_event(at);
        if self.peers[at].is_settled {
            return;
        }
        self.expire(at);
        self.expect_no_event(at);
        self.hand_over(at);
        self.expect_no_event(at);
    }

    fn expire(&mut self, at: usize) {
        let (now, peer) = (self.now, &mut self.peers[at]);
        if peer.oracle.deadline().is_some_and(|due| due <= now) {
            self.trace.note(now, peer.link, Kind::Deadline, &[]);
            peer.oracle.timeout(now);
            peer.notified = false;
        }
    }

    fn hand_over(&mut self, at: usize) {
        let (now, peer) = (self.now, &mut self.peers[at]);
        peer.is_settled = true;
        let (unsent, notified) = (!peer.oracle.output().is_empty(), std::mem::take(&mut peer.notified));
        if let Some(rest) = peer.ending.close_now(now, unsent, peer.oracle.is_idle(), notified) {
            peer.oracle.stop(now, rest);
        }
    }

    fn expect_no_event(&mut self, at: usize) {
        self.apply_limits(at);
        if let Some(expected) = self.peers[at].oracle.next_event() {
            let detail = format!("expected {expected:?}, got none");
            self.fail(at, "event", detail);
        }
    }

    /// Compares an event that the endpoint reports.
    pub(super) fn event(&mut self, at: usize, event: &Event<'_>) {
        let (now, link) = (self.now, self.peers[at].link);
        self.trace.event(now, link, event);
        self.coverage.event(event);
        self.apply_limits(at);
        let delivered = self.peers[at].delivered;
        let actual = seen(event, delivered);
        let mut found = self.peers[at].oracle.next_event().map(|expected| outcome(expected, actual));
        if found.is_none() && !self.peers[at].is_settled {
            self.expire(at);
            self.apply_limits(at);
            found = self.peers[at].oracle.next_event().map(|expected| outcome(expected, actual));
        }
        if found.is_none() && !self.peers[at].is_settled {
            self.hand_over(at);
            found = self.peers[at].oracle.next_event().map(|expected| outcome(expected, actual));
        }
        if found.is_none() && self.peers[at].is_dead() {
            self.peers[at].oracle.eof(now);
            found = self.peers[at].oracle.next_event().map(|expected| outcome(expected, actual));
        }
        match found {
            Some(Ok(())) => {}
            Some(Err(detail)) => self.fail(at, "event", detail),
            None => self.fail(at, "event", format!("expected none, got {actual:?}")),
        }
    }

    /// Ends a turn after which the connection is open.
    pub(super) fn end_turn(&mut self, at: usize, is_blocked: bool) {
        self.settle(at);
        let (now, peer) = (self.now, &mut self.peers[at]);
        let (unsent, holds_acks) = (!peer.oracle.output().is_empty(), peer.ending.holds_acks());
        let notifies = peer.oracle.counts().notifies;
        if peer.wrote || notifies > peer.notifies_before {
            peer.stalled_since = None;
        }
        peer.stalled_since = peer.oracle.waits_for_peer().then(|| peer.stalled_since.unwrap_or(now));
        let needs = peer.oracle.needs_permit();
        if needs {
            self.coverage.reach(Mark::HeldForOthers);
        }
        let origin = peer.origin;
        if unsent && !is_blocked && !holds_acks {
            self.fail(at, "output", "bytes are left unsent though the socket has room".into());
        }
        self.admission.turn_ended(at, origin, needs);
    }

    /// Ends a turn after which the connection is removed.
    pub(super) fn removed(&mut self, at: usize) {
        self.settle(at);
        self.admission.ended(at);
        let peer = &mut self.peers[at];
        peer.is_open = false;
        if !peer.oracle.is_closed() {
            self.fail(at, "closed", "expected is_closed to be false, got true".into());
        }
    }

    pub(super) fn read(&mut self, at: usize, buf: &mut [u8]) -> Io {
        // Before the first read of a turn, answers and a drain may have caused events that are reported after it.
        if self.peers[at].has_read {
            self.settle(at);
        }
        let (now, peer) = (self.now, &mut self.peers[at]);
        (peer.has_read, peer.is_settled) = (true, false);
        if peer.inlet.is_at_end() {
            self.trace.note(now, peer.link, Kind::Eof, &[]);
            peer.oracle.eof(now);
            return if peer.was_reset { Io::Failed } else { Io::Done(0) };
        }
        let readable = peer.inlet.readable();
        if readable.is_empty() {
            return Io::WouldBlock;
        }
        let len = buf.len().min(readable.len());
        buf[..len].copy_from_slice(&readable[..len]);
        self.trace.note(now, peer.link, Kind::Received, &readable[..len]);
        peer.oracle.input(now, &readable[..len]);
        peer.inlet.take(len);
        Io::Done(len)
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> Io {
        self.settle(at);
        let (now, peer) = (self.now, &mut self.peers[at]);
        let expected = peer.oracle.output();
        if bytes != expected {
            let detail = compare_output(bytes, expected);
            self.fail(at, "output", detail);
            return Io::Failed;
        }
        if peer.ending.holds_acks() {
            self.fail(at, "handover", "ACKs are sent though they are held for AGENT-DISCONNECT".into());
            return Io::Failed;
        }
        if peer.was_reset {
            peer.oracle.eof(now);
            return Io::Failed;
        }
        let len = peer.outlet.write(bytes);
        self.trace.note(now, peer.link, Kind::Sent, &bytes[..len]);
        if len < bytes.len() {
            self.coverage.reach(if len == 0 { Mark::Blocked } else { Mark::PartialWrite });
        }
        if len < bytes.len() && peer.outlet.has_room() {
            self.has_room_again.push(at);
        }
        if len == 0 {
            return Io::WouldBlock;
        }
        peer.oracle.sent(now, len);
        peer.wrote = true;
        Io::Done(len)
    }

    pub(super) fn shut_down(&mut self, at: usize) {
        self.settle(at);
        let peer = &mut self.peers[at];
        let was_shut = std::mem::replace(&mut peer.is_shut, true);
        if was_shut || !peer.oracle.is_send_finished() {
            self.fail(at, "finished", "the socket is shut down twice or before the last byte".into());
        }
    }

    pub(super) fn notify(&mut self, at: usize, key: Key, notify: Notify<'_>) -> Handled<u64> {
        let event = Event::Notify(notify);
        self.event(at, &event);
        let Event::Notify(notify) = event else { unreachable!("the event was made above") };
        let (now, peer) = (self.now, &mut self.peers[at]);
        let index = peer.delivered;
        peer.delivered += 1;
        peer.notified = true;
        let (plan, deferred) = handle(notify);
        self.coverage.planned(plan);
        let Some((ticket, answer)) = deferred else { return Handled::Done };
        self.admission.deferred(at);
        self.work_ids += 1;
        let (id, ticket_id) = (self.work_ids, ticket.id());
        let due = (plan.answer != Answer::Never).then(|| now + plan.delay);
        self.work.push(Work { id, at, key, index, ticket, since: now, due, answer });
        Handled::Deferred(ticket_id, id)
    }

    pub(super) fn closed(&mut self, at: usize, reason: CloseReason, was_ready: bool) {
        self.event(at, &Event::Closed(reason));
        let peer = &mut self.peers[at];
        peer.ending = Ending::Begun;
        if was_ready != peer.was_ready {
            let detail = format!("expected was_ready to be {}, got {was_ready}", peer.was_ready);
            self.fail(at, "report", detail);
        }
    }

    /// Returns the order in which connections are shed: peers that have been stalled for a second, the first one first; queued
    /// ones, the last one first; other stalled peers.
    pub(super) fn shed_order(&self, at: usize) -> Option<(u8, u64, u64)> {
        let peer = &self.peers[at];
        let place = self.admission.place(at).filter(|_| peer.is_open);
        match peer.stalled_since.filter(|_| peer.is_open) {
            Some(since) if self.now - since >= 1_000_000_000 => Some((0, since, 0)),
            stalled => {
                let queued = place.map(|(round, number)| (1, u64::MAX - round, u64::MAX - number));
                queued.or(stalled.map(|since| (2, since, 0)))
            }
        }
    }

    /// Checks the choice of a connection that is shed.
    pub(super) fn shed(&mut self, at: usize) {
        let pass = Some(self.pass);
        let candidates = (0..self.peers.len()).filter(|&other| self.peers[other].shed_in != pass);
        let first = candidates.filter_map(|other| self.shed_order(other)).min();
        if self.shed_order(at) != first {
            let detail = format!("expected the one with {first:?}, got the one with {:?}", self.shed_order(at));
            self.fail(at, "shed", detail);
        }
        self.peers[at].shed_in = pass;
        let (now, peer) = (self.now, &mut self.peers[at]);
        peer.is_settled = true;
        self.trace.note(now, peer.link, Kind::Shed, &[]);
        peer.oracle.shed(now);
    }
}

/// Compares two events.
fn outcome(expected: Expected<&[u8]>, actual: Expected<&[u8]>) -> Result<(), String> {
    if expected == actual { Ok(()) } else { Err(format!("expected {expected:?}, got {actual:?}")) }
}
