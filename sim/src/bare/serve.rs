//! Serves a bare connection as a driver does, and compares each event, each output and the state with the checker.

use spoa_core::table::Input;
use spoa_core::wire::Capabilities;
use spoa_core::{Event, Instant, TicketId};

use super::socket::Socket;
use super::time::PendingAnswer;
use super::{Bare, instant};
use crate::application::{Handled, handle};
use crate::compare;
use crate::coverage::Mark;
use crate::failure::Failure;
use crate::plan::Answer;
use crate::trace::Kind;
use crate::wording::EventWords;

/// The largest number of actions of a run. A run that exceeds it never ends.
const ACTIONS_MAX: u32 = 100_000;

impl Bare {
    /// Serves a connection as a driver does when the socket is ready, until there is nothing left to do.
    pub(super) fn drive(&mut self, at: usize) -> Result<(), Failure> {
        loop {
            self.actions += 1;
            if self.actions > ACTIONS_MAX {
                return Err(self.failure(at, "budget", "the run does not end".into()));
            }
            let read = self.read(at)?;
            let wrote = self.write(at)?;
            // After a write the core may accept more input; after a read there may be more to read.
            if !(wrote || read && self.sockets[at].inlet.is_ready()) {
                self.check_state(at)?;
                self.wake_early(at)?;
                // Drivers may release the buffers after a turn, but need not. Do it in two of three cases.
                if !self.actions.is_multiple_of(3) {
                    self.sockets[at].connection.release_buffers(&mut self.spare);
                }
                return Ok(());
            }
        }
    }

    /// Calls the core although nothing is due, sometimes with a time before the last one. Nothing may change.
    fn wake_early(&mut self, at: usize) -> Result<(), Failure> {
        let Socket { connection, oracle, .. } = &mut self.sockets[at];
        let is_due = connection.poll_timeout().is_some_and(|due| due.as_nanos() <= self.now);
        if is_due || !self.actions.is_multiple_of(4) {
            return Ok(());
        }
        if self.actions.is_multiple_of(8) {
            connection.handle_timeout(instant(self.now));
            oracle.timeout(self.now);
        } else {
            connection.handle_timeout(Instant::ZERO);
        }
        self.check_output(at)?;
        self.check_state(at)
    }

    /// Reads once, if there is something to read and the core accepts input.
    fn read(&mut self, at: usize) -> Result<bool, Failure> {
        let now = self.now;
        let socket = &mut self.sockets[at];
        if socket.inlet.is_at_end() {
            if socket.eof_reported || !socket.connection.wants_input() {
                socket.mark_full(!socket.eof_reported);
                return Ok(false);
            }
            socket.eof_reported = true;
            self.coverage.cell(socket.connection.state(), Input::Eof);
            socket.observer.end(&mut self.coverage);
            self.trace.note(now, socket.link, Kind::Eof, &[]);
            socket.connection.handle_eof(instant(now));
            socket.oracle.eof(now);
            self.poll(at)?;
            return Ok(true);
        }
        let readable = socket.inlet.readable();
        if readable.is_empty() {
            return Ok(false);
        }
        socket.connection.lend_buffers(&mut self.spare);
        let buf = socket.connection.recv_buf();
        if buf.is_empty() {
            socket.mark_full(true);
            return Ok(false);
        }
        let len = buf.len().min(readable.len());
        buf[..len].copy_from_slice(&readable[..len]);
        self.trace.note(now, socket.link, Kind::Received, &readable[..len]);
        let (state, in_flight) = (socket.connection.state(), socket.connection.usage().in_flight);
        socket.observer.read(&mut self.coverage, state, in_flight, &readable[..len]);
        socket.oracle.input(now, &readable[..len]);
        socket.inlet.take(len);
        socket.connection.handle_input(instant(now), len);
        self.poll(at)?;
        Ok(true)
    }

    /// Writes until the socket accepts no more or nothing is unsent. Returns true if anything was written.
    fn write(&mut self, at: usize) -> Result<bool, Failure> {
        let mut wrote = false;
        loop {
            let now = self.now;
            let socket = &mut self.sockets[at];
            let Some(bytes) = socket.connection.poll_transmit() else { return Ok(wrote) };
            let len = socket.outlet.write(bytes);
            if len < bytes.len() {
                self.coverage.reach(match len {
                    0 => Mark::Blocked,
                    1 => Mark::OneByteWrite,
                    _ => Mark::PartialWrite,
                });
            }
            if len == 0 {
                return Ok(wrote);
            }
            self.trace.note(now, socket.link, Kind::Sent, &bytes[..len]);
            if let Some(conversation) = &mut socket.conversation {
                conversation.sent.extend_from_slice(&bytes[..len]);
            }
            socket.connection.transmitted(instant(now), len);
            socket.oracle.sent(now, len);
            wrote = true;
            self.poll(at)?;
        }
    }

    /// Takes and compares each event of the core, then compares its output.
    pub(super) fn poll(&mut self, at: usize) -> Result<(), Failure> {
        let now = self.now;
        loop {
            let socket = &mut self.sockets[at];
            let expected = socket.oracle.next_event();
            let Some(event) = socket.connection.poll_event() else {
                if let Some(expected) = expected {
                    let detail = format!("expected {}, got no event", EventWords(Some(&expected)));
                    return Err(self.failure(at, "event", detail));
                }
                break;
            };
            let actual = compare::event(&event, socket.delivered);
            if expected != Some(actual) {
                let (expected, actual) = (EventWords(expected.as_ref()), EventWords(Some(&actual)));
                let detail = format!("expected {expected}, got {actual}");
                return Err(self.failure(at, "event", detail));
            }
            self.trace.event(now, socket.link, &event);
            self.coverage.event(&event);
            if let Event::Ready { negotiated, .. } = &event {
                let pipelining = negotiated.capabilities.contains(Capabilities::PIPELINING);
                socket.observer.ready(negotiated.max_frame_size, pipelining);
            }
            if let Some(conversation) = &mut socket.conversation {
                conversation.event(&event);
            }
            if let Event::Notify(notify) = event {
                let index = socket.delivered;
                socket.delivered += 1;
                let Handled { plan, deferred, dropped } = handle(notify);
                socket.dropped_actions += dropped as usize;
                self.coverage.planned(plan);
                if let Some((ticket, _)) = &deferred {
                    socket.keep_ticket(ticket.id(), index);
                }
                if let Some((ticket, answer)) = deferred.filter(|_| plan.answer != Answer::Never) {
                    let due = now + plan.delay;
                    self.order += 1;
                    self.pending.push(PendingAnswer { due, order: self.order, socket: at, index, ticket, answer });
                }
            }
        }
        self.check_output(at)
    }

    fn check_output(&mut self, at: usize) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        let expected = socket.oracle.output();
        let actual = socket.connection.poll_transmit().unwrap_or_default();
        if actual != expected {
            let detail = crate::failure::compare_output(actual, expected);
            return Err(self.failure(at, "output", detail));
        }
        Ok(())
    }

    /// Compares the state of the core with the checker.
    fn check_state(&self, at: usize) -> Result<(), Failure> {
        let Socket { connection, oracle, dropped_actions, tickets, .. } = &self.sockets[at];
        if let Some((check, detail)) = compare::state(connection, oracle, *dropped_actions) {
            return Err(self.failure(at, check, detail));
        }
        let is_wrong = |(ticket, index): &(TicketId, u64)| connection.is_live(*ticket) != oracle.is_in_flight(*index);
        if let Some((_, index)) = tickets.iter().find(|ticket| is_wrong(ticket)) {
            let expected = oracle.is_in_flight(*index);
            let detail = format!("expected is_live to be {expected} for the ticket of a NOTIFY");
            return Err(self.failure(at, "ticket", detail));
        }
        Ok(())
    }
}
