//! The end of a run: all faults end, and then nothing may be left.

use super::agent::Phase;
use super::{Failed, World};
use crate::script::Nanos;

/// The longest time from the last step to the last answer. A handler may take an hour, and NOTIFYs that a limit holds
/// back are handed out only after that.
const QUIESCENCE_MAX: Nanos = 100 * 3_600_000_000_000;

impl World {
    /// Ends all faults, then checks that every NOTIFY is answered, every event ends, every byte is read, every connection is
    /// closed, and nothing is held.
    pub(super) fn reach_quiescence(&mut self) -> Result<(), Failed> {
        (self.setup.lazy, self.setup.spurious) = (1, 0);
        self.end_faults();
        self.players.iter_mut().for_each(|player| player.process.stop_checks());
        (0..self.agents.len()).try_for_each(|agent| self.resume(agent))?;
        for at in 0..self.changes.len() {
            let mut state = self.state.borrow_mut();
            let peer = &mut state.peers[at];
            (peer.outlet.room, peer.outlet.take) = (None, None);
            peer.inlet.release();
            drop(state);
            self.change_to_writable(at);
            self.deliver(at)?;
        }
        self.run_all()?;
        self.wait_for_answers()?;
        self.stop_haproxy()?;
        for at in 0..self.changes.len() {
            let has_closed = self.state.borrow().peers[at].has_closed;
            if !has_closed {
                self.finish(at)?;
            }
        }
        while let Some(due) = self.transit_due() {
            self.wait_until(due)?;
        }
        self.run_all()?;
        // A connection that holds ACKs back may not read until it sends them.
        while self.state.borrow().open_peers().any(|peer| peer.ending.holds_acks())
            && let Some(due) = self.next_due()
        {
            self.wait_until(due)?;
        }
        self.check_quiescence()
    }

    fn wait_for_answers(&mut self) -> Result<(), Failed> {
        let end = self.now().saturating_add(QUIESCENCE_MAX);
        let in_flight = |world: &Self| {
            let state = world.state.borrow();
            state.open_peers().any(|peer| peer.oracle.in_flight() > 0)
        };
        while in_flight(self) || self.has_pending_events() {
            match self.next_due() {
                Some(due) if due <= end => self.wait_until(due)?,
                _ if self.has_pending_events() => {
                    return self.fail(0, "liveness", "an event never ends".into());
                }
                _ => return self.fail(0, "liveness", "a NOTIFY is never answered".into()),
            }
        }
        Ok(())
    }

    fn check_quiescence(&self) -> Result<(), Failed> {
        let open = self.state.borrow().open.first().copied();
        if let Some(at) = open {
            return self.fail(at, "liveness", "a connection that HAProxy closed stays open".into());
        }
        for (number, agent) in self.agents.iter().enumerate() {
            self.check_ended(number)?;
            if agent.phase == Phase::Draining {
                return self.fail(0, "drain", "a drained process does not end".into());
            }
        }
        if self.state.borrow().work.is_empty() { Ok(()) } else { self.fail(0, "work", "work never ends".into()) }
    }
}
