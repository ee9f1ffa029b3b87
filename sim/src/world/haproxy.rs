//! The HAProxy processes of a run: passes the actions of a model to the agents, and the output of the agents to the model.

use spoa_sim_checker::Answer;
use spoa_sim_haproxy::{EventId, LinkId, ServerId, Settings};

use super::agent::{Agent, Phase};
use super::peer::Peer;
use super::player::{DELAY_MAX, FRAME_OVERHEAD, PendingEvent, Player};
use super::state::State;
use super::transit::Cargo;
use super::{Failed, World, codec};
use crate::coverage::Mark;
use crate::link;
use crate::models::{OwnedAction, messages, occupy};
use crate::script::{EventSpec, Haproxy, Link, MS, Nanos, Step};
use crate::trace::Kind;

/// The longest time to wait after a soft-stop until all connections are closed.
const SOFT_STOP_MAX: Nanos = 600_000_000_000;
/// The longest time for which a draining agent holds ACKs back, and then some.
const HELD_MAX: Nanos = 20 * MS;

impl World {
    /// Starts a HAProxy process, unless there is one with this name.
    pub(super) fn start(&mut self, name: Haproxy, settings: &Settings) {
        if self.player(name).is_none() {
            self.note_haproxy(Link::All(name), Kind::Started, &[], || format!("{:?}", settings.engine));
            self.players.push(Player::new(name, settings, self.now()));
            let away = (0..self.agents.len()).filter(|&agent| !self.agents[agent].serves());
            away.collect::<Vec<_>>().into_iter().for_each(|agent| self.agent_is_away(self.players.len() - 1, agent));
        }
    }

    /// Starts an event of a client's transaction.
    pub(super) fn ask(&mut self, name: Haproxy, spec: &EventSpec) -> Result<(), Failed> {
        let Some(at) = self.player(name).filter(|&at| !self.players[at].stopping) else { return Ok(()) };
        let messages = messages(&spec.messages);
        let now = self.now();
        let draining = || (0..self.agents.len()).filter(|&agent| self.agents[agent].phase == Phase::Draining);
        let is_draining = draining().next().is_some();
        let is_up = |agent: usize| self.players[at].process.is_up(ServerId(agent as u32));
        let is_draining_unnoticed = draining().any(is_up);
        let player = &mut self.players[at];
        let Some(answer) = Answer::of(messages.bytes()) else { return Ok(()) };
        let id = EventId(player.event_count);
        let Some(stream) = occupy(&mut player.streams, spec) else { return Ok(()) };
        let thread = player.streams[stream].thread;
        let due = now.saturating_add(player.process.settings().processing_timeout);
        // An event that is too large may end its connection.
        let is_large = messages.bytes().len() + FRAME_OVERHEAD > player.frame_max(&self.setup);
        player.has_deferred |= answer.delay() != Some(0);
        player.may_lose_events |= is_large || !player.is_harmless(&answer, &self.setup);
        player.may_lose_events |= player.has_deferred && is_draining_unnoticed;
        player.event_count += 1;
        let size = messages.bytes().len();
        player.events.push(PendingEvent { id, stream, due, answer, size, crosses_drain: is_draining });
        player.process.event(now, id, thread, stream as u32, &messages);
        let numbers = [u64::from(id.0), stream as u64];
        self.note_haproxy(Link::All(name), Kind::Asked, &numbers, || {
            let words: String = spec.messages.iter().map(|message| format!(" {message}")).collect();
            format!("event {}:{words}", id.0)
        });
        self.perform_actions(at)
    }

    /// Starts a health check of a process (`option spop-check`).
    pub(super) fn check_health(&mut self, name: Haproxy) -> Result<(), Failed> {
        let Some(at) = self.player(name).filter(|&at| !self.players[at].stopping) else { return Ok(()) };
        let now = self.now();
        self.players[at].process.healthcheck(now);
        self.perform_actions(at)
    }

    /// Starts a soft-stop of a process.
    pub(super) fn soft_stop(&mut self, name: Haproxy) -> Result<(), Failed> {
        let Some(at) = self.player(name).filter(|&at| !self.players[at].stopping) else { return Ok(()) };
        self.note_haproxy(Link::All(name), Kind::SoftStop, &[], String::new);
        if !self.players[at].events.is_empty() {
            self.state.borrow_mut().coverage.reach(Mark::SoftStopInFlight);
        }
        let now = self.now();
        let player = &mut self.players[at];
        player.stopping = true;
        // The applet engine closes connections although NOTIFYs are in flight (#1340).
        player.may_lose_events = true;
        player.process.soft_stop(now);
        self.perform_actions(at)
    }

    /// Notes that an agent refuses health checks or drains.
    pub(super) fn agent_leaves(&mut self, agent: usize) {
        (0..self.players.len()).for_each(|player| self.agent_is_away(player, agent));
        if self.agents[agent].drain.is_some() {
            let events = self.players.iter_mut().flat_map(|player| &mut player.events);
            events.for_each(|event| event.crosses_drain = true);
        }
    }

    /// Notes that an agent does not serve a process of HAProxy for ever. The process may then lose events, unless another agent
    /// takes them: none with the mux engine, and with the applet engine those that cross the drain.
    fn agent_is_away(&mut self, player: usize, agent: usize) {
        let serves = |other: usize| self.agents.get(other).is_some_and(Agent::serves);
        let Agent { drain, .. } = self.agents[agent];
        let player = &mut self.players[player];
        let latency = player.process.settings().latency;
        let is_abrupt = drain
            .is_some_and(|(grace, patience)| patience <= 2 * latency || grace < DELAY_MAX.saturating_add(4 * latency));
        // As long as HAProxy sends NOTIFYs to the agent, one may cross our DISCONNECT, or arrive after it was decided.
        let is_unnoticed = drain.is_some() && player.process.is_up(ServerId(agent as u32));
        let is_unnoticed = is_unnoticed && (latency > 0 || player.has_deferred);
        let held_max = HELD_MAX + self.setup.late + 8 * latency;
        player.may_lose_events |= is_abrupt || is_unnoticed || !player.can_do_without(agent, serves, held_max);
    }

    /// Returns the open connections to which `step` applies. A step for all connections of a process applies to later ones
    /// too.
    pub(super) fn targets(&mut self, link: Link, step: &Step) -> Vec<usize> {
        let (name, only) = match link {
            Link::Scripted(_) | Link::Agent(_) => return self.find(link).into_iter().collect(),
            Link::Of(name, number) => (name, Some(LinkId(number))),
            Link::All(name) => (name, None),
        };
        let Some(at) = self.player(name) else { return Vec::new() };
        let player = &mut self.players[at];
        player.note_effects(step, only.is_none());
        let all = player.sockets.iter().filter(|(link, _)| only.is_none_or(|only| only == *link));
        let state = self.state.borrow();
        let open = all.map(|(_, at)| *at).filter(|&at| !state.peers[at].has_closed && state.peers[at].is_open);
        open.collect()
    }

    fn player(&self, name: Haproxy) -> Option<usize> {
        self.players.iter().position(|player| player.name == name)
    }

    /// Returns the process that has opened a connection, and its name there.
    pub(super) fn owner(&self, at: usize) -> Option<(usize, LinkId)> {
        match self.state.borrow().peers[at].link {
            Link::Of(name, number) => self.player(name).map(|player| (player, LinkId(number))),
            Link::Scripted(_) | Link::All(_) | Link::Agent(_) => None,
        }
    }

    /// Notifies HAProxy that the network has reset a connection.
    pub(super) fn reset_by_network(&mut self, at: usize) -> Result<(), Failed> {
        let Some((player, link)) = self.owner(at) else { return Ok(()) };
        let now = self.now();
        self.players[player].process.handle_reset(now, link);
        self.perform_actions(player)
    }

    /// Passes the output of all connections to the processes. Returns false if there was none.
    pub(super) fn forward_all(&mut self) -> Result<bool, Failed> {
        let mut forwarded = false;
        for at in 0..self.players.len() {
            for (link, _) in self.players[at].sockets.clone() {
                forwarded |= self.forward(at, link)?;
            }
        }
        Ok(forwarded)
    }

    /// Passes the agent's bytes on a connection, and its end, to the process. Returns false if there was nothing.
    fn forward(&mut self, player: usize, link: LinkId) -> Result<bool, Failed> {
        let Some(at) = self.players[player].socket(link) else { return Ok(false) };
        let mut state = self.state.borrow_mut();
        let peer = &mut state.peers[at];
        let pieces = std::mem::take(&mut peer.outlet.pieces);
        let closes = !peer.close_forwarded && (peer.is_shut || !peer.is_open);
        peer.close_forwarded |= closes;
        let (is_shut, is_over) = (peer.is_shut, peer.close_forwarded && peer.has_closed);
        drop(state);
        if pieces.is_empty() && !closes && !is_over {
            return Ok(false);
        }
        let has_bytes = !pieces.is_empty();
        pieces.into_iter().try_for_each(|piece| self.send(player, Cargo::Bytes(link, piece)))?;
        // If the agent closes the socket although bytes are unsent, HAProxy is assumed to see a reset.
        match (closes, is_shut) {
            (true, true) => self.send(player, Cargo::Eof(link))?,
            (true, false) => self.send(player, Cargo::Reset(link))?,
            (false, _) => {}
        }
        let peer = &self.state.borrow().peers[at];
        if peer.close_forwarded && peer.has_closed {
            self.players[player].sockets.retain(|(other, _)| *other != link);
        }
        Ok(has_bytes || closes)
    }

    /// Performs all actions of a process.
    pub(super) fn perform_actions(&mut self, player: usize) -> Result<(), Failed> {
        while let Some(action) = self.players[player].process.poll_action() {
            let action = OwnedAction::from(action);
            self.actions += 1;
            if self.actions > ACTIONS_MAX {
                return self.fail(0, "budget", "the run does not end".into());
            }
            match action {
                OwnedAction::Done(..) | OwnedAction::CheckDone { .. } => self.perform(player, action)?,
                _ => self.send(player, Cargo::Action(action))?,
            }
        }
        Ok(())
    }

    /// Performs an action that has arrived.
    pub(super) fn perform(&mut self, player: usize, action: OwnedAction) -> Result<(), Failed> {
        let socket = |world: &Self, link| world.players[player].socket(link);
        match action {
            OwnedAction::Connect(link, server) => self.open(player, link, server),
            OwnedAction::Send(link, bytes) => match socket(self, link) {
                Some(at) => {
                    codec::check(&bytes).or_else(|detail| self.fail(at, "codec", detail))?;
                    self.state.borrow_mut().peers[at].inlet.send_buf().extend_from_slice(&bytes);
                    self.deliver(at)
                }
                None => Ok(()),
            },
            OwnedAction::Fin(link) => socket(self, link).map_or(Ok(()), |at| self.finish(at)),
            OwnedAction::Reset(link) => {
                if let Some(at) = socket(self, link) {
                    self.reset(at);
                }
                Ok(())
            }
            OwnedAction::Done(event, status, actions) => self.end_event(player, event, status, &actions),
            OwnedAction::CheckDone { link, up, text } => self.end_check(player, link, up, text),
        }
    }

    /// Opens a connection to a server. It is refused if no agent accepts connections there.
    fn open(&mut self, player: usize, link: LinkId, server: ServerId) -> Result<(), Failed> {
        let agent = server.0 as usize;
        if self.agents.get(agent).is_none_or(|agent| agent.phase != Phase::Running) {
            self.state.borrow_mut().coverage.reach(Mark::ConnectionRefused);
            return self.send(player, Cargo::Refused(link));
        }
        let workers = self.agents[agent].workers.clone();
        let open: usize = workers.map(|worker| self.workers[worker].endpoint.len()).sum();
        let is_full = open >= self.setup.connections_max as usize;
        // One of the connections may give way to this one.
        self.players.iter_mut().for_each(|player| player.may_lose_events |= is_full);
        let name = Link::Of(self.players[player].name, link.0);
        let at = self.connect(name, agent);
        self.players[player].sockets.push((link, at));
        let mut state = self.state.borrow_mut();
        let State { peers, coverage, now, .. } = &mut *state;
        let Peer { inlet, outlet, .. } = &mut peers[at];
        outlet.has_reader = true;
        for step in &self.players[player].lasting {
            link::apply(step, (inlet, outlet), *now, coverage);
        }
        let busy = self.players.iter().filter(|player| !player.sockets.is_empty());
        if busy.count() > 1 {
            state.coverage.reach(Mark::Engines);
        }
        drop(state);
        if self.is_prompt() { self.run_passes() } else { Ok(()) }
    }

    /// Returns the earliest deadline of all processes.
    pub(super) fn haproxy_due(&self) -> Option<Nanos> {
        self.players.iter().filter_map(|player| player.process.poll_timeout()).min()
    }

    /// Handles the deadlines of all processes that have passed.
    pub(super) fn expire_haproxy(&mut self) -> Result<(), Failed> {
        let now = self.now();
        for at in 0..self.players.len() {
            let process = &mut self.players[at].process;
            if process.poll_timeout().is_some_and(|due| due <= now) {
                process.handle_timeout(now);
                self.perform_actions(at)?;
            }
        }
        Ok(())
    }

    /// True while there are events that have not ended.
    pub(super) fn has_pending_events(&self) -> bool {
        self.players.iter().any(|player| !player.events.is_empty())
    }

    /// Ends the faults that later connections would have.
    pub(super) fn end_faults(&mut self) {
        self.players.iter_mut().for_each(|player| player.lasting.clear());
    }

    /// Stops every process: a soft-stop first, then its open connections are reset, as the kernel does when a process
    /// exits.
    pub(super) fn stop_haproxy(&mut self) -> Result<(), Failed> {
        for at in 0..self.players.len() {
            self.soft_stop(self.players[at].name)?;
        }
        self.run_all()?;
        let end = self.now().saturating_add(SOFT_STOP_MAX);
        let open = |world: &Self| {
            let state = world.state.borrow();
            let mut of_models = state.open_peers().filter(|peer| matches!(peer.link, Link::Of(..)));
            of_models.any(|peer| !peer.has_closed)
        };
        while open(self) {
            match self.next_due() {
                Some(due) if due <= end => self.wait_until(due)?,
                _ => break,
            }
        }
        for at in 0..self.changes.len() {
            let Peer { link, has_closed, .. } = self.state.borrow().peers[at];
            if matches!(link, Link::Of(..)) && !has_closed {
                self.reset(at);
            }
        }
        Ok(())
    }

    pub(super) fn note_haproxy(&self, link: Link, kind: Kind, numbers: &[u64], words: impl FnOnce() -> String) {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        state.trace.haproxy(now, link, kind, numbers, words);
    }
}

/// The largest number of actions of HAProxy in a run. A run that exceeds it never ends.
const ACTIONS_MAX: u32 = 100_000;
