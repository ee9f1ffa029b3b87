//! A worker thread: waits for its sockets, its commands and its deferred answers, and gives the connections of its endpoint
//! their turns.

mod sockets;
mod wait;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};
use smol::channel::Receiver;
use spoa_core::Instant;
use spoa_core::endpoint::{Endpoint, Key, Turn};
use tracing::Level;

use crate::counters::{Counters, End as Ended};
use crate::handler::Handler;
use crate::listener::Accepted;
use crate::mailbox::{Admission, Arrival, Command, Mailbox};
use crate::name::{Name, tell};
use crate::panics;
use crate::settings::Settings;
use crate::shell::Shell;
use crate::socket::{ServedSocket, readiness};
use sockets::MAILBOX;
pub(crate) use sockets::Sockets;
use wait::{Waiter, Wakeup};

/// Serves its connections on one thread.
///
/// A connection is not a task and has no waker. It gets a turn when its socket, one of its answers or its timer is
/// ready: each pass of the loop collects these, then gives the turns. The interest in a socket changes only while the
/// socket is full, so a frame costs no system calls but the wait, the read and the write, each for as many frames as
/// there are.
pub(crate) struct Worker<H: Handler> {
    poll: Poll,
    waiter: Waiter,
    mailbox: Arc<Mailbox>,
    commands: Receiver<Command>,
    endpoint: Endpoint<Shell<H, ServedSocket>>,
    shell: Shell<H, ServedSocket>,
    /// The time of the last turn.
    now: Instant,
    end: End,
}

/// The state of the end of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    WithTheLastConnection,
    Now,
}

/// The number of events that one wait returns.
const EVENTS_MAX: usize = 256;

impl<H: Handler> Worker<H> {
    /// Returns a worker, on the thread that will run it.
    pub(crate) fn new(settings: Settings, handler: H, sockets: Sockets, counters: Arc<Counters>) -> Self {
        let Sockets { poll, waiter, mailbox, commands } = sockets;
        let endpoint = Endpoint::new(settings.connection, settings.worker_limits());
        let shell = Shell::new(settings, handler, counters);
        Self { poll, waiter, mailbox, commands, endpoint, shell, now: Instant::ZERO, end: End::No }
    }

    /// Serves until it is stopped.
    pub(crate) fn run(self) {
        // Entered once: whenever a thread leaves it, a thread of smol wakes up to take over.
        smol::block_on(self.serve_all());
    }

    async fn serve_all(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_done() {
            self.wait(&mut events).await;
            for event in &events {
                match event.token() {
                    MAILBOX => self.run_commands(),
                    Token(index) => {
                        if let Some(key) = self.endpoint.key_at(index) {
                            self.endpoint.socket_ready(key, readiness(event));
                        }
                    }
                }
            }
            self.shell.answers.take().for_each(|answer| self.endpoint.answer(answer));
            self.pass();
        }
    }

    fn is_done(&self) -> bool {
        match self.end {
            End::No => false,
            End::WithTheLastConnection => self.endpoint.is_empty(),
            End::Now => true,
        }
    }

    /// Waits until there is something to do; returns at once if there already is.
    async fn wait(&mut self, events: &mut Events) {
        let Self { endpoint, shell, waiter, .. } = self;
        let (deadline, has_turns) = (endpoint.next_deadline(), endpoint.has_turns());
        let timeout = if shell.answers.are_pending() {
            let wakeup = if has_turns { Wakeup::Now } else { Wakeup::At(deadline.map(|at| shell.clock.std_time(at))) };
            waiter.run_answers(&mut shell.answers, wakeup).await;
            Some(Duration::ZERO)
        } else if has_turns {
            Some(Duration::ZERO)
        } else {
            deadline.map(|at| at.saturating_since(shell.clock.now()))
        };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("a worker cannot wait for its sockets: {error}"),
        }
    }

    fn run_commands(&mut self) {
        self.mailbox.heard();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Serve(arrival) => self.serve(arrival),
                Command::RefuseChecks => self.endpoint.refuse_healthchecks(),
                Command::Drain(drain) => {
                    self.endpoint.drain(drain);
                    self.end = End::WithTheLastConnection;
                }
                Command::Abort => self.end = End::Now,
            }
        }
    }

    fn serve(&mut self, arrival: Arrival) {
        let Arrival { accepted, number, admission } = arrival;
        let welcome = self.make_room(admission);
        let Accepted { socket, peer, origin } = accepted;
        let counters = &self.shell.reporter.counters;
        let mut socket = ServedSocket::connected(socket, Name::new(number, peer), welcome, Arc::clone(counters));
        if let Some(recorder) = &self.shell.reporter.settings.recorder {
            socket.record(&**recorder);
        }
        let key = self.endpoint.accept(self.shell.clock.now(), socket, origin, welcome);
        let registered =
            self.endpoint.get_mut(key).map_or(Ok(()), |(_, socket)| socket.register(&self.poll, Token(key.index())));
        if let Err(error) = registered {
            self.lose(key, &format_args!("cannot serve a connection: {error}"));
        }
    }

    /// Returns true if a connection is to be served. Above the limit it is if another gives way to it.
    fn make_room(&mut self, admission: Admission) -> bool {
        if admission == Admission::Welcome {
            return true;
        }
        if let Some(evicted) = self.endpoint.evict(self.shell.clock.now(), &mut self.shell) {
            self.mailbox.ended(evicted.welcome);
            self.mailbox.promoted();
            return true;
        }
        if admission == Admission::InPlaceOfAnother && self.endpoint.drop_rejected(&mut self.shell).is_some() {
            self.mailbox.ended(false);
        }
        false
    }

    fn pass(&mut self) {
        // The clock is read only if there are deadlines, or a turn.
        if self.endpoint.next_deadline().is_some() {
            self.now = self.shell.clock.now();
        }
        self.endpoint.begin_pass(self.now);
        let logs_frames = self.shell.reporter.settings.log_frames && tracing::enabled!(Level::DEBUG);
        while let Some(key) = self.endpoint.next_turn() {
            self.now = self.shell.clock.now();
            self.turn(key, logs_frames);
        }
        self.endpoint.end_pass(self.now, &mut self.shell);
        let (counters, usage) = (&self.shell.reporter.counters, self.endpoint.usage());
        counters.in_flight.set(usage.in_flight as u64);
        counters.held_bytes.set(usage.bytes() as u64);
        counters.on_hold.set(self.endpoint.queued() as u64);
    }

    fn turn(&mut self, key: Key, logs_frames: bool) {
        let Self { endpoint, shell, poll, now, .. } = self;
        if let Some((connection, socket)) = endpoint.get_mut(key) {
            socket.log_frames(logs_frames, connection, shell.reporter.settings.connection.max_frame_size);
        }
        // A bug of the agent costs one connection, not the thread and all of its connections.
        match catch_unwind(AssertUnwindSafe(|| endpoint.turn(key, *now, shell))) {
            Ok(Turn::Open { is_blocked }) => {
                let watched = endpoint
                    .get_mut(key)
                    .map_or(Ok(()), |(_, socket)| socket.watch(poll, Token(key.index()), is_blocked));
                if let Err(error) = watched {
                    self.lose(key, &format_args!("cannot serve a connection any more: {error}"));
                }
            }
            Ok(Turn::Closed(socket)) => self.mailbox.ended(socket.welcome),
            Err(_) => {
                let panic = panics::take();
                self.lose(
                    key,
                    &format_args!("a connection was lost to a panic in the agent: {panic}; please report it"),
                );
            }
        }
    }

    /// Closes a connection that cannot be served, and logs why.
    fn lose(&mut self, key: Key, why: &dyn std::fmt::Display) {
        self.shell.reporter.counters.ended.add(Ended::Lost);
        if let Some(socket) = self.endpoint.remove(key, &mut self.shell) {
            if self.shell.reporter.log_limit.allows() {
                tell!(error, socket.name, "{why}");
            }
            self.mailbox.ended(socket.welcome);
        }
    }
}
