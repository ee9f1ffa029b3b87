//! The HAProxy processes of a run: passes the actions of a model to the core, and the output of the core to the model.
//!
//! The checker compares the core on each connection. This module checks the result on the side of HAProxy: every event
//! ends once and in time, with the answer to its own messages; neither side rejects the bytes of the other; and no
//! event is lost without a possible cause, such as a fault of the network.

use spoa_core::{CloseReason, Status};
use spoa_sim_checker::Answer;
use spoa_sim_haproxy::codec::{AppliedActions, Arg, Messages, code};
use spoa_sim_haproxy::{Action, Defects, Engine, EventId, LinkId, Process, Settings};

use super::{World, codec};
use crate::coverage::Mark;
use crate::failure::Failure;
use crate::script::{AgentSetup, Cuts, EventSpec, Haproxy, Link, MessageSpec, Nanos, Step, Value};
use crate::trace::Kind;

/// A HAProxy process in a run.
pub(super) struct Player {
    name: Haproxy,
    process: Process,
    /// The index of the socket of each connection that it opened; `None` once the connection is closed.
    sockets: Vec<Option<usize>>,
    /// The events that have not ended.
    events: Vec<PendingEvent>,
    /// The number of events so far.
    event_count: u32,
    /// The streams of clients, by their number.
    streams: Vec<Stream>,
    /// The faults of all its connections, including later ones.
    faults: LinkFaults,
    /// True once something has happened that can cause the loss of an event.
    may_lose_events: bool,
    /// True once a connection may have ended inside a frame.
    cut_short: bool,
    stopping: bool,
}

/// The stream of a client. Its events follow each other on one thread.
#[derive(Clone, Copy, Debug)]
struct Stream {
    thread: u32,
    /// True while an event has not ended.
    busy: bool,
    /// True if an event failed. The applet engine uses its ids again for the next event, and accepts a late ACK of the
    /// first for the second.
    has_failed: bool,
}

/// The faults of the connections of a process.
#[derive(Clone, Debug, Default)]
struct LinkFaults {
    cuts: Cuts,
    held: bool,
    room: Option<u32>,
    take: Option<u32>,
}

/// An event that has not ended.
struct PendingEvent {
    id: EventId,
    /// The index of its stream.
    stream: usize,
    /// The time at which its processing timeout ends.
    due: Nanos,
    /// The answer of the handler to its messages.
    answer: Answer,
    /// The size of its messages in bytes.
    size: usize,
}

/// An [`Action`] with a copy of its bytes, so that it does not borrow from the process.
enum OwnedAction {
    Connect(LinkId),
    Send(LinkId, Vec<u8>),
    Fin(LinkId),
    Reset(LinkId),
    Done(EventId, u32, Vec<u8>),
    CheckDone { up: bool, text: &'static str },
}

impl From<Action<'_>> for OwnedAction {
    fn from(action: Action<'_>) -> Self {
        match action {
            Action::Connect(link) => Self::Connect(link),
            Action::Send(link, bytes) => Self::Send(link, bytes.to_vec()),
            Action::Fin(link) => Self::Fin(link),
            Action::Reset(link) => Self::Reset(link),
            Action::Done(event, outcome) => Self::Done(event, outcome.status, applied(outcome.actions)),
            Action::CheckDone { up, text, .. } => Self::CheckDone { up, text },
        }
    }
}

/// The status of an event that needs fragments, or is on a connection with such an event, if the agent does not accept
/// fragments.
const TOO_LARGE: u32 = 256 + code::FRAGMENTED;
/// The largest number of bytes of a frame besides its messages.
const FRAME_OVERHEAD: usize = 64;
/// The longest time to wait after a soft-stop until all connections are closed.
const SOFT_STOP_MAX: Nanos = 600_000_000_000;

impl Player {
    fn new(name: Haproxy, settings: &Settings, now: Nanos) -> Self {
        let max_frame_size = settings.max_frame_size.clamp(256, 1 << 20);
        let settings = Settings {
            threads: settings.threads.clamp(1, 64),
            max_frame_size,
            bufsize: settings.bufsize.max(max_frame_size + 4),
            max_waiting_frames: settings.max_waiting_frames.clamp(1, 1 << 16),
            // Without a pause between attempts, a run with many reconnections would not end.
            reconnect_gap: settings.reconnect_gap.max(100_000),
            retry_delay: settings.retry_delay.max(100_000),
            engine_seed: u64::from(name.0),
            ..settings.clone()
        };
        let may_lose_events = settings.defects != Defects::default() || settings.maxconn > 0;
        Self {
            name,
            process: Process::new(settings, now),
            sockets: Vec::new(),
            events: Vec::new(),
            event_count: 0,
            streams: Vec::new(),
            faults: LinkFaults::default(),
            may_lose_events,
            cut_short: false,
            stopping: false,
        }
    }

    fn socket(&self, link: LinkId) -> Option<usize> {
        self.sockets.get(link.0 as usize).copied().flatten()
    }

    /// Returns the index of the stream of an event, which is busy from now on: the one that the event names if it
    /// exists, otherwise a new one. Returns `None` if the stream is already busy.
    fn stream(&mut self, spec: &EventSpec) -> Option<usize> {
        let index = spec.stream.map_or(self.streams.len(), |number| number as usize).min(self.streams.len());
        if index == self.streams.len() {
            self.streams.push(Stream { thread: spec.thread, busy: false, has_failed: false });
        }
        let stream = &mut self.streams[index];
        (!std::mem::replace(&mut stream.busy, true)).then_some(index)
    }

    fn has_defects(&self) -> bool {
        self.process.settings().defects != Defects::default()
    }

    /// Returns the size of the largest frame that HAProxy and the agent agree on.
    fn frame_max(&self, agent: &AgentSetup) -> usize {
        agent.max_frame_size.min(self.process.settings().max_frame_size) as usize
    }

    /// True if a correct agent must answer this event completely and in time, whatever other events there are.
    fn must_be_answered(&self, event: &PendingEvent, agent: &AgentSetup) -> bool {
        let ample = agent.in_flight_max >= 64 && agent.deferred_max >= 1 << 20 && agent.unsent_max >= 64 << 10;
        let ample = ample && !agent.limits_total() && agent.notify_max == 0;
        let immediate = event.answer.delay() == Some(0);
        let fits = event.size + FRAME_OVERHEAD <= self.frame_max(agent);
        !self.may_lose_events && ample && immediate && fits
    }
}

impl World {
    /// Starts a HAProxy process, unless there is one with this name.
    pub(super) fn start(&mut self, name: Haproxy, settings: &Settings) {
        if self.player(name).is_none() {
            self.trace.haproxy(self.now, Link::All(name), Kind::Started, &[], || format!("{:?}", settings.engine));
            self.players.push(Player::new(name, settings, self.now));
        }
    }

    /// Starts an event of a client's transaction.
    pub(super) fn ask(&mut self, name: Haproxy, spec: &EventSpec) -> Result<(), Failure> {
        let Some(at) = self.player(name).filter(|&at| !self.players[at].stopping) else { return Ok(()) };
        let messages = messages(&spec.messages);
        let player = &mut self.players[at];
        let Some(answer) = Answer::of(messages.bytes()) else { return Ok(()) };
        let id = EventId(player.event_count);
        let Some(stream) = player.stream(spec) else { return Ok(()) };
        let thread = player.streams[stream].thread;
        let due = self.now.saturating_add(player.process.settings().processing_timeout);
        let numbers = [u64::from(id.0), stream as u64];
        self.trace.haproxy(self.now, Link::All(name), Kind::Asked, &numbers, || {
            let words: String = spec.messages.iter().map(|message| format!(" {message}")).collect();
            format!("event {}:{words}", id.0)
        });
        // A deferred answer may delay others, and an event that is too large may end its connection.
        player.may_lose_events |=
            answer.delay() != Some(0) || messages.bytes().len() + FRAME_OVERHEAD > player.frame_max(&self.agent);
        player.event_count += 1;
        player.events.push(PendingEvent { id, stream, due, answer, size: messages.bytes().len() });
        player.process.event(self.now, id, thread, stream as u32, &messages);
        self.perform_actions(at)
    }

    /// Starts a health check of a process (`option spop-check`).
    pub(super) fn check_health(&mut self, name: Haproxy) -> Result<(), Failure> {
        let Some(at) = self.player(name).filter(|&at| !self.players[at].stopping) else { return Ok(()) };
        self.players[at].process.healthcheck(self.now);
        self.perform_actions(at)
    }

    /// Starts a soft-stop of a process.
    pub(super) fn soft_stop(&mut self, name: Haproxy) -> Result<(), Failure> {
        let Some(at) = self.player(name).filter(|&at| !self.players[at].stopping) else { return Ok(()) };
        let player = &mut self.players[at];
        self.trace.haproxy(self.now, Link::All(name), Kind::SoftStop, &[], String::new);
        if !player.events.is_empty() {
            self.coverage.reach(Mark::SoftStopInFlight);
        }
        player.stopping = true;
        // The applet engine closes connections although NOTIFYs are in flight (#1340).
        player.may_lose_events = true;
        player.process.soft_stop(self.now);
        self.perform_actions(at)
    }

    /// Returns the open sockets to which `step` applies. A step for all connections of a process applies to later ones
    /// too.
    pub(super) fn targets(&mut self, link: Link, step: &Step) -> Vec<usize> {
        let (name, only) = match link {
            Link::Scripted(_) => return self.find(link).into_iter().collect(),
            Link::Of(name, number) => (name, Some(number as usize)),
            Link::All(name) => (name, None),
        };
        let Some(at) = self.player(name) else { return Vec::new() };
        let player = &mut self.players[at];
        if only.is_none() {
            player.faults.apply(step);
        }
        player.may_lose_events |= matches!(step, Step::Hold(_) | Step::Room(..) | Step::Reset(_) | Step::Shed(_));
        player.cut_short |= matches!(step, Step::Reset(_) | Step::Room(..));
        let all = player.sockets.iter().enumerate().filter(|(number, _)| only.is_none_or(|only| only == *number));
        let open = all.filter_map(|(_, at)| *at).filter(|&at| !self.sockets[at].peer_closed);
        open.collect()
    }

    fn player(&self, name: Haproxy) -> Option<usize> {
        self.players.iter().position(|player| player.name == name)
    }

    fn owner(&self, at: usize) -> Option<(usize, LinkId)> {
        match self.sockets[at].link {
            Link::Of(name, number) => self.player(name).map(|player| (player, LinkId(number))),
            Link::Scripted(_) | Link::All(_) => None,
        }
    }

    /// Notifies HAProxy that the network has reset a connection.
    pub(super) fn reset_by_network(&mut self, at: usize) -> Result<(), Failure> {
        let Some((player, link)) = self.owner(at) else { return Ok(()) };
        self.players[player].process.handle_reset(self.now, link);
        self.perform_actions(player)
    }

    /// Passes the output of all connections to the processes. Returns false if there was none.
    pub(super) fn forward_all(&mut self) -> Result<bool, Failure> {
        let mut forwarded = false;
        for at in 0..self.players.len() {
            for link in 0..self.players[at].sockets.len() as u32 {
                forwarded |= self.forward(at, LinkId(link))?;
            }
        }
        Ok(forwarded)
    }

    /// Passes the agent's bytes on a connection, and its end, to the process. Returns false if there was nothing.
    fn forward(&mut self, player: usize, link: LinkId) -> Result<bool, Failure> {
        let Some(at) = self.players[player].socket(link) else { return Ok(false) };
        let socket = &mut self.sockets[at];
        let pieces = std::mem::take(&mut socket.outlet.pieces);
        let process = &mut self.players[player].process;
        let has_bytes = !pieces.is_empty();
        for piece in pieces {
            process.handle_bytes(self.now, link, &piece);
        }
        let socket = &mut self.sockets[at];
        let closes = !socket.close_forwarded && (socket.connection.is_send_finished() || socket.connection.is_closed());
        if closes {
            socket.close_forwarded = true;
            // If the agent closes the socket although bytes are unsent, HAProxy is assumed to see a reset.
            if socket.connection.is_send_finished() {
                process.handle_eof(self.now, link);
            } else {
                process.handle_reset(self.now, link);
            }
        }
        self.perform_actions(player)?;
        let socket = &self.sockets[at];
        if socket.close_forwarded && socket.peer_closed {
            self.players[player].sockets[link.0 as usize] = None;
        }
        Ok(has_bytes || closes)
    }

    /// Performs all actions of a process.
    fn perform_actions(&mut self, player: usize) -> Result<(), Failure> {
        while let Some(action) = self.players[player].process.poll_action() {
            let action = OwnedAction::from(action);
            self.actions += 1;
            self.perform(player, action)?;
        }
        Ok(())
    }

    fn perform(&mut self, player: usize, action: OwnedAction) -> Result<(), Failure> {
        let socket = |world: &Self, link| world.players[player].socket(link);
        match action {
            OwnedAction::Connect(link) => self.open(player, link),
            OwnedAction::Send(link, bytes) => match socket(self, link) {
                Some(at) => {
                    codec::check(&bytes).map_err(|detail| self.failure(at, "codec", detail))?;
                    self.sockets[at].inlet.send_buf().extend_from_slice(&bytes);
                    self.deliver(at)
                }
                None => Ok(()),
            },
            OwnedAction::Fin(link) => socket(self, link).map_or(Ok(()), |at| self.finish(at)),
            OwnedAction::Reset(link) => socket(self, link).map_or(Ok(()), |at| self.reset(at)),
            OwnedAction::Done(event, status, actions) => self.end_event(player, event, status, &actions),
            OwnedAction::CheckDone { up, text } => self.end_check(player, up, text),
        }
    }

    fn open(&mut self, player: usize, link: LinkId) -> Result<(), Failure> {
        let number = link.0 as usize;
        let is_full = self.open_sockets() >= self.agent.connections_max as usize;
        let Player { name, sockets, faults, may_lose_events, .. } = &mut self.players[player];
        if sockets.len() <= number {
            sockets.resize(number + 1, None);
        }
        sockets[number] = Some(self.sockets.len());
        let (name, faults) = (Link::Of(*name, link.0), faults.clone());
        *may_lose_events |= is_full;
        self.accept(name);
        let socket = self.sockets.last_mut().expect("a connection was just accepted");
        socket.inlet.cut(&faults.cuts);
        if faults.held {
            socket.inlet.hold();
        }
        (socket.outlet.room, socket.outlet.take, socket.outlet.has_reader) = (faults.room, faults.take, true);
        let busy = self.players.iter().filter(|player| player.sockets.iter().any(Option::is_some));
        if busy.count() > 1 {
            self.coverage.reach(Mark::Engines);
        }
        self.drive(self.sockets.len() - 1)
    }

    /// Checks the result of an event that has ended.
    fn end_event(&mut self, player: usize, id: EventId, status: u32, actions: &[u8]) -> Result<(), Failure> {
        let Player { name, events, .. } = &mut self.players[player];
        let link = Link::All(*name);
        let Some(at) = events.iter().position(|event| event.id == id) else {
            return Err(self.haproxy_failure(link, "answer", format!("event {} ended twice", id.0)));
        };
        let event = events.remove(at);
        let numbers = [u64::from(id.0), u64::from(status), actions.len() as u64];
        self.trace.haproxy(self.now, link, Kind::Answered, &numbers, || {
            format!("event {}: st={status}, {} bytes of actions", id.0, actions.len())
        });
        self.mark_event(player, status);
        let Player { streams, process, cut_short, .. } = &mut self.players[player];
        let stream = &mut streams[event.stream];
        // The answer may be the late ACK of an earlier event.
        let is_mixed_up = stream.has_failed && process.settings().engine == Engine::Applet;
        (stream.busy, stream.has_failed) = (false, stream.has_failed || status != 0);
        let small = event.size + FRAME_OVERHEAD <= 256;
        let is_complaint = is_complaint(status, small, *cut_short) && (self.agent.fragmentation || status != TOO_LARGE);
        let must_be_answered = self.players[player].must_be_answered(&event, &self.agent);
        let fault = if self.now > event.due {
            Some(("late", "after its processing timeout".into()))
        } else if status == 0 && !is_mixed_up && !event.answer.allows(actions) {
            Some(("answer", "with actions of another answer".into()))
        } else if status == 0 && !is_mixed_up && must_be_answered && !event.answer.is_whole(actions) {
            Some(("answer", "with a part of its answer".into()))
        } else if status != 0 && (must_be_answered || is_complaint && !self.players[player].has_defects()) {
            Some(("lost", format!("with st={status}")))
        } else {
            None
        };
        match fault {
            Some((check, end)) => Err(self.haproxy_failure(link, check, format!("event {} ended {end}", id.0))),
            None => Ok(()),
        }
    }

    fn mark_event(&mut self, player: usize, status: u32) {
        let mark = match (status, self.players[player].process.settings().engine) {
            (0, Engine::Mux) => Mark::MuxAnswered,
            (0, Engine::Applet) => Mark::AppletAnswered,
            (1, _) => Mark::EventTimeout,
            (3, _) => Mark::EventTooBig,
            _ => Mark::EventLost,
        };
        self.coverage.reach(mark);
        if status == 0 && self.players[player].has_defects() {
            self.coverage.reach(Mark::Defects);
        }
    }

    /// Checks the result of a health check.
    fn end_check(&mut self, player: usize, up: bool, text: &'static str) -> Result<(), Failure> {
        let link = Link::All(self.players[player].name);
        self.trace.haproxy(self.now, link, Kind::Checked, &[u64::from(up)], || format!("health: {text}"));
        self.coverage.reach(if up { Mark::CheckUp } else { Mark::CheckDown });
        if up && self.limits.refuse_healthchecks {
            return Err(self.haproxy_failure(
                link,
                "health",
                format!("a health check that the agent must refuse passed: {text}"),
            ));
        }
        if !up && !self.limits.refuse_healthchecks && !self.players[player].may_lose_events {
            return Err(self.haproxy_failure(link, "health", format!("a health check failed: {text}")));
        }
        Ok(())
    }

    /// Checks that a connection to a process did not end because one side rejected the bytes of the other.
    pub(super) fn check_close(&self, at: usize, reason: CloseReason) -> Result<(), Failure> {
        let Some((player, _)) = self.owner(at) else { return Ok(()) };
        let fault = match reason {
            CloseReason::Error(error) if error.status() != Status::TIMEOUT => {
                format!("the agent rejected HAProxy's bytes: {error}")
            }
            // HAProxy closes with this code if an event needs fragments and the agent does not accept them.
            CloseReason::Peer(Status::FRAGMENTED) if !self.agent.fragmentation => return Ok(()),
            // If both sides abort a NOTIFY between its fragments, HAProxy does not know its ids any more when the abort
            // of the agent arrives.
            CloseReason::Peer(Status::UNKNOWN_FRAME_ID) if self.sockets[at].connection.stats().aborted_by_agent > 0 => {
                return Ok(());
            }
            CloseReason::Peer(status) if (code::TOO_BIG..=code::UNKNOWN).contains(&status.0) => {
                format!("HAProxy rejected the agent's bytes: {status}")
            }
            _ => return Ok(()),
        };
        if self.players[player].has_defects() {
            return Ok(());
        }
        Err(self.failure(at, "complaint", fault))
    }

    /// Returns the earliest deadline of all processes.
    pub(super) fn haproxy_due(&self) -> Option<Nanos> {
        self.players.iter().filter_map(|player| player.process.poll_timeout()).min()
    }

    /// Handles the deadlines of all processes that have passed.
    pub(super) fn expire_haproxy(&mut self) -> Result<(), Failure> {
        for at in 0..self.players.len() {
            let process = &mut self.players[at].process;
            if process.poll_timeout().is_some_and(|due| due <= self.now) {
                process.handle_timeout(self.now);
                self.perform_actions(at)?;
            }
        }
        Ok(())
    }

    /// True while there are events that have not ended.
    pub(super) fn has_pending_events(&self) -> bool {
        self.players.iter().any(|player| !player.events.is_empty())
    }

    /// Allows every process to lose events, because the agent is stopping.
    pub(super) fn allow_lost_events(&mut self) {
        self.players.iter_mut().for_each(|player| player.may_lose_events = true);
    }

    /// Ends the faults that later connections would have.
    pub(super) fn end_faults(&mut self) {
        self.players.iter_mut().for_each(|player| player.faults = LinkFaults::default());
    }

    /// Stops every process: a soft-stop first, then its open connections are reset, as the kernel does when a process
    /// exits.
    pub(super) fn stop_haproxy(&mut self) -> Result<(), Failure> {
        for at in 0..self.players.len() {
            self.soft_stop(self.players[at].name)?;
        }
        self.propagate()?;
        let end = self.now.saturating_add(SOFT_STOP_MAX);
        let open = |world: &Self| {
            let mut of_models = world.sockets.iter().filter(|socket| matches!(socket.link, Link::Of(..)));
            of_models.any(|socket| !socket.peer_closed && !socket.connection.is_closed())
        };
        while open(self) {
            match self.next_due() {
                Some(due) if due <= end => self.wait_until(due)?,
                _ => break,
            }
        }
        for at in 0..self.sockets.len() {
            if matches!(self.sockets[at].link, Link::Of(..)) && !self.sockets[at].peer_closed {
                self.reset(at)?;
            }
        }
        Ok(())
    }

    fn haproxy_failure(&self, link: Link, check: &'static str, detail: String) -> Failure {
        Failure { check, state: "haproxy", link, step: self.step, at: self.now, detail }
    }
}

impl LinkFaults {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Cut(_, cuts) => self.cuts.clone_from(cuts),
            Step::Hold(_) => self.held = true,
            Step::Release(_) => self.held = false,
            Step::Room(_, room) => self.room = *room,
            Step::Take(_, take) => self.take = *take,
            _ => {}
        }
    }
}

/// Returns the bytes of the actions that HAProxy applies.
fn applied(mut actions: AppliedActions<'_>) -> Vec<u8> {
    let all = actions.payload();
    let mut len = 0;
    while actions.next().is_some() {
        len = all.len() - actions.payload().len();
    }
    all[..len].to_vec()
}

/// True if a status means that one side rejected the bytes of the other, which a fault of the network cannot cause.
const fn is_complaint(status: u32, small: bool, cut_short: bool) -> bool {
    match status.checked_sub(256) {
        Some(code::TOO_BIG) => small,
        Some(code::INVALID) => !cut_short,
        Some(code) => code > code::TOO_BIG && code != Status::RESOURCE.0,
        None => status == 3 && small,
    }
}

/// Converts messages to the types of the model. HAProxy has only one type of integer.
fn messages(specs: &[MessageSpec]) -> Messages {
    let mut messages = Messages::new();
    for spec in specs {
        messages.message(&spec.name, spec.args.len());
        for (name, value) in &spec.args {
            let text = if let Value::LongText(len) = value { crate::encode::long_text(*len) } else { Vec::new() };
            let arg = match value {
                Value::Null => Arg::Null,
                Value::Bool(on) => Arg::Bool(*on),
                Value::Int32(number) | Value::Int64(number) => Arg::Int(*number),
                Value::Uint32(number) | Value::Uint64(number) => Arg::Int(*number as i64),
                Value::Plan(plan) => Arg::Int(plan.to_wire()),
                Value::Ipv4(octets) => Arg::Ipv4(*octets),
                Value::Ipv6(octets) => Arg::Ipv6(*octets),
                Value::Text(text) => Arg::Str(text),
                Value::LongText(_) => Arg::Str(&text),
                Value::Binary(bytes) => Arg::Bin(bytes),
                Value::Bytes(bytes) => Arg::Bin(bytes),
            };
            messages.arg(name, arg);
        }
    }
    messages
}
