//! Replays HAProxy's side of a recording to the core.

use std::collections::BTreeMap;
use std::time::Duration;

use spoa_core::wire::{Capabilities, Scope, SetVars};
use spoa_core::{Ack, CloseReason, Config, Connection, Event, Instant, PeerError, Ticket};
use spoa_sim_haproxy::Time;
use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};
use spoa_tests::bytes::{ACK, AGENT_DISCONNECT, AGENT_HELLO, Frame, Value};

/// The time when NOTIFYs are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// When they arrive, in the call of the handler.
    Immediate,
    /// When the recorded agent answered them, and never if it did not.
    AsRecorded,
}

/// The result of a replay.
pub(crate) struct Replayed {
    /// The recorded bytes of HAProxy and the bytes of the core.
    pub(crate) recording: Recording,
    /// Number of NOTIFYs that the core received.
    pub(crate) notifies: usize,
    /// Connections that the core closed because of an error of HAProxy.
    pub(crate) errors: Vec<(u32, PeerError)>,
}

/// Replays `recording` to an agent with the limits of the recorded agent.
pub(crate) fn replay(recording: &Recording, answers: Answers) -> Replayed {
    let configs = configs(recording);
    let mut links = Vec::<Link>::new();
    let conditions = recording.conditions.clone();
    let mut replayed =
        Replayed { recording: Recording { conditions, steps: Vec::new() }, notifies: 0, errors: Vec::new() };
    for step in &recording.steps {
        for link in &mut links {
            link.advance_time(step.at, &mut replayed);
        }
        if step.event == LinkEvent::Open {
            let config = configs.get(&step.link).copied().unwrap_or_default();
            replayed.recording.push(step.at, step.link, LinkEvent::Open);
            links.push(Link::new(step.link, config, step.at, answers));
        } else if let Some(link) = links.iter_mut().find(|link| link.id == step.link) {
            link.step(step.at, &step.event, &mut replayed);
        }
    }
    replayed
}

/// Returns the configuration of each connection, from its AGENT-HELLO. Leaves out connections whose AGENT-HELLO has
/// invalid values.
fn configs(recording: &Recording) -> BTreeMap<u32, Config> {
    let mut configs = BTreeMap::new();
    let mut sent = BTreeMap::<u32, Vec<u8>>::new();
    for step in &recording.steps {
        if let LinkEvent::Bytes(Side::Agent, bytes) = &step.event {
            let sent = sent.entry(step.link).or_default();
            sent.extend_from_slice(bytes);
            if let Some(config) = Frame::take(&mut &sent[..]).as_ref().and_then(config_of) {
                configs.entry(step.link).or_insert(config);
            }
        }
    }
    configs
}

fn config_of(hello: &Frame) -> Option<Config> {
    if hello.kind != AGENT_HELLO {
        return None;
    }
    let (Value::Uint32(size), Value::String(capabilities)) =
        (hello.value("max-frame-size")?, hello.value("capabilities")?)
    else {
        return None;
    };
    let max_frame_size = u32::try_from(size).ok()?;
    let config = Config { max_frame_size, capabilities: Capabilities::parse(&capabilities), ..Config::default() };
    config.validate().is_ok().then_some(config)
}

/// One connection.
struct Link {
    id: u32,
    answers: Answers,
    core: Connection,
    /// Bytes of HAProxy that the core has not read yet.
    unread: Vec<u8>,
    /// The recorded part of the recorded agent's next frame.
    recorded: Vec<u8>,
    tickets: Vec<((u64, u64), Ticket)>,
    is_fin_sent: bool,
}

impl Link {
    fn new(id: u32, config: Config, now: Time, answers: Answers) -> Self {
        let core = Connection::new(config, Instant::from_nanos(now));
        let (unread, recorded, tickets) = (Vec::new(), Vec::new(), Vec::new());
        Self { id, answers, core, unread, recorded, tickets, is_fin_sent: false }
    }

    /// Handles the timeouts of the core up to `until`.
    fn advance_time(&mut self, until: Time, replayed: &mut Replayed) {
        while let Some(due) = self.core.poll_timeout().filter(|due| due.as_nanos() <= until) {
            // A timeout that is due before the last step is handled at the time of that step: times must not decrease.
            let last = replayed.recording.steps.last().map_or(0, |step| step.at);
            let now = due.as_nanos().max(last);
            self.core.handle_timeout(Instant::from_nanos(now));
            self.pump(now, replayed);
        }
    }

    /// Executes a step of the recording.
    fn step(&mut self, at: Time, what: &LinkEvent, replayed: &mut Replayed) {
        let now = Instant::from_nanos(at);
        match what {
            LinkEvent::Open => {}
            LinkEvent::Bytes(Side::Haproxy, bytes) => {
                replayed.recording.push(at, self.id, what.clone());
                self.unread.extend_from_slice(bytes);
            }
            LinkEvent::Fin(Side::Haproxy) | LinkEvent::Reset(Side::Haproxy) => {
                replayed.recording.push(at, self.id, what.clone());
                self.core.handle_eof(now);
            }
            LinkEvent::Bytes(Side::Agent, bytes) => {
                self.recorded.extend_from_slice(bytes);
                self.follow(now);
            }
            // The core would keep the connection open, so the replay asks it to close the connection.
            LinkEvent::Fin(Side::Agent) | LinkEvent::Reset(Side::Agent) => self.core.disconnect(now, Duration::ZERO),
        }
        self.pump(at, replayed);
    }

    /// Makes the core send the ACKs and disconnects that the recorded agent sent.
    fn follow(&mut self, now: Instant) {
        let mut recorded = &self.recorded[..];
        while let Some(frame) = Frame::take(&mut recorded) {
            let ids = (frame.sid, frame.fid);
            if frame.kind == AGENT_DISCONNECT {
                self.core.disconnect(now, Duration::ZERO);
            } else if frame.kind == ACK
                && let Some(at) = self.tickets.iter().position(|(waiting, _)| *waiting == ids)
            {
                let ticket = self.tickets.remove(at).1;
                if let Ok(ack) = self.core.ack(now, ticket) {
                    answer(ack);
                }
            }
        }
        self.recorded = recorded.to_vec();
    }

    /// Passes input to the core, and handles its events and output, until nothing is left to do.
    fn pump(&mut self, at: Time, replayed: &mut Replayed) {
        let now = Instant::from_nanos(at);
        loop {
            let lent = self.core.recv_buf();
            let len = lent.len().min(self.unread.len());
            lent[..len].copy_from_slice(&self.unread[..len]);
            if len > 0 {
                self.unread.drain(..len);
                self.core.handle_input(now, len);
            }
            let mut idle = len == 0;
            while let Some(event) = self.core.poll_event() {
                idle = false;
                match event {
                    Event::Notify(notify) => {
                        replayed.notifies += 1;
                        let ids = (notify.stream_id().0, notify.frame_id().0);
                        match self.answers {
                            Answers::Immediate => answer(notify.ack()),
                            Answers::AsRecorded => self.tickets.push((ids, notify.defer())),
                        }
                    }
                    Event::Closed(CloseReason::Error(error)) => replayed.errors.push((self.id, error)),
                    Event::Ready { .. } | Event::Closed(_) => {}
                }
            }
            while let Some(bytes) = self.core.poll_transmit() {
                idle = false;
                let bytes = bytes.to_vec();
                self.core.transmitted(now, bytes.len());
                replayed.recording.push(at, self.id, LinkEvent::Bytes(Side::Agent, bytes));
            }
            if idle {
                break;
            }
        }
        if self.core.is_send_finished() && !self.is_fin_sent {
            self.is_fin_sent = true;
            replayed.recording.push(at, self.id, LinkEvent::Fin(Side::Agent));
        }
    }
}

fn answer(mut ack: Ack<'_>) {
    ack.set_var(Scope::Session, "ip_score", 42u32).expect("the name and the value are valid");
    ack.finish().expect("the ACK fits into a frame");
}
