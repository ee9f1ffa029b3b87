//! The connections of a run: how they are opened, how bytes arrive, and how HAProxy ends them.

use std::rc::Rc;

use spoa_core::Instant;
use spoa_core::endpoint::{Key, Origin, Readiness};

use super::host::SimSocket;
use super::peer::Peer;
use super::state::State;
use super::{Failed, World};
use crate::conversation::Conversation;
use crate::coverage::Mark;
use crate::link::{self, Next};
use crate::script::{Link, Step};
use crate::trace::Kind;
use spoa_sim_checker::Limits;

impl World {
    /// Returns the number of the open connection of a link.
    pub(super) fn find(&self, link: Link) -> Option<usize> {
        let state = self.state.borrow();
        let is_open = |at: &&usize| state.peers[**at].link == link && !state.peers[**at].has_closed;
        state.open.iter().rev().find(is_open).copied()
    }

    /// Executes a step that concerns one open connection.
    pub(super) fn execute_at(&mut self, at: usize, step: &Step) -> Result<(), Failed> {
        let mut state = self.state.borrow_mut();
        let State { peers, coverage, now, .. } = &mut *state;
        let Peer { inlet, outlet, .. } = &mut peers[at];
        let next = link::apply(step, (inlet, outlet), *now, coverage);
        drop(state);
        match next {
            Next::Deliver => return self.deliver(at),
            Next::Write => {
                self.change_to_writable(at);
                return Ok(());
            }
            Next::Nothing => {}
        }
        match step {
            Step::Fin(_) => self.finish(at),
            Step::Reset(_) => {
                self.reset(at);
                self.reset_by_network(at)
            }
            Step::Lose(_) => self.lose(at),
            _ => Ok(()),
        }
    }

    /// Opens a connection to an agent, and returns its number.
    pub(super) fn connect(&mut self, link: Link, agent: usize) -> usize {
        let origin = match link {
            Link::Scripted(number) => u32::from(number) % self.setup.origins.clamp(1, 255),
            Link::Of(haproxy, _) | Link::All(haproxy) => haproxy.0.into(),
            Link::Agent(_) => 0,
        } as u8;
        let workers = self.agents[agent].workers.clone();
        let worker = workers.min_by_key(|worker| self.workers[*worker].endpoint.len()).expect("an agent has a worker");
        let mut state = self.state.borrow_mut();
        let (at, now) = (state.peers.len(), state.now);
        let limits = self.setup.limits();
        let (oracle, inlet) = self.buffers.take(limits, now);
        let mut peer = Peer::new(link, (origin, worker), oracle, inlet, limits.max_frame_size);
        peer.conversation = self.keep.conversations.then(|| Conversation::new(link));
        state.peers.push(peer);
        state.open.push(at);
        state.trace.note(now, link, Kind::Connect, &[]);
        let (last, count) = state.accepted;
        state.accepted = (now, if last == now { count + 1 } else { 1 });
        if state.accepted.1 == 8 {
            state.coverage.reach(Mark::Crowd);
        }
        drop(state);
        self.changes.push(NO_CHANGE);
        if self.agents[agent].is_hung {
            self.agents[agent].backlog.push(at);
        } else {
            self.accept(at);
        }
        at
    }

    /// Hands a connection to its worker. A connection above the limit will be rejected.
    pub(super) fn accept(&mut self, at: usize) {
        let mut state = self.state.borrow_mut();
        let State { peers, now, .. } = &mut *state;
        let (peer, now) = (&mut peers[at], *now);
        let worker = peer.worker;
        let agent = &self.agents[self.workers[worker].agent];
        let workers = agent.workers.clone();
        peer.refuses_checks = agent.is_lame || self.setup.connection.refuse_healthchecks;
        let limits = Limits { refuse_healthchecks: peer.refuses_checks, ..self.setup.limits() };
        peer.oracle.restart(limits, now);
        let origin = Origin(peer.origin.into());
        let is_served = |peer: &&Peer| peer.is_welcome && workers.contains(&peer.worker);
        let is_full = state.open_peers().filter(is_served).count() >= self.setup.connections_max as usize;
        drop(state);
        let welcome = !is_full || self.evict(worker);
        let mut state = self.state.borrow_mut();
        let peer = &mut state.peers[at];
        (peer.is_welcome, peer.accepted_at) = (welcome, now);
        if !welcome {
            peer.oracle.reject();
        }
        drop(state);
        let socket = SimSocket { at, state: Rc::clone(&self.state) };
        let endpoint = &mut self.workers[worker].endpoint;
        let key = endpoint.accept(Instant::from_nanos(now), socket, origin, welcome);
        self.state.borrow_mut().peers[at].key = Some(key);
    }

    /// Makes room for a connection above the limit; returns false if none can give way to it: the one that was accepted first and
    /// has sent no NOTIFY, after a second.
    fn evict(&mut self, worker: usize) -> bool {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        let can_be_evicted = |at: &usize| {
            let peer = &state.peers[*at];
            let is_unused = peer.key.is_some() && peer.is_welcome && peer.delivered == 0;
            peer.worker == worker && is_unused && now - peer.accepted_at >= 1_000_000_000
        };
        let age = |at: &usize| (state.peers[*at].accepted_at, state.peers[*at].key.map(Key::index));
        let expected = state.open.iter().copied().filter(can_be_evicted).min_by_key(age);
        if let Some(at) = expected {
            let peer = &mut state.peers[at];
            peer.is_settled = true;
            peer.oracle.evict(now);
        }
        drop(state);
        let evicted = self.workers[worker].endpoint.evict(Instant::from_nanos(now), &mut self.host);
        let evicted = evicted.map(|socket| socket.at);
        let mut state = self.state.borrow_mut();
        if evicted != expected {
            let name = |at: Option<usize>| at.map_or("none".into(), |at| state.peers[at].link.to_string());
            let detail = format!("expected the evicted connection {}, got {}", name(expected), name(evicted));
            state.fail(expected.or(evicted).unwrap_or_default(), "evict", detail);
        }
        if let Some(at) = evicted {
            state.peers[at].is_shut = state.peers[at].oracle.is_send_finished();
            state.dropped(at);
        }
        evicted.is_some()
    }

    /// Notes a change of a socket, which is reported before the next pass.
    pub(super) fn change(&mut self, at: usize, change: Readiness) {
        let Readiness { readable, writable, ended, reset } = &mut self.changes[at];
        if !(*readable || *writable || *ended || *reset) {
            self.changed.push(at);
        }
        *readable |= change.readable;
        *writable |= change.writable;
        *ended |= change.ended;
        *reset |= change.reset;
    }

    pub(super) fn change_to_writable(&mut self, at: usize) {
        self.change(at, Readiness { writable: true, ..NO_CHANGE });
    }

    /// Delivers bytes in transit, piece by piece.
    pub(super) fn deliver(&mut self, at: usize) -> Result<(), Failed> {
        let mut pieces = 0;
        while self.arrive(at, pieces) {
            self.change(at, Readiness { readable: true, ..NO_CHANGE });
            if self.is_prompt() {
                self.run_passes()?;
            }
            pieces += 1;
        }
        Ok(())
    }

    fn arrive(&self, at: usize, piece: usize) -> bool {
        self.state.borrow_mut().peers[at].inlet.arrive(piece)
    }

    pub(super) fn finish(&mut self, at: usize) -> Result<(), Failed> {
        self.state.borrow_mut().peers[at].inlet.release();
        self.deliver(at)?;
        let mut state = self.state.borrow_mut();
        let State { peers, trace, now, .. } = &mut *state;
        trace.note(*now, peers[at].link, Kind::Fin, &[]);
        peers[at].inlet.finish();
        peers[at].has_closed = true;
        drop(state);
        self.change(at, Readiness { ended: true, ..NO_CHANGE });
        Ok(())
    }

    pub(super) fn reset(&mut self, at: usize) {
        let mut state = self.state.borrow_mut();
        let State { peers, trace, coverage, now, .. } = &mut *state;
        let peer = &mut peers[at];
        trace.note(*now, peer.link, Kind::Reset, &[]);
        coverage.reach(if peer.inlet.reset() { Mark::ResetQueued } else { Mark::ResetIdle });
        (peer.has_closed, peer.was_reset) = (true, true);
        drop(state);
        self.change(at, Readiness { readable: true, writable: true, ended: true, reset: true });
    }

    /// Ends a connection by a fault of the agent: its endpoint removes it in whatever state it is.
    pub(super) fn lose(&mut self, at: usize) -> Result<(), Failed> {
        let mut state = self.state.borrow_mut();
        let State { peers, trace, now, .. } = &mut *state;
        let Peer { link, key, worker, .. } = peers[at];
        trace.note(*now, link, Kind::Lost, &[]);
        peers[at].was_lost = true;
        state.dropped(at);
        drop(state);
        if let Some(key) = key
            && self.workers[worker].endpoint.remove(key, &mut self.host).is_none()
        {
            return self.fail(at, "key", "the endpoint does not know an open connection".into());
        }
        self.check_work(worker)
    }
}

const NO_CHANGE: Readiness = Readiness { readable: false, writable: false, ended: false, reset: false };
