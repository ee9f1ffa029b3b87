//! Checks whether the model could have produced a recorded conversation. Recordings of real HAProxy thus show whether
//! the model is accurate.
//!
//! The validator reads a recording step by step. For each connection it keeps what HAProxy knows: whether AGENT-HELLO
//! was valid, what was negotiated, and which NOTIFYs are unanswered. It checks only the bytes of HAProxy. The agent may
//! send anything; the validator notes how HAProxy may react to it. Some reactions of HAProxy depend on events that a
//! recording does not show, such as a client that disconnects or a stop. The [`Variant`] says whether such events are
//! possible.

mod agent;
mod closing;
mod haproxy;

use std::fmt;

use crate::codec::{AgentHello, EngineId};
use crate::recording::{LinkEvent, Recording, Side, Step};
use crate::settings::{Engine, Settings};
use crate::time::{MILLISECOND, Time};

/// The default of [`Variant::slack`].
const SLACK: Time = 50 * MILLISECOND;

/// The known facts about the HAProxy that was recorded.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Version and configuration. The seed of the engine-ids has no effect.
    pub settings: Settings,
    /// The number of processes that took part: more than one if HAProxy was reloaded.
    pub processes: u32,
    /// True if clients may have disconnected while an event waited, which frees the slot of the event early.
    pub aborts: bool,
    /// True if the process may have received a soft stop.
    pub stops: bool,
    /// True if the process may have exited, which closes its connections with FIN at any time.
    pub exits: bool,
    /// The largest difference between the recorder's clock and HAProxy's. On a busy machine both may be late.
    pub slack: Time,
}

impl Variant {
    /// Returns the variant of a single process without any of these events.
    pub const fn new(settings: Settings) -> Self {
        Self { settings, processes: 1, aborts: false, stops: false, exits: false, slack: SLACK }
    }
}

/// The first step of a recording that a variant cannot produce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The line of the step in the recording, from 1.
    pub line: usize,
    /// The reason why HAProxy could not have done this.
    pub reason: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for Mismatch {}

/// Checks that `variant` could have produced a recording.
///
/// # Errors
/// The first step that it could not have produced.
pub fn accepts(variant: &Variant, recording: &Recording) -> Result<(), Mismatch> {
    let mut validator =
        Validator { variant, links: Vec::new(), engines: Vec::new(), streams: Vec::new(), retried: false };
    for step in &recording.steps {
        validator.step(step).map_err(|reason| Mismatch { line: step.line, reason })?;
    }
    Ok(())
}

/// The result of a check. The error describes the mismatch.
type Validation = Result<(), String>;

/// The progress of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// HAProxy has opened it and sent nothing yet.
    Fresh,
    /// HAPROXY-HELLO is sent, and no complete reply has arrived.
    HelloSent,
    /// The HAPROXY-HELLO of a health check is sent.
    HealthCheck,
    /// AGENT-HELLO was valid.
    Running(AgentHello),
    /// The reply was not a valid AGENT-HELLO. HAProxy sends a DISCONNECT with this code, or a reset if there is none.
    Refused(Option<u32>),
    /// HAPROXY-DISCONNECT is sent.
    Disconnected,
    /// HAProxy has closed its side.
    Closed,
}

/// A NOTIFY without an ACK.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    sid: u64,
    fid: u64,
    /// The earliest time at which its event may have started.
    since: Time,
}

/// A NOTIFY of which some fragments, but not the last one, are sent.
#[derive(Debug)]
struct Fragments {
    sid: u64,
    fid: u64,
    /// The messages in the fragments so far.
    bytes: Vec<u8>,
    /// The ends of these fragments, as positions in `bytes`.
    cuts: Vec<usize>,
}

/// A connection.
#[derive(Debug)]
struct Link {
    id: u32,
    opened: Time,
    /// The time of the last frame in either direction.
    used: Time,
    phase: Phase,
    haproxy_input: Vec<u8>,
    agent_input: Vec<u8>,
    engine: Option<usize>,
    sid_max: u64,
    unanswered: Vec<Unanswered>,
    fragments: Option<Fragments>,
    /// True if no ACK has arrived since the last NOTIFY, which forbids another NOTIFY without pipelining.
    awaits_ack: bool,
    /// True if the agent has closed its side, by FIN or RST.
    agent_fin: bool,
    agent_reset: bool,
    agent_disconnect: Option<u32>,
    /// True if the agent has sent any byte.
    agent_replied: bool,
    /// The codes with which HAProxy may disconnect because of the agent's frames. Bit N is code N.
    allowed_codes: u16,
    /// True if the mux may reset the connection because of bug #3478.
    may_reset: bool,
    /// The negotiated frame size. It remains known after [`Phase::Running`].
    size: Option<u32>,
    /// The time of the first NOTIFY.
    first_notify: Option<Time>,
}

/// A stream of the applet engine: its last frame-id, and whether an ACK has answered it.
#[derive(Clone, Copy, Debug)]
struct Stream {
    engine: usize,
    sid: u64,
    fid: u64,
    answered: bool,
}

struct Validator<'a> {
    variant: &'a Variant,
    links: Vec<Link>,
    engines: Vec<EngineId>,
    streams: Vec<Stream>,
    /// True if a mux connection ended without a NOTIFY. HAProxy may have retried its events on other connections, so
    /// events may be older than the connections that carry them.
    retried: bool,
}

impl Validator<'_> {
    fn step(&mut self, step: &Step) -> Validation {
        let at = self.links.iter().position(|link| link.id == step.link);
        match (&step.event, at) {
            (LinkEvent::Open, None) => {
                self.links.push(Link::new(step.link, step.at));
                Ok(())
            }
            (LinkEvent::Open, Some(_)) => Err(format!("connection {} is already open", step.link)),
            (_, None) => Err(format!("connection {} was never opened", step.link)),
            (LinkEvent::Bytes(Side::Haproxy, bytes), Some(at)) => self.haproxy_bytes(at, step.at, bytes),
            (LinkEvent::Bytes(Side::Agent, bytes), Some(at)) => {
                self.agent_bytes(at, step.at, bytes);
                Ok(())
            }
            (LinkEvent::Fin(Side::Agent) | LinkEvent::Reset(Side::Agent), Some(at)) => {
                self.links[at].agent_fin = true;
                self.links[at].agent_reset |= matches!(step.event, LinkEvent::Reset(_));
                self.note_retry(at);
                Ok(())
            }
            (LinkEvent::Fin(Side::Haproxy), Some(at)) => self.haproxy_closes(at, step.at, false),
            (LinkEvent::Reset(Side::Haproxy), Some(at)) => self.haproxy_closes(at, step.at, true),
        }
    }

    /// Notes that a connection has ended. If it is a mux connection without a NOTIFY, its events may be retried.
    fn note_retry(&mut self, at: usize) {
        let link = &self.links[at];
        self.retried |=
            self.variant.settings.engine == Engine::Mux && link.sid_max == 0 && link.phase != Phase::HealthCheck;
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
            awaits_ack: false,
            agent_fin: false,
            agent_reset: false,
            agent_disconnect: None,
            agent_replied: false,
            allowed_codes: 0,
            may_reset: false,
            size: None,
            first_notify: None,
        }
    }

    /// Returns the number of unanswered NOTIFYs whose events cannot have timed out.
    fn in_flight(&self, now: Time, timeout: Time, slack: Time) -> usize {
        let young = |frame: &&Unanswered| now.saturating_add(slack) < frame.since.saturating_add(timeout);
        self.unanswered.iter().filter(young).count()
    }

    /// Notes that HAProxy may disconnect with this code.
    fn allow_code(&mut self, code: u32) {
        self.allowed_codes |= 1 << code;
    }
}

#[cfg(test)]
mod tests;
