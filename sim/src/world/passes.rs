//! The passes of the workers: they report changes of sockets, and give the connections of each endpoint their turns.

use spoa_core::Instant;
use spoa_core::endpoint::{Key, Readiness, Turn};

use super::agent::Phase;
use super::{Failed, World};
use crate::script::Nanos;

/// The largest number of turns of a run, and of passes. A run that exceeds it never ends.
const TURNS_MAX: u32 = 200_000;

impl World {
    /// Reports changes of sockets, then runs passes until no connection has a turn or is due.
    pub(super) fn run_passes(&mut self) -> Result<(), Failed> {
        loop {
            self.report_changes();
            for worker in 0..self.workers.len() {
                if !self.runs(worker) {
                    continue;
                }
                while self.workers[worker].endpoint.has_turns() || self.is_due(self.deadline(worker)) {
                    self.pass(worker)?;
                }
            }
            // A socket that accepts a few bytes at once has room again as soon as they have left.
            let again = std::mem::take(&mut self.state.borrow_mut().has_room_again);
            if again.is_empty() {
                break;
            }
            again.into_iter().for_each(|at| self.change_to_writable(at));
        }
        self.end_drained();
        self.check_ends()?;
        self.check_rest()
    }

    /// True if a worker does something.
    pub(super) fn runs(&self, worker: usize) -> bool {
        let agent = &self.agents[self.workers[worker].agent];
        agent.workers.contains(&worker) && agent.phase != Phase::Ended && !agent.is_hung
    }

    pub(super) fn deadline(&self, worker: usize) -> Option<Nanos> {
        self.workers[worker].endpoint.next_deadline().map(Instant::as_nanos)
    }

    /// True if an endpoint has been woken for this deadline.
    pub(super) fn is_due(&self, deadline: Option<Nanos>) -> bool {
        deadline.is_some_and(|at| at.saturating_add(self.setup.late) <= self.now())
    }

    fn report_changes(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.retain(|&at| {
            let state = self.state.borrow();
            let (worker, key) = (state.peers[at].worker, state.peers[at].key);
            drop(state);
            if self.agents[self.workers[worker].agent].is_hung {
                return true;
            }
            let change = std::mem::take(&mut self.changes[at]);
            if let Some(key) = key {
                self.workers[worker].endpoint.socket_ready(key, change);
            }
            false
        });
        self.changed = changed;
    }

    fn pass(&mut self, worker: usize) -> Result<(), Failed> {
        self.passes += 1;
        if self.passes > TURNS_MAX {
            return self.fail(0, "budget", "the run does not end".into());
        }
        if self.setup.spurious > 0 && self.passes.is_multiple_of(self.setup.spurious) {
            self.report_falsely(worker);
        }
        self.state.borrow_mut().pass = self.passes;
        let now = Instant::from_nanos(self.now());
        self.workers[worker].endpoint.begin_pass(now);
        while let Some(key) = self.workers[worker].endpoint.next_turn() {
            self.turn(worker, key)?;
        }
        self.workers[worker].endpoint.end_pass(now, &mut self.host);
        let mut state = self.state.borrow_mut();
        let load = state.load(worker);
        state.admissions[worker].pass_ended(load);
        drop(state);
        self.check_work(worker)
    }

    /// Reports the latest connections, some of which may have ended, as ready.
    fn report_falsely(&mut self, worker: usize) {
        let state = self.state.borrow();
        let keys: Vec<_> = state
            .peers
            .iter()
            .rev()
            .take(64)
            .filter(|peer| peer.worker == worker)
            .filter_map(|peer| peer.key)
            .collect();
        drop(state);
        let false_report = Readiness { readable: true, writable: true, ended: false, reset: false };
        let endpoint = &mut self.workers[worker].endpoint;
        keys.into_iter().for_each(|key| endpoint.socket_ready(key, false_report));
    }

    fn turn(&mut self, worker: usize, key: Key) -> Result<(), Failed> {
        self.turns += 1;
        let now = Instant::from_nanos(self.now());
        let at = self.workers[worker].endpoint.get_mut(key).map_or(0, |(_, socket)| socket.at);
        if self.turns > TURNS_MAX {
            return self.fail(at, "budget", "the run does not end".into());
        }
        let drain = self.agents[self.workers[worker].agent].drain;
        self.state.borrow_mut().begin_turn(at, drain);
        match self.workers[worker].endpoint.turn(key, now, &mut self.host) {
            Turn::Open { is_blocked } => {
                self.state.borrow_mut().end_turn(at, is_blocked);
                self.checked()?;
                self.check_connection(at, key)
            }
            Turn::Closed(_) => {
                self.state.borrow_mut().removed(at);
                self.checked()
            }
        }
    }
}
