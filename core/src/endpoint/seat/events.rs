//! The events of a connection, and what is reported to the host.

use core::mem;

use super::{Ending, Seat};
use crate::endpoint::Shared;
use crate::endpoint::host::{Handled, Host, Report};
use crate::event::{CloseReason, Event, LocalReason};

impl<H: Host> Seat<H> {
    /// Holds NOTIFYs back while the limits of all connections are reached, or others are queued for a permit.
    pub(super) fn apply_limits(&mut self, shared: &mut Shared) {
        let usage = self.usage.during_turn(&self.connection);
        shared.admission.change(&mut self.usage, usage);
        self.connection.hold_back(!shared.admission.admits(self.permit.is_some()));
    }

    pub(in crate::endpoint) fn hand_out_events(&mut self, shared: &mut Shared, host: &mut H) {
        self.apply_limits(shared);
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Ready { negotiated, engine_id } => {
                    self.was_ready = true;
                    host.report(&mut self.socket, Report::Ready { negotiated, engine_id });
                }
                Event::Notify(notify) => {
                    if let Handled::Deferred(ticket, work) = host.notify(self.key, &mut self.socket, notify) {
                        debug_assert!(self.connection.is_live(ticket), "a deferred NOTIFY is in flight");
                        self.deferred.push((ticket, work));
                    }
                    // A handler may also defer its answer and then fail, so that the NOTIFY stays in flight until its deadline.
                    if self.connection.usage().in_flight > self.usage.in_flight {
                        if let Some(permit) = self.permit.take() {
                            shared.admission.put_back(permit);
                        }
                        self.apply_limits(shared);
                    }
                }
                Event::Closed(reason) => self.closed(reason, host),
            }
        }
        self.count(host);
    }

    pub(super) fn closed(&mut self, reason: CloseReason, host: &mut H) {
        if reason == CloseReason::Local(LocalReason::ConnectionLimit) && !self.was_refused {
            self.was_refused = true;
            host.report(&mut self.socket, Report::Refused(reason));
        }
        debug_assert_eq!(self.connection.usage().in_flight, 0, "the end cancels the NOTIFYs in flight");
        // Whichever side closed it, remaining output is sent now.
        self.ending = Ending::Begun;
        self.cancel_work(host);
        let (was_ready, was_refused) = (self.was_ready, self.was_refused);
        let (can_send, stats) = (!self.connection.is_closed(), self.connection.stats());
        host.report(&mut self.socket, Report::Closed { reason, was_ready, was_refused, can_send, stats: &stats });
    }

    /// Reports what was counted since the last call, and a refusal as soon as it is decided, because HAProxy may close before it
    /// is sent.
    pub(in crate::endpoint) fn count(&mut self, host: &mut H) {
        let (before, now) = (self.reported, self.connection.stats());
        debug_assert!(before.notifies <= now.notifies && before.acks <= now.acks, "counters only grow");
        self.notified = before.notifies < now.notifies;
        if before == now {
            return;
        }
        self.reported = now;
        self.report_refusal(host);
        let deferred = mem::take(&mut self.sent_deferred);
        host.report(&mut self.socket, Report::Counted { before: &before, now: &now, deferred });
    }

    pub(in crate::endpoint) fn report_refusal(&mut self, host: &mut H) {
        if let Some(reason) = self.connection.refusal()
            && !self.was_refused
        {
            self.was_refused = true;
            host.report(&mut self.socket, Report::Refused(reason));
        }
    }
}
