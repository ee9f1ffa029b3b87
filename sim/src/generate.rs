//! Generates the script of a seed.
//!
//! Each seed first draws which kinds of steps and faults exist in it and how frequent they are (a "swarm"), then the
//! steps. If every kind existed in every seed, some fault would end each connection early, and rare states would not be
//! reached.

mod fleet;
mod frames;
mod haproxy;
mod profile;
mod redraw;
mod values;
mod weights;

use crate::random::{Purpose, Random};
use crate::script::{AgentSetup, Bytes, Cuts, FrameKind, FrameSpec, Link, MS, MessageSpec, Nanos, Script, Step, Value};

pub use profile::{GENERATOR_VERSION, Profile};
pub use redraw::{extended, redrawn};

weights::moves! {
    /// A move of HAProxy or the network on a connection of a script.
    Move {
        Notify = Always(64),
        Burst = AtMost(4),
        Fragments = Usual,
        Wait = Usual,
        Cut = Usual,
        Hold = Usual,
        Release = Usual,
        Room = Usual,
        Take = Usual,
        BadFrame = End,
        Disconnect = End,
        Fin = End,
        Reset = End,
        Stop = End,
        CutOff = End,
        Shed = End,
    }
}

/// The most bytes of a frame before its payload, without its length: the type, the flags and two ids.
const FRAME_HEADER_MAX: u32 = 1 + 4 + 2 * 10;

/// Returns the script of a seed.
pub fn generate(seed: u64, profile: Profile) -> Script {
    let mut generator = Generator::new(seed, profile);
    generator.fill();
    generator.script
}

struct Generator {
    workload: Random,
    cuts: Random,
    faults: Random,
    handlers: Random,
    swarm: profile::Swarm,
    script: Script,
    links: Vec<Conversation>,
}

/// The state of the conversation on a link.
#[derive(Clone, Debug, Default)]
struct Conversation {
    open: bool,
    /// The stream-id for the next NOTIFY is one more than this.
    stream_id: u64,
    /// The ids of the last NOTIFY, which may be used again.
    used: Option<(u64, u64)>,
    /// The rest of a frame of which the first bytes were sent.
    rest: Vec<u8>,
}

impl Generator {
    fn new(seed: u64, profile: Profile) -> Self {
        let mut random = Random::new(seed, Purpose::Profile);
        let swarm = profile::Swarm::draw(&mut random, profile);
        let agent = profile::agent(&mut random, profile, swarm.play);
        // Most draws add one or two steps; a burst adds a dozen.
        let steps = Vec::with_capacity(2 * swarm.steps as usize + 16);
        Self {
            workload: Random::new(seed, Purpose::Workload),
            cuts: Random::new(seed, Purpose::Cuts),
            faults: Random::new(seed, Purpose::Faults),
            handlers: Random::new(seed, Purpose::Handlers),
            links: vec![Conversation::default(); swarm.links],
            swarm,
            script: Script { story: Vec::new(), agent, steps },
        }
    }

    fn fill(&mut self) {
        match self.swarm.play {
            profile::Play::Script => {}
            profile::Play::Model(engine) => return self.fill_with_haproxy(engine),
            profile::Play::Fleet => return self.fill_with_fleet(),
        }
        for _ in 0..self.swarm.steps {
            let at = self.workload.below(self.links.len() as u64) as usize;
            if !self.links[at].open {
                self.open(at);
                continue;
            }
            if !self.links[at].rest.is_empty() || self.swarm.splits > 0 && self.cuts.chance(self.swarm.splits, 100) {
                self.split(at);
                continue;
            }
            let link = Link::Scripted(at as u8 + 1);
            match self.swarm.weights.pick(&mut self.workload) {
                Move::Notify => self.notify(at),
                Move::Burst => self.burst(at),
                Move::Fragments => self.fragments(at),
                Move::Wait => self.wait(),
                Move::Cut => self.cut(link),
                Move::Hold => self.push(Step::Hold(link)),
                Move::Release => self.push(Step::Release(link)),
                Move::Room if self.script.agent.endpoint && self.cuts.chance(1, 4) => self.trickle(at),
                Move::Room => self.room(link),
                Move::Take => self.take(link),
                Move::BadFrame => self.bad_frame(at),
                Move::Disconnect => self.disconnect(at),
                Move::Fin => self.end(at, Step::Fin(link)),
                Move::CutOff => self.cut_off(at),
                Move::Reset => self.end(at, Step::Reset(link)),
                Move::Shed if self.script.agent.endpoint => self.end(at, Step::Lose(link)),
                Move::Shed => self.push(Step::Shed(link)),
                Move::Stop => self.stop(),
            }
        }
    }

    fn push(&mut self, step: Step) {
        self.script.steps.push(step);
    }

    fn send(&mut self, at: usize, frame: FrameSpec) {
        self.push(Step::Send(Link::Scripted(at as u8 + 1), frame));
    }

    /// Opens a connection, usually with a HELLO.
    fn open(&mut self, at: usize) {
        let link = Link::Scripted(at as u8 + 1);
        self.links[at] = Conversation { open: true, ..Conversation::default() };
        self.push(Step::Connect(link));
        if self.swarm.cuts_first && self.cuts.chance(1, 2) {
            self.cut(link);
        }
        if self.faults.chance(self.swarm.bad_hello, 100) {
            let frame = self.bad_hello();
            self.send(at, frame);
            if self.faults.chance(1, 2) {
                self.links[at].open = false;
            }
        } else if self.faults.chance(self.swarm.no_hello, 100) {
            // No HELLO is sent. A wait, a bad frame or nothing comes first.
            match self.faults.below(3) {
                0 => self.wait(),
                1 => self.bad_frame(at),
                _ => {}
            }
        } else {
            let frame = self.hello();
            self.send(at, frame);
        }
    }

    fn notify(&mut self, at: usize) {
        let frame = self.good_notify(at);
        self.send(at, frame);
    }

    /// Sends several NOTIFYs, half of the time held and released together.
    fn burst(&mut self, at: usize) {
        let count = self.workload.between(2, 12);
        let link = Link::Scripted(at as u8 + 1);
        let together = self.cuts.chance(1, 2);
        if together {
            self.push(Step::Hold(link));
        }
        for _ in 0..count {
            self.notify(at);
        }
        if together {
            self.push(Step::Release(link));
        }
    }

    /// Sends the rest of a frame, perhaps whole NOTIFYs, and perhaps the first bytes of another: a peer that is inside a frame
    /// most of the time.
    fn split(&mut self, at: usize) {
        if self.workload.chance(1, 3) {
            return self.wait();
        }
        let mut bytes = std::mem::take(&mut self.links[at].rest);
        for _ in 0..self.workload.below(3) {
            bytes.extend(self.good_notify(at).to_bytes());
        }
        if self.workload.chance(3, 4) {
            let mut next = if self.cuts.chance(1, 2) { self.large_notify(at) } else { self.good_notify(at).to_bytes() };
            let len = self.cuts.between(1, next.len() as u64 - 1) as usize;
            self.links[at].rest = next.split_off(len);
            bytes.append(&mut next);
        }
        self.push(Step::Raw(Link::Scripted(at as u8 + 1), bytes));
    }

    /// Returns the bytes of a NOTIFY in several fragments.
    fn large_notify(&mut self, at: usize) -> Vec<u8> {
        let whole = self.good_notify(at);
        let FrameKind::Notify(messages) = &whole.kind else { return whole.to_bytes() };
        let len = crate::encode::encoded_len(messages);
        let size = (len / self.cuts.between(1, 6) as u32).max(1);
        let starts = (0..len.max(1)).step_by(size as usize);
        let fragments = starts.map(|start| {
            let end = (start + size).min(len);
            let kind =
                if start == 0 { FrameKind::Notify(messages.clone()) } else { FrameKind::Unset(messages.clone()) };
            FrameSpec { kind, flags: u32::from(end == len), slice: Some((start, end)), ..whole }.to_bytes()
        });
        fragments.flatten().collect()
    }

    /// Sends a NOTIFY in fragments, sometimes with a fault in the last one.
    fn fragments(&mut self, at: usize) {
        let mut whole = self.good_notify(at);
        let FrameKind::Notify(messages) = &mut whole.kind else { return };
        if self.swarm.has_huge_notifies && self.workload.chance(1, 2) {
            let text = Value::LongText(self.workload.between(60_000, 80_000) as u32);
            messages.push(MessageSpec { name: b"m"[..].into(), args: vec![(Bytes::default(), text)] });
        }
        let len = crate::encode::encoded_len(messages);
        // A NOTIFY of several frames has fragments that fit. Very many of them would take too long.
        let room = self.script.agent.connection.max_frame_size.min(16_380).saturating_sub(FRAME_HEADER_MAX);
        let cuts: Vec<u32> = if (4..40).contains(&(len / room)) {
            (1..=len / room).map(|n| n * room).collect()
        } else {
            let mut cuts: Vec<_> =
                (0..self.cuts.below(4)).map(|_| self.cuts.below(u64::from(len) + 1) as u32).collect();
            cuts.sort_unstable();
            cuts
        };
        let ends = cuts.iter().copied().chain([len]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let pieces: Vec<_> = starts.zip(ends).collect();
        let is_broken = self.faults.chance(self.swarm.fragment_faults, 100);
        for (n, &slice) in pieces.iter().enumerate() {
            let last = n + 1 == pieces.len();
            let messages = messages.clone();
            let kind = if n == 0 { FrameKind::Notify(messages) } else { FrameKind::Unset(messages) };
            let flags = u32::from(last && n > 0);
            let frame = FrameSpec { kind, flags, slice: Some(slice), ..whole };
            if is_broken && last {
                return self.broken_fragment(at, &frame);
            }
            self.send(at, frame);
        }
        if pieces.len() == 1 {
            let empty = FrameSpec { kind: FrameKind::Unset(Vec::new()), flags: 1, slice: None, ..whole };
            self.send(at, empty);
        }
    }

    /// Sends something else in place of the last fragment: an ABORT, other ids, another NOTIFY, or nothing.
    fn broken_fragment(&mut self, at: usize, last: &FrameSpec) {
        let unset =
            |flags, frame_id| FrameSpec { kind: FrameKind::Unset(Vec::new()), flags, frame_id, slice: None, ..*last };
        match self.faults.below(6) {
            0 | 1 => self.send(at, unset(3, last.frame_id)),
            2 => self.send(at, unset(1, last.frame_id + 1)),
            3 => self.send(at, FrameSpec { stream_id: last.stream_id + 2, ..unset(0, last.frame_id) }),
            4 => self.notify(at),
            _ => {}
        }
    }

    fn wait(&mut self) {
        let time = self.time();
        self.push(Step::Wait(time));
    }

    /// Draws a time to wait: usually short, otherwise exactly one of the agent's timeouts, or a nanosecond less or
    /// more.
    fn time(&mut self) -> Nanos {
        let agent = &self.script.agent;
        let deadlines = [
            agent.connection.hello_timeout,
            agent.connection.ack_timeout,
            agent.connection.idle_timeout.max(MS),
            agent.connection.refuse_delay.max(MS),
            agent.connection.linger,
            agent.connection.send_timeout,
        ];
        // After a second, a connection without a NOTIFY may give way to another.
        let is_limited = agent.connections_max < AgentSetup::default().connections_max;
        if is_limited && self.workload.chance(1, 8) {
            return 1000 * MS + self.workload.below(3) - 1;
        }
        if self.workload.chance(3, 4) {
            return self.workload.magnitude(1, 5 * MS);
        }
        let deadline = *self.workload.pick(&deadlines);
        match self.workload.below(3) {
            0 => deadline - 1,
            1 => deadline,
            _ => deadline + 1,
        }
    }

    fn cut(&mut self, link: Link) {
        let cuts = match self.cuts.below(8) {
            0 | 1 => Cuts::default(),
            // Many small pieces take long to run, and fewer of them find as much.
            2 => Cuts { sizes: vec![*self.cuts.pick(&[1, 1, 2, 3, 7, 16, 50, 64])], repeat: true },
            // Around the end of the length and the end of the header.
            3..=5 => Cuts { sizes: vec![*self.cuts.pick(&[1, 2, 3, 4, 5, 9, 10, 11, 12])], repeat: false },
            _ => {
                let sizes = (0..self.cuts.between(1, 4)).map(|_| self.cuts.magnitude(1, 300) as u32).collect();
                Cuts { sizes, repeat: false }
            }
        };
        self.push(Step::Cut(link, cuts));
    }

    fn room(&mut self, link: Link) {
        let room = if self.cuts.chance(1, 2) { None } else { Some(self.cuts.magnitude(0, 2000) as u32) };
        self.push(Step::Room(link, room));
    }

    /// Reads a few bytes now and then, and leaves the rest: a peer that is stalled although its socket takes something.
    fn trickle(&mut self, at: usize) {
        let link = Link::Scripted(at as u8 + 1);
        self.push(Step::Room(link, Some(0)));
        (0..self.workload.between(2, 12)).for_each(|_| self.notify(at));
        for _ in 0..self.cuts.between(2, 4) {
            let time = self.cuts.between(300 * MS, 700 * MS);
            let room = self.cuts.between(1, 60) as u32;
            self.push(Step::Wait(time));
            self.push(Step::Room(link, Some(room)));
        }
    }

    fn take(&mut self, link: Link) {
        let take = if self.cuts.chance(1, 2) { None } else { Some(self.cuts.magnitude(1, 64) as u32) };
        self.push(Step::Take(link, take));
    }

    fn disconnect(&mut self, at: usize) {
        let frame = self.disconnect_frame();
        self.send(at, frame);
        // Half of the time further frames follow the DISCONNECT.
        if self.faults.chance(1, 2) {
            self.links[at].open = false;
        }
    }

    fn end(&mut self, at: usize, step: Step) {
        self.push(step);
        self.links[at].open = false;
    }

    /// Ends the connection inside a frame: in its length, its header or its payload.
    fn cut_off(&mut self, at: usize) {
        let mut bytes = self.good_notify(at).to_bytes();
        let len = match self.faults.below(4) {
            0 => self.faults.between(1, 4),
            1 => self.faults.between(5, 10),
            _ => self.faults.between(11, 200),
        };
        bytes.truncate((len as usize).min(bytes.len() - 1));
        let link = Link::Scripted(at as u8 + 1);
        self.push(Step::Raw(link, bytes));
        let end = if self.faults.chance(2, 3) { Step::Fin(link) } else { Step::Reset(link) };
        self.end(at, end);
    }

    fn stop(&mut self) {
        let grace = if self.faults.chance(1, 4) { 0 } else { self.workload.magnitude(1, 50 * MS) };
        self.push(Step::Stop(grace));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::text::parse;

    /// Every step is generated by some profile, and equals the step that is parsed from its text.
    #[test]
    fn every_step_is_generated_and_parsed() {
        let profiles = [Profile::Standard, Profile::Mux, Profile::Endpoint, Profile::Fleet];
        let mut names = BTreeSet::new();
        for script in profiles.into_iter().flat_map(|profile| (0..300).map(move |seed| generate(seed, profile))) {
            let text = script.to_string();
            names.extend(script.steps.iter().map(Step::name));
            assert_eq!(parse(&text).as_ref(), Ok(&script), "{text}");
        }
        let missing: Vec<_> = Step::NAMES.iter().filter(|name| !names.contains(*name)).collect();
        assert_eq!(missing, [&""; 0], "steps that no profile generates");
    }
}
