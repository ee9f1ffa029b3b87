//! Runs a script against the core, and compares the core with the checker after every action.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use spoa_core::table::{Input, StateName};
use spoa_core::wire::Capabilities;
use spoa_core::{CloseReason, Config, Connection, Event, Instant, LocalReason, Stats, Ticket};
use spoa_sim_checker::{Counts, Event as Expected, Limits, Oracle, Reason};

mod codec;
mod haproxy;

use crate::application::{DeferredAnswer, handle};
use crate::conversation::Conversation;
use crate::coverage::{Coverage, Mark, Observer};
use crate::endpoint;
use crate::failure::{Failure, panic_text};
use crate::link::{Inlet, Outlet};
use crate::plan::Answer;
use crate::script::{AgentSetup, Link, Nanos, Script, Step};
use crate::trace::{Kind, Trace};

/// The largest number of actions of a run. A run that exceeds it never ends.
const ACTIONS_MAX: u32 = 1_000_000;
/// The longest duration of a run, about 36 years, so that sums of times do not overflow.
const RUN_MAX: Nanos = 1 << 60;
/// The longest time from the last step to the last answer. A handler may take an hour, and NOTIFYs that a limit holds
/// back are handed out only after that.
const QUIESCENCE_MAX: Nanos = 100 * 3_600_000_000_000;

/// The initial capacity for connections and for deferred answers, which is enough for most runs.
const CAPACITY: usize = 8;

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The trace.
    pub trace: Trace,
    /// The coverage.
    pub coverage: Coverage,
    /// The failure, if there is one.
    pub failure: Option<Failure>,
    /// The conversation on each connection, in the order in which the agent accepted them; empty if they are not kept.
    pub conversations: Vec<Conversation>,
    /// The time at the end of the run.
    pub end: Nanos,
}

/// Runs `script`. Keeps the records of the trace if `recording` is true. A panic of the core is reported as a failure.
pub fn run(script: &Script, recording: bool) -> Outcome {
    if script.agent.endpoint > 0 {
        return endpoint::run(script, recording);
    }
    run_until(script, recording, 0)
}

/// Runs `script` as [`run`] does, but HAProxy does not close open connections before the time `end`.
pub fn run_until(script: &Script, recording: bool, end: Nanos) -> Outcome {
    let world = World::new(&script.agent, Keep { records: recording, conversations: true }, Buffers::default());
    play(&mut Buffers::default(), World { end_min: end, ..world }, script)
}

/// Runs `script` as [`run`] does, but reuses `buffers`, and keeps neither records nor conversations.
pub fn run_in(buffers: &mut Buffers, script: &Script) -> Outcome {
    if script.agent.endpoint > 0 {
        return endpoint::run(script, false);
    }
    let world = World::new(&script.agent, Keep::default(), mem::take(buffers));
    play(buffers, world, script)
}

/// Memory that is reused by later runs. It must not influence them.
#[derive(Debug, Default)]
pub struct Buffers {
    /// The memory of closed connections.
    unused: Vec<(Oracle, Inlet)>,
}

/// The data that a run keeps besides the hash of its trace.
#[derive(Clone, Copy, Debug, Default)]
struct Keep {
    /// True to keep the records of the trace.
    records: bool,
    /// True to keep the conversation on each connection.
    conversations: bool,
}

fn play(buffers: &mut Buffers, mut world: World, script: &Script) -> Outcome {
    let result = catch_unwind(AssertUnwindSafe(|| world.play(script)));
    let failure = match result {
        Ok(result) => result.err(),
        Err(panic) => Some(world.failure(0, "panic", panic_text(&*panic).into())),
    };
    let World { trace, coverage, sockets, now, .. } = world;
    *buffers = world.buffers;
    let mut conversations = Vec::new();
    for socket in sockets {
        conversations.extend(socket.conversation);
        buffers.unused.push((socket.oracle, socket.inlet));
    }
    Outcome { trace, coverage, failure, conversations, end: now }
}

struct World {
    agent: AgentSetup,
    config: Config,
    limits: Limits,
    now: Nanos,
    sockets: Vec<Socket>,
    players: Vec<haproxy::Player>,
    /// The answers that handlers will give later.
    pending: Vec<PendingAnswer>,
    /// The number of answers that were deferred.
    order: u64,
    /// The time at which a connection was last accepted, and the number of connections that were accepted at this time.
    accepted: (Nanos, u32),
    actions: u32,
    trace: Trace,
    coverage: Coverage,
    step: usize,
    keep: Keep,
    buffers: Buffers,
    /// The unused buffers that the connections of the agent share.
    spare: spoa_core::Buffers,
    /// The earliest time at which HAProxy closes open connections after the last step.
    end_min: Nanos,
}

/// One connection, from its accept to its end.
struct Socket {
    link: Link,
    connection: Connection,
    oracle: Oracle,
    observer: Observer,
    inlet: Inlet,
    outlet: Outlet,
    /// True once HAProxy has closed or reset the connection.
    peer_closed: bool,
    /// The time of the last `hold`.
    held_at: Nanos,
    /// True once the core was notified that HAProxy has closed the connection.
    eof_reported: bool,
    /// True once the model of HAProxy was notified that the agent has closed the connection.
    close_forwarded: bool,
    /// True if the limit of NOTIFYs in flight on all connections was reached when the connection was last polled.
    held_back: bool,
    /// The number of NOTIFYs that were handed out.
    delivered: u64,
    /// The conversation, if it is kept.
    conversation: Option<Conversation>,
}

impl Socket {
    /// Records in the conversation that input waits in the socket although the connection is open, if `waits` is true.
    fn mark_full(&mut self, waits: bool) {
        if let Some(conversation) = &mut self.conversation {
            conversation.was_full |= waits && !self.connection.is_closed();
        }
    }
}

/// A deferred answer that is due later.
struct PendingAnswer {
    due: Nanos,
    /// The order of answers that are due at the same time.
    order: u64,
    socket: usize,
    /// The number of NOTIFYs that were handed out on the connection before this one.
    index: u64,
    ticket: Ticket,
    answer: DeferredAnswer,
}

impl World {
    fn new(agent: &AgentSetup, keep: Keep, buffers: Buffers) -> Self {
        Self {
            agent: agent.clone(),
            config: agent.config(),
            limits: agent.limits(),
            now: 0,
            sockets: Vec::with_capacity(CAPACITY),
            players: Vec::new(),
            pending: Vec::with_capacity(CAPACITY),
            order: 0,
            accepted: (0, 0),
            actions: 0,
            trace: Trace::new(keep.records),
            coverage: Coverage::default(),
            step: 0,
            keep,
            buffers,
            spare: spoa_core::Buffers::default(),
            end_min: 0,
        }
    }

    fn play(&mut self, script: &Script) -> Result<(), Failure> {
        let (actual, expected) = (self.config.memory_max(), self.limits.memory_max());
        if actual != expected {
            let detail = format!("expected {expected} bytes as the limit of memory, got {actual} bytes");
            return Err(self.failure(0, "memory", detail));
        }
        for step in &script.steps {
            self.step += 1;
            self.execute(step)?;
            self.propagate()?;
        }
        self.reach_quiescence()
    }

    fn execute(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Connect(link) => self.connect(*link),
            Step::Wait(time) => self.wait_until(self.now.saturating_add(*time).min(RUN_MAX)),
            Step::Stop { grace } => self.stop(*grace),
            Step::Start(name, settings) => {
                self.start(*name, settings);
                Ok(())
            }
            Step::Ask(name, event) => self.ask(*name, event),
            Step::Check(name) => self.check_health(*name),
            Step::SoftStop(name) => self.soft_stop(*name),
            _ => {
                let link = step.link().expect("all other steps have a link");
                if let Link::Scripted(_) = link {
                    return self.find(link).map_or(Ok(()), |at| self.execute_at(at, step));
                }
                self.targets(link, step).into_iter().try_for_each(|at| self.execute_at(at, step))
            }
        }
    }

    /// Executes a step that concerns one open connection.
    fn execute_at(&mut self, at: usize, step: &Step) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        let inlet = &mut socket.inlet;
        match step {
            Step::Send(_, frame) => {
                self.coverage.sent(frame);
                frame.encode(inlet.send_buf());
                self.deliver(at)?;
            }
            Step::Raw(_, bytes) => {
                inlet.send_buf().extend_from_slice(bytes);
                self.deliver(at)?;
            }
            Step::Cut(_, cuts) => inlet.cut(cuts),
            Step::Hold(_) => {
                inlet.hold();
                socket.held_at = self.now;
            }
            Step::Release(_) => {
                if inlet.release() && self.now > socket.held_at {
                    self.coverage.reach(Mark::Delayed);
                }
                self.deliver(at)?;
            }
            Step::Room(_, room) => {
                socket.outlet.room = *room;
                self.drive(at)?;
            }
            Step::Take(_, take) => {
                socket.outlet.take = *take;
                self.drive(at)?;
            }
            Step::Fin(_) => self.finish(at)?,
            Step::Reset(_) => {
                self.reset(at)?;
                self.reset_by_network(at)?;
            }
            Step::Shed(_) => self.shed(at)?,
            Step::Connect(_)
            | Step::Start(..)
            | Step::Ask(..)
            | Step::Check(_)
            | Step::SoftStop(_)
            | Step::Wait(_)
            | Step::Stop { .. } => {}
        }
        Ok(())
    }

    /// Returns the index of the open connection of a link.
    fn find(&self, link: Link) -> Option<usize> {
        let open = |socket: &Socket| socket.link == link && !socket.peer_closed && !socket.connection.is_closed();
        self.sockets.iter().rposition(open)
    }

    fn connect(&mut self, link: Link) -> Result<(), Failure> {
        if self.find(link).is_some() {
            return Ok(());
        }
        self.accept(link);
        self.drive(self.sockets.len() - 1)
    }

    /// Accepts a connection. A connection above the limit will be rejected.
    fn accept(&mut self, link: Link) {
        let (at, count) = self.accepted;
        self.accepted = (self.now, if at == self.now { count + 1 } else { 1 });
        if self.accepted.1 == 8 {
            self.coverage.reach(Mark::Crowd);
        }
        self.trace.note(self.now, link, Kind::Connect, &[]);
        let (mut oracle, inlet) = match self.buffers.unused.pop() {
            Some((oracle, inlet)) => (oracle.recycled(self.limits, self.now), inlet.recycled()),
            None => (Oracle::new(self.limits, self.now), Inlet::default()),
        };
        let mut connection = Connection::new(self.config, instant(self.now));
        if self.open_sockets() >= self.agent.connections_max as usize {
            oracle = oracle.rejected();
            connection = Connection::rejected(self.config, instant(self.now));
        }
        self.sockets.push(Socket {
            link,
            connection,
            oracle,
            observer: Observer::new(self.limits.max_frame_size),
            inlet,
            outlet: Outlet::default(),
            peer_closed: false,
            held_at: self.now,
            eof_reported: false,
            close_forwarded: false,
            held_back: false,
            delivered: 0,
            conversation: self.keep.conversations.then(|| Conversation::new(link)),
        });
    }

    fn open_sockets(&self) -> usize {
        self.sockets.iter().filter(|socket| !socket.connection.is_closed()).count()
    }

    /// Delivers bytes in transit, piece by piece. The agent handles each piece before the next one arrives.
    fn deliver(&mut self, at: usize) -> Result<(), Failure> {
        let mut pieces = 0;
        while self.sockets[at].inlet.arrive(pieces) {
            self.drive(at)?;
            pieces += 1;
        }
        Ok(())
    }

    fn finish(&mut self, at: usize) -> Result<(), Failure> {
        self.sockets[at].inlet.release();
        self.deliver(at)?;
        self.trace.note(self.now, self.sockets[at].link, Kind::Fin, &[]);
        let socket = &mut self.sockets[at];
        socket.inlet.finish();
        socket.peer_closed = true;
        self.drive(at)
    }

    fn reset(&mut self, at: usize) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        self.trace.note(self.now, socket.link, Kind::Reset, &[]);
        let lost = socket.inlet.reset();
        self.coverage.reach(if lost { Mark::ResetQueued } else { Mark::ResetIdle });
        socket.peer_closed = true;
        self.drive(at)
    }

    fn stop(&mut self, grace: Nanos) -> Result<(), Failure> {
        self.allow_lost_events();
        for at in 0..self.sockets.len() {
            let socket = &mut self.sockets[at];
            if socket.connection.is_closed() {
                continue;
            }
            self.coverage.cell(socket.connection.state(), Input::Stop);
            if socket.connection.in_flight() > 0 {
                self.coverage.reach(Mark::StoppedInFlight);
            }
            self.trace.note(self.now, socket.link, Kind::Stop, &[]);
            socket.connection.disconnect(instant(self.now), Duration::from_nanos(grace));
            socket.oracle.stop(self.now, grace);
            self.poll(at)?;
            self.drive(at)?;
        }
        Ok(())
    }

    fn shed(&mut self, at: usize) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        self.coverage.cell(socket.connection.state(), Input::Shed);
        self.trace.note(self.now, socket.link, Kind::Shed, &[]);
        socket.connection.shed(instant(self.now));
        socket.oracle.shed(self.now);
        self.poll(at)?;
        self.drive(at)?;
        self.release_buffers(at)
    }

    /// Applies the effects of a step on other connections and on the models of HAProxy, until there are none left.
    fn propagate(&mut self) -> Result<(), Failure> {
        while self.resume()? || self.forward_all()? {}
        Ok(())
    }

    /// Serves the connections that the limit of all connections held back, if it is not reached any more. Returns false
    /// if there were none.
    fn resume(&mut self) -> Result<bool, Failure> {
        let mut any = false;
        for at in 0..self.sockets.len() {
            if self.sockets[at].held_back && !self.is_limit_reached() {
                any = true;
                let delivered = self.sockets[at].delivered;
                self.poll(at)?;
                self.drive(at)?;
                if self.sockets[at].delivered > delivered {
                    self.coverage.reach(Mark::HeldForOthers);
                }
            }
        }
        Ok(any)
    }

    /// True if the limit of NOTIFYs in flight on all connections is reached.
    fn is_limit_reached(&self) -> bool {
        let in_flight = || self.sockets.iter().map(|socket| socket.connection.in_flight()).sum::<usize>();
        self.agent.limits_total() && in_flight() >= self.agent.total_in_flight_max.max(1) as usize
    }

    /// Advances the time to `end`, and handles everything that is due before, in order.
    fn wait_until(&mut self, end: Nanos) -> Result<(), Failure> {
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
            self.propagate()?;
            self.expire_haproxy()?;
            self.propagate()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    /// Releases buffers, as a driver does before it waits. After that, an idle connection must not hold memory.
    fn release_buffers(&mut self, at: usize) -> Result<(), Failure> {
        let Socket { connection, oracle, .. } = &mut self.sockets[at];
        connection.release_buffers(&mut self.spare);
        let memory = connection.memory();
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
        deadlines.chain(self.pending.iter().map(|pending| pending.due)).chain(self.haproxy_due())
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
                Ok(ack) => pending.answer.send(ack),
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
            self.coverage.cell(socket.connection.state(), Input::Deadline);
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
    fn reach_quiescence(&mut self) -> Result<(), Failure> {
        self.step += 1;
        self.end_faults();
        for at in 0..self.sockets.len() {
            let socket = &mut self.sockets[at];
            (socket.outlet.room, socket.outlet.take) = (None, None);
            socket.inlet.release();
            self.deliver(at)?;
            self.drive(at)?;
        }
        self.propagate()?;
        let end = self.now.saturating_add(QUIESCENCE_MAX);
        // Idle timeouts are not waited for here.
        let busy =
            |world: &Self| !world.pending.is_empty() || world.sockets.iter().any(|s| s.connection.in_flight() > 0);
        while busy(self) || self.has_pending_events() {
            match self.next_due() {
                Some(due) if due <= end => self.wait_until(due)?,
                _ if self.has_pending_events() => {
                    return Err(self.failure(0, "liveness", "an event never ends".into()));
                }
                _ => return Err(self.failure(0, "liveness", "a NOTIFY is never answered".into())),
            }
        }
        self.stop_haproxy()?;
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

    /// Serves a connection as a driver does when the socket is ready, until there is nothing left to do.
    fn drive(&mut self, at: usize) -> Result<(), Failure> {
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
        let (state, in_flight) = (socket.connection.state(), socket.connection.in_flight());
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
    fn poll(&mut self, at: usize) -> Result<(), Failure> {
        let now = self.now;
        loop {
            let held_back = self.is_limit_reached();
            let socket = &mut self.sockets[at];
            socket.held_back = held_back;
            socket.connection.hold_back(held_back);
            socket.oracle.hold_back(held_back);
            let expected = socket.oracle.next_event();
            let Some(event) = socket.connection.poll_event() else {
                if let Some(expected) = expected {
                    let detail = format!("expected {expected:?}, got none");
                    return Err(self.failure(at, "event", detail));
                }
                break;
            };
            let actual = seen(&event, socket.delivered);
            if expected != Some(actual) {
                let expected = expected.map_or("none".into(), |expected| format!("{expected:?}"));
                let detail = format!("expected {expected}, got {actual:?}");
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
            if let Event::Closed(reason) = event {
                self.check_close(at, reason)?;
                continue;
            }
            if let Event::Notify(notify) = event {
                let index = socket.delivered;
                socket.delivered += 1;
                let (plan, deferred) = handle(notify);
                self.coverage.planned(plan);
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
    fn check_state(&mut self, at: usize) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        let (connection, oracle) = (&socket.connection, &socket.oracle);
        let deadline = connection.poll_timeout().map(Instant::as_nanos);
        let flag = |name: &str, expected: bool| format!("expected {name} to be {expected}, got {}", !expected);
        let fault = if connection.is_closed() != oracle.is_closed() {
            Some(("closed", flag("is_closed", oracle.is_closed())))
        } else if connection.wants_input() != oracle.wants_input() {
            Some(("back-pressure", flag("wants_input", oracle.wants_input())))
        } else if connection.is_send_finished() != oracle.is_send_finished() {
            Some(("finished", flag("is_send_finished", oracle.is_send_finished())))
        } else if deadline != oracle.deadline() {
            Some(("deadline", format!("expected {}, got {}", Deadline(oracle.deadline()), Deadline(deadline))))
        } else if connection.in_flight() != oracle.in_flight() {
            Some(("in-flight", format!("expected {} in flight, got {}", oracle.in_flight(), connection.in_flight())))
        } else if connection.in_flight_bytes() != oracle.in_flight_bytes() {
            let (expected, actual) = (oracle.in_flight_bytes(), connection.in_flight_bytes());
            Some(("in-flight", format!("expected {expected} bytes in flight, got {actual}")))
        } else if connection.waits_for_peer() != oracle.waits_for_peer() {
            Some(("stalled", flag("waits_for_peer", oracle.waits_for_peer())))
        } else if connection.is_idle() != oracle.is_idle() {
            Some(("idle", flag("is_idle", oracle.is_idle())))
        } else if connection.refusal().is_some() != oracle.is_refusing() {
            Some(("refusal", flag("refusal", oracle.is_refusing())))
        } else if !is_same(&connection.stats(), oracle.counts()) {
            Some(("stats", format!("expected {:?}, got {:?}", oracle.counts(), connection.stats())))
        } else if connection.memory() > self.limits.memory_max() {
            let (memory, max) = (connection.memory(), self.limits.memory_max());
            Some(("memory", format!("expected at most {max} bytes, got {memory} bytes")))
        } else {
            None
        };
        match fault {
            Some((check, detail)) => Err(self.failure(at, check, detail)),
            None => Ok(()),
        }
    }

    fn failure(&self, at: usize, check: &'static str, detail: String) -> Failure {
        let socket = self.sockets.get(at);
        Failure {
            check,
            state: socket.map_or("none", |socket| socket.oracle.state()),
            link: socket.map_or(Link::Scripted(0), |socket| socket.link),
            step: self.step,
            at: self.now,
            detail,
        }
    }
}

/// Displays a deadline in a failure. The unit is always nanoseconds, so that the words of a fingerprint do not depend
/// on the value.
pub(crate) struct Deadline(pub(crate) Option<Nanos>);

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(at) => write!(f, "at {at} ns"),
            None => f.write_str("none"),
        }
    }
}

/// True if the counters of the core and of the checker are equal.
pub(crate) fn is_same(stats: &Stats, counts: &Counts) -> bool {
    let Counts { notifies, acks, acks_unanswered, acks_declined, acks_expired, acks_cut, .. } = *counts;
    let acked = (stats.acks, stats.acks_unanswered, stats.acks_declined, stats.acks_expired, stats.acks_cut);
    stats.notifies == notifies
        && acked == (acks, acks_unanswered, acks_declined, acks_expired, acks_cut)
        && stats.frames_received == counts.frames_received
        && stats.aborted_by_agent == counts.aborted_by_agent
        && stats.aborted_by_haproxy == counts.aborted_by_haproxy
        && stats.frames_skipped == counts.frames_skipped
}

fn instant(now: Nanos) -> Instant {
    Instant::from_nanos(now)
}

/// Converts an event of the core to the type of the checker. `delivered` NOTIFYs were handed out before it.
pub(crate) fn seen<'e>(event: &Event<'e>, delivered: u64) -> Expected<&'e [u8]> {
    match event {
        Event::Ready { negotiated, .. } => Expected::Ready {
            max_frame_size: negotiated.max_frame_size,
            capabilities: [Capabilities::PIPELINING, Capabilities::FRAGMENTATION, Capabilities::ASYNC]
                .map(|one| negotiated.capabilities.contains(one)),
        },
        Event::Notify(notify) => Expected::Notify {
            ids: (notify.stream_id().0, notify.frame_id().0),
            index: delivered,
            payload: notify.payload(),
        },
        &Event::Closed(CloseReason::Eof { in_flight, unprocessed }) => Expected::Eof { in_flight, unprocessed },
        Event::Closed(reason) => Expected::Closed(match reason {
            CloseReason::HealthCheck => Reason::HealthCheck,
            CloseReason::Peer(status) => Reason::Peer(status.0),
            CloseReason::Error(error) => Reason::Error(error.status().0),
            CloseReason::Eof { .. } => unreachable!("it is converted above"),
            CloseReason::Local(reason) => match reason {
                LocalReason::Requested => Reason::Requested,
                LocalReason::ConnectionLimit => Reason::ConnectionLimit,
                LocalReason::HealthCheckRefused => Reason::HealthCheckRefused,
                LocalReason::NotifyMax => Reason::NotifyMax,
                LocalReason::Idle => Reason::Idle,
                LocalReason::SendTimeout => Reason::SendTimeout,
                LocalReason::NoMemory => Reason::NoMemory,
            },
        }),
    }
}
