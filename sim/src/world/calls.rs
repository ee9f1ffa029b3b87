//! The calls that an endpoint makes to its sockets and its host. The checker makes the same steps.

use std::mem;

use spoa_core::endpoint::{Handled, Io, Key};
use spoa_core::table::Input;
use spoa_core::{CloseReason, Event, Notify};

use super::handover::Ending;
use super::state::{State, Work};
use crate::application::{Handled as Answered, handle};
use crate::coverage::Mark;
use crate::failure::compare_output;
use crate::plan::Answer;
use crate::trace::Kind;

impl State {
    pub(super) fn read(&mut self, at: usize, buf: &mut [u8]) -> Io {
        self.count_call();
        // Before the first read of a turn, answers and a drain may have caused events that are reported after it.
        if self.peers[at].has_read {
            self.settle(at);
        }
        let (now, peer) = (self.now, &mut self.peers[at]);
        (peer.has_read, peer.is_settled) = (true, false);
        if peer.inlet.is_at_end() {
            self.trace.note(now, peer.link, Kind::Eof, &[]);
            self.coverage.cell(peer.state(), Input::Eof);
            peer.observer.end(&mut self.coverage);
            peer.oracle.eof(now);
            return if peer.was_reset { Io::Failed } else { Io::Done(0) };
        }
        let readable = peer.inlet.readable();
        if readable.is_empty() {
            return Io::WouldBlock;
        }
        let len = buf.len().min(readable.len());
        buf[..len].copy_from_slice(&readable[..len]);
        self.trace.note(now, peer.link, Kind::Received, &readable[..len]);
        let (state, in_flight) = (peer.state(), peer.oracle.in_flight());
        peer.observer.read(&mut self.coverage, state, in_flight, &readable[..len]);
        peer.oracle.input(now, &readable[..len]);
        peer.inlet.take(len);
        Io::Done(len)
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> Io {
        self.count_call();
        self.settle(at);
        let (now, peer) = (self.now, &mut self.peers[at]);
        let expected = peer.oracle.output();
        if bytes != expected {
            let detail = compare_output(bytes, expected);
            self.fail(at, "output", detail);
            return Io::Failed;
        }
        if peer.ending.holds_acks() {
            self.fail(at, "handover", "ACKs are sent though they are held for AGENT-DISCONNECT".into());
            return Io::Failed;
        }
        if peer.was_reset {
            peer.oracle.eof(now);
            return Io::Failed;
        }
        let len = peer.outlet.write(bytes);
        self.trace.note(now, peer.link, Kind::Sent, &bytes[..len]);
        if len < bytes.len() {
            self.coverage.reach(match len {
                0 => Mark::Blocked,
                1 => Mark::OneByteWrite,
                _ => Mark::PartialWrite,
            });
        }
        if len < bytes.len() && peer.outlet.has_room() {
            self.has_room_again.push(at);
        }
        if len == 0 {
            return Io::WouldBlock;
        }
        if let Some(conversation) = &mut peer.conversation {
            conversation.sent.extend_from_slice(&bytes[..len]);
        }
        peer.oracle.sent(now, len);
        peer.wrote += len;
        Io::Done(len)
    }

    pub(super) fn shut_down(&mut self, at: usize) {
        self.settle(at);
        let peer = &mut self.peers[at];
        let was_shut = mem::replace(&mut peer.is_shut, true);
        if was_shut || !peer.oracle.is_send_finished() {
            self.fail(at, "finished", "the socket is shut down twice or before the last byte".into());
        }
    }

    pub(super) fn notify(&mut self, at: usize, key: Key, notify: Notify<'_>) -> Handled<u64> {
        let event = Event::Notify(notify);
        self.event(at, &event);
        let Event::Notify(notify) = event else { unreachable!("the event was made above") };
        let (now, peer) = (self.now, &mut self.peers[at]);
        let index = peer.delivered;
        peer.delivered += 1;
        peer.notified = true;
        let worker = peer.worker;
        self.admissions[worker].taken(at);
        let Answered { plan, deferred, dropped } = handle(notify);
        self.peers[at].dropped_actions += dropped as usize;
        self.coverage.planned(plan);
        let Some((ticket, answer)) = deferred else { return Handled::Done };
        self.admissions[worker].deferred(at);
        self.work_ids += 1;
        let (id, ticket_id) = (self.work_ids, ticket.id());
        let due = (plan.answer != Answer::Never).then(|| now + plan.delay);
        self.work.push(Work { id, at, key, index, ticket, since: now, due, answer });
        Handled::Deferred(ticket_id, id)
    }

    pub(super) fn closed(&mut self, at: usize, reason: CloseReason, was_ready: bool) {
        self.event(at, &Event::Closed(reason));
        let peer = &mut self.peers[at];
        peer.ending = Ending::Begun;
        if reason == CloseReason::HealthCheck && !peer.is_welcome {
            self.coverage.reach(Mark::CheckAboveLimit);
        }
        self.ends.push((at, reason));
        if was_ready != peer.was_ready {
            let detail = format!("expected was_ready to be {}, got {was_ready}", peer.was_ready);
            self.fail(at, "report", detail);
        }
    }
}
