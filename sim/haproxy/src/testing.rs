//! Helpers of the tests of both engines: the frames of an agent, and a record of the actions of a process.

use crate::codec::{Applied, Arg, Messages};
use crate::{Action, EventId, LinkId, Process, Settings, Time};

/// An action of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Connect(u32),
    Send(u32, Vec<u8>),
    Fin(u32),
    Reset(u32),
    /// The event, its status, and the number of actions that took effect.
    Done(u32, u32, usize),
}

/// A process under test, with a clock.
pub(crate) struct Harness {
    pub(crate) process: Process,
    pub(crate) now: Time,
    next_event: u32,
}

impl Harness {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { process: Process::new(settings, 0), now: 0, next_event: 0 }
    }

    /// Returns the actions since the last call.
    pub(crate) fn acts(&mut self) -> Vec<Act> {
        let mut acts = Vec::new();
        while let Some(action) = self.process.poll_action() {
            acts.push(match action {
                Action::Connect(link, _) => Act::Connect(link.0),
                Action::Send(link, bytes) => Act::Send(link.0, bytes.to_vec()),
                Action::Fin(link) => Act::Fin(link.0),
                Action::Reset(link) => Act::Reset(link.0),
                Action::Done(event, outcome) => Act::Done(event.0, outcome.status, outcome.actions.count()),
                Action::CheckDone { .. } => continue,
            });
        }
        acts
    }

    /// Starts an event about 192.0.2.1. Events are numbered from 0, and the stream has the number of the event plus
    /// 100.
    pub(crate) fn event(&mut self) -> Vec<Act> {
        self.event_of(&score_messages())
    }

    pub(crate) fn event_of(&mut self, messages: &Messages) -> Vec<Act> {
        let event = self.next_event;
        self.next_event += 1;
        self.process.event(self.now, EventId(event), 0, 100 + event, messages);
        self.acts()
    }

    pub(crate) fn bytes(&mut self, link: u32, bytes: &[u8]) -> Vec<Act> {
        self.process.handle_bytes(self.now, LinkId(link), bytes);
        self.acts()
    }

    pub(crate) fn eof(&mut self, link: u32) -> Vec<Act> {
        self.process.handle_eof(self.now, LinkId(link));
        self.acts()
    }

    pub(crate) fn reset(&mut self, link: u32) -> Vec<Act> {
        self.process.handle_reset(self.now, LinkId(link));
        self.acts()
    }

    /// The server's host refuses a connection.
    pub(crate) fn refuse(&mut self, link: u32) -> Vec<Act> {
        self.process.handle_refused(self.now, LinkId(link));
        self.acts()
    }

    /// Advances the clock to the next deadline and handles it.
    pub(crate) fn timeout(&mut self) -> Vec<Act> {
        self.now = self.process.poll_timeout().expect("there is a deadline").max(self.now);
        self.process.handle_timeout(self.now);
        self.acts()
    }

    /// Advances the clock by `span` and handles all deadlines in it.
    pub(crate) fn advance(&mut self, span: Time) -> Vec<Act> {
        let until = self.now + span;
        let mut acts = Vec::new();
        while self.process.poll_timeout().is_some_and(|due| due <= until) {
            acts.extend(self.timeout());
        }
        self.now = until;
        acts
    }
}

pub(crate) fn score_messages() -> Messages {
    let mut messages = Messages::new();
    messages.message(b"check-client-ip", 1).arg(b"", Arg::Ipv4([192, 0, 2, 1]));
    messages
}

/// Returns a frame of the agent. It is encoded without the codec.
pub(crate) fn agent_frame(kind: u8, flags: u32, ids: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = (5 + ids.len() + payload.len()) as u32;
    [&len.to_be_bytes()[..], &[kind], &flags.to_be_bytes(), ids, payload].concat()
}

pub(crate) const VERSION: &[u8] = b"\x07version\x08\x032.0";
pub(crate) const SIZE: &[u8] = b"\x0emax-frame-size\x03\xfc\xf0\x06";
pub(crate) const CAPS: &[u8] = b"\x0ccapabilities\x08\x0apipelining";
pub(crate) const SCORE: &[u8] = b"\x01\x03\x01\x08ip_score\x03\x2a";

pub(crate) fn hello() -> Vec<u8> {
    agent_frame(101, 1, &[0, 0], &[VERSION, SIZE, CAPS].concat())
}

pub(crate) fn hello_of(payload: &[&[u8]]) -> Vec<u8> {
    agent_frame(101, 1, &[0, 0], &payload.concat())
}

pub(crate) fn ack(sid: u8, fid: u8, actions: &[u8]) -> Vec<u8> {
    agent_frame(103, 1, &[sid, fid], actions)
}

pub(crate) fn discon(code: u8) -> Vec<u8> {
    agent_frame(102, 1, &[0, 0], &[b"\x0bstatus-code\x03", &[code][..], b"\x07message\x08\x01x"].concat())
}

/// Returns the NOTIFY of [`score_messages`].
pub(crate) fn notify(sid: u8, fid: u8) -> Vec<u8> {
    agent_frame(3, 1, &[sid, fid], score_messages().bytes())
}

/// Returns the HAPROXY-DISCONNECT of a code.
pub(crate) fn haproxy_disconnect(code: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::codec::encode_disconnect(&mut bytes, code);
    bytes
}

#[test]
fn the_score_has_the_value_42() {
    let mut actions = crate::codec::AppliedActions::new(SCORE, 5);
    assert!(matches!(actions.next(), Some(Applied::Set { value: crate::codec::Value::Int(42), .. })));
}
