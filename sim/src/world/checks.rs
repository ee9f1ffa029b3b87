//! Checks of an endpoint after each turn, after each pass, and while nothing is left to do.

use spoa_core::endpoint::Key;

use super::handover::Ending;
use super::peer::Peer;
use super::state::Work;
use super::{Failed, World};
use crate::compare;
use crate::wording;

impl World {
    /// Compares a connection with the checker after its turn.
    pub(super) fn check_connection(&mut self, at: usize, key: Key) -> Result<(), Failed> {
        let state = self.state.borrow();
        let worker = state.peers[at].worker;
        let Some((connection, _)) = self.workers[worker].endpoint.get_mut(key) else { return Ok(()) };
        let oracle = &state.peers[at].oracle;
        let memory = connection.usage().memory.total();
        let dropped_actions = state.peers[at].dropped_actions;
        let fault = compare::state(connection, oracle, dropped_actions).or_else(|| {
            let is_wrong = memory > 0 && oracle.holds_nothing();
            is_wrong.then(|| ("memory", format!("expected an idle connection to hold 0 bytes, got {memory} bytes")))
        });
        drop(state);
        fault.map_or(Ok(()), |(check, detail)| self.fail(at, check, detail))
    }

    /// Checks that work on answers goes on exactly for the NOTIFYs in flight, and that no limit is exceeded.
    pub(super) fn check_work(&self, worker: usize) -> Result<(), Failed> {
        self.checked()?;
        let endpoint = &self.workers[worker].endpoint;
        let state = self.state.borrow();
        let is_needed = |work: &Work| {
            let peer = &state.peers[work.at];
            peer.is_open && peer.oracle.is_in_flight(work.index)
        };
        let useless = state.work.iter().find(|work| !is_needed(work)).map(|work| work.at);
        let (load, usage, queued) = (state.load(worker), endpoint.usage(), state.admissions[worker].queued());
        let limits = state.admissions[worker].limits();
        drop(state);
        if let Some(at) = useless {
            return self.fail(at, "work", "work goes on though its NOTIFY is not in flight".into());
        }
        if usage.in_flight != load.in_flight || usage.copies != load.copies {
            return self.fail(
                0,
                "usage",
                format!(
                    "expected {} NOTIFYs in flight with copies of {} bytes, got {} with {} bytes",
                    load.in_flight, load.copies, usage.in_flight, usage.copies
                ),
            );
        }
        if endpoint.queued() != queued {
            return self.fail(0, "queue", format!("expected {queued} queued, got {}", endpoint.queued()));
        }
        if load.in_flight > limits.in_flight_max {
            return self.fail(0, "limit", format!("expected fewer NOTIFYs in flight, got {}", load.in_flight));
        }
        let state = self.state.borrow();
        let can_be_shed = |at: &usize| state.peers[*at].worker == worker && state.shed_order(*at).is_some();
        let candidate = state.open.iter().copied().find(can_be_shed);
        drop(state);
        match candidate {
            Some(at) if usage.bytes() > limits.bytes_max && !endpoint.has_turns() => self.fail(
                at,
                "shed",
                "the limit of bytes is exceeded, and a connection that can be shed is open".into(),
            ),
            _ => Ok(()),
        }
    }

    /// Checks the connections while none has a turn: nothing is left undone.
    pub(super) fn check_rest(&self) -> Result<(), Failed> {
        self.checked()?;
        (0..self.workers.len()).filter(|&worker| self.runs(worker)).try_for_each(|worker| self.check_worker(worker))
    }

    fn check_worker(&self, worker: usize) -> Result<(), Failed> {
        let state = self.state.borrow();
        let load = state.load(worker);
        let (mut first, mut fault) = (None, None);
        let all = state.open.iter().map(|&at| (at, &state.peers[at]));
        for (at, peer) in all.filter(|(_, peer)| peer.worker == worker) {
            let is_admitted = state.admissions[worker].admits(at, load);
            fault = fault.or_else(|| Some((at, "liveness", self.undone(peer, is_admitted)?)));
            first = first.into_iter().chain(peer.oracle.deadline()).min();
        }
        drop(state);
        if let Some((at, check, detail)) = fault {
            return self.fail(at, check, detail.into());
        }
        let next = self.deadline(worker);
        match first {
            Some(first) if next.is_none_or(|next| next > first) => self.fail(0, "timers", wording::timers(first, next)),
            _ => Ok(()),
        }
    }

    /// Returns what is left undone on an open connection, if anything is.
    fn undone(&self, peer: &Peer, is_admitted: bool) -> Option<&'static str> {
        let drains = self.agents[self.workers[peer.worker].agent].drain.is_some();
        let oracle = &peer.oracle;
        let undone = [
            (peer.inlet.is_ready() && oracle.wants_input(), "bytes are not read"),
            (peer.outlet.has_room() && !oracle.output().is_empty() && !peer.ending.holds_acks(), "bytes are not sent"),
            (oracle.needs_permit() && is_admitted, "a NOTIFY is held back though no limit is reached"),
            (!peer.answers.is_empty(), "an answer is not sent"),
            (drains && matches!(peer.ending, Ending::No), "a connection is not notified of the drain"),
            (peer.was_reset, "a connection that HAProxy has reset is open"),
            (self.is_due(oracle.deadline()), "a deadline is not handled"),
        ];
        undone.iter().find_map(|(is_undone, what)| is_undone.then_some(*what))
    }
}
