//! A run: the core on one end, the script on the other, the checker beside both.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use spoa_core::table::{Input, StateName};
use spoa_core::wire::Capabilities;
use spoa_core::{CloseReason, Config, Connection, Event, Instant, LocalReason, Stats, Status, Ticket};
use spoa_sim_checker::{Counts, Event as Expected, Limits, Oracle, SILENT};

mod codec;
mod haproxy;

use crate::application::{Owed, handle};
use crate::conversation::Conversation;
use crate::coverage::{Coverage, Mark, Observer};
use crate::failure::{Failure, panic_text};
use crate::link::{Inlet, Outlet};
use crate::plan::Answer;
use crate::script::{AgentSetup, Link, Nanos, Script, Step};
use crate::trace::{Kind, Trace};

/// How often a run may do something at most; one that does it oftener is stuck.
const ACTIONS_MAX: u32 = 1_000_000;
/// How long a run may last, lest sums of times overflow: some thirty years.
const RUN_MAX: Nanos = 1 << 60;
/// How long after its last step a run may still have something to wait for.
/// A handler may take an hour, and others wait behind it.
const AFTER_MAX: Nanos = 100 * 3_600_000_000_000;

/// Room for what most runs have of connections, and of answers on their way.
const SOCKETS_USUAL: usize = 8;

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The trace, as a number and, if asked for, line by line.
    pub trace: Trace,
    /// The coverage.
    pub coverage: Coverage,
    /// The failure, if there is one.
    pub failure: Option<Failure>,
    /// The conversation on each connection, in the order in which they were made.
    pub conversations: Vec<Conversation>,
    /// When it was over.
    pub end: Nanos,
}

/// Runs `script`, and keeps the trace line by line if `recording`. A panic of the core is a failure like any other.
pub fn run(script: &Script, recording: bool) -> Outcome {
    run_until(script, recording, 0)
}

/// The same, but lets at least the time until `end` pass before HAProxy ends what is open.
pub fn run_until(script: &Script, recording: bool, end: Nanos) -> Outcome {
    let world = World::new(&script.agent, Keep { records: recording, conversations: true }, Buffers::default());
    play(&mut Buffers::default(), World { end_min: end, ..world }, script)
}

/// Does what [`run`] does, in memory that was used before; keeps neither lines nor conversations.
pub fn run_in(buffers: &mut Buffers, script: &Script) -> Outcome {
    let world = World::new(&script.agent, Keep::default(), mem::take(buffers));
    play(buffers, world, script)
}

/// Memory that one run after another can use. It holds nothing that a run could see.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Of connections that are gone.
    gone: Vec<(Oracle, Inlet)>,
}

/// The data that a run keeps besides the number of its trace.
#[derive(Clone, Copy, Debug, Default)]
struct Keep {
    /// The trace line by line.
    records: bool,
    /// The conversation on each connection.
    conversations: bool,
}

fn play(buffers: &mut Buffers, mut world: World, script: &Script) -> Outcome {
    let done = catch_unwind(AssertUnwindSafe(|| world.play(script)));
    let failure = match done {
        Ok(done) => done.err(),
        Err(panic) => Some(world.failure(0, "panic", panic_text(&*panic).into())),
    };
    let World { trace, coverage, sockets, now, .. } = world;
    *buffers = world.buffers;
    let mut conversations = Vec::new();
    for socket in sockets {
        conversations.extend(socket.conversation);
        buffers.gone.push((socket.oracle, socket.inlet));
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
    later: Vec<Later>,
    order: u64,
    /// When connections were accepted last, and how many then.
    accepted: (Nanos, u32),
    actions: u32,
    trace: Trace,
    coverage: Coverage,
    step: usize,
    keep: Keep,
    buffers: Buffers,
    /// The buffers that the agent's connections lend each other.
    spare: spoa_core::Buffers,
    /// When HAProxy ends what is open, at the earliest.
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
    /// HAProxy has ended its side.
    ended: bool,
    /// When it was held last.
    held_at: Nanos,
    /// The core was told so.
    eof_told: bool,
    /// HAProxy was told that the agent has ended its side.
    end_heard: bool,
    /// The agent had as many NOTIFYs in flight as it may have when it was looked at last.
    on_hold: bool,
    /// NOTIFYs handed out.
    handed: u64,
    /// The conversation, if it is kept.
    conversation: Option<Conversation>,
}

impl Socket {
    /// The agent's buffer has no room for what is there, unless the conversation is over.
    fn mark_full(&mut self, waits: bool) {
        if let Some(conversation) = &mut self.conversation {
            conversation.was_full |= waits && !self.connection.is_closed();
        }
    }
}

/// An answer on its way.
struct Later {
    due: Nanos,
    order: u64,
    socket: usize,
    number: u64,
    ticket: Ticket,
    owed: Owed,
}

impl World {
    fn new(agent: &AgentSetup, keep: Keep, buffers: Buffers) -> Self {
        Self {
            agent: agent.clone(),
            config: agent.config(),
            limits: agent.limits(),
            now: 0,
            sockets: Vec::with_capacity(SOCKETS_USUAL),
            players: Vec::new(),
            later: Vec::with_capacity(SOCKETS_USUAL),
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
        let (declared, own) = (self.config.memory_max(), self.limits.memory_max());
        if declared != own {
            return Err(self.failure(0, "memory", format!("{declared} bytes are declared, instead of {own}")));
        }
        for step in &script.steps {
            self.step += 1;
            self.take(step)?;
            self.settle()?;
        }
        self.come_to_rest()
    }

    fn take(&mut self, step: &Step) -> Result<(), Failure> {
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
                let link = step.link().expect("all other steps are about a link");
                if let Link::Scripted(_) = link {
                    return self.find(link).map_or(Ok(()), |at| self.take_at(at, step));
                }
                self.targets(link, step).into_iter().try_for_each(|at| self.take_at(at, step))
            }
        }
    }

    fn take_at(&mut self, at: usize, step: &Step) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        let inlet = &mut socket.inlet;
        match step {
            Step::Send(_, frame) => {
                self.coverage.sent(frame);
                frame.encode(inlet.end());
                self.deliver(at)?;
            }
            Step::Raw(_, bytes) => {
                inlet.end().extend_from_slice(bytes);
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

    /// The open connection of a link.
    fn find(&self, link: Link) -> Option<usize> {
        let open = |socket: &Socket| socket.link == link && !socket.ended && !socket.connection.is_closed();
        self.sockets.iter().rposition(open)
    }

    fn connect(&mut self, link: Link) -> Result<(), Failure> {
        if self.find(link).is_some() {
            return Ok(());
        }
        self.accept(link);
        self.drive(self.sockets.len() - 1)
    }

    /// The agent accepts a connection, or accepts it only to refuse it.
    fn accept(&mut self, link: Link) {
        let (at, crowd) = self.accepted;
        self.accepted = (self.now, if at == self.now { crowd + 1 } else { 1 });
        if self.accepted.1 == 8 {
            self.coverage.reach(Mark::Crowd);
        }
        self.trace.note(self.now, link, Kind::Connect, &[]);
        let (mut oracle, inlet) = match self.buffers.gone.pop() {
            Some((oracle, inlet)) => (oracle.renewed(self.limits, self.now), inlet.renewed()),
            None => (Oracle::new(self.limits, self.now), Inlet::default()),
        };
        let mut connection = Connection::new(self.config, instant(self.now));
        if self.open_sockets() >= self.agent.connections_max as usize {
            oracle = oracle.refused();
            connection = Connection::refused(self.config, instant(self.now));
        }
        self.sockets.push(Socket {
            link,
            connection,
            oracle,
            observer: Observer::new(self.limits.max_frame_size),
            inlet,
            outlet: Outlet::default(),
            ended: false,
            held_at: self.now,
            eof_told: false,
            end_heard: false,
            on_hold: false,
            handed: 0,
            conversation: self.keep.conversations.then(|| Conversation::new(link)),
        });
    }

    fn open_sockets(&self) -> usize {
        self.sockets.iter().filter(|socket| !socket.connection.is_closed()).count()
    }

    /// Lets what is under way arrive, piece by piece.
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
        socket.ended = true;
        self.drive(at)
    }

    fn reset(&mut self, at: usize) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        self.trace.note(self.now, socket.link, Kind::Reset, &[]);
        let lost = socket.inlet.reset();
        self.coverage.reach(if lost { Mark::ResetQueued } else { Mark::ResetIdle });
        socket.ended = true;
        self.drive(at)
    }

    fn stop(&mut self, grace: Nanos) -> Result<(), Failure> {
        self.disturb_all();
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
        self.rest(at)
    }

    /// Lets what was done have its effects on others.
    fn settle(&mut self) -> Result<(), Failure> {
        while self.resume()? || self.hear_all()? {}
        Ok(())
    }

    /// Lets connections go on that waited for others' NOTIFYs; false if there were none.
    fn resume(&mut self) -> Result<bool, Failure> {
        let mut any = false;
        for at in 0..self.sockets.len() {
            if self.sockets[at].on_hold && !self.is_full() {
                any = true;
                let handed = self.sockets[at].handed;
                self.poll(at)?;
                self.drive(at)?;
                if self.sockets[at].handed > handed {
                    self.coverage.reach(Mark::HeldForOthers);
                }
            }
        }
        Ok(any)
    }

    /// True if as many NOTIFYs are in flight as may be.
    fn is_full(&self) -> bool {
        let in_flight = || self.sockets.iter().map(|socket| socket.connection.in_flight()).sum::<usize>();
        self.agent.limits_total() && in_flight() >= self.agent.total_in_flight_max.max(1) as usize
    }

    /// Lets time pass, from one thing that is due to the next.
    fn wait_until(&mut self, end: Nanos) -> Result<(), Failure> {
        for at in 0..self.sockets.len() {
            self.rest(at)?;
        }
        while let Some(due) = self.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            if self.all_due().filter(|&other| other == due).nth(1).is_some() {
                self.coverage.reach(Mark::Coincidence);
            }
            self.answer_due()?;
            self.expire_due()?;
            self.settle()?;
            self.expire_haproxy()?;
            self.settle()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    /// Gives buffers back, as drivers do before they wait: idle connections keep nothing.
    fn rest(&mut self, at: usize) -> Result<(), Failure> {
        let Socket { connection, oracle, .. } = &mut self.sockets[at];
        connection.release_buffers(&mut self.spare);
        let kept = connection.memory();
        if kept > 0 && oracle.holds_nothing() {
            return Err(self.failure(at, "memory", format!("{kept} bytes are kept for nothing")));
        }
        Ok(())
    }

    /// All that is due, now or later.
    fn all_due(&self) -> impl Iterator<Item = Nanos> {
        let deadlines =
            self.sockets.iter().filter_map(|socket| socket.connection.poll_timeout()).map(Instant::as_nanos);
        deadlines.chain(self.later.iter().map(|later| later.due)).chain(self.haproxy_due())
    }

    fn next_due(&self) -> Option<Nanos> {
        self.all_due().min()
    }

    fn answer_due(&mut self) -> Result<(), Failure> {
        loop {
            let due = self.later.iter().enumerate().filter(|(_, later)| later.due <= self.now);
            let Some((first, _)) = due.min_by_key(|(_, later)| (later.due, later.order)) else { return Ok(()) };
            let later = self.later.remove(first);
            let at = later.socket;
            let socket = &mut self.sockets[at];
            let id = later.ticket.id();
            let live = socket.connection.is_live(id);
            let allowed = socket.oracle.answer(self.now, later.number);
            match socket.connection.ack(instant(self.now), later.ticket) {
                Ok(ack) => later.owed.answer(ack),
                Err(_) if !allowed => {
                    let over = matches!(socket.connection.state(), StateName::Closing | StateName::Closed);
                    self.coverage.reach(if over { Mark::LateForConversation } else { Mark::LateForDeadline });
                    continue;
                }
                Err(error) => return Err(self.failure(at, "ticket", format!("a NOTIFY in time: {error}"))),
            }
            let fault = match (allowed, live, socket.connection.is_live(id)) {
                (false, ..) => "an answer that is too late was taken",
                (_, false, _) => "a ticket in time counted as void",
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
                return Err(self.failure(at, "progress", "a deadline that has passed stays".into()));
            }
        }
        Ok(())
    }

    /// Faults stop, and nothing may be left undone.
    fn come_to_rest(&mut self) -> Result<(), Failure> {
        self.step += 1;
        self.clear_up();
        for at in 0..self.sockets.len() {
            let socket = &mut self.sockets[at];
            (socket.outlet.room, socket.outlet.take) = (None, None);
            socket.inlet.release();
            self.deliver(at)?;
            self.drive(at)?;
        }
        self.settle()?;
        let end = self.now.saturating_add(AFTER_MAX);
        // What the agent does on its own ends, but for closing what is idle.
        let busy = |world: &Self| !world.later.is_empty() || world.sockets.iter().any(|s| s.connection.in_flight() > 0);
        while busy(self) || self.is_asking() {
            match self.next_due() {
                Some(due) if due <= end => self.wait_until(due)?,
                _ if self.is_asking() => return Err(self.failure(0, "liveness", "an event never ends".into())),
                _ => return Err(self.failure(0, "liveness", "a NOTIFY is never answered".into())),
            }
        }
        self.end_haproxy()?;
        if self.now < self.end_min {
            self.wait_until(self.end_min)?;
        }
        for at in 0..self.sockets.len() {
            let socket = &self.sockets[at];
            if !socket.inlet.readable().is_empty() && !socket.connection.is_closed() {
                return Err(self.failure(at, "liveness", "bytes are never read".into()));
            }
            if !socket.ended {
                self.finish(at)?;
            }
            if !self.sockets[at].connection.is_closed() {
                return Err(self.failure(at, "liveness", "the connection outlives its end".into()));
            }
        }
        Ok(())
    }

    /// Does what a driver does when the socket is ready, until there is nothing left to do.
    fn drive(&mut self, at: usize) -> Result<(), Failure> {
        loop {
            self.actions += 1;
            if self.actions > ACTIONS_MAX {
                return Err(self.failure(at, "budget", "the run does not end".into()));
            }
            let read = self.read(at)?;
            let wrote = self.write(at)?;
            // After a write the core may read on; after a read there may be more to read.
            if !(wrote || read && self.sockets[at].inlet.is_ready()) {
                self.check_rest(at)?;
                // As a driver does after a turn; now and then not, since it need not.
                if !self.actions.is_multiple_of(3) {
                    self.sockets[at].connection.release_buffers(&mut self.spare);
                }
                return Ok(());
            }
        }
    }

    /// Reads once, if there is something to read and the core wants it.
    fn read(&mut self, at: usize) -> Result<bool, Failure> {
        let now = self.now;
        let socket = &mut self.sockets[at];
        if socket.inlet.is_at_end() {
            if socket.eof_told || !socket.connection.wants_input() {
                socket.mark_full(!socket.eof_told);
                return Ok(false);
            }
            socket.eof_told = true;
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

    /// Sends what the socket takes.
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

    /// Takes the core's events and compares each, then what the core has to say.
    fn poll(&mut self, at: usize) -> Result<(), Failure> {
        let now = self.now;
        loop {
            let on_hold = self.is_full();
            let socket = &mut self.sockets[at];
            socket.on_hold = on_hold;
            socket.connection.hold(on_hold);
            socket.oracle.hold(on_hold);
            let expected = socket.oracle.next_event();
            let Some(event) = socket.connection.poll_event() else {
                if let Some(expected) = expected {
                    let detail = format!("none, instead of {expected:?}");
                    return Err(self.failure(at, "event", detail));
                }
                break;
            };
            let found = seen(&event, socket.handed);
            if expected != Some(found) {
                let wanted = expected.map_or("none".into(), |expected| format!("{expected:?}"));
                let detail = format!("{found:?}, instead of {wanted}");
                return Err(self.failure(at, "event", detail));
            }
            self.trace.event(now, socket.link, &event);
            self.coverage.event(&event);
            if let Event::Ready { negotiated, .. } = &event {
                let pipelining = negotiated.capabilities.contains(Capabilities::PIPELINING);
                socket.observer.ready(negotiated.max_frame_size, pipelining);
            }
            if let Event::Closed(reason) = event {
                self.check_close(at, reason)?;
                continue;
            }
            if let Some(conversation) = &mut socket.conversation {
                conversation.event(&event);
            }
            if let Event::Notify(notify) = event {
                let number = socket.handed;
                socket.handed += 1;
                let (plan, later) = handle(notify);
                self.coverage.planned(plan);
                if let Some((ticket, owed)) = later.filter(|_| plan.answer != Answer::Never) {
                    let due = now + plan.after;
                    self.order += 1;
                    self.later.push(Later { due, order: self.order, socket: at, number, ticket, owed });
                }
            }
        }
        self.check_output(at)
    }

    fn check_output(&mut self, at: usize) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        let wanted = socket.oracle.output();
        let found = socket.connection.poll_transmit().unwrap_or_default();
        if found != wanted {
            let detail = crate::failure::compare_output(found, wanted);
            return Err(self.failure(at, "output", detail));
        }
        Ok(())
    }

    /// Checks what must hold between any two steps.
    fn check_rest(&mut self, at: usize) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        let (connection, oracle) = (&socket.connection, &socket.oracle);
        let deadline = connection.poll_timeout().map(Instant::as_nanos);
        let fault = if connection.is_closed() != oracle.is_closed() {
            Some(("closed", format!("closed: {}", connection.is_closed())))
        } else if connection.wants_input() != oracle.wants_input() {
            Some(("back-pressure", format!("wants input: {}", connection.wants_input())))
        } else if connection.is_send_finished() != oracle.is_send_finished() {
            Some(("finished", format!("finished: {}", connection.is_send_finished())))
        } else if deadline != oracle.deadline() {
            Some(("deadline", format!("at {deadline:?}, instead of {:?}", oracle.deadline())))
        } else if connection.in_flight() != oracle.in_flight() {
            Some(("in-flight", format!("{}, instead of {}", connection.in_flight(), oracle.in_flight())))
        } else if !is_same(&connection.stats(), oracle.counts()) {
            Some(("stats", format!("{:?}, instead of {:?}", connection.stats(), oracle.counts())))
        } else if connection.memory() > self.limits.memory_max() {
            Some(("memory", format!("{} bytes, above {}", connection.memory(), self.limits.memory_max())))
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

fn is_same(stats: &Stats, counts: &Counts) -> bool {
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

/// An event of the core in the checker's words.
fn seen<'e>(event: &Event<'e>, handed: u64) -> Expected<&'e [u8]> {
    match event {
        Event::Ready { negotiated, .. } => Expected::Ready {
            max_frame_size: negotiated.max_frame_size,
            capabilities: [Capabilities::PIPELINING, Capabilities::FRAGMENTATION, Capabilities::ASYNC]
                .map(|one| negotiated.capabilities.contains(one)),
        },
        Event::Notify(notify) => Expected::Notify {
            ids: (notify.stream_id().0, notify.frame_id().0),
            number: handed,
            payload: notify.payload(),
        },
        &Event::Closed(CloseReason::Eof { in_flight, mid_frame }) => Expected::Ended { in_flight, mid_frame },
        Event::Closed(reason) => Expected::Closed(match reason {
            CloseReason::HealthCheck | CloseReason::Eof { .. } | CloseReason::Local(LocalReason::SendTimeout) => SILENT,
            CloseReason::Peer(status) => status.known_or_unknown().0,
            CloseReason::Local(LocalReason::HealthCheckRefused | LocalReason::NoMemory) => Status::RESOURCE.0,
            CloseReason::Local(_) => 0,
            CloseReason::Error(error) => error.status().0,
        }),
    }
}
