//! The time of a run on bare connections: deferred answers, deadlines, and the end of the run.

use spoa_core::table::{StateName, Timer};
use spoa_core::{Instant, Ticket};

use super::socket::Socket;
use super::{Bare, instant};
use crate::application::DeferredAnswer;
use crate::coverage::Mark;
use crate::failure::Failure;
use crate::script::Nanos;
use crate::trace::Kind;

/// The longest time from the last step to the last answer. A handler may take an hour, and NOTIFYs that a limit holds
/// back are handed out only after that.
const QUIESCENCE_MAX: Nanos = 100 * 3_600_000_000_000;

/// A deferred answer that is due later.
pub(super) struct PendingAnswer {
    pub(super) due: Nanos,
    /// The order of answers that are due at the same time.
    pub(super) order: u64,
    pub(super) socket: usize,
    /// The number of NOTIFYs that were handed out on the connection before this one.
    pub(super) index: u64,
    pub(super) ticket: Ticket,
    pub(super) answer: DeferredAnswer,
}

impl Bare {
    /// Advances the time to `end`, and handles everything that is due before, in order.
    pub(super) fn wait_until(&mut self, end: Nanos) -> Result<(), Failure> {
        for at in 0..self.sockets.len() {
            self.release_buffers(at)?;
        }
        while let Some(due) = self.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            if self.all_due().filter(|&other| other == due).nth(1).is_some() {
                self.coverage.reach(Mark::Coincidence);
            }
            self.answer_due()?;
            self.expire_due()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    /// Releases buffers, as a driver does before it waits. After that, an idle connection must not hold memory.
    pub(super) fn release_buffers(&mut self, at: usize) -> Result<(), Failure> {
        let Socket { connection, oracle, .. } = &mut self.sockets[at];
        connection.release_buffers(&mut self.spare);
        let memory = connection.usage().memory.total();
        if memory > 0 && oracle.holds_nothing() {
            let detail = format!("expected an idle connection to hold 0 bytes, got {memory} bytes");
            return Err(self.failure(at, "memory", detail));
        }
        Ok(())
    }

    /// Returns the times of everything that is due, now or later.
    fn all_due(&self) -> impl Iterator<Item = Nanos> {
        let deadlines =
            self.sockets.iter().filter_map(|socket| socket.connection.poll_timeout()).map(Instant::as_nanos);
        deadlines.chain(self.pending.iter().map(|pending| pending.due))
    }

    fn next_due(&self) -> Option<Nanos> {
        self.all_due().min()
    }

    fn answer_due(&mut self) -> Result<(), Failure> {
        loop {
            let due = self.pending.iter().enumerate().filter(|(_, pending)| pending.due <= self.now);
            let Some((first, _)) = due.min_by_key(|(_, pending)| (pending.due, pending.order)) else { return Ok(()) };
            let pending = self.pending.remove(first);
            let at = pending.socket;
            let socket = &mut self.sockets[at];
            let id = pending.ticket.id();
            let live = socket.connection.is_live(id);
            let allowed = socket.oracle.answer(self.now, pending.index);
            match socket.connection.ack(instant(self.now), pending.ticket) {
                Ok(ack) => socket.dropped_actions += pending.answer.send(ack) as usize,
                Err(_) if !allowed => {
                    let over = matches!(socket.connection.state(), StateName::Closing | StateName::Closed);
                    self.coverage.reach(if over { Mark::LateForConversation } else { Mark::LateForDeadline });
                    continue;
                }
                Err(error) => return Err(self.failure(at, "ticket", format!("a valid ticket was rejected: {error}"))),
            }
            let fault = match (allowed, live, socket.connection.is_live(id)) {
                (false, ..) => "a void ticket was accepted",
                (_, false, _) => "a valid ticket counted as void",
                (.., true) => "a ticket that was used counts as live",
                _ => "",
            };
            if !fault.is_empty() {
                return Err(self.failure(at, "ticket", fault.into()));
            }
            self.poll(at)?;
            self.drive(at)?;
        }
    }

    fn expire_due(&mut self) -> Result<(), Failure> {
        for at in 0..self.sockets.len() {
            let socket = &mut self.sockets[at];
            let Some(due) = socket.connection.poll_timeout().filter(|due| due.as_nanos() <= self.now) else { continue };
            for timer in Timer::ALL {
                if socket.connection.deadline(timer).is_some_and(|due| due.as_nanos() <= self.now) {
                    self.coverage.timer(socket.connection.state(), timer);
                }
            }
            self.trace.note(self.now, socket.link, Kind::Deadline, &[]);
            socket.connection.handle_timeout(instant(self.now));
            socket.oracle.timeout(self.now);
            self.poll(at)?;
            self.drive(at)?;
            if self.sockets[at].connection.poll_timeout() == Some(due) {
                return Err(self.failure(at, "progress", "a deadline stays the same after it was handled".into()));
            }
        }
        Ok(())
    }

    /// Ends all faults, then checks that every NOTIFY is answered, every byte is read and every connection is closed.
    pub(super) fn reach_quiescence(&mut self) -> Result<(), Failure> {
        self.step += 1;
        for at in 0..self.sockets.len() {
            let socket = &mut self.sockets[at];
            (socket.outlet.room, socket.outlet.take) = (None, None);
            socket.inlet.release();
            self.deliver(at)?;
            self.drive(at)?;
        }
        let end = self.now.saturating_add(QUIESCENCE_MAX);
        // Idle timeouts are not waited for here.
        let busy =
            |bare: &Self| !bare.pending.is_empty() || bare.sockets.iter().any(|s| s.connection.usage().in_flight > 0);
        while busy(self) {
            match self.next_due() {
                Some(due) if due <= end => self.wait_until(due)?,
                _ => return Err(self.failure(0, "liveness", "a NOTIFY is never answered".into())),
            }
        }
        if self.now < self.end_min {
            self.wait_until(self.end_min)?;
        }
        for at in 0..self.sockets.len() {
            let socket = &self.sockets[at];
            if !socket.inlet.readable().is_empty() && !socket.connection.is_closed() {
                return Err(self.failure(at, "liveness", "bytes are never read".into()));
            }
            if !socket.peer_closed {
                self.finish(at)?;
            }
            if !self.sockets[at].connection.is_closed() {
                return Err(self.failure(at, "liveness", "a connection that HAProxy closed stays open".into()));
            }
        }
        Ok(())
    }
}
