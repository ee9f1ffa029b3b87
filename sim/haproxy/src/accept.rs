//! Could this model have had that conversation? Recordings of real HAProxy are the answer to how true the model is.
//!
//! The judge reads a recording line by line and keeps, for each connection, what HAProxy knows: whether AGENT-HELLO was
//! good, what is negotiated, which NOTIFYs wait. It checks HAProxy's bytes alone; what the agent does is taken as given,
//! only what it entitles HAProxy to is noted. Where HAProxy depends on what a recording does not show (a client that
//! went away, a stop) the [`Variant`] says whether that may have been.

mod agent;
mod closing;
mod haproxy;

use std::fmt;

use crate::codec::{AgentHello, EngineId};
use crate::recording::{Recording, Side, Step, What};
use crate::settings::{Engine, Settings};
use crate::time::{MILLISECOND, Time};

/// How far a recorder's clock and HAProxy's milliseconds may be apart, unless the variant says otherwise.
const SLACK: Time = 50 * MILLISECOND;

/// The known settings of the HAProxy that was recorded.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Version and configuration. The seed of the engine ids does not matter.
    pub settings: Settings,
    /// The number of processes that took part; more than one on a reload.
    pub processes: u32,
    /// Clients may have gone away while an event waited, which frees its slot early.
    pub aborts: bool,
    /// The process may have been told to stop.
    pub stops: bool,
    /// The process may have ended, which closes its connections by FIN at any moment.
    pub exits: bool,
    /// How far the recorder's clock and HAProxy's may be apart: a busy machine lets both wait.
    pub slack: Time,
}

impl Variant {
    /// One process that nothing happened to.
    pub const fn new(settings: Settings) -> Self {
        Self { settings, processes: 1, aborts: false, stops: false, exits: false, slack: SLACK }
    }
}

/// Where a recording and a variant part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The line of the recording.
    pub line: usize,
    /// A step that HAProxy could not have made.
    pub reason: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for Mismatch {}

/// Judges a recording; the error is the first thing in it that `variant` does not do.
pub fn accepts(variant: &Variant, recording: &Recording) -> Result<(), Mismatch> {
    let mut judge = Judge { variant, links: Vec::new(), engines: Vec::new(), streams: Vec::new(), retried: false };
    for step in &recording.steps {
        judge.step(step).map_err(|reason| Mismatch { line: step.line, reason })?;
    }
    Ok(())
}

/// The difference, in words.
type Judgement = Result<(), String>;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Open, no HELLO yet.
    Fresh,
    /// A connection's HELLO is out; AGENT-HELLO is not there, or not whole.
    Greeting,
    /// A health check's HELLO is out.
    Check,
    /// AGENT-HELLO was good.
    Running(AgentHello),
    /// The agent's reply was bad, and this is the code of the DISCONNECT it earns; none: a reset.
    Refused(Option<u32>),
    /// HAPROXY-DISCONNECT is out.
    Disconnected,
    /// HAProxy has closed its side.
    Closed,
}

/// A NOTIFY that no ACK has answered.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    sid: u64,
    fid: u64,
    /// Its event began not before this.
    since: Time,
}

/// A NOTIFY of which fragments are out.
#[derive(Debug)]
struct Fragments {
    sid: u64,
    fid: u64,
    bytes: Vec<u8>,
    cuts: Vec<usize>,
}

#[derive(Debug)]
struct Link {
    id: u32,
    opened: Time,
    /// The last frame of either side.
    used: Time,
    phase: Phase,
    haproxy_input: Vec<u8>,
    agent_input: Vec<u8>,
    engine: Option<usize>,
    sid_max: u64,
    unanswered: Vec<Unanswered>,
    fragments: Option<Fragments>,
    /// Without pipelining: a NOTIFY is out and no ACK came since.
    waits_for_ack: bool,
    /// The agent has ended, by FIN or RST.
    agent_fin: bool,
    agent_reset: bool,
    agent_disconnect: Option<u32>,
    /// The agent's reply to a health check has begun.
    agent_spoke: bool,
    /// Codes that the agent's frames entitle HAProxy to disconnect with; bit N is code N.
    earned: u16,
    /// A mux link that may be reset for #3478.
    may_reset: bool,
    /// The negotiated size, which outlives the phase it was agreed in.
    size: Option<u32>,
    /// When the first NOTIFY left.
    began: Option<Time>,
}

/// A stream of the applet engine: its last frame-id, and whether that was answered.
#[derive(Clone, Copy, Debug)]
struct Stream {
    engine: usize,
    sid: u64,
    fid: u64,
    answered: bool,
}

struct Judge<'a> {
    variant: &'a Variant,
    links: Vec<Link>,
    engines: Vec<EngineId>,
    streams: Vec<Stream>,
    /// A mux connection failed in its handshake: events on others may be older than those.
    retried: bool,
}

impl Judge<'_> {
    fn step(&mut self, step: &Step) -> Judgement {
        let at = self.links.iter().position(|link| link.id == step.link);
        match (&step.what, at) {
            (What::Open, None) => {
                self.links.push(Link::new(step.link, step.at));
                Ok(())
            }
            (What::Open, Some(_)) => Err(format!("connection {} is open already", step.link)),
            (_, None) => Err(format!("connection {} was never opened", step.link)),
            (What::Bytes(Side::Haproxy, bytes), Some(at)) => self.haproxy_bytes(at, step.at, bytes),
            (What::Bytes(Side::Agent, bytes), Some(at)) => {
                self.agent_bytes(at, step.at, bytes);
                Ok(())
            }
            (What::Fin(Side::Agent) | What::Reset(Side::Agent), Some(at)) => {
                self.links[at].agent_fin = true;
                self.links[at].agent_reset |= matches!(step.what, What::Reset(_));
                self.note_retry(at);
                Ok(())
            }
            (What::Fin(Side::Haproxy), Some(at)) => self.haproxy_closes(at, step.at, false),
            (What::Reset(Side::Haproxy), Some(at)) => self.haproxy_closes(at, step.at, true),
        }
    }

    /// A mux connection that ends without a NOTIFY leaves its events to others, perhaps.
    fn note_retry(&mut self, at: usize) {
        let link = &self.links[at];
        self.retried |= self.variant.settings.engine == Engine::Mux && link.sid_max == 0 && link.phase != Phase::Check;
    }

    fn settings(&self) -> &Settings {
        &self.variant.settings
    }

    fn is_mux(&self) -> bool {
        self.settings().engine == Engine::Mux
    }
}

impl Link {
    const fn new(id: u32, opened: Time) -> Self {
        Self {
            id,
            opened,
            used: opened,
            phase: Phase::Fresh,
            haproxy_input: Vec::new(),
            agent_input: Vec::new(),
            engine: None,
            sid_max: 0,
            unanswered: Vec::new(),
            fragments: None,
            waits_for_ack: false,
            agent_fin: false,
            agent_reset: false,
            agent_disconnect: None,
            agent_spoke: false,
            earned: 0,
            may_reset: false,
            size: None,
            began: None,
        }
    }

    /// NOTIFYs whose events cannot be over by time alone.
    fn in_flight(&self, now: Time, timeout: Time, slack: Time) -> usize {
        let young = |frame: &&Unanswered| now.saturating_add(slack) < frame.since.saturating_add(timeout);
        self.unanswered.iter().filter(young).count()
    }

    fn earn(&mut self, code: u32) {
        self.earned |= 1 << code;
    }
}

#[cfg(test)]
mod tests;
