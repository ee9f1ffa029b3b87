//! The network between the models of HAProxy and the agents: what is sent arrives later, in order.

use spoa_sim_haproxy::LinkId;

use super::{Failed, World};
use crate::models::OwnedAction;
use crate::script::Nanos;

/// Something on its way, in the order in which it was sent.
pub(super) struct InTransit {
    due: Nanos,
    player: usize,
    cargo: Cargo,
}

/// The content of a transmission.
pub(super) enum Cargo {
    /// An action of HAProxy, to an agent.
    Action(OwnedAction),
    /// Bytes of an agent, to HAProxy.
    Bytes(LinkId, Vec<u8>),
    /// The end of an agent's bytes.
    Eof(LinkId),
    /// A reset by an agent.
    Reset(LinkId),
    /// A connection that was refused.
    Refused(LinkId),
}

impl World {
    /// Sends something to or from a process. Without latency it arrives at once.
    pub(super) fn send(&mut self, player: usize, cargo: Cargo) -> Result<(), Failed> {
        let latency = self.players[player].process.settings().latency;
        if latency == 0 {
            return self.deliver_cargo(player, cargo);
        }
        let due = self.now().saturating_add(latency);
        self.transit.push_back(InTransit { due, player, cargo });
        Ok(())
    }

    /// Returns the time at which something arrives next.
    pub(super) fn transit_due(&self) -> Option<Nanos> {
        self.transit.iter().map(|one| one.due).min()
    }

    /// Delivers everything that has arrived by now.
    pub(super) fn deliver_arrived(&mut self) -> Result<(), Failed> {
        let now = self.now();
        while let Some(first) = self.transit.iter().position(|one| one.due <= now) {
            let Some(InTransit { player, cargo, .. }) = self.transit.remove(first) else { return Ok(()) };
            self.deliver_cargo(player, cargo)?;
        }
        Ok(())
    }

    fn deliver_cargo(&mut self, player: usize, cargo: Cargo) -> Result<(), Failed> {
        let now = self.now();
        let process = &mut self.players[player].process;
        match cargo {
            Cargo::Action(action) => return self.perform(player, action),
            Cargo::Bytes(link, bytes) => process.handle_bytes(now, link, &bytes),
            Cargo::Eof(link) => process.handle_eof(now, link),
            Cargo::Reset(link) => process.handle_reset(now, link),
            Cargo::Refused(link) => process.handle_refused(now, link),
        }
        self.perform_actions(player)
    }
}
