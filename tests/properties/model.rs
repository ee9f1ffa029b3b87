//! The conformance table as straight code: what an agent with the harness's handler says to a list of words.

use spoa_tests::bytes::{ABORT, ACK, FIN, Frame, Value, read_messages};
use spoa_tests::frames::{ack, agent_disconnect, agent_hello};
use spoa_tests::peer::score_of;

use crate::words::{Greeting, Word};

/// The agent, naively.
pub(crate) struct Model {
    pub(crate) frame_max: u64,
    pub(crate) fragmentation: bool,
    pub(crate) reassembly_max: usize,
    greeted: bool,
    over: bool,
    /// A NOTIFY whose fragments come, and one that was too large and still comes.
    pending: Option<((u64, u64), Vec<u8>)>,
    swallowing: Option<(u64, u64)>,
    said: Vec<Vec<u8>>,
}

impl Model {
    pub(crate) const fn new(frame_max: u64, fragmentation: bool, reassembly_max: usize) -> Self {
        Self {
            frame_max,
            fragmentation,
            reassembly_max,
            greeted: false,
            over: false,
            pending: None,
            swallowing: None,
            said: Vec::new(),
        }
    }

    /// The frames it says to all of `words`, once a refused HELLO has waited.
    pub(crate) fn answers(mut self, words: &[Word]) -> Vec<Frame> {
        for word in words {
            self.hear(word);
            if self.over {
                break;
            }
        }
        Frame::read_all(&self.said.concat())
    }

    fn hear(&mut self, word: &Word) {
        let bytes = word.encode();
        let length = u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        if length > self.frame_max {
            return self.end(3);
        }
        if length < 7 {
            return self.end(4);
        }
        match word {
            Word::Disconnect { flags, .. } if flags & FIN == 0 => self.end(10),
            Word::Disconnect { ids, .. } if *ids != (0, 0) => self.end(4),
            Word::Disconnect { status, .. } => match status.unwrap_or(0) {
                code @ (0..=13 | 99) => self.end(code),
                _ => self.end(99),
            },
            Word::Hello(greeting) if !self.greeted => self.greet(*greeting),
            _ if !self.greeted => self.end(4),
            Word::Hello(_) | Word::Other(101..=103) | Word::Length(_) => self.end(4),
            Word::Other(_) => {}
            Word::Notify { ids, flags, payload } => self.notify(*ids, flags & FIN != 0, payload),
            Word::Unset { ids, flags, payload } => self.unset(*ids, *flags, payload),
        }
    }

    fn greet(&mut self, greeting: Greeting) {
        let (offered, pipelining) = match greeting {
            Greeting::Mux | Greeting::Applet => (16380, true),
            Greeting::NoPipelining | Greeting::HealthCheck => (16380, false),
            Greeting::Small => (256, true),
            Greeting::BadHealthCheck | Greeting::NoSize => return self.end(6),
            Greeting::Fragmented => return self.end(10),
            Greeting::OfAStream | Greeting::Malformed => return self.end(4),
            Greeting::NoVersion => return self.end(5),
            Greeting::NoCapabilities => return self.end(7),
            Greeting::Version1 => return self.end(8),
            Greeting::TinySize => return self.end(9),
        };
        self.frame_max = self.frame_max.min(offered);
        let list = match (pipelining, self.fragmentation) {
            (true, true) => "pipelining,fragmentation",
            (true, false) => "pipelining",
            (false, true) => "fragmentation",
            (false, false) => "",
        };
        self.said.push(agent_hello(self.frame_max, list));
        self.greeted = true;
        self.over = greeting == Greeting::HealthCheck;
    }

    fn notify(&mut self, ids: (u64, u64), is_whole: bool, payload: &[u8]) {
        if !is_whole && !self.fragmentation {
            return self.end(10);
        }
        if self.pending.is_some() {
            return self.end(11);
        }
        self.swallowing = None;
        if is_whole {
            return self.answer(ids, payload);
        }
        self.pending = Some((ids, Vec::new()));
        self.collect(payload);
    }

    fn unset(&mut self, ids: (u64, u64), flags: u32, payload: &[u8]) {
        if !self.fragmentation {
            return self.end(10);
        }
        if self.swallowing == Some(ids) {
            if flags & (FIN | ABORT) != 0 {
                self.swallowing = None;
            }
            return;
        }
        if self.pending.as_ref().map(|(pending, _)| *pending) != Some(ids) {
            return self.end(11);
        }
        if flags & ABORT != 0 {
            self.pending = None;
            return;
        }
        self.collect(payload);
        if flags & FIN != 0 {
            self.swallowing = None;
            if let Some((_, whole)) = self.pending.take() {
                self.answer(ids, &whole);
            }
        }
    }

    fn collect(&mut self, payload: &[u8]) {
        let Some((ids, collected)) = &mut self.pending else { return };
        collected.extend_from_slice(payload);
        if collected.len() > self.reassembly_max {
            let ids = *ids;
            self.said.push(Frame::new(ACK, ids, []).flags(FIN | ABORT).encode());
            self.pending = None;
            self.swallowing = Some(ids);
        }
    }

    fn answer(&mut self, ids: (u64, u64), payload: &[u8]) {
        let Some(messages) = read_messages(payload) else { return self.end(4) };
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
        self.said.push(ack(ids.0, ids.1, &scores));
    }

    fn end(&mut self, code: u64) {
        self.said.push(agent_disconnect(code));
        self.over = true;
    }
}
