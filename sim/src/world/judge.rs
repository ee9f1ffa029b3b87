//! The side of HAProxy: every event ends once and in time, with the answer to its own messages; neither side rejects the bytes of
//! the other; and no event is lost without a possible cause, such as a fault of the network.

use spoa_core::{CloseReason, Status};
use spoa_sim_haproxy::codec::code;
use spoa_sim_haproxy::{Engine, EventId, LinkId};

use super::player::{FRAME_OVERHEAD, Player};
use super::{Failed, World};
use crate::coverage::Mark;
use crate::failure::Failure;
use crate::script::Link;
use crate::trace::Kind;

/// The status of an event that needs fragments, or is on a connection with such an event, if the agent does not accept
/// fragments.
const TOO_LARGE: u32 = 256 + code::FRAGMENTED;
impl World {
    /// Checks the result of an event that has ended.
    pub(super) fn end_event(&mut self, player: usize, id: EventId, status: u32, actions: &[u8]) -> Result<(), Failed> {
        let Player { name, events, .. } = &mut self.players[player];
        let link = Link::All(*name);
        let Some(at) = events.iter().position(|event| event.id == id) else {
            return self.fail_haproxy(link, "answer", format!("event {} ended twice", id.0));
        };
        let event = events.remove(at);
        let numbers = [u64::from(id.0), u64::from(status), actions.len() as u64];
        self.note_haproxy(link, Kind::Answered, &numbers, || {
            format!("event {}: st={status}, {} bytes of actions", id.0, actions.len())
        });
        self.mark_event(player, status);
        let Player { streams, process, cut_short, .. } = &mut self.players[player];
        let stream = &mut streams[event.stream];
        // The answer may be the late ACK of an earlier event.
        let is_mixed_up = stream.has_failed && process.settings().engine == Engine::Applet;
        (stream.busy, stream.has_failed) = (false, stream.has_failed || status != 0);
        let small = event.size + FRAME_OVERHEAD <= 256;
        let is_complaint =
            is_complaint(status, small, *cut_short) && (self.setup.connection.fragmentation || status != TOO_LARGE);
        let must_be_answered = self.players[player].must_be_answered(&event, &self.setup);
        let fault = if self.now() > event.due {
            Some(("late", "after its processing timeout".into()))
        } else if status == 0 && !is_mixed_up && !event.answer.allows(actions) {
            Some(("answer", "with actions of another answer".into()))
        } else if status == 0 && !is_mixed_up && must_be_answered && !event.answer.is_whole(actions) {
            Some(("answer", "with a part of its answer".into()))
        } else if status != 0 && (must_be_answered || is_complaint && !self.players[player].has_defects()) {
            Some(("lost", format!("with st={status}")))
        } else {
            None
        };
        if event.crosses_drain && !self.players[player].may_lose_events {
            let mark = match (self.players[player].process.settings().engine, status) {
                (Engine::Mux, _) => Some(Mark::KeptInDrain),
                (Engine::Applet, 0) => None,
                (Engine::Applet, _) => Some(Mark::LostInDrain),
            };
            mark.into_iter().for_each(|mark| self.state.borrow_mut().coverage.reach(mark));
        }
        match fault {
            Some((check, end)) => self.fail_haproxy(link, check, format!("event {} ended {end}", id.0)),
            None => Ok(()),
        }
    }

    fn mark_event(&mut self, player: usize, status: u32) {
        let mark = match (status, self.players[player].process.settings().engine) {
            (0, Engine::Mux) => Mark::MuxAnswered,
            (0, Engine::Applet) => Mark::AppletAnswered,
            (1, _) => Mark::EventTimeout,
            (3, _) => Mark::EventTooBig,
            _ => Mark::EventLost,
        };
        let mut state = self.state.borrow_mut();
        state.coverage.reach(mark);
        if status == 0 && self.players[player].has_defects() {
            state.coverage.reach(Mark::Defects);
        }
    }

    /// Checks the result of a health check.
    pub(super) fn end_check(
        &mut self,
        player: usize,
        link: LinkId,
        up: bool,
        text: &'static str,
    ) -> Result<(), Failed> {
        let Player { name, may_lose_events, .. } = self.players[player];
        let at = self.players[player].socket(link);
        let link = Link::All(name);
        self.note_haproxy(link, Kind::Checked, &[u64::from(up)], || format!("health: {text}"));
        let mut state = self.state.borrow_mut();
        state.coverage.reach(if up { Mark::CheckUp } else { Mark::CheckDown });
        let peer = at.map(|at| &state.peers[at]);
        let refuses = peer.is_some_and(|peer| peer.refuses_checks);
        let is_served = peer.is_some_and(|peer| !peer.was_lost);
        drop(state);
        if up && refuses {
            let detail = format!("a health check that the agent must refuse passed: {text}");
            return self.fail_haproxy(link, "health", detail);
        }
        if !up && is_served && !refuses && !may_lose_events {
            return self.fail_haproxy(link, "health", format!("a health check failed: {text}"));
        }
        Ok(())
    }

    /// Checks the ends of connections that the agents have reported.
    pub(super) fn check_ends(&self) -> Result<(), Failed> {
        let ends = std::mem::take(&mut self.state.borrow_mut().ends);
        ends.into_iter().try_for_each(|(at, reason)| self.check_close(at, reason))
    }

    /// Checks that a connection to a process did not end because one side rejected the bytes of the other.
    fn check_close(&self, at: usize, reason: CloseReason) -> Result<(), Failed> {
        let Some((player, _)) = self.owner(at) else { return Ok(()) };
        let fault = match reason {
            CloseReason::Error(error) if error.status() != Status::TIMEOUT => {
                format!("the agent rejected HAProxy's bytes: {error}")
            }
            // HAProxy closes with this code if an event needs fragments and the agent does not accept them.
            CloseReason::Peer(Status::FRAGMENTED) if !self.setup.connection.fragmentation => return Ok(()),
            // If both sides abort a NOTIFY between its fragments, HAProxy does not know its ids any more when the abort
            // of the agent arrives.
            CloseReason::Peer(Status::UNKNOWN_FRAME_ID) if self.has_aborted(at) => return Ok(()),
            CloseReason::Peer(status) if (code::TOO_BIG..=code::UNKNOWN).contains(&status.0) => {
                format!("HAProxy rejected the agent's bytes: {status}")
            }
            _ => return Ok(()),
        };
        if self.players[player].has_defects() {
            return Ok(());
        }
        self.fail(at, "complaint", fault)
    }

    fn has_aborted(&self, at: usize) -> bool {
        self.state.borrow().peers[at].oracle.counts().aborted_by_agent > 0
    }

    fn fail_haproxy<T>(&self, link: Link, check: &'static str, detail: String) -> Result<T, Failed> {
        let mut state = self.state.borrow_mut();
        let failure = Failure { check, state: "haproxy", link, step: state.step, at: state.now, detail };
        state.failure.get_or_insert(failure);
        Err(Failed)
    }
}

/// True if a status means that one side rejected the bytes of the other, which a fault of the network cannot cause.
const fn is_complaint(status: u32, small: bool, cut_short: bool) -> bool {
    match status.checked_sub(256) {
        Some(code::TOO_BIG) => small,
        Some(code::INVALID) => !cut_short,
        Some(code) => code > code::TOO_BIG && code != Status::RESOURCE.0,
        None => status == 3 && small,
    }
}
