//! A process of HAProxy in a run: its model, its connections, its events, and the faults of its network.

use std::mem;

use spoa_sim_checker::Answer;
use spoa_sim_haproxy::{Defects, Engine, EventId, LinkId, Process, ServerId, Settings};

use crate::models::{self, Stream};
use crate::script::{AgentSetup, Effects, Haproxy, MS, Nanos, Step};

/// A HAProxy process in a run.
pub(super) struct Player {
    pub(super) name: Haproxy,
    pub(super) process: Process,
    /// Its open connections, and their numbers.
    pub(super) sockets: Vec<(LinkId, usize)>,
    /// The events that have not ended.
    pub(super) events: Vec<PendingEvent>,
    /// The number of events so far.
    pub(super) event_count: u32,
    /// The streams of clients, by their number.
    pub(super) streams: Vec<Stream>,
    /// The last step of each kind for all its connections, which applies to later ones too. They are in the order in which they
    /// were made, because `hold` and `release` undo each other.
    pub(super) lasting: Vec<Step>,
    /// True once something has happened that can cause the loss of an event.
    pub(super) may_lose_events: bool,
    /// True once an answer was deferred.
    pub(super) has_deferred: bool,
    /// True once a connection may have ended inside a frame.
    pub(super) cut_short: bool,
    pub(super) stopping: bool,
}

/// An event that has not ended.
pub(super) struct PendingEvent {
    pub(super) id: EventId,
    /// The index of its stream.
    pub(super) stream: usize,
    /// The time at which its processing timeout ends.
    pub(super) due: Nanos,
    /// The answer of the handler to its messages.
    pub(super) answer: Answer,
    /// The size of its messages in bytes.
    pub(super) size: usize,
    /// An agent drains or has drained since it began. The applet engine may lose it then.
    pub(super) crosses_drain: bool,
}

/// The longest time that an answer may take without a risk for other events.
pub(super) const DELAY_MAX: Nanos = 50 * MS;
/// The largest number of bytes of a frame besides its messages.
pub(super) const FRAME_OVERHEAD: usize = 64;
impl Player {
    pub(super) fn new(name: Haproxy, settings: &Settings, now: Nanos) -> Self {
        let may_lose_events = settings.defects != Defects::default() || settings.maxconn > 0;
        Self {
            name,
            process: Process::new(models::bounded(settings, name), now),
            sockets: Vec::new(),
            events: Vec::new(),
            event_count: 0,
            streams: Vec::new(),
            lasting: Vec::new(),
            may_lose_events,
            has_deferred: false,
            cut_short: false,
            stopping: false,
        }
    }

    /// Takes note of the effects of a step for all its connections, or for one of them.
    pub(super) fn note_effects(&mut self, step: &Step, is_for_all: bool) {
        let Effects { lasting, loses_events, cuts_short } = step.effects();
        self.may_lose_events |= loses_events;
        self.cut_short |= cuts_short;
        if lasting && is_for_all {
            self.lasting.retain(|other| mem::discriminant(other) != mem::discriminant(step));
            self.lasting.push(step.clone());
        }
    }

    pub(super) fn socket(&self, link: LinkId) -> Option<usize> {
        self.sockets.iter().find(|(other, _)| *other == link).map(|(_, at)| *at)
    }

    pub(super) fn has_defects(&self) -> bool {
        self.process.settings().defects != Defects::default()
    }

    /// Returns the size of the largest frame that HAProxy and the agent agree on.
    pub(super) fn frame_max(&self, agent: &AgentSetup) -> usize {
        agent.connection.max_frame_size.min(self.process.settings().max_frame_size) as usize
    }

    /// True if a correct agent must answer this event completely and in time, whatever other events there are.
    pub(super) fn must_be_answered(&self, event: &PendingEvent, agent: &AgentSetup) -> bool {
        let ample = agent.connection.in_flight_max >= 64
            && agent.connection.deferred_max >= 1 << 20
            && agent.connection.unsent_max >= 64 << 10;
        let ample = ample && !agent.limits_total() && agent.connection.notify_max == 0 && agent.lazy <= 1;
        let fits = event.size + FRAME_OVERHEAD <= self.frame_max(agent);
        let may_cross = event.crosses_drain && self.process.settings().engine == Engine::Applet;
        !self.may_lose_events && !may_cross && ample && fits
    }

    /// True if an answer comes in time, and delays no other event. The applet engine sends other NOTIFYs only after it.
    pub(super) fn is_harmless(&self, answer: &Answer, agent: &AgentSetup) -> bool {
        let settings = self.process.settings();
        let in_time =
            |delay: Nanos| delay < agent.connection.ack_timeout && delay + DELAY_MAX < settings.processing_timeout;
        match answer.delay() {
            Some(0) => true,
            Some(delay) => settings.engine == Engine::Mux && delay <= DELAY_MAX && in_time(delay),
            None => false,
        }
    }

    /// True if the events of an agent that leaves can go elsewhere without a loss: another server is up, HAProxy tries it in
    /// time if one refuses a connection, and it waits for ACKs that are held back.
    pub(super) fn can_do_without(&self, agent: usize, serves: impl Fn(usize) -> bool, held_max: Nanos) -> bool {
        let settings = self.process.settings();
        let other_is_up = (0..settings.servers as usize)
            .any(|server| server != agent && serves(server) && self.process.is_up(ServerId(server as u32)));
        // HAProxy pauses before it tries the last server that is up.
        let pauses = settings.retry_delay.saturating_mul(u64::from(settings.servers));
        let in_time = settings.processing_timeout > held_max.saturating_add(pauses);
        other_is_up && in_time && settings.redispatch && settings.retries >= settings.servers
    }
}
