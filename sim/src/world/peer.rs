//! One connection of the agents, as HAProxy and the checker see it.

use std::collections::VecDeque;

use spoa_core::endpoint::Key;
use spoa_core::table::StateName;
use spoa_sim_checker::Oracle;

use super::handover::Ending;
use crate::conversation::Conversation;
use crate::coverage::Observer;
use crate::link::{Inlet, Outlet};
use crate::script::{Link, Nanos};

/// One connection, from its accept to its end.
pub(super) struct Peer {
    pub(super) link: Link,
    /// The number of the peer.
    pub(super) origin: u8,
    /// The number of the worker that serves it.
    pub(super) worker: usize,
    /// The key of the connection, once its agent has accepted it.
    pub(super) key: Option<Key>,
    pub(super) oracle: Oracle,
    pub(super) observer: Observer,
    pub(super) inlet: Inlet,
    pub(super) outlet: Outlet,
    /// HAProxy has closed or reset the connection.
    pub(super) has_closed: bool,
    pub(super) was_reset: bool,
    /// The agent has not removed the connection.
    pub(super) is_open: bool,
    /// The agent has lost the connection to a fault of its own, or was killed.
    pub(super) was_lost: bool,
    /// It was accepted below the limit of connections, or in place of another one.
    pub(super) is_welcome: bool,
    /// The time at which it was accepted.
    pub(super) accepted_at: Nanos,
    /// The agent refuses a health check on it.
    pub(super) refuses_checks: bool,
    /// The model of HAProxy knows that the agent has closed the connection.
    pub(super) close_forwarded: bool,
    pub(super) ending: Ending,
    pub(super) was_ready: bool,
    /// The NOTIFYs whose answers the next turn sends.
    pub(super) answers: VecDeque<u64>,
    /// The number of NOTIFYs that were handed out.
    pub(super) delivered: u64,
    /// The number of actions that did not fit into their ACKs.
    pub(super) dropped_actions: usize,
    /// A NOTIFY was handed out since the end of the handover was last considered.
    pub(super) notified: bool,
    /// The endpoint has read in this turn.
    pub(super) has_read: bool,
    /// The deadlines and the handover were considered since the last read.
    pub(super) is_settled: bool,
    /// The endpoint has sent the end of the stream.
    pub(super) is_shut: bool,
    /// The bytes that were sent in this turn.
    pub(super) wrote: usize,
    /// The number of NOTIFYs before this turn.
    pub(super) notifies_before: u64,
    /// Since when HAProxy has left something undone.
    pub(super) stall: Option<Stall>,
    /// The pass in which it was shed.
    pub(super) shed_in: Option<u32>,
    /// The conversation, if it is kept.
    pub(super) conversation: Option<Conversation>,
}

/// Something that HAProxy has left undone since some time: bytes that it has not read, or a NOTIFY that is incomplete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    pub(super) since: Nanos,
    unread: usize,
    is_incomplete: bool,
}

impl Peer {
    /// Ends a turn: what was left undone before it may be done now, and something else left undone.
    pub(super) fn note_stall(&mut self, now: Nanos) {
        let is_complete = self.oracle.counts().notifies > self.notifies_before;
        if let Some(stall) = &mut self.stall {
            stall.unread = stall.unread.saturating_sub(self.wrote);
            stall.is_incomplete &= !is_complete;
        }
        self.stall = self.stall.filter(|stall| stall.unread > 0 || stall.is_incomplete);
        let waits = self.oracle.waits_for_peer();
        let (unread, is_incomplete) = (self.oracle.output().len(), self.oracle.waits_for_input());
        self.stall = waits.then(|| self.stall.unwrap_or(Stall { since: now, unread, is_incomplete }));
    }

    /// Returns a connection that HAProxy has just opened, to an agent with frames of at most `frame_max` bytes.
    pub(super) fn new(link: Link, (origin, worker): (u8, usize), oracle: Oracle, inlet: Inlet, frame_max: u32) -> Self {
        Self {
            link,
            origin,
            worker,
            key: None,
            oracle,
            observer: Observer::new(frame_max),
            inlet,
            outlet: Outlet::default(),
            has_closed: false,
            was_reset: false,
            is_open: true,
            was_lost: false,
            is_welcome: false,
            accepted_at: 0,
            refuses_checks: false,
            close_forwarded: false,
            ending: Ending::No,
            was_ready: false,
            answers: VecDeque::new(),
            delivered: 0,
            dropped_actions: 0,
            notified: false,
            has_read: false,
            is_settled: false,
            is_shut: false,
            wrote: 0,
            notifies_before: 0,
            stall: None,
            shed_in: None,
            conversation: None,
        }
    }

    /// True if HAProxy has reset the connection while the input was full, so that no read finds the end.
    pub(super) fn is_dead(&self) -> bool {
        self.was_reset && !self.oracle.wants_input()
    }

    /// Returns the name of the state that the connection has according to the checker.
    pub(super) fn state(&self) -> StateName {
        match self.oracle.state() {
            "hello" => StateName::AwaitHello,
            "refusing" => StateName::Refusing,
            "running" => StateName::Running,
            "draining" => StateName::Draining,
            "closing" => StateName::Closing,
            _ => StateName::Closed,
        }
    }
}
