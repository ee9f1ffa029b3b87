//! Helpers of the tests of both engines: the frames of a canned agent, and a record of what a process did.

use crate::codec::{Applied, Arg, Messages};
use crate::{Action, EventId, LinkId, Process, Settings, Time};

/// One thing a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Connect(u32),
    Send(u32, Vec<u8>),
    Fin(u32),
    Reset(u32),
    Done(u32, u32, usize),
}

/// A process under test: a clock, and what was done since the last look.
pub(crate) struct Bench {
    pub(crate) process: Process,
    pub(crate) now: Time,
    next_event: u32,
}

impl Bench {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { process: Process::new(settings, 0), now: 0, next_event: 0 }
    }

    pub(crate) fn did(&mut self) -> Vec<Did> {
        let mut did = Vec::new();
        while let Some(action) = self.process.poll_action() {
            did.push(match action {
                Action::Connect(link) => Did::Connect(link.0),
                Action::Send(link, bytes) => Did::Send(link.0, bytes.to_vec()),
                Action::Fin(link) => Did::Fin(link.0),
                Action::Reset(link) => Did::Reset(link.0),
                Action::Done(event, outcome) => Did::Done(event.0, outcome.status, outcome.actions.count()),
                Action::CheckDone { .. } => continue,
            });
        }
        did
    }

    /// Starts an event about 192.0.2.1; its number counts from 0, its stream is 100 more.
    pub(crate) fn event(&mut self) -> Vec<Did> {
        self.event_of(&score_messages())
    }

    pub(crate) fn event_of(&mut self, messages: &Messages) -> Vec<Did> {
        let event = self.next_event;
        self.next_event += 1;
        self.process.event(self.now, EventId(event), 0, 100 + event, messages);
        self.did()
    }

    pub(crate) fn bytes(&mut self, link: u32, bytes: &[u8]) -> Vec<Did> {
        self.process.handle_bytes(self.now, LinkId(link), bytes);
        self.did()
    }

    pub(crate) fn eof(&mut self, link: u32) -> Vec<Did> {
        self.process.handle_eof(self.now, LinkId(link));
        self.did()
    }

    pub(crate) fn reset(&mut self, link: u32) -> Vec<Did> {
        self.process.handle_reset(self.now, LinkId(link));
        self.did()
    }

    /// Goes to the next deadline.
    pub(crate) fn timeout(&mut self) -> Vec<Did> {
        self.now = self.process.poll_timeout().expect("a deadline").max(self.now);
        self.process.handle_timeout(self.now);
        self.did()
    }

    /// Lets `span` go by, whatever falls due in it.
    pub(crate) fn pass(&mut self, span: Time) -> Vec<Did> {
        let until = self.now + span;
        let mut did = Vec::new();
        while self.process.poll_timeout().is_some_and(|due| due <= until) {
            did.extend(self.timeout());
        }
        self.now = until;
        did
    }
}

pub(crate) fn score_messages() -> Messages {
    let mut messages = Messages::new();
    messages.message(b"check-client-ip", 1).arg(b"", Arg::Ipv4([192, 0, 2, 1]));
    messages
}

/// A frame of the agent, put together by hand.
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

/// The NOTIFY of [`score_messages`].
pub(crate) fn notify(sid: u8, fid: u8) -> Vec<u8> {
    agent_frame(3, 1, &[sid, fid], score_messages().bytes())
}

/// The HAPROXY-DISCONNECT of a code.
pub(crate) fn haproxy_disconnect(code: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::codec::encode_disconnect(&mut bytes, code);
    bytes
}

/// Checks that the score's value came through.
#[test]
fn the_score_is_42() {
    let mut actions = crate::codec::AppliedActions::new(SCORE, 5);
    assert!(matches!(actions.next(), Some(Applied::Set { value: crate::codec::Value::Int(42), .. })));
}
