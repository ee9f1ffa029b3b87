//! The steps of a turn: answers, reads, deadlines, the drain, writes.

use core::mem;

use super::{Ending, Next, Seat};
use crate::endpoint::handover::{Handover, TurnSummary};
use crate::endpoint::host::{Answer, Host, Io, Report, Socket};
use crate::endpoint::readiness::{Inbound, Outbound};
use crate::endpoint::{Drain, Shared};
use crate::time::Instant;

/// How often a connection reads in one turn while no other has one.
const READS_MAX: usize = 8;
/// How often it does while others wait for theirs.
const READS_MAX_CONTENDED: usize = 1;
/// The most bytes that it reads then: the latency of each connection is this much input of every other one.
const READ_LEN_CONTENDED: usize = 8 << 10;

impl<H: Host> Seat<H> {
    pub(super) fn serve(&mut self, now: Instant, shared: &mut Shared, host: &mut H) -> Next {
        self.send_answers(now, host);
        self.begin_drain(now, shared.drain);
        if matches!(self.ending, Ending::Handover(_)) {
            // A NOTIFY may have arrived since the last read.
            self.inbound.suspect();
        }
        let reads_max = if shared.is_contended { READS_MAX_CONTENDED } else { READS_MAX };
        let len_max = if shared.is_contended { READ_LEN_CONTENDED } else { usize::MAX };
        for _ in 0..reads_max {
            self.read(now, len_max);
            // Input that has arrived counts before a deadline that has passed meanwhile.
            self.hand_out_events(shared, host);
            self.expire(now, shared, host);
            self.hand_over(now, shared, host);
            while self.write(now) {
                // Sending made room for NOTIFYs that were held back.
                self.hand_out_events(shared, host);
            }
            if !self.wants_read() {
                break;
            }
        }
        if self.inbound == Inbound::Reset && !self.connection.wants_input() {
            // Its input is full, so that no read would find the end; and nobody waits for an answer.
            self.connection.handle_eof(now);
        }
        if self.connection.is_closed() {
            // A failed write may have closed it.
            self.hand_out_events(shared, host);
        } else if self.connection.is_send_finished() && self.outbound != Outbound::Shut {
            self.socket.shut_down();
            self.outbound = Outbound::Shut;
        }
        self.count_held(now, host);
        if self.connection.is_closed() {
            Next::Closed
        } else if self.wants_read() {
            Next::Turn
        } else {
            Next::Wait
        }
    }

    /// Counts the time in which a limit held NOTIFYs back.
    pub(super) fn count_held(&mut self, now: Instant, host: &mut H) {
        if let Some(since) = self.held_since {
            host.report(&mut self.socket, Report::HeldBack(now.saturating_since(since)));
        }
        self.held_since = self.connection.blocked().is_held_back().then_some(now);
    }

    /// Cancels its pending deferred answers.
    pub(super) fn cancel_work(&mut self, host: &mut H) {
        self.deferred.drain(..).for_each(|(_, work)| host.cancel(work));
    }

    /// Writes finished answers.
    pub(super) fn send_answers(&mut self, now: Instant, host: &mut H) {
        let mut answers = mem::take(&mut self.answers);
        for Answer { ticket, since, actions, .. } in answers.drain(..) {
            if let Some(done) = self.deferred.iter().position(|(id, _)| *id == ticket.id()) {
                self.deferred.swap_remove(done);
            }
            let Ok(mut ack) = self.connection.ack(now, ticket) else { continue };
            match actions {
                Ok(actions) => {
                    self.sent_deferred += 1;
                    ack.actions(&actions);
                    let cut = ack.finish();
                    host.report(&mut self.socket, Report::Answered(now.saturating_since(since)));
                    if let Err(cut) = cut {
                        host.report(&mut self.socket, Report::AckCut(cut));
                    }
                }
                // The unfinished ACK is sent empty.
                Err(error) => host.report(&mut self.socket, Report::Failed(&error)),
            }
        }
        self.answers = answers;
    }

    pub(super) fn begin_drain(&mut self, now: Instant, drain: Option<Drain>) {
        if let Some(drain) = drain
            && self.ending == Ending::No
        {
            if self.was_ready && !drain.patience.is_zero() {
                self.ending = Ending::Handover(Handover::new(now, drain));
            } else {
                self.ending = Ending::Begun;
                self.connection.disconnect(now, drain.grace);
            }
        }
    }

    /// Closes a draining connection at the best moment.
    pub(super) fn hand_over(&mut self, now: Instant, shared: &mut Shared, host: &mut H) {
        let Ending::Handover(handover) = &mut self.ending else { return };
        debug_assert!(shared.drain.is_some(), "a handover begins with a drain");
        let (unsent, is_idle) = (self.connection.poll_transmit().is_some(), self.connection.is_idle());
        if handover.should_close(TurnSummary { time: now, unsent, is_idle, notified: self.notified }) {
            let grace = handover.grace(now);
            self.ending = Ending::Begun;
            self.connection.disconnect(now, grace);
            self.hand_out_events(shared, host);
        }
    }

    /// True while ACKs are held back, to be sent together with AGENT-DISCONNECT.
    pub(super) const fn holds_acks(&self) -> bool {
        matches!(&self.ending, Ending::Handover(handover) if handover.holds_acks())
    }

    pub(super) fn wants_read(&self) -> bool {
        self.inbound.is_readable() && self.connection.wants_input()
    }

    /// Reads once, at most so many bytes, if there may be something to read.
    pub(super) fn read(&mut self, now: Instant, len_max: usize) {
        if !self.wants_read() {
            return;
        }
        let buf = self.connection.recv_buf();
        let len = buf.len().min(len_max);
        let buf = &mut buf[..len];
        match self.socket.read(buf) {
            Io::Done(0) | Io::Failed => self.connection.handle_eof(now),
            Io::Done(len) => {
                debug_assert!(len <= buf.len(), "a socket returns at most what was asked for");
                if len < buf.len() {
                    self.inbound.was_short();
                }
                self.connection.handle_input(now, len);
            }
            Io::WouldBlock => self.inbound.was_empty(),
        }
    }

    /// Writes output as far as the socket takes it; returns true if it took any.
    pub(super) fn write(&mut self, now: Instant) -> bool {
        let mut wrote = false;
        while self.outbound == Outbound::Open
            && !self.holds_acks()
            && let Some(bytes) = self.connection.poll_transmit()
        {
            match self.socket.write(bytes) {
                Io::Done(len) => {
                    debug_assert!(len <= bytes.len(), "a socket takes at most what it was given");
                    if len < bytes.len() {
                        self.outbound = Outbound::Blocked;
                    }
                    self.connection.transmitted(now, len);
                    wrote |= len > 0;
                    self.wrote += len;
                }
                Io::WouldBlock => self.outbound = Outbound::Blocked,
                Io::Failed => self.connection.handle_eof(now),
            }
        }
        wrote
    }

    pub(super) fn expire(&mut self, now: Instant, shared: &mut Shared, host: &mut H) {
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now);
            let Self { connection, deferred, .. } = self;
            deferred.retain(|(ticket, work)| {
                let is_live = connection.is_live(*ticket);
                if !is_live {
                    host.cancel(*work);
                }
                is_live
            });
            self.hand_out_events(shared, host);
        }
    }
}
