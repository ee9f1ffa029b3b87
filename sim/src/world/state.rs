//! The connections of all agents, as HAProxy and the checker see them. At each call of an endpoint the checker makes the same
//! step, and the two are compared.

use spoa_core::endpoint::Key;
use spoa_core::table::Input;
use spoa_core::wire::Capabilities;
use spoa_core::{CloseReason, Event, Ticket};
use spoa_sim_checker::{Event as Expected, Oracle};

use super::admission::{Admission, Load};
use super::handover::Ending;
use super::peer::Peer;
use crate::application::DeferredAnswer;
use crate::compare;
use crate::coverage::{Coverage, Mark};
use crate::failure::Failure;
use crate::script::{Link, Nanos};
use crate::trace::{Kind, Trace};
use crate::wording::EventWords;

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

/// The largest number of reads and writes of a run. A run that exceeds it never ends.
const CALLS_MAX: u32 = 1_000_000;

/// Everything that the sockets and the hosts of all endpoints share.
pub(super) struct State {
    pub(super) now: Nanos,
    pub(super) pass: u32,
    /// The number of reads and writes.
    calls: u32,
    pub(super) step: usize,
    pub(super) peers: Vec<Peer>,
    /// The numbers of the connections that no agent has removed.
    pub(super) open: Vec<usize>,
    pub(super) work: Vec<Work>,
    pub(super) work_ids: u64,
    /// The connections whose sockets took some of the bytes, and have room for more.
    pub(super) has_room_again: Vec<usize>,
    /// The limits of each worker.
    pub(super) admissions: Vec<Admission>,
    /// The ends of connections that were not compared with HAProxy's side yet.
    pub(super) ends: Vec<(usize, CloseReason)>,
    /// The time at which a connection was last opened, and the number of connections that were opened at this time.
    pub(super) accepted: (Nanos, u32),
    pub(super) trace: Trace,
    pub(super) coverage: Coverage,
    pub(super) failure: Option<Failure>,
}

impl State {
    pub(super) fn new(recording: bool) -> Self {
        Self {
            now: 0,
            pass: 0,
            calls: 0,
            step: 0,
            peers: Vec::new(),
            open: Vec::new(),
            work: Vec::new(),
            work_ids: 0,
            has_room_again: Vec::new(),
            admissions: Vec::new(),
            ends: Vec::new(),
            accepted: (0, 0),
            trace: Trace::new(recording),
            coverage: Coverage::default(),
            failure: None,
        }
    }

    /// Counts a read or a write.
    ///
    /// # Panics
    /// If there are so many that the endpoint calls its sockets without end, which nothing else stops.
    pub(super) fn count_call(&mut self) {
        self.calls += 1;
        assert!(self.calls <= CALLS_MAX, "an endpoint reads or writes without end");
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

    /// Returns the connections that no agent has removed.
    pub(super) fn open_peers(&self) -> impl Iterator<Item = &Peer> {
        self.open.iter().map(|&at| &self.peers[at])
    }

    /// Returns the load of a worker.
    pub(super) fn load(&self, worker: usize) -> Load {
        let is_served = |peer: &&Peer| peer.worker == worker;
        let open = || self.open_peers().filter(is_served).map(|peer| &peer.oracle);
        Load { in_flight: open().map(Oracle::in_flight).sum(), copies: open().map(Oracle::in_flight_bytes).sum() }
    }

    /// Tells the checker whether the limits of all connections hold NOTIFYs of this one back.
    fn apply_limits(&mut self, at: usize) {
        let worker = self.peers[at].worker;
        let is_admitted = self.admissions[worker].admits(at, self.load(worker));
        self.peers[at].oracle.hold_back(!is_admitted);
    }

    /// Begins a turn: answers that have arrived are sent first, then a drain begins.
    pub(super) fn begin_turn(&mut self, at: usize, drain: Option<(Nanos, Nanos)>) {
        let (now, peer) = (self.now, &mut self.peers[at]);
        (peer.has_read, peer.is_settled, peer.wrote) = (false, false, 0);
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
                self.stop(at, grace);
            }
        }
    }

    fn stop(&mut self, at: usize, grace: Nanos) {
        let (now, peer) = (self.now, &mut self.peers[at]);
        self.coverage.cell(peer.state(), Input::Stop);
        if peer.oracle.in_flight() > 0 {
            self.coverage.reach(Mark::StoppedInFlight);
        }
        self.trace.note(now, peer.link, Kind::Stop, &[]);
        peer.oracle.stop(now, grace);
    }

    /// Considers the deadlines and the handover, as the endpoint does once between a read and a write.
    pub(super) fn settle(&mut self, at: usize) {
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
            self.coverage.reach(Mark::HandedOver);
            self.stop(at, rest);
        }
    }

    fn expect_no_event(&mut self, at: usize) {
        self.apply_limits(at);
        if let Some(expected) = self.peers[at].oracle.next_event() {
            let detail = format!("expected {}, got no event", EventWords(Some(&expected)));
            self.fail(at, "event", detail);
        }
    }

    /// Compares an event that the endpoint reports.
    pub(super) fn event(&mut self, at: usize, event: &Event<'_>) {
        let (now, link) = (self.now, self.peers[at].link);
        self.trace.event(now, link, event);
        self.coverage.event(event);
        self.apply_limits(at);
        let peer = &mut self.peers[at];
        let actual = compare::event(event, peer.delivered);
        if let Event::Ready { negotiated, .. } = event {
            let pipelining = negotiated.capabilities.contains(Capabilities::PIPELINING);
            peer.observer.ready(negotiated.max_frame_size, pipelining);
        }
        if let Some(conversation) = &mut peer.conversation {
            conversation.event(event);
        }
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
            None => {
                let detail = format!("expected no event, got {}", EventWords(Some(&actual)));
                self.fail(at, "event", detail);
            }
        }
    }

    /// Ends a turn after which the connection is open.
    pub(super) fn end_turn(&mut self, at: usize, is_blocked: bool) {
        self.settle(at);
        let (now, peer) = (self.now, &mut self.peers[at]);
        let (unsent, holds_acks) = (!peer.oracle.output().is_empty(), peer.ending.holds_acks());
        peer.note_stall(now);
        let is_amid = peer.oracle.is_reassembling();
        let needs = peer.oracle.needs_permit();
        if needs {
            self.coverage.reach(Mark::HeldForOthers);
        }
        let (worker, origin) = (peer.worker, peer.origin);
        if unsent && !is_blocked && !holds_acks {
            self.fail(at, "output", "bytes are left unsent though the socket has room".into());
        }
        self.admissions[worker].turn_ended(at, origin, needs, is_amid);
    }

    /// Ends a connection that its endpoint has removed, whatever its state.
    pub(super) fn dropped(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.is_open = false;
        self.admissions[peer.worker].ended(at);
        self.open.retain(|open| *open != at);
    }

    /// Ends a turn after which the connection is removed.
    pub(super) fn removed(&mut self, at: usize) {
        self.settle(at);
        self.dropped(at);
        let peer = &self.peers[at];
        if !peer.oracle.is_closed() {
            self.fail(at, "closed", "expected is_closed to be false, got true".into());
        }
    }
}

/// Compares two events.
fn outcome(expected: Expected<&[u8]>, actual: Expected<&[u8]>) -> Result<(), String> {
    if expected == actual {
        return Ok(());
    }
    Err(format!("expected {}, got {}", EventWords(Some(&expected)), EventWords(Some(&actual))))
}
