//! Runs both engines against an agent that may send anything. Nothing panics, each event ends exactly once and in time,
//! equal calls give equal conversations, and the variant of the model accepts each conversation.

use spoa_sim_haproxy::codec::{Arg, Header, Messages};
use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};
use spoa_sim_haproxy::{
    Action, Defects, Engine, EventId, LinkId, MILLISECOND, Process, SECOND, Settings, Time, Variant, accepts,
};

/// The number of conversations per test, which a debug build runs in seconds.
const SEEDS: u64 = 300;

/// A random number generator: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

/// A process, a random agent, and the recording of their conversation.
struct World {
    random: Random,
    process: Process,
    recording: Recording,
    now: Time,
    /// The open links, and the bytes that the agent has not sent on them yet.
    links: Vec<(LinkId, Vec<u8>)>,
    started: u32,
    done: Vec<u32>,
    /// The agent makes a fault once in this many chances, on average.
    fault_interval: u64,
}

const AGENT_HELLOS: &[&[u8]] = &[
    b"\x07version\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06\x0ccapabilities\x08\x0apipelining",
    b"\x07version\x08\x032.0\x0emax-frame-size\x03\xf0\x01\x0ccapabilities\x08\x18pipelining,fragmentation",
    b"\x07version\x08\x032.0\x0emax-frame-size\x03\xf0\x01\x0ccapabilities\x08\x00",
    b"\x07version\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06\x0ccapabilities\x08\x11async, pipelining",
    b"\x07version\x08\x032.1\x0emax-frame-size\x03\xfc\xf0\x06\x0ccapabilities\x08\x00",
    b"",
];

fn frame(kind: u8, flags: u32, ids: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = (5 + ids.len() + payload.len()) as u32;
    [&len.to_be_bytes()[..], &[kind], &flags.to_be_bytes(), ids, payload].concat()
}

impl World {
    fn new(seed: u64, fault_interval: u64) -> Self {
        let mut random = Random(seed);
        let mut settings = if random.one_in(2) { Settings::mux() } else { Settings::applet() };
        settings.threads = 1 + random.below(3) as u32;
        settings.pipelining = !random.one_in(4);
        settings.reuse = !random.one_in(8);
        settings.asynchronous &= random.one_in(2);
        settings.fragmentation &= !random.one_in(4);
        settings.max_waiting_frames = 1 + random.below(20) as u32;
        settings.fragment_gap = random.below(3) * MILLISECOND;
        settings.idle_timeout = (1 + random.below(30)) * SECOND;
        settings.processing_timeout = (100 + random.below(3000)) * MILLISECOND;
        if random.one_in(8) {
            settings.maxconn = 1 + random.below(3) as u32;
        }
        if random.one_in(4) {
            settings.defects = Defects { split_hello_resets: random.one_in(2), ..Defects::V3_1_0 };
        }
        let process = Process::new(settings, 0);
        let (recording, links, done) = (Recording::default(), Vec::new(), Vec::new());
        Self { random, process, recording, now: 0, links, started: 0, done, fault_interval }
    }

    fn collect(&mut self) {
        while let Some(action) = self.process.poll_action() {
            match action {
                Action::Connect(link, _) => {
                    self.links.push((link, Vec::new()));
                    self.recording.push(self.now, link.0, LinkEvent::Open);
                }
                Action::Fin(link) => self.recording.push(self.now, link.0, LinkEvent::Fin(Side::Haproxy)),
                Action::Reset(link) => {
                    self.links.retain(|(open, _)| *open != link);
                    self.recording.push(self.now, link.0, LinkEvent::Reset(Side::Haproxy));
                }
                Action::Done(event, outcome) => {
                    outcome.actions.for_each(drop);
                    self.done.push(event.0);
                }
                Action::CheckDone { .. } => {}
                Action::Send(link, bytes) => {
                    self.recording.push(self.now, link.0, LinkEvent::Bytes(Side::Haproxy, bytes.to_vec()));
                    let reply = answer(&mut self.random, self.fault_interval, bytes);
                    if let Some((_, queue)) = self.links.iter_mut().find(|(open, _)| *open == link) {
                        queue.extend(reply);
                    }
                }
            }
        }
    }

    fn step(&mut self) {
        self.now += self.random.below(30) * MILLISECOND;
        while let Some(due) = self.process.poll_timeout().filter(|&due| due <= self.now) {
            self.process.handle_timeout(due);
            let now = std::mem::replace(&mut self.now, due);
            self.collect();
            self.now = now;
        }
        match self.random.below(8) {
            0..2 if self.started < 60 => {
                let mut messages = Messages::new();
                let len = if self.random.one_in(4) { self.random.below(3000) } else { self.random.below(40) };
                messages
                    .message(b"check", 2)
                    .arg(b"", Arg::Ipv4([1, 2, 3, 4]))
                    .arg(b"b", Arg::Str(&vec![b'x'; len as usize]));
                let (thread, stream) = (self.started % 3, self.started);
                self.process.event(self.now, EventId(self.started), thread, stream, &messages);
                self.started += 1;
            }
            2 if self.random.one_in(20) => self.process.healthcheck(self.now),
            _ if self.links.is_empty() => {}
            3 if self.random.one_in(self.fault_interval) => {
                let at = self.random.below(self.links.len() as u64) as usize;
                let (link, _) = self.links.remove(at);
                self.recording.push(self.now, link.0, LinkEvent::Fin(Side::Agent));
                if self.random.one_in(2) {
                    self.process.handle_eof(self.now, link);
                } else {
                    self.process.handle_reset(self.now, link);
                }
            }
            _ => {
                let at = self.random.below(self.links.len() as u64) as usize;
                let (link, queue) = &mut self.links[at];
                let len = (1 + self.random.below(200) as usize).min(queue.len());
                let bytes: Vec<u8> = queue.drain(..len).collect();
                if !bytes.is_empty() {
                    self.process.handle_bytes(self.now, *link, &bytes);
                    self.recording.push(self.now, link.0, LinkEvent::Bytes(Side::Agent, bytes));
                }
            }
        }
        self.collect();
    }

    fn run(&mut self) {
        for _ in 0..600 {
            self.step();
        }
        // All events have ended once the timeout of the last one has passed.
        let end = self.now + self.process.settings().processing_timeout;
        while let Some(due) = self.process.poll_timeout().filter(|&due| due <= end) {
            self.now = due.max(self.now);
            self.process.handle_timeout(self.now);
            self.collect();
        }
    }
}

/// Returns the agent's reply to `bytes`: mostly a correct one, sometimes with a fault.
fn answer(random: &mut Random, fault_interval: u64, mut bytes: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    while !bytes.is_empty() {
        let len = 4 + u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let (sent, rest) = bytes.split_at(len);
        bytes = rest;
        let header = Header::peek(sent).expect("HAProxy sends complete frames");
        let ids = &sent[9..header.size];
        let start = reply.len();
        match sent[4] {
            1 => {
                let good = random.below(4) as usize;
                let hello = if random.one_in(fault_interval) { random.below(6) as usize } else { good };
                reply.extend(frame(101, 1, &[0, 0], AGENT_HELLOS[hello]));
            }
            2 => reply.extend(frame(102, 1, &[0, 0], b"\x0bstatus-code\x03\x02\x07message\x08\x01x")),
            _ if header.is_fin() && !header.is_abort() && !random.one_in(5) => {
                reply.extend(frame(103, 1, ids, b"\x01\x03\x01\x08ip_score\x03\x2a"));
            }
            _ => {}
        }
        if random.one_in(fault_interval) && reply.len() > start {
            let at = start + random.below((reply.len() - start) as u64) as usize;
            reply[at] = random.next() as u8;
        }
        if random.one_in(fault_interval) {
            let kind = [101, 102, 103, 77, 0][random.below(5) as usize];
            let payload = [0x01, random.next() as u8, 0x01];
            reply.extend(frame(
                kind,
                random.below(4) as u32,
                &[random.below(9) as u8, random.below(3) as u8],
                &payload,
            ));
        }
    }
    reply
}

#[test]
fn every_event_ends_exactly_once() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 30);
        world.run();
        world.done.sort_unstable();
        let all: Vec<u32> = (0..world.started).collect();
        assert_eq!(world.done, all, "seed {seed}");
    }
}

#[test]
fn equal_calls_give_equal_conversations() {
    for seed in 0..50 {
        let [one, other] = [0, 1].map(|_| {
            let mut world = World::new(seed, 30);
            world.run();
            world.recording
        });
        assert_eq!(one, other, "seed {seed}");
    }
}

#[test]
fn conversations_of_the_model_are_accepted() {
    for seed in 0..SEEDS {
        for fault_interval in [u64::MAX, 30] {
            let mut world = World::new(seed, fault_interval);
            world.run();
            let settings = world.process.settings().clone();
            let engine: Engine = settings.engine;
            let result = accepts(&Variant::new(settings), &world.recording);
            if let Err(error) = result {
                let line = error.line;
                let text = world.recording.to_string();
                let link = text.lines().nth(line - 1).and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
                let of_link = |(at, text): &(usize, &str)| *at < line && text.split(' ').nth(1) == Some(link);
                let lines: Vec<_> =
                    text.lines().enumerate().filter(of_link).map(|(_, line)| &line[..line.len().min(150)]).collect();
                panic!("seed {seed}, fault_interval {fault_interval}, {engine:?}: {error}\n{}", lines.join("\n"));
            }
        }
    }
}
