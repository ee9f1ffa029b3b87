//! Checks of the endpoint after each turn, after each pass, and while nothing is left to do.

use spoa_core::Instant;
use spoa_core::endpoint::Key;

use super::handover::Ending;
use super::state::Work;
use super::{Failed, World};
use crate::world::{Deadline, is_same};

impl World {
    /// Compares a connection with the checker after its turn.
    pub(super) fn check_connection(&mut self, at: usize, key: Key) -> Result<(), Failed> {
        let state = self.state.borrow();
        let Some((connection, _)) = self.endpoint.get_mut(key) else { return Ok(()) };
        let oracle = &state.peers[at].oracle;
        let deadline = connection.poll_timeout().map(Instant::as_nanos);
        let flag = |name: &str, expected: bool| format!("expected {name} to be {expected}, got {}", !expected);
        let fault = if connection.is_closed() != oracle.is_closed() {
            Some(("closed", flag("is_closed", oracle.is_closed())))
        } else if connection.wants_input() != oracle.wants_input() {
            Some(("back-pressure", flag("wants_input", oracle.wants_input())))
        } else if connection.is_send_finished() != oracle.is_send_finished() {
            Some(("finished", flag("is_send_finished", oracle.is_send_finished())))
        } else if deadline != oracle.deadline() {
            Some(("deadline", format!("expected {}, got {}", Deadline(oracle.deadline()), Deadline(deadline))))
        } else if connection.needs_permit() != oracle.needs_permit() {
            Some(("admission", flag("needs_permit", oracle.needs_permit())))
        } else if connection.waits_for_peer() != oracle.waits_for_peer() {
            Some(("stalled", flag("waits_for_peer", oracle.waits_for_peer())))
        } else if connection.is_idle() != oracle.is_idle() {
            Some(("idle", flag("is_idle", oracle.is_idle())))
        } else if !is_same(&connection.stats(), oracle.counts()) {
            Some(("stats", format!("expected {:?}, got {:?}", oracle.counts(), connection.stats())))
        } else if connection.memory() > 0 && oracle.holds_nothing() {
            let memory = connection.memory();
            Some(("memory", format!("expected an idle connection to hold 0 bytes, got {memory} bytes")))
        } else {
            None
        };
        drop(state);
        fault.map_or(Ok(()), |(check, detail)| self.fail(at, check, detail))
    }

    /// Checks that work on answers goes on exactly for the NOTIFYs in flight, and that no limit is exceeded.
    pub(super) fn check_work(&self) -> Result<(), Failed> {
        self.checked()?;
        let state = self.state.borrow();
        let is_needed = |work: &Work| {
            let peer = &state.peers[work.at];
            peer.is_open && peer.oracle.is_in_flight(work.index)
        };
        let useless = state.work.iter().find(|work| !is_needed(work)).map(|work| work.at);
        let (load, usage, queued) = (state.load(), self.endpoint.usage(), state.admission.queued());
        drop(state);
        if let Some(at) = useless {
            return self.fail(at, "work", "work goes on though its NOTIFY is not in flight".into());
        }
        if usage.in_flight != load.in_flight || usage.copies != load.copies {
            return self.fail(0, "usage", format!("expected {load:?}, got {usage:?}"));
        }
        if self.endpoint.queued() != queued {
            return self.fail(0, "queue", format!("expected {queued} queued, got {}", self.endpoint.queued()));
        }
        if load.in_flight > self.agent.total_in_flight_max.max(1) as usize {
            return self.fail(0, "limit", format!("expected fewer NOTIFYs in flight, got {}", load.in_flight));
        }
        let state = self.state.borrow();
        let can_be_shed = |at: &usize| state.peers[*at].is_open && state.shed_order(*at).is_some();
        let candidate = (0..state.peers.len()).find(can_be_shed);
        drop(state);
        match candidate {
            Some(at) if usage.bytes() > self.agent.total_bytes_max() && !self.endpoint.has_turns() => self.fail(
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
        let state = self.state.borrow();
        let load = state.load();
        let mut first = None;
        let mut fault = None;
        for (at, peer) in state.peers.iter().enumerate().filter(|(_, peer)| peer.is_open) {
            let can_read = peer.inlet.is_ready() && peer.oracle.wants_input();
            if can_read {
                fault = fault.or(Some((at, "liveness", "bytes are not read")));
            }
            if peer.outlet.has_room() && !peer.oracle.output().is_empty() && !peer.ending.holds_acks() {
                fault = fault.or(Some((at, "liveness", "bytes are not sent")));
            }
            if peer.oracle.needs_permit() && state.admission.admits(at, load) {
                fault = fault.or(Some((at, "liveness", "a NOTIFY is held back though no limit is reached")));
            }
            if !peer.answers.is_empty() {
                fault = fault.or(Some((at, "liveness", "an answer is not sent")));
            }
            if self.drain.is_some() && matches!(peer.ending, Ending::No) {
                fault = fault.or(Some((at, "liveness", "a connection does not hear of the drain")));
            }
            if peer.was_reset {
                fault = fault.or(Some((at, "liveness", "a connection that HAProxy has reset is open")));
            }
            if self.is_due(peer.oracle.deadline()) {
                fault = fault.or(Some((at, "liveness", "a deadline is not handled")));
            }
            first = first.into_iter().chain(peer.oracle.deadline()).min();
        }
        drop(state);
        if let Some((at, check, detail)) = fault {
            return self.fail(at, check, detail.into());
        }
        let next = self.endpoint.next_deadline().map(Instant::as_nanos);
        match first {
            Some(first) if next.is_none_or(|next| next > first) => {
                self.fail(0, "timers", format!("expected a deadline {}, got {}", Deadline(Some(first)), Deadline(next)))
            }
            _ => Ok(()),
        }
    }
}
