//! The invariants of an endpoint between two passes, and of a connection between two turns. Debug assertions check them.

use crate::endpoint::admission::Usage;
use crate::endpoint::readiness::Outbound;
use crate::endpoint::seat::{Ending, Seat};
use crate::endpoint::{Endpoint, Host};

impl<H: Host> Endpoint<H> {
    /// Checks after a pass that the parts of the endpoint agree with each other.
    pub(super) fn invariants(&self) {
        if cfg!(debug_assertions) {
            self.check_admission();
            self.check_queue();
            self.check_sets();
            self.seats.iter().for_each(|(index, seat)| {
                assert_eq!(seat.key.index(), index, "a connection stays at its index");
                assert!(seat.kept.is_none() || seat.position.is_none(), "a place is kept or taken");
            });
        }
    }

    /// Limits are shared by exactly the open connections.
    fn check_admission(&self) {
        let admission = &self.shared.admission;
        let sum = self.seats.iter().fold(Usage::default(), |sum, (_, seat)| sum.with(seat.usage));
        assert_eq!(sum, admission.usage(), "the usage is the sum of that of all connections");
        let permits = self.seats.iter().filter(|(_, seat)| seat.permit.is_some()).count();
        assert_eq!(permits, admission.granted(), "each permit that was granted has a holder");
        assert!(sum.in_flight <= admission.limits().in_flight_max, "NOTIFYs in flight stay within their limit");
        let is_left = |seat: &Seat<H>| seat.permit.is_some() && !seat.is_ready;
        assert!(!self.seats.iter().any(|(_, seat)| is_left(seat)), "a permit is followed by a turn");
    }

    /// The queue has each connection that waits for a permit once.
    fn check_queue(&self) {
        let admission = &self.shared.admission;
        let mut queued = 0;
        for (position, seat) in self.seats.iter().filter_map(|(_, seat)| Some((seat.position?, seat))) {
            assert_eq!(admission.queued_at(position), Some(seat.key), "a queue position is that of its connection");
            assert!(seat.permit.is_none(), "a connection is queued or has a permit");
            queued += 1;
        }
        assert_eq!(queued, admission.queued(), "only open connections are queued");
        admission.check_queue();
    }

    /// Sets of connections have each that belongs to them once.
    fn check_sets(&self) {
        let seats = || self.seats.iter().map(|(_, seat)| seat);
        let ready = seats().filter(|seat| seat.is_ready).count();
        assert!(self.ready.len() >= ready, "a connection that is ready has a turn");
        assert_eq!(self.turns_left.min(self.ready.len()), self.turns_left, "only ready connections have a turn");
        let unused = seats().filter(|seat| seat.unused_since.is_some()).count();
        assert_eq!(unused, self.shared.unused.len(), "only open connections are unused");
        let armed = seats().filter(|seat| seat.armed.is_armed()).count();
        assert_eq!(armed, self.timers.len(), "only open connections have timers");
        for key in self.rejected.values() {
            assert_eq!(self.key_at(key.index()), Some(*key), "only open connections are waiting to be rejected");
        }
    }
}

impl<H: Host> Seat<H> {
    /// Checks after a turn that the connection and what the endpoint knows of it agree.
    pub(super) fn invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let connection = &self.connection;
        assert_eq!(self.usage.in_flight, connection.usage().in_flight, "NOTIFYs in flight are counted after each turn");
        assert_eq!(self.usage.copies, connection.usage().in_flight_bytes, "copies are counted after each turn");
        assert!(self.usage.buffers >= connection.usage().memory.total(), "buffers are counted after each turn");
        assert!(self.deferred.len() <= connection.usage().in_flight, "work goes on only for NOTIFYs in flight");
        assert!(self.deferred.iter().all(|(ticket, _)| connection.is_live(*ticket)), "work has a valid ticket");
        assert!(self.answers.is_empty(), "answers that have arrived are sent in the next turn");
        assert_eq!(self.stall.is_some(), connection.blocked().waits_for_peer(), "a stall is a wait for the peer");
        assert_eq!(
            self.held_since.is_some(),
            connection.blocked().is_held_back(),
            "the time of frames held back is counted"
        );
        assert!(
            self.unused_since.is_none() || connection.stats().notifies == 0,
            "a connection is unused until a NOTIFY"
        );
        assert!(self.outbound != Outbound::Shut || connection.is_send_finished(), "the last byte precedes the end");
        let is_handed_over = matches!(self.ending, Ending::Handover(_));
        assert!(!is_handed_over || self.was_ready, "only a connection with a HELLO waits for a good moment to close");
        assert!(!is_handed_over || !connection.is_closed(), "a connection that is closed is not handed over");
        assert!(!connection.is_closed() || self.ending == Ending::Begun, "the end of a connection was noticed");
        assert_eq!(self.reported, connection.stats(), "everything that was counted is reported");
        assert_eq!(self.sent_deferred, 0, "deferred answers are reported together with the counters");
    }
}
