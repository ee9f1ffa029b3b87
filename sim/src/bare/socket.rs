//! One bare connection: the core, the checker, and the two directions of its socket.

use std::collections::VecDeque;

use spoa_core::{Config, Connection, Instant, TicketId};
use spoa_sim_checker::Oracle;

use crate::conversation::Conversation;
use crate::coverage::Observer;
use crate::link::{Inlet, Outlet};
use crate::script::{Link, Nanos};

/// The number of tickets that are kept. A slot is used again soon, so a few are enough.
const TICKETS_KEPT: usize = 8;

/// One connection, from its accept to its end.
pub(super) struct Socket {
    pub(super) link: Link,
    pub(super) connection: Connection,
    pub(super) oracle: Oracle,
    pub(super) observer: Observer,
    pub(super) inlet: Inlet,
    pub(super) outlet: Outlet,
    /// True once HAProxy has closed or reset the connection.
    pub(super) peer_closed: bool,
    /// True once the core was notified that HAProxy has closed the connection.
    pub(super) eof_reported: bool,
    /// The number of NOTIFYs that were handed out.
    pub(super) delivered: u64,
    /// The last few tickets, valid or not, and the numbers of their NOTIFYs.
    pub(super) tickets: VecDeque<(TicketId, u64)>,
    /// The number of actions that did not fit into their ACKs.
    pub(super) dropped_actions: usize,
    /// The conversation, if it is kept.
    pub(super) conversation: Option<Conversation>,
}

impl Socket {
    /// Returns a connection that was just accepted. Its conversation is kept if `keeps_conversation` is true.
    pub(super) fn accepted(
        link: Link,
        config: Config,
        oracle: Oracle,
        inlet: Inlet,
        now: Nanos,
        keeps_conversation: bool,
    ) -> Self {
        Self {
            link,
            connection: Connection::new(config, Instant::from_nanos(now)),
            oracle,
            observer: Observer::new(config.max_frame_size),
            inlet,
            outlet: Outlet::default(),
            peer_closed: false,
            eof_reported: false,
            delivered: 0,
            tickets: VecDeque::new(),
            dropped_actions: 0,
            conversation: keeps_conversation.then(|| Conversation::new(link)),
        }
    }

    /// Keeps the id of a ticket in place of the oldest one, to see later whether the core knows that it is void.
    pub(super) fn keep_ticket(&mut self, ticket: TicketId, index: u64) {
        if self.tickets.len() == TICKETS_KEPT {
            self.tickets.pop_front();
        }
        self.tickets.push_back((ticket, index));
    }

    /// Records in the conversation that input waits in the socket although the connection is open, if `waits` is true.
    pub(super) fn mark_full(&mut self, waits: bool) {
        if let Some(conversation) = &mut self.conversation {
            conversation.was_full |= waits && !self.connection.is_closed();
        }
    }
}
