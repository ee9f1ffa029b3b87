//! The conformance table as simple code: predicts the frames that an agent with the harness's handler `score` sends.

use spoa_tests::bytes::{ABORT, ACK, FIN, Frame, Value, read_messages};
use spoa_tests::frames::{ack, agent_disconnect, agent_hello};
use spoa_tests::peer::score_of;

use crate::words::{HelloKind, Input};

/// A naive agent.
pub(crate) struct Model {
    pub(crate) frame_max: u64,
    pub(crate) fragmentation: bool,
    pub(crate) reassembly_max: usize,
    is_ready: bool,
    is_closed: bool,
    /// The ids and the payload so far of an incomplete fragmented NOTIFY.
    pending: Option<((u64, u64), Vec<u8>)>,
    /// The ids of a NOTIFY that was too large and whose further fragments are discarded.
    discarding: Option<(u64, u64)>,
    /// The frames that were sent.
    sent: Vec<Vec<u8>>,
}

impl Model {
    pub(crate) const fn new(frame_max: u64, fragmentation: bool, reassembly_max: usize) -> Self {
        Self {
            frame_max,
            fragmentation,
            reassembly_max,
            is_ready: false,
            is_closed: false,
            pending: None,
            discarding: None,
            sent: Vec::new(),
        }
    }

    /// Returns the frames that the agent sends for `inputs`, including those that are sent after the delay of a
    /// refusal.
    pub(crate) fn answers(mut self, inputs: &[Input]) -> Vec<Frame> {
        for input in inputs {
            self.receive(input);
            if self.is_closed {
                break;
            }
        }
        Frame::read_all(&self.sent.concat())
    }

    fn receive(&mut self, input: &Input) {
        let bytes = input.encode();
        let length = u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        if length > self.frame_max {
            return self.disconnect(3);
        }
        if length < 7 {
            return self.disconnect(4);
        }
        match input {
            Input::Disconnect { flags, .. } if flags & FIN == 0 => self.disconnect(10),
            Input::Disconnect { ids, .. } if *ids != (0, 0) => self.disconnect(4),
            Input::Disconnect { status, .. } => match status.unwrap_or(0) {
                code @ (0..=13 | 99) => self.disconnect(code),
                _ => self.disconnect(99),
            },
            Input::Hello(hello) if !self.is_ready => self.receive_hello(*hello),
            _ if !self.is_ready => self.disconnect(4),
            Input::Hello(_) | Input::Other(101..=103) | Input::Length(_) => self.disconnect(4),
            Input::Other(_) => {}
            Input::Notify { ids, flags, payload } => self.notify(*ids, flags & FIN != 0, payload),
            Input::Unset { ids, flags, payload } => self.unset(*ids, *flags, payload),
        }
    }

    fn receive_hello(&mut self, hello: HelloKind) {
        let (offered, pipelining) = match hello {
            HelloKind::Mux | HelloKind::Applet => (16380, true),
            HelloKind::NoPipelining | HelloKind::HealthCheck => (16380, false),
            HelloKind::Small => (256, true),
            HelloKind::BadHealthCheck | HelloKind::NoSize => return self.disconnect(6),
            HelloKind::Fragmented => return self.disconnect(10),
            HelloKind::WithIds | HelloKind::Malformed => return self.disconnect(4),
            HelloKind::NoVersion => return self.disconnect(5),
            HelloKind::NoCapabilities => return self.disconnect(7),
            HelloKind::Version1 => return self.disconnect(8),
            HelloKind::TinySize => return self.disconnect(9),
        };
        self.frame_max = self.frame_max.min(offered);
        let list = match (pipelining, self.fragmentation) {
            (true, true) => "pipelining,fragmentation",
            (true, false) => "pipelining",
            (false, true) => "fragmentation",
            (false, false) => "",
        };
        self.sent.push(agent_hello(self.frame_max, list));
        self.is_ready = true;
        self.is_closed = hello == HelloKind::HealthCheck;
    }

    fn notify(&mut self, ids: (u64, u64), is_whole: bool, payload: &[u8]) {
        if !is_whole && !self.fragmentation {
            return self.disconnect(10);
        }
        if self.pending.is_some() {
            return self.disconnect(11);
        }
        self.discarding = None;
        if is_whole {
            return self.answer(ids, payload);
        }
        self.pending = Some((ids, Vec::new()));
        self.add_fragment(payload);
    }

    fn unset(&mut self, ids: (u64, u64), flags: u32, payload: &[u8]) {
        if !self.fragmentation {
            return self.disconnect(10);
        }
        if self.discarding == Some(ids) {
            if flags & (FIN | ABORT) != 0 {
                self.discarding = None;
            }
            return;
        }
        if self.pending.as_ref().map(|(pending, _)| *pending) != Some(ids) {
            return self.disconnect(11);
        }
        if flags & ABORT != 0 {
            self.pending = None;
            return;
        }
        self.add_fragment(payload);
        if flags & FIN != 0 {
            self.discarding = None;
            if let Some((_, whole)) = self.pending.take() {
                self.answer(ids, &whole);
            }
        }
    }

    fn add_fragment(&mut self, payload: &[u8]) {
        let Some((ids, collected)) = &mut self.pending else { return };
        collected.extend_from_slice(payload);
        if collected.len() > self.reassembly_max {
            let ids = *ids;
            self.sent.push(Frame::new(ACK, ids, []).flags(FIN | ABORT).encode());
            self.pending = None;
            self.discarding = Some(ids);
        }
    }

    fn answer(&mut self, ids: (u64, u64), payload: &[u8]) {
        let Some(messages) = read_messages(payload) else { return self.disconnect(4) };
        let mut scores = Vec::new();
        for (name, args) in messages {
            let wanted: &[u8] = match &name[..] {
                b"check-client-ip" => b"",
                b"get-ip-reputation" => b"ip",
                _ => continue,
            };
            let score = match args.iter().find(|(name, _)| name == wanted) {
                Some((_, Value::Ipv4(octets))) => score_of(octets),
                Some((_, Value::Ipv6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, v4 @ ..]))) => score_of(v4),
                Some((_, Value::Ipv6(octets))) => score_of(octets),
                _ => continue,
            };
            scores.push(score.into());
        }
        while ack(ids.0, ids.1, &scores).len() as u64 > 4 + self.frame_max {
            scores.pop();
        }
        self.sent.push(ack(ids.0, ids.1, &scores));
    }

    fn disconnect(&mut self, code: u64) {
        self.sent.push(agent_disconnect(code));
        self.is_closed = true;
    }
}
