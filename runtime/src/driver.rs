//! One connection: the core's state machine on a socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_lite::FutureExt;
use smol::{Async, Task, Timer};
use socket2::Socket;
use spoa_core::wire::Actions;
use spoa_core::{CloseReason, Connection, Event, Instant, LocalReason, Stats, Status, Ticket, TicketId};

use crate::frame_log::FrameLog;
use crate::handler::{Handler, HandlerError, Reply};
use crate::shared::Shared;

/// How often a connection with more to do goes on before the others of its worker have their turn.
const TURNS_MAX: usize = 8;

/// The task of one connection.
///
/// In each turn it reads once, hands out events, takes finished answers and writes what is ready, all frames of it in
/// one system call; it waits only when there is nothing left to do. What SPOP asks for is the core's to know.
pub(crate) struct Driver<H: Handler> {
    shared: Rc<Shared<H>>,
    socket: Async<Socket>,
    connection: Connection,
    peer: String,
    frame_log: Option<FrameLog>,
    /// The answers in progress. Dropping a task cancels it.
    deferred: Vec<(TicketId, Task<()>)>,
    answers: Rc<Answers>,
    timer: LazyTimer,
    /// Its place among the worker's wakers, once it was polled.
    waker: Option<usize>,
    draining: bool,
    write_shut: bool,
    /// What was logged about so far.
    seen: Stats,
}

/// Answers that came while the connection was not looking.
#[derive(Default)]
struct Answers {
    queue: RefCell<VecDeque<(Ticket, Result<Actions, HandlerError>)>>,
    waker: RefCell<Option<Waker>>,
}

/// What a turn came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Again,
    Wait,
    Closed,
}

/// What reading came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    /// There may be more.
    Some,
    /// The socket has no more.
    Drained,
    /// The connection wants none now.
    Unwanted,
}

impl<H: Handler> Driver<H> {
    /// Takes the socket over; if the connection is not `welcome`, only to say so.
    pub(crate) fn new(shared: Rc<Shared<H>>, socket: Socket, peer: String, welcome: bool) -> io::Result<Self> {
        let config = shared.settings.connection;
        let now = shared.clock.now();
        let connection = if welcome { Connection::new(config, now) } else { Connection::refused(config, now) };
        if !welcome && shared.log_limit.allows(now) {
            tracing::warn!("{peer}: turned away, {} connections are open", shared.settings.connections_max);
        }
        tracing::debug!("{peer}: connected");
        Ok(Self {
            socket: Async::new(socket)?,
            frame_log: shared.settings.log_frames.then(|| FrameLog::new(&peer, config.max_frame_size)),
            shared,
            connection,
            peer,
            deferred: Vec::new(),
            answers: Rc::default(),
            timer: LazyTimer::default(),
            waker: None,
            draining: false,
            write_shut: false,
            seen: Stats::default(),
        })
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let now = self.shared.clock.now();
        self.heed_drain(now);
        self.take_answers(now);
        let read = self.read(now);
        // What has arrived comes before any deadline that has passed meanwhile.
        self.hand_out_events();
        self.expire(now);
        let mut wrote = false;
        while self.write(now) {
            wrote = true;
            // Sending has made room for NOTIFYs that were held back.
            self.hand_out_events();
        }
        if self.connection.is_send_finished() && !self.write_shut {
            // An error means that the peer is gone, which the next read tells.
            let _ = self.socket.get_ref().shutdown(Shutdown::Write);
            self.write_shut = true;
        }
        if self.connection.is_closed() {
            // A write that failed may have ended it.
            self.hand_out_events();
            return Turn::Closed;
        }
        let more = match read {
            Read::Some => true,
            Read::Drained => false,
            // Sending may have made room to read on.
            Read::Unwanted => wrote,
        };
        if more || self.answers.is_some() { Turn::Again } else { self.wait(cx) }
    }

    fn heed_drain(&mut self, now: Instant) {
        if let Some(grace) = self.shared.drain.get()
            && !self.draining
        {
            self.draining = true;
            self.connection.disconnect(now, grace);
        }
    }

    /// Reads once. A short read has emptied the socket, so that there is no need to try again before it is readable.
    fn read(&mut self, now: Instant) -> Read {
        let buf = self.connection.recv_buf();
        if buf.is_empty() {
            return Read::Unwanted;
        }
        match self.socket.get_ref().read(buf) {
            Ok(0) => self.connection.handle_eof(now),
            Ok(len) => {
                if let Some(log) = &mut self.frame_log {
                    log.received(&buf[..len]);
                }
                let drained = len < buf.len();
                self.connection.handle_input(now, len);
                if drained {
                    return Read::Drained;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Drained,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::debug!("{}: {error}", self.peer);
                self.connection.handle_eof(now);
            }
        }
        Read::Some
    }

    /// Sends all that is ready, as far as the socket takes it; true if it took any.
    fn write(&mut self, now: Instant) -> bool {
        let mut wrote = false;
        while let Some(bytes) = self.connection.poll_transmit() {
            match self.socket.get_ref().write(bytes) {
                Ok(len) => {
                    if let Some(log) = &mut self.frame_log {
                        log.sent(&bytes[..len]);
                    }
                    let blocked = len < bytes.len();
                    self.connection.transmitted(now, len);
                    wrote |= len > 0;
                    if blocked {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!("{}: {error}", self.peer);
                    self.connection.handle_eof(now);
                }
            }
        }
        wrote
    }

    fn expire(&mut self, now: Instant) {
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now);
            let Self { connection, deferred, .. } = self;
            deferred.retain(|(ticket, _)| connection.is_live(*ticket));
            self.hand_out_events();
        }
    }

    fn hand_out_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Ready { negotiated, engine_id } => tracing::debug!(
                    "{}: ready, frames up to {} bytes, capabilities \"{}\", engine {}",
                    self.peer,
                    negotiated.max_frame_size,
                    negotiated.capabilities,
                    engine_id.unwrap_or(b"unnamed").escape_ascii()
                ),
                Event::Notify(notify) => {
                    let handler = &self.shared.handler;
                    match catch_unwind(AssertUnwindSafe(|| handler.borrow_mut().handle(notify))) {
                        Ok(Ok(Reply::Done)) => {}
                        Ok(Ok(Reply::Later(ticket, later))) => self.defer(ticket, later),
                        Ok(Err(error)) => self.warn(&error),
                        Err(_) => self.warn(&PANICKED),
                    }
                }
                Event::Closed(reason) => {
                    self.deferred.clear();
                    self.log_close(reason);
                }
            }
        }
        self.log_losses();
    }

    /// Lets `later` run beside the connection.
    fn defer(&mut self, ticket: Ticket, later: H::Later) {
        let Some(executor) = self.shared.executor.upgrade() else { return };
        let (id, answers) = (ticket.id(), Rc::clone(&self.answers));
        let task = executor.spawn(async move {
            let answer = AssertUnwindSafe(later).catch_unwind().await;
            answers.push(ticket, answer.unwrap_or_else(|_| Err(PANICKED.into())));
        });
        self.deferred.push((id, task));
    }

    fn take_answers(&mut self, now: Instant) {
        while let Some((ticket, answer)) = self.answers.pop() {
            if let Some(done) = self.deferred.iter().position(|(id, _)| *id == ticket.id()) {
                drop(self.deferred.swap_remove(done));
            }
            let Ok(mut ack) = self.connection.ack(now, ticket) else { continue };
            match answer {
                Ok(actions) => {
                    ack.actions(&actions);
                    if let Err(cut) = ack.finish() {
                        self.warn(&cut);
                    }
                }
                // The unfinished ACK leaves empty.
                Err(error) => self.warn(&error),
            }
        }
    }

    /// Sleeps until the socket is ready, an answer comes or a deadline passes; says `Again` if one already has.
    fn wait(&mut self, cx: &mut Context<'_>) -> Turn {
        self.connection.release_buffers();
        let readable = self.connection.wants_input() && self.socket.poll_readable(cx).is_ready();
        let writable = self.connection.poll_transmit().is_some() && self.socket.poll_writable(cx).is_ready();
        let due = match self.connection.poll_timeout() {
            Some(at) => self.timer.poll(cx, at, &self.shared),
            None => false,
        };
        if readable || writable || due { Turn::Again } else { Turn::Wait }
    }

    /// Where the worker and the answers find this task.
    fn register(&mut self, waker: &Waker) {
        if self.waker.is_none() {
            self.waker = Some(self.shared.wakers.borrow_mut().insert(waker.clone()));
            self.answers.waker.replace(Some(waker.clone()));
        }
    }

    /// Tells of answers that HAProxy did not get, each kind once for each time its count was seen to rise.
    fn log_losses(&mut self) {
        let (before, now) = (self.seen, self.connection.stats());
        self.seen = now;
        if now.acks_expired > before.acks_expired {
            let (count, time) = (now.acks_expired - before.acks_expired, self.shared.settings.connection.ack_timeout);
            self.warn(&format_args!("{count} NOTIFYs were not answered within {time:?}: empty ACKs"));
        }
        if now.aborted_by_agent > before.aborted_by_agent {
            let max = self.shared.settings.connection.reassembly_max;
            self.warn(&format_args!("a NOTIFY in fragments grew above {max} bytes: aborted"));
        }
    }

    fn warn(&self, what: &dyn fmt::Display) {
        if self.shared.log_limit.allows(self.shared.clock.now()) {
            tracing::warn!("{}: {what}", self.peer);
        }
    }

    /// How HAProxy ends a conversation in the normal course of things is nobody's concern; the rest is.
    fn log_close(&self, reason: CloseReason) {
        let peer = &self.peer;
        tracing::debug!("{peer}: {:?}", self.connection.stats());
        match reason {
            CloseReason::HealthCheck => tracing::debug!("{peer}: health check answered"),
            CloseReason::Peer(Status::NORMAL | Status::IO | Status::TIMEOUT) | CloseReason::Eof { .. } => {
                tracing::debug!("{peer}: closed by HAProxy: {reason:?}");
            }
            CloseReason::Peer(status) => self.warn(&format_args!("HAProxy ended the connection: {status}")),
            CloseReason::Local(LocalReason::SendTimeout) => {
                self.warn(&"closed: the peer leaves what it is sent unread");
            }
            CloseReason::Local(reason) => tracing::debug!("{peer}: closed: {reason:?}"),
            CloseReason::Error(error) => self.warn(&format_args!("closed with {}: {error}", error.status())),
        }
    }
}

const PANICKED: &str = "the handler panicked, answered empty";

impl<H: Handler> Future for Driver<H> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.register(cx.waker());
        for _ in 0..TURNS_MAX {
            match self.turn(cx) {
                Turn::Again => {}
                Turn::Wait => return Poll::Pending,
                Turn::Closed => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<H: Handler> Drop for Driver<H> {
    fn drop(&mut self) {
        if let Some(waker) = self.waker {
            self.shared.wakers.borrow_mut().remove(waker);
        }
    }
}

impl<H: Handler> Unpin for Driver<H> {}

impl Answers {
    fn push(&self, ticket: Ticket, answer: Result<Actions, HandlerError>) {
        self.queue.borrow_mut().push_back((ticket, answer));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn pop(&self) -> Option<(Ticket, Result<Actions, HandlerError>)> {
        self.queue.borrow_mut().pop_front()
    }

    fn is_some(&self) -> bool {
        !self.queue.borrow().is_empty()
    }
}

/// A timer that is moved only when a deadline comes nearer: most deadlines pass unneeded, and arming one costs a lock.
#[derive(Default)]
struct LazyTimer {
    timer: Option<(Instant, Timer)>,
}

impl LazyTimer {
    /// True if the timer fired, which may be before `at`.
    fn poll<H: Handler>(&mut self, cx: &mut Context<'_>, at: Instant, shared: &Shared<H>) -> bool {
        let timer = match &mut self.timer {
            Some((armed, timer)) if *armed <= at => timer,
            Some((armed, timer)) => {
                *armed = at;
                timer.set_at(shared.clock.std_time(at));
                timer
            }
            None => &mut self.timer.insert((at, Timer::at(shared.clock.std_time(at)))).1,
        };
        let fired = timer.poll(cx).is_ready();
        if fired {
            self.timer = None;
        }
        fired
    }
}
