//! HAProxy's processes in a run: what a model does reaches the core, and what the core says reaches the model.
//!
//! The oracle beside each connection says what the agent must do. This file looks from the other end: every event has to
//! end, once and in time, with the answer to its own question; neither side may find the other's bytes at fault; and
//! where nothing was done to a process, no event may be lost.

use spoa_core::{CloseReason, Status};
use spoa_sim_checker::Answer;
use spoa_sim_haproxy::codec::{AppliedActions, Arg, Messages, code};
use spoa_sim_haproxy::{Action, Defects, Engine, EventId, LinkId, Process, Settings};

use super::{World, codec};
use crate::coverage::Mark;
use crate::failure::Failure;
use crate::script::{AgentSetup, Cuts, EventSpec, Haproxy, Link, MessageSpec, Nanos, Step, Value};
use crate::trace::Kind;

/// An HAProxy process in a run.
pub(super) struct Player {
    name: Haproxy,
    process: Process,
    /// The connections it opened, by their number.
    sockets: Vec<Option<usize>>,
    /// Its events under way.
    events: Vec<Asked>,
    asked: u32,
    /// Clients' streams, by their number.
    streams: Vec<Stream>,
    weather: Weather,
    /// Something was done to it, so an event may be lost.
    disturbed: bool,
    /// A connection of its ended, or may have, inside a frame.
    cut_short: bool,
    stopping: bool,
}

/// A client's stream: its events come one after the other, on one thread.
#[derive(Clone, Copy, Debug)]
struct Stream {
    thread: u32,
    busy: bool,
    /// An event of its failed. The applet engine gives the next one the same ids, and so takes a late ACK for its own.
    spoiled: bool,
}

/// The faults of a process's connections, also of those to be made.
#[derive(Clone, Debug, Default)]
struct Weather {
    cuts: Cuts,
    held: bool,
    room: Option<u32>,
    take: Option<u32>,
}

/// An event under way.
struct Asked {
    id: EventId,
    /// Its client's stream.
    stream: usize,
    /// When it has to be over.
    due: Nanos,
    /// The answer of the handler to its messages.
    answer: Answer,
    /// Their length in bytes.
    size: usize,
}

/// The data of an action besides the process that asks for it; its bytes are copied, for they belong to the process.
enum Deed {
    Connect(LinkId),
    Send(LinkId, Vec<u8>),
    Fin(LinkId),
    Reset(LinkId),
    Done(EventId, u32, Vec<u8>),
    CheckDone { up: bool, text: &'static str },
}

impl From<Action<'_>> for Deed {
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

/// An event, or another on its connection, needs fragments, and the agent takes none.
const TOO_LARGE: u32 = 256 + code::FRAGMENTED;
/// Bytes of a frame beside a message, at most.
const FRAME_OVERHEAD: usize = 64;
/// How long the last connections of a process that is to go may take.
const FAREWELL_MAX: Nanos = 600_000_000_000;

impl Player {
    fn new(name: Haproxy, settings: &Settings, now: Nanos) -> Self {
        let max_frame_size = settings.max_frame_size.clamp(256, 1 << 20);
        let settings = Settings {
            threads: settings.threads.clamp(1, 64),
            max_frame_size,
            bufsize: settings.bufsize.max(max_frame_size + 4),
            max_waiting_frames: settings.max_waiting_frames.clamp(1, 1 << 16),
            // A peer that reconnects at once does so for ever.
            reconnect_gap: settings.reconnect_gap.max(100_000),
            retry_delay: settings.retry_delay.max(100_000),
            engine_seed: u64::from(name.0),
            ..settings.clone()
        };
        let disturbed = settings.defects != Defects::default() || settings.maxconn > 0;
        Self {
            name,
            process: Process::new(settings, now),
            sockets: Vec::new(),
            events: Vec::new(),
            asked: 0,
            streams: Vec::new(),
            weather: Weather::default(),
            disturbed,
            cut_short: false,
            stopping: false,
        }
    }

    fn socket(&self, link: LinkId) -> Option<usize> {
        self.sockets.get(link.0 as usize).copied().flatten()
    }

    /// The stream of an event, a new one unless it names one; `None` while that one waits for an answer.
    fn stream(&mut self, spec: &EventSpec) -> Option<usize> {
        let number = spec.stream.map_or(self.streams.len(), |number| number as usize).min(self.streams.len());
        if number == self.streams.len() {
            self.streams.push(Stream { thread: spec.thread, busy: false, spoiled: false });
        }
        let stream = &mut self.streams[number];
        (!std::mem::replace(&mut stream.busy, true)).then_some(number)
    }

    fn has_defects(&self) -> bool {
        self.process.settings().defects != Defects::default()
    }

    /// The largest frame that it and the agent agree on.
    fn frame(&self, agent: &AgentSetup) -> usize {
        agent.max_frame_size.min(self.process.settings().max_frame_size) as usize
    }

    /// True if an agent as it should be answers this event whole and in time, whatever else it has to do.
    fn is_easy(&self, asked: &Asked, agent: &AgentSetup) -> bool {
        let ample = agent.in_flight_max >= 64 && agent.deferred_max >= 1 << 20 && agent.unsent_max >= 64 << 10;
        let prompt = asked.answer.after() == Some(0);
        let ample = ample && !agent.limits_total();
        !self.disturbed && ample && agent.notify_max == 0 && prompt && asked.size + FRAME_OVERHEAD <= self.frame(agent)
    }
}

impl World {
    /// An HAProxy process starts, unless there is one of that name.
    pub(super) fn start(&mut self, name: Haproxy, settings: &Settings) {
        if self.player(name).is_none() {
            self.trace.haproxy(self.now, Link::All(name), Kind::Started, &[], || format!("{:?}", settings.engine));
            self.players.push(Player::new(name, settings, self.now));
        }
    }

    /// A client's transaction reaches an event.
    pub(super) fn ask(&mut self, name: Haproxy, spec: &EventSpec) -> Result<(), Failure> {
        let Some(at) = self.player(name).filter(|&at| !self.players[at].stopping) else { return Ok(()) };
        let messages = messages(&spec.messages);
        let player = &mut self.players[at];
        let Some(answer) = Answer::of(messages.bytes()) else { return Ok(()) };
        let id = EventId(player.asked);
        let Some(stream) = player.stream(spec) else { return Ok(()) };
        let thread = player.streams[stream].thread;
        let due = self.now.saturating_add(player.process.settings().processing_timeout);
        let numbers = [u64::from(id.0), stream as u64];
        self.trace.haproxy(self.now, Link::All(name), Kind::Asked, &numbers, || {
            let words: String = spec.messages.iter().map(|message| format!(" {message}")).collect();
            format!("event {}:{words}", id.0)
        });
        // Slow answers make others wait behind them, and an event that is too large takes its connection with it.
        player.disturbed |=
            answer.after() != Some(0) || messages.bytes().len() + FRAME_OVERHEAD > player.frame(&self.agent);
        player.asked += 1;
        player.events.push(Asked { id, stream, due, answer, size: messages.bytes().len() });
        player.process.event(self.now, id, thread, stream as u32, &messages);
        self.act(at)
    }

    /// `option spop-check` is due.
    pub(super) fn check_health(&mut self, name: Haproxy) -> Result<(), Failure> {
        let Some(at) = self.player(name).filter(|&at| !self.players[at].stopping) else { return Ok(()) };
        self.players[at].process.healthcheck(self.now);
        self.act(at)
    }

    /// A process is to go.
    pub(super) fn soft_stop(&mut self, name: Haproxy) -> Result<(), Failure> {
        let Some(at) = self.player(name).filter(|&at| !self.players[at].stopping) else { return Ok(()) };
        let player = &mut self.players[at];
        self.trace.haproxy(self.now, Link::All(name), Kind::SoftStop, &[], String::new);
        if !player.events.is_empty() {
            self.coverage.reach(Mark::SoftStopInFlight);
        }
        player.stopping = true;
        // The applet closes connections whose answers are still to come (#1340).
        player.disturbed = true;
        player.process.soft_stop(self.now);
        self.act(at)
    }

    /// All that `link` names and that can still be told something; what is done to all is done to those to come as well.
    pub(super) fn targets(&mut self, link: Link, step: &Step) -> Vec<usize> {
        let (name, only) = match link {
            Link::Scripted(_) => return self.find(link).into_iter().collect(),
            Link::Of(name, number) => (name, Some(number as usize)),
            Link::All(name) => (name, None),
        };
        let Some(at) = self.player(name) else { return Vec::new() };
        let player = &mut self.players[at];
        if only.is_none() {
            player.weather.take_in(step);
        }
        player.disturbed |= matches!(step, Step::Hold(_) | Step::Room(..) | Step::Reset(_) | Step::Shed(_));
        player.cut_short |= matches!(step, Step::Reset(_) | Step::Room(..));
        let all = player.sockets.iter().enumerate().filter(|(number, _)| only.is_none_or(|only| only == *number));
        let open = all.filter_map(|(_, at)| *at).filter(|&at| !self.sockets[at].ended);
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

    /// The network resets a connection: both sides are told.
    pub(super) fn reset_by_network(&mut self, at: usize) -> Result<(), Failure> {
        let Some((player, link)) = self.owner(at) else { return Ok(()) };
        self.players[player].process.handle_reset(self.now, link);
        self.act(player)
    }

    /// Carries bytes and ends from the agent to each process; false if there were none.
    pub(super) fn hear_all(&mut self) -> Result<bool, Failure> {
        let mut heard = false;
        for at in 0..self.players.len() {
            for link in 0..self.players[at].sockets.len() as u32 {
                heard |= self.hear(at, LinkId(link))?;
            }
        }
        Ok(heard)
    }

    /// Tells a process what the agent sent on one of its connections; false if that was nothing.
    fn hear(&mut self, player: usize, link: LinkId) -> Result<bool, Failure> {
        let Some(at) = self.players[player].socket(link) else { return Ok(false) };
        let socket = &mut self.sockets[at];
        let pieces = std::mem::take(&mut socket.outlet.pieces);
        let process = &mut self.players[player].process;
        let heard = !pieces.is_empty();
        for piece in pieces {
            process.handle_bytes(self.now, link, &piece);
        }
        let socket = &mut self.sockets[at];
        let ended = !socket.end_heard && (socket.connection.is_send_finished() || socket.connection.is_closed());
        if ended {
            socket.end_heard = true;
            // A socket that is closed with something unsaid, or unread, ends in a reset.
            if socket.connection.is_send_finished() {
                process.handle_eof(self.now, link);
            } else {
                process.handle_reset(self.now, link);
            }
        }
        self.act(player)?;
        let socket = &self.sockets[at];
        if socket.end_heard && socket.ended {
            self.players[player].sockets[link.0 as usize] = None;
        }
        Ok(heard || ended)
    }

    /// Does all that a process wants done.
    fn act(&mut self, player: usize) -> Result<(), Failure> {
        while let Some(action) = self.players[player].process.poll_action() {
            let deed = Deed::from(action);
            self.actions += 1;
            self.do_deed(player, deed)?;
        }
        Ok(())
    }

    fn do_deed(&mut self, player: usize, deed: Deed) -> Result<(), Failure> {
        let socket = |world: &Self, link| world.players[player].socket(link);
        match deed {
            Deed::Connect(link) => self.open(player, link),
            Deed::Send(link, bytes) => match socket(self, link) {
                Some(at) => {
                    codec::check(&bytes).map_err(|detail| self.failure(at, "codec", detail))?;
                    self.sockets[at].inlet.end().extend_from_slice(&bytes);
                    self.deliver(at)
                }
                None => Ok(()),
            },
            Deed::Fin(link) => socket(self, link).map_or(Ok(()), |at| self.finish(at)),
            Deed::Reset(link) => socket(self, link).map_or(Ok(()), |at| self.reset(at)),
            Deed::Done(event, status, actions) => self.done(player, event, status, &actions),
            Deed::CheckDone { up, text } => self.check_done(player, up, text),
        }
    }

    fn open(&mut self, player: usize, link: LinkId) -> Result<(), Failure> {
        let number = link.0 as usize;
        let is_full = self.open_sockets() >= self.agent.connections_max as usize;
        let Player { name, sockets, weather, disturbed, .. } = &mut self.players[player];
        if sockets.len() <= number {
            sockets.resize(number + 1, None);
        }
        sockets[number] = Some(self.sockets.len());
        let (name, weather) = (Link::Of(*name, link.0), weather.clone());
        *disturbed |= is_full;
        self.accept(name);
        let socket = self.sockets.last_mut().expect("it was just accepted");
        socket.inlet.cut(&weather.cuts);
        if weather.held {
            socket.inlet.hold();
        }
        (socket.outlet.room, socket.outlet.take, socket.outlet.heard) = (weather.room, weather.take, true);
        let busy = self.players.iter().filter(|player| player.sockets.iter().any(Option::is_some));
        if busy.count() > 1 {
            self.coverage.reach(Mark::Engines);
        }
        self.drive(self.sockets.len() - 1)
    }

    /// An event is over.
    fn done(&mut self, player: usize, event: EventId, status: u32, actions: &[u8]) -> Result<(), Failure> {
        let Player { name, events, .. } = &mut self.players[player];
        let link = Link::All(*name);
        let Some(place) = events.iter().position(|asked| asked.id == event) else {
            return Err(self.haproxy_failure(link, "answer", format!("event {} is answered twice", event.0)));
        };
        let asked = events.remove(place);
        let numbers = [u64::from(event.0), u64::from(status), actions.len() as u64];
        self.trace.haproxy(self.now, link, Kind::Answered, &numbers, || {
            format!("event {}: st={status}, {} bytes of actions", event.0, actions.len())
        });
        self.mark_done(player, status);
        let Player { streams, process, cut_short, .. } = &mut self.players[player];
        let stream = &mut streams[asked.stream];
        let confused = stream.spoiled && process.settings().engine == Engine::Applet;
        (stream.busy, stream.spoiled) = (false, stream.spoiled || status != 0);
        let small = asked.size + FRAME_OVERHEAD <= 256;
        let is_complaint = is_complaint(status, small, *cut_short) && (self.agent.fragmentation || status != TOO_LARGE);
        let easy = self.players[player].is_easy(&asked, &self.agent);
        let fault = if self.now > asked.due {
            Some(("late", "after its processing timeout".into()))
        } else if status == 0 && !confused && !asked.answer.allows(actions) {
            Some(("answer", "with actions that are not its own".into()))
        } else if status == 0 && !confused && easy && !asked.answer.is_whole(actions) {
            Some(("answer", "with less than the whole answer".into()))
        } else if status != 0 && (easy || is_complaint && !self.players[player].has_defects()) {
            Some(("lost", format!("with st={status}")))
        } else {
            None
        };
        match fault {
            Some((check, how)) => Err(self.haproxy_failure(link, check, format!("event {} ends {how}", event.0))),
            None => Ok(()),
        }
    }

    fn mark_done(&mut self, player: usize, status: u32) {
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

    fn check_done(&mut self, player: usize, up: bool, text: &'static str) -> Result<(), Failure> {
        let link = Link::All(self.players[player].name);
        self.trace.haproxy(self.now, link, Kind::Checked, &[u64::from(up)], || format!("health: {text}"));
        self.coverage.reach(if up { Mark::CheckUp } else { Mark::CheckDown });
        if up && self.limits.refuse_healthchecks {
            return Err(self.haproxy_failure(
                link,
                "health",
                format!("a health check that was refused passes: {text}"),
            ));
        }
        if !up && !self.limits.refuse_healthchecks && !self.players[player].disturbed {
            return Err(self.haproxy_failure(link, "health", format!("a health check fails: {text}")));
        }
        Ok(())
    }

    /// The agent's connection to a process has ended: neither side may have found the other's bytes at fault.
    pub(super) fn check_close(&self, at: usize, reason: CloseReason) -> Result<(), Failure> {
        let Some((player, _)) = self.owner(at) else { return Ok(()) };
        let fault = match reason {
            CloseReason::Error(error) if error.status() != Status::TIMEOUT => format!("HAProxy's bytes: {error}"),
            // An event that needs fragments, for an agent that takes none: HAProxy's own way to say so.
            CloseReason::Peer(Status::FRAGMENTED) if !self.agent.fragmentation => return Ok(()),
            // An event that both sides gave up amid its fragments: HAProxy knows it no more when it hears of that.
            CloseReason::Peer(Status::UNKNOWN_FRAME_ID) if self.sockets[at].connection.stats().aborted_by_agent > 0 => {
                return Ok(());
            }
            CloseReason::Peer(status) if (code::TOO_BIG..=code::UNKNOWN).contains(&status.0) => {
                format!("the agent's bytes, as HAProxy says: {status}")
            }
            _ => return Ok(()),
        };
        if self.players[player].has_defects() {
            return Ok(());
        }
        Err(self.failure(at, "complaint", fault))
    }

    /// When a process has to look at the time.
    pub(super) fn haproxy_due(&self) -> Option<Nanos> {
        self.players.iter().filter_map(|player| player.process.poll_timeout()).min()
    }

    pub(super) fn expire_haproxy(&mut self) -> Result<(), Failure> {
        for at in 0..self.players.len() {
            let process = &mut self.players[at].process;
            if process.poll_timeout().is_some_and(|due| due <= self.now) {
                process.handle_timeout(self.now);
                self.act(at)?;
            }
        }
        Ok(())
    }

    /// True while an event waits for its answer.
    pub(super) fn is_asking(&self) -> bool {
        self.players.iter().any(|player| !player.events.is_empty())
    }

    /// The agent is told to stop, and so may lose what is asked now.
    pub(super) fn disturb_all(&mut self) {
        self.players.iter_mut().for_each(|player| player.disturbed = true);
    }

    /// No more holding back.
    pub(super) fn clear_up(&mut self) {
        self.players.iter_mut().for_each(|player| player.weather = Weather::default());
    }

    /// Every process goes: softly as long as it wants, then as the kernel does it for a process that is gone.
    pub(super) fn end_haproxy(&mut self) -> Result<(), Failure> {
        for at in 0..self.players.len() {
            self.soft_stop(self.players[at].name)?;
        }
        self.settle()?;
        let end = self.now.saturating_add(FAREWELL_MAX);
        let open = |world: &Self| {
            let mut own = world.sockets.iter().filter(|socket| matches!(socket.link, Link::Of(..)));
            own.any(|socket| !socket.ended && !socket.connection.is_closed())
        };
        while open(self) {
            match self.next_due() {
                Some(due) if due <= end => self.wait_until(due)?,
                _ => break,
            }
        }
        for at in 0..self.sockets.len() {
            if matches!(self.sockets[at].link, Link::Of(..)) && !self.sockets[at].ended {
                self.reset(at)?;
            }
        }
        Ok(())
    }

    fn haproxy_failure(&self, link: Link, check: &'static str, detail: String) -> Failure {
        Failure { check, state: "haproxy", link, step: self.step, at: self.now, detail }
    }
}

impl Weather {
    fn take_in(&mut self, step: &Step) {
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

/// The bytes of those actions that take effect.
fn applied(mut actions: AppliedActions<'_>) -> Vec<u8> {
    let all = actions.payload();
    let mut len = 0;
    while actions.next().is_some() {
        len = all.len() - actions.payload().len();
    }
    all[..len].to_vec()
}

/// True for an end that says one side found the other's bytes at fault: nothing that happens on the way can cause that.
const fn is_complaint(status: u32, small: bool, cut_short: bool) -> bool {
    match status.checked_sub(256) {
        Some(code::TOO_BIG) => small,
        Some(code::INVALID) => !cut_short,
        Some(code) => code > code::TOO_BIG && code != Status::RESOURCE.0,
        None => status == 3 && small,
    }
}

/// Messages as HAProxy writes them: it knows one type of integer.
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
