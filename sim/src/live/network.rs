//! The connections of a run, the models of HAProxy that use them, and the loop that waits for sockets and deadlines.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};
use spoa_sim_haproxy::{Defects, EventId, LinkId, Process, Settings};
use spoa_sim_kit::judge::{Finding, Judge, Judgement};
use spoa_sim_kit::socket::{Address, Stream};

use super::connection::Connection;
use super::{PROCESS, Played, is_done, is_named};
use crate::coverage::Coverage;
use crate::link;
use crate::models::{OwnedAction, Stream as ClientStream, bounded, messages, occupy};
use crate::script::{Cuts, EventSpec, Haproxy, Link, Nanos, Step};

/// A HAProxy process.
struct Model {
    name: Haproxy,
    process: Process,
    streams: Vec<ClientStream>,
    /// The events that have not ended, and the index of the stream of each.
    events: Vec<(EventId, usize)>,
    event_count: u32,
    /// The steps for all its connections, which apply to later ones too.
    lasting: Vec<Step>,
    is_stopping: bool,
}

/// All connections to the agent. The index of a connection is its number in the recording.
pub(super) struct Network<'a> {
    address: &'a Address,
    start: Instant,
    connections: Vec<Connection>,
    models: Vec<Model>,
    judge: Judge,
    recording: Recording,
    /// The reason why the last connection could not be opened.
    refusal: Option<Finding>,
}

impl<'a> Network<'a> {
    pub(super) fn new(address: &'a Address, judge: Judge) -> Self {
        Self {
            address,
            start: Instant::now(),
            connections: Vec::new(),
            models: Vec::new(),
            judge,
            recording: Recording::default(),
            refusal: None,
        }
    }

    fn now(&self) -> Nanos {
        self.start.elapsed().as_nanos() as Nanos
    }

    /// Opens a connection of the script.
    pub(super) fn connect(&mut self, link: Link) {
        // If the agent refuses it, the steps on it do nothing.
        self.open(link);
    }

    /// Starts a process, unless there is one with this name.
    pub(super) fn start(&mut self, name: Haproxy, settings: &Settings) {
        if self.model(name).is_none() {
            self.models.push(Model {
                name,
                process: Process::new(bounded(settings, name), self.now()),
                streams: Vec::new(),
                events: Vec::new(),
                event_count: 0,
                lasting: Vec::new(),
                is_stopping: false,
            });
        }
    }

    /// Starts an event of a client's transaction.
    pub(super) fn ask(&mut self, name: Haproxy, event: &EventSpec) {
        let (now, Some(at)) = (self.now(), self.serving(name)) else { return };
        let model = &mut self.models[at];
        let Some(stream) = occupy(&mut model.streams, event) else { return };
        let id = EventId(model.event_count);
        model.event_count += 1;
        model.events.push((id, stream));
        let thread = model.streams[stream].thread;
        model.process.event(now, id, thread, stream as u32, &messages(&event.messages));
        self.perform_actions(at);
    }

    /// Starts a health check of a process.
    pub(super) fn check_health(&mut self, name: Haproxy) {
        if let (now, Some(at)) = (self.now(), self.serving(name)) {
            self.models[at].process.healthcheck(now);
            self.perform_actions(at);
        }
    }

    /// Starts a soft-stop of a process.
    pub(super) fn soft_stop_one(&mut self, name: Haproxy) {
        if let (now, Some(at)) = (self.now(), self.serving(name)) {
            self.models[at].is_stopping = true;
            self.models[at].process.soft_stop(now);
            self.perform_actions(at);
        }
    }

    /// Starts a soft-stop of every process.
    pub(super) fn soft_stop(&mut self) {
        let names: Vec<_> = self.models.iter().map(|model| model.name).collect();
        names.into_iter().for_each(|name| self.soft_stop_one(name));
    }

    /// Closes a connection of the script with FIN.
    pub(super) fn fin(&mut self, link: Link) {
        self.open_ones(link).into_iter().for_each(|at| self.connections[at].finish());
    }

    /// Resets connections in the network: neither side has caused it.
    pub(super) fn reset(&mut self, link: Link) {
        for at in self.open_ones(link) {
            self.reset_connection(at);
            if let Some((model, id)) = self.owner(at) {
                let now = self.now();
                self.models[model].process.handle_reset(now, id);
                self.perform_actions(model);
            }
        }
    }

    /// Applies a step of the network to its connections.
    pub(super) fn apply(&mut self, step: &Step) {
        let Some(name) = step.link() else { return };
        if let Link::All(process) = name
            && let Some(at) = self.model(process)
            && step.effects().lasting
        {
            self.models[at].lasting.push(step.clone());
        }
        let now = self.now();
        for at in self.open_ones(name) {
            self.connections[at].apply(step, now);
        }
    }

    /// Ends the faults of the network, of open connections and of later ones.
    pub(super) fn end_faults(&mut self) {
        self.models.iter_mut().for_each(|model| model.lasting.clear());
        for connection in &mut self.connections {
            connection.inlet.cut(&Cuts::default());
            connection.inlet.release();
            (connection.outlet.room, connection.outlet.take) = (None, None);
        }
    }

    /// True while events of a process have not ended.
    pub(super) fn has_events(&self) -> bool {
        self.models.iter().any(|model| !model.events.is_empty())
    }

    /// True while the agent has to send something on a connection that is open on both sides.
    pub(super) fn owes_an_answer(&self) -> bool {
        !self.judge.pending(Duration::ZERO).is_empty()
    }

    /// Returns the rules that the agent broke so far.
    pub(super) fn findings(&self) -> &[Finding] {
        self.judge.findings()
    }

    /// Runs for this time.
    pub(super) fn run_for(&mut self, time: Duration) -> io::Result<()> {
        self.run_until(time, |_| false)
    }

    /// Runs until `is_done`, or for at most this time.
    pub(super) fn run_until(&mut self, time: Duration, is_done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let end = self.now().saturating_add(time.as_nanos() as Nanos);
        loop {
            self.expire();
            self.write();
            let now = self.now();
            // The agent may have to answer bytes that are not written yet.
            let is_over = is_done(self) && !self.connections.iter().any(Connection::has_unwritten);
            let wakes = self.connections.iter().filter_map(Connection::wake);
            let next = wakes.chain(self.models.iter().filter_map(|model| model.process.poll_timeout())).min();
            self.poll(if is_over { 0 } else { next.unwrap_or(end).min(end).saturating_sub(now) })?;
            if now >= end || is_over {
                return Ok(());
            }
        }
    }

    /// Ends the run: what the agent still has to do is never done.
    pub(super) fn finish(self) -> Played {
        let pending = self.judge.pending(self.start.elapsed());
        let correct: Vec<_> = self.connections.iter().map(|connection| self.is_correct(connection.link)).collect();
        let Judgement { mut findings, disputes, notifys, .. } = self.judge.finish();
        findings.extend(disputes.into_iter().filter(|dispute| correct[dispute.link as usize]));
        findings.extend(pending);
        findings.extend(self.refusal);
        findings.sort_by_key(|finding| finding.at);
        Played { findings, notifys, recording: self.recording }
    }

    /// True if HAProxy follows the protocol on this connection: it is a model without the bugs of a version.
    fn is_correct(&self, link: Link) -> bool {
        let Link::Of(name, _) = link else { return false };
        self.model(name).is_some_and(|at| self.models[at].process.settings().defects == Defects::default())
    }

    fn model(&self, name: Haproxy) -> Option<usize> {
        self.models.iter().position(|model| model.name == name)
    }

    /// Returns the process with this name if it serves new clients.
    fn serving(&self, name: Haproxy) -> Option<usize> {
        self.model(name).filter(|&at| !self.models[at].is_stopping)
    }

    /// Returns the process that has opened a connection, and its number there.
    fn owner(&self, at: usize) -> Option<(usize, LinkId)> {
        match self.connections[at].link {
            Link::Of(name, number) => self.model(name).map(|model| (model, LinkId(number))),
            Link::Scripted(_) | Link::All(_) | Link::Agent(_) => None,
        }
    }

    /// Returns the open connections that `name` stands for: of a scripted one, the last.
    fn open_ones(&self, name: Link) -> Vec<usize> {
        let named = |at: &usize| is_named(self.connections[*at].link, name) && self.connections[*at].may_send();
        let open: Vec<_> = (0..self.connections.len()).filter(named).collect();
        if matches!(name, Link::All(_)) { open } else { open.last().copied().into_iter().collect() }
    }

    fn note(&mut self, at: usize, event: LinkEvent) {
        let now = self.now();
        self.judge.step(Duration::from_nanos(now), at as u32, &event);
        self.recording.push(now, at as u32, event);
    }

    /// Opens a connection. Returns its index, or `None` if the agent refuses it.
    fn open(&mut self, link: Link) -> Option<usize> {
        let at = self.connections.len();
        let stream = Stream::connect(self.address).and_then(|stream| stream.set_nonblocking().map(|()| stream));
        let stream = stream.map_err(|error| {
            let text = format!("cannot connect: {error}");
            self.refusal = Some(Finding { link: at as u32, at: self.start.elapsed(), case: PROCESS, text });
        });
        let stream = stream.ok()?;
        self.connections.push(Connection::new(link, stream));
        self.note(at, LinkEvent::Open);
        Some(at)
    }

    fn reset_connection(&mut self, at: usize) {
        if let Some(event) = self.connections[at].reset() {
            self.note(at, event);
        }
    }

    /// Handles the deadlines of processes that have passed.
    fn expire(&mut self) {
        for at in 0..self.models.len() {
            let now = self.now();
            if self.models[at].process.poll_timeout().is_some_and(|due| due <= now) {
                self.models[at].process.handle_timeout(now);
                self.perform_actions(at);
            }
        }
    }

    /// Writes what may be written now.
    fn write(&mut self) {
        let now = self.now();
        for at in 0..self.connections.len() {
            if self.connections[at].wake().is_some()
                && let Some(event) = self.connections[at].write(now)
            {
                self.happened(at, event);
            }
        }
    }

    /// Waits until a socket is ready, for at most this time, and reads and writes.
    fn poll(&mut self, time: Nanos) -> io::Result<()> {
        let (mut numbers, mut fds) = (Vec::new(), Vec::new());
        for (number, connection) in self.connections.iter().enumerate() {
            for (fd, flags) in [(connection.readable(), PollFlags::IN), (connection.writable(), PollFlags::OUT)] {
                if let Some(fd) = fd {
                    numbers.push(number);
                    fds.push(PollFd::from_borrowed_fd(fd, flags));
                }
            }
        }
        let timeout = Timespec::try_from(Duration::from_nanos(time)).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<_> = numbers
            .into_iter()
            .zip(&fds)
            .map(|(at, fd)| (at, fd.revents()))
            .filter(|(_, got)| !got.is_empty())
            .collect();
        let now = self.now();
        for (at, got) in ready {
            let connection = &mut self.connections[at];
            let event = if got.contains(PollFlags::OUT) { connection.write(now) } else { connection.read() };
            if let Some(event) = event {
                self.happened(at, event);
            }
        }
        Ok(())
    }

    /// Takes note of an event on a connection, and passes what the agent did to its process.
    fn happened(&mut self, at: usize, event: LinkEvent) {
        let (now, owner) = (self.now(), self.owner(at));
        self.note(at, event.clone());
        let Some((model, id)) = owner else { return };
        let process = &mut self.models[model].process;
        match event {
            LinkEvent::Bytes(Side::Agent, bytes) => process.handle_bytes(now, id, &bytes),
            LinkEvent::Fin(Side::Agent) => process.handle_eof(now, id),
            LinkEvent::Reset(Side::Agent) => process.handle_reset(now, id),
            _ => return,
        }
        self.perform_actions(model);
    }

    /// Performs all actions of a process.
    fn perform_actions(&mut self, at: usize) {
        while let Some(action) = self.models[at].process.poll_action() {
            let action = OwnedAction::from(action);
            self.perform(at, action);
        }
    }

    fn perform(&mut self, model: usize, action: OwnedAction) {
        let name = self.models[model].name;
        match action {
            OwnedAction::Connect(link, _) => self.connect_model(model, link),
            OwnedAction::Send(link, bytes) => {
                for at in self.open_ones(Link::Of(name, link.0)) {
                    self.connections[at].inlet.send_buf().extend_from_slice(&bytes);
                    self.connections[at].deliver();
                }
            }
            OwnedAction::Fin(link) => self.fin(Link::Of(name, link.0)),
            OwnedAction::Reset(link) => {
                for at in self.open_ones(Link::Of(name, link.0)) {
                    self.reset_connection(at);
                }
            }
            OwnedAction::Done(event, status, _) => {
                let Model { events, streams, .. } = &mut self.models[model];
                if let Some(position) = events.iter().position(|(id, _)| *id == event) {
                    let (_, stream) = events.remove(position);
                    streams[stream].busy = false;
                    streams[stream].has_failed |= status != 0;
                }
            }
            OwnedAction::CheckDone { .. } => {}
        }
    }

    fn connect_model(&mut self, model: usize, link: LinkId) {
        let Model { name, ref lasting, .. } = self.models[model];
        let lasting = lasting.clone();
        match self.open(Link::Of(name, link.0)) {
            Some(at) => {
                let now = self.now();
                lasting.iter().for_each(|step| self.connections[at].apply(step, now));
            }
            None => {
                let now = self.now();
                self.models[model].process.handle_refused(now, link);
            }
        }
    }
}

impl Connection {
    /// Applies a step of the network.
    fn apply(&mut self, step: &Step, now: Nanos) {
        let next = link::apply(step, (&mut self.inlet, &mut self.outlet), now, &mut Coverage::default());
        if !is_done(next) {
            self.deliver();
        }
    }
}
