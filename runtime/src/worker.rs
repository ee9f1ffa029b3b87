//! A worker thread: its connections, and the loop that gives each its turns.

use std::future;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Waker};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use smol::channel::Receiver;
use smol::{Async, Timer};
use socket2::Socket;

use crate::counters::{Counters, End as Ended};
use crate::driver::{Driver, Turn};
use crate::handler::Handler;
use crate::mailbox::{Command, Mailbox};
use crate::name::Name;
use crate::panics;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::timers::{Armed, Timers};
use crate::waiting::Number;

/// Serves its connections on one thread.
///
/// A connection is not a task and has no waker. It gets a turn when its socket, one of its answers or its timer is
/// ready: each pass of the loop collects these, then gives the turns. The interest in a socket changes only while the
/// socket is full, so a frame costs no system calls but the wait, the read and the write, each for as many frames as
/// there are.
///
/// Deferred answers are futures with timers and sockets of smol in them. While there are any, the worker waits as smol
/// does, for them and its own sockets together, which takes more system calls.
pub(crate) struct Worker<H> {
    poll: Poll,
    /// Reports to smol that `poll` has events.
    polled: Async<OwnedFd>,
    mailbox: Arc<Mailbox>,
    commands: Receiver<Command>,
    connections: Slab<Box<Served>>,
    timers: Timers,
    timer: LazyTimer,
    /// The connections that have a turn in this pass, each once.
    ready: Vec<usize>,
    shared: Shared<H>,
    end: End,
}

/// A connection, and its state in the worker.
struct Served {
    driver: Driver,
    /// The readiness that its socket is watched for.
    interest: Interest,
    armed: Armed,
    /// It is served, not rejected.
    welcome: bool,
    is_ready: bool,
    /// Its queue position, while it waits for a permit.
    number: Option<Number>,
}

/// The state of the end of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    WithTheLastConnection,
    Now,
}

/// The token of the mailbox; that of a connection is its key.
const CALLED: Token = Token(usize::MAX);

/// The number of events that one wait returns.
const EVENTS_MAX: usize = 256;

/// The objects that a worker waits on, created before its thread so that an error can be returned.
pub(crate) struct Sockets {
    poll: Poll,
    polled: Async<OwnedFd>,
    mailbox: Arc<Mailbox>,
    commands: Receiver<Command>,
}

impl Sockets {
    pub(crate) fn new(number: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let polled = Async::new_nonblocking(poll.registry().as_fd().try_clone_to_owned()?)?;
        let (mailbox, commands) = Mailbox::new(number, poll.registry(), CALLED)?;
        Ok(Self { poll, polled, mailbox, commands })
    }

    /// Returns the mailbox of the worker.
    pub(crate) const fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }
}

impl<H: Handler> Worker<H> {
    /// Returns a worker, on the thread that will run it.
    pub(crate) fn new(settings: Settings, handler: H, sockets: Sockets, counters: Arc<Counters>) -> Self {
        let Sockets { poll, polled, mailbox, commands } = sockets;
        Self {
            poll,
            polled,
            mailbox,
            commands,
            connections: Slab::new(),
            timers: Timers::default(),
            timer: LazyTimer::default(),
            ready: Vec::new(),
            shared: Shared::new(settings, handler, counters),
            end: End::No,
        }
    }

    /// Serves until it is stopped.
    pub(crate) fn run(self) {
        // Entered once: whenever a thread leaves it, a thread of smol wakes up to take over.
        smol::block_on(self.serve_all());
    }

    async fn serve_all(mut self) {
        let (mut events, mut turns) = (Events::with_capacity(EVENTS_MAX), Vec::new());
        while !self.is_done() {
            self.wait(&mut events).await;
            for event in &events {
                match event.token() {
                    CALLED => self.heed_commands(),
                    Token(key) => self.socket_is_ready(key, event),
                }
            }
            self.look_at_timers();
            self.deliver();
            mem::swap(&mut self.ready, &mut turns);
            for key in turns.drain(..) {
                self.turn(key);
            }
            self.resume();
            if self.shared.loads.excess() > 0 {
                self.shed();
            }
        }
    }

    fn is_done(&self) -> bool {
        match self.end {
            End::No => false,
            End::WithTheLastConnection => self.connections.is_empty(),
            End::Now => true,
        }
    }

    /// Waits until there is something to do; returns at once if there already is.
    async fn wait(&mut self, events: &mut Events) {
        let timeout = if self.shared.answers.are_pending() {
            self.run_answers().await;
            Some(Duration::ZERO)
        } else if self.ready.is_empty() {
            self.timers.first().map(|at| at.saturating_since(self.shared.clock.now()))
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("a worker cannot wait for its sockets: {error}"),
        }
    }

    /// Runs deferred answers until one is finished or there is something else to do.
    async fn run_answers(&mut self) {
        let Self { polled, timers, timer, ready, shared, .. } = self;
        if !ready.is_empty() {
            shared.answers.run(&Context::from_waker(Waker::noop()));
            return;
        }
        future::poll_fn(|cx| {
            let came = shared.answers.run(cx);
            let due = timers.first().is_some_and(|at| timer.poll(cx, shared.clock.std_time(at)));
            if came || due || polled.poll_readable(cx).is_ready() { task::Poll::Ready(()) } else { task::Poll::Pending }
        })
        .await;
    }

    fn socket_is_ready(&mut self, key: usize, event: &mio::event::Event) {
        if let Some(served) = self.connections.get_mut(key) {
            served.driver.socket_is_ready(event);
            served.make_ready(key, &mut self.ready);
        }
    }

    fn look_at_timers(&mut self) {
        if self.timers.first().is_none() {
            return;
        }
        let now = self.shared.clock.now();
        while let Some(key) = self.timers.pop_due(now) {
            let served = &mut self.connections[key];
            served.armed.clear();
            served.make_ready(key, &mut self.ready);
        }
    }

    fn heed_commands(&mut self) {
        self.mailbox.heard();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Serve { socket, number, peer, welcome } => {
                    self.serve(socket, Name::new(number, peer), welcome);
                }
                Command::Leave => self.shared.settings.connection.refuse_healthchecks = true,
                Command::Drain(drain) => {
                    self.shared.drain = Some(drain);
                    self.end = End::WithTheLastConnection;
                    for (key, served) in &mut self.connections {
                        served.make_ready(key, &mut self.ready);
                    }
                }
                Command::Abort => self.end = End::Now,
            }
        }
    }

    fn serve(&mut self, socket: Socket, name: Name, welcome: bool) {
        let entry = self.connections.vacant_entry();
        let (key, interest) = (entry.key(), Interest::READABLE);
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(key), interest) {
            tracing::warn!("cannot serve a connection: {error}");
            self.mailbox.ended(welcome);
            return;
        }
        let driver = Driver::new(&self.shared, key, socket, name, welcome);
        let served = entry.insert(Box::new(Served {
            driver,
            interest,
            armed: Armed::default(),
            welcome,
            is_ready: false,
            number: None,
        }));
        // For its first deadline.
        served.make_ready(key, &mut self.ready);
    }

    /// Hands finished answers to their connections. A connection closes only in its turn, which comes later in the
    /// pass, and then cancels its pending answers: no answer reaches a connection that reuses a key.
    fn deliver(&mut self) {
        for answer in self.shared.answers.take() {
            let key = answer.connection;
            if let Some(served) = self.connections.get_mut(key) {
                served.driver.answer(answer);
                served.make_ready(key, &mut self.ready);
            }
        }
    }

    fn turn(&mut self, key: usize) {
        let Some(served) = self.connections.get_mut(key) else { return };
        served.is_ready = false;
        // A bug of the agent costs one connection, not the thread and all of its connections.
        let turn = catch_unwind(AssertUnwindSafe(|| served.driver.turn(&mut self.shared)));
        match turn {
            Ok(Turn::Again) => served.make_ready(key, &mut self.ready),
            Ok(Turn::Wait) => {
                if let Err(error) = served.watch(key, &self.poll) {
                    tracing::warn!("cannot serve a connection any more: {error}");
                    self.shared.counters.ended.add(Ended::Lost);
                    self.close(key);
                    return;
                }
            }
            Ok(Turn::Closed) => {
                self.close(key);
                return;
            }
            Err(_) => {
                let panic = panics::take();
                if self.shared.log_limit.allows() {
                    tracing::error!(panic, "a connection was lost to a panic in the agent: {panic}; please report it");
                }
                self.shared.counters.ended.add(Ended::Lost);
                self.close(key);
                return;
            }
        }
        self.timers.arm(key, &mut served.armed, served.driver.due());
        self.heed_waiting(key);
    }

    /// Queues a connection that ended its turn holding a NOTIFY without a permit.
    fn heed_waiting(&mut self, key: usize) {
        let Served { driver, number, .. } = &mut *self.connections[key];
        let called_in_vain = driver.answer_call(&mut self.shared);
        match (driver.needs_permit(), *number) {
            (true, None) => {
                *number = Some(self.shared.loads.wait(key, called_in_vain));
                self.shared.tell_of_waiting();
            }
            (false, Some(waited)) => {
                self.shared.loads.leave(waited);
                *number = None;
            }
            _ => {}
        }
    }

    /// Grants free permits to the connections that have been queued for longest.
    fn resume(&mut self) {
        while let Some(key) = self.shared.loads.call() {
            let served = &mut self.connections[key];
            served.driver.call(served.number.take());
            served.make_ready(key, &mut self.ready);
        }
    }

    /// Closes the connections that have held bytes for longest while they waited for their peers; one whose HAProxy
    /// keeps up holds them for moments. Stops when a quarter of the limit is free, because scanning every connection is
    /// expensive.
    #[cold]
    fn shed(&mut self) {
        let kept = self.connections.iter().filter_map(|(key, served)| Some((served.driver.kept()?, key)));
        let mut kept: Vec<_> = kept.collect();
        kept.sort_unstable();
        let mut surplus = self.shared.loads.excess() + self.shared.loads.bytes_max() / 4;
        for ((_, bytes), key) in kept {
            if surplus == 0 {
                return;
            }
            surplus = surplus.saturating_sub(bytes);
            let served = &mut self.connections[key];
            served.driver.shed(&mut self.shared);
            served.make_ready(key, &mut self.ready);
        }
    }

    fn close(&mut self, key: usize) {
        let mut served = self.connections.remove(key);
        served.driver.release(&mut self.shared);
        if let Some(number) = served.number {
            self.shared.loads.leave(number);
        }
        self.timers.disarm(key, &mut served.armed);
        self.mailbox.ended(served.welcome);
    }
}

impl Served {
    fn make_ready(&mut self, key: usize, ready: &mut Vec<usize>) {
        if !mem::replace(&mut self.is_ready, true) {
            ready.push(key);
        }
    }

    /// Watches the socket for the readiness that the connection waits for.
    fn watch(&mut self, key: usize, poll: &Poll) -> io::Result<()> {
        let interest = self.driver.interest();
        if interest != self.interest {
            poll.registry().reregister(&mut SourceFd(&self.driver.as_raw_fd()), Token(key), interest)?;
            self.interest = interest;
        }
        Ok(())
    }
}

/// A timer that is changed only if the new time is earlier: arming one takes a lock of smol.
#[derive(Debug, Default)]
struct LazyTimer(Option<(Instant, Timer)>);

impl LazyTimer {
    /// True if it expired, which may be before `at`.
    fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
        let timer = match &mut self.0 {
            Some((armed, timer)) if *armed <= at => timer,
            Some((armed, timer)) => {
                *armed = at;
                timer.set_at(at);
                timer
            }
            None => &mut self.0.insert((at, Timer::at(at))).1,
        };
        let went_off = Pin::new(timer).poll(cx).is_ready();
        if went_off {
            self.0 = None;
        }
        went_off
    }
}
