//! Runs with models of HAProxy: events, health checks and reloads of processes, and faults of the network.

use spoa_sim_haproxy::{Defects, Engine, Settings};

use super::Generator;
use crate::script::{EventSpec, Haproxy, Link, MS, MessageSpec, Nanos, Step, Value};

const ASK: usize = 0;
const BURST: usize = 1;
const LARGE: usize = 2;
const WAIT: usize = 3;
const CHECK: usize = 4;
const RELOAD: usize = 5;
const CUT: usize = 6;
const HOLD: usize = 7;
const RELEASE: usize = 8;
const ROOM: usize = 9;
const TAKE: usize = 10;
const RESET: usize = 11;
const STOP: usize = 12;
const SHED: usize = 13;
const KINDS: usize = 14;
/// The first kind of step that is a fault of the network, or an action of the agent.
const FAULTS: usize = HOLD;

impl Generator {
    /// Fills the script with steps of processes of `engine`.
    pub(super) fn fill_with_haproxy(&mut self, engine: Engine) {
        let weights = self.haproxy_weights();
        let count = 1 + self.workload.weighted(&[8, 3, 1]) as u8;
        for number in 1..=count {
            let settings = self.settings(engine);
            self.push(Step::Start(Haproxy(number), Box::new(settings)));
        }
        let mut processes: Vec<_> = (1..=count).map(Haproxy).collect();
        // One of these steps takes as long as two steps of a script without a model.
        for _ in 0..self.swarm.steps.div_ceil(2) {
            let at = self.workload.below(processes.len() as u64) as usize;
            let haproxy = processes[at];
            match self.workload.weighted(&weights) {
                ASK => self.ask(haproxy),
                BURST => (0..self.workload.magnitude(2, 24)).for_each(|_| self.ask(haproxy)),
                LARGE => self.ask_large(haproxy),
                WAIT => self.wait_for_haproxy(),
                CHECK => self.push(Step::Check(haproxy)),
                RELOAD => processes[at] = self.reload(haproxy, engine),
                CUT => {
                    let link = self.link_of(haproxy);
                    self.cut(link);
                }
                HOLD => {
                    let link = self.link_of(haproxy);
                    self.push(Step::Hold(link));
                }
                RELEASE => self.push(Step::Release(Link::All(haproxy))),
                ROOM => {
                    let link = self.link_of(haproxy);
                    self.room(link);
                }
                TAKE => {
                    let link = self.link_of(haproxy);
                    self.take(link);
                }
                RESET => {
                    let link = self.link_of(haproxy);
                    self.push(Step::Reset(link));
                }
                SHED => {
                    let link = self.link_of(haproxy);
                    self.push(Step::Shed(link));
                }
                _ => self.stop(),
            }
        }
    }

    fn haproxy_weights(&mut self) -> [u32; KINDS] {
        let mut weights = [0; KINDS];
        weights[ASK] = 64;
        for weight in &mut weights[BURST..] {
            if self.workload.chance(1, 2) {
                *weight = 1 << self.workload.below(5);
            }
        }
        for kind in [BURST, RELOAD, RESET, STOP, SHED] {
            weights[kind] = weights[kind].min(4);
        }
        if self.swarm.calm {
            weights[FAULTS..].fill(0);
        } else {
            weights[RELEASE] = weights[HOLD];
        }
        weights
    }

    fn settings(&mut self, engine: Engine) -> Settings {
        let base = Settings::of(engine);
        // With a shorter gap, a run would contain thousands of equal reconnections.
        let base = Settings { reconnect_gap: self.workload.magnitude(20 * MS, 200 * MS), ..base };
        if self.workload.chance(1, 4) {
            return base;
        }
        let often = |generator: &mut Self| generator.workload.chance(7, 8);
        let settings = Settings {
            threads: self.workload.between(1, 3) as u32,
            max_frame_size: *self.workload.pick(&[16_380, 16_380, 16_380, 256, 300, 1000, 65_532]),
            pipelining: often(self),
            asynchronous: self.workload.chance(1, 2),
            fragmentation: self.workload.chance(1, 2),
            max_waiting_frames: *self.workload.pick(&[1, 2, 20, 200]),
            processing_timeout: self.workload.magnitude(2 * MS, 1000 * MS),
            hello_timeout: self.workload.magnitude(2 * MS, 1000 * MS),
            idle_timeout: self.workload.magnitude(5 * MS, 30_000 * MS),
            retry_delay: self.workload.magnitude(MS, 1000 * MS),
            pool_purge: self.workload.magnitude(5 * MS, 15_000 * MS),
            reuse: often(self),
            fragment_gap: if self.workload.chance(1, 2) { 0 } else { self.workload.magnitude(1000, MS) },
            engine_of_process: self.workload.chance(1, 8),
            ..base
        };
        if self.swarm.calm {
            return settings;
        }
        let maxconn = if self.faults.chance(1, 8) { self.faults.between(1, 4) as u32 } else { 0 };
        Settings { maxconn, defects: self.defects(engine), ..settings }
    }

    /// Draws the bugs of the process. One process in eight has any.
    fn defects(&mut self, engine: Engine) -> Defects {
        if !self.faults.chance(1, 8) {
            return Defects::default();
        }
        match (engine, self.faults.below(4)) {
            (Engine::Applet, 0) => Defects { normal_exit_releases: true, ..Defects::default() },
            (Engine::Applet, _) => Defects { waits_for_nobody: true, ..Defects::default() },
            (Engine::Mux, 0) => Defects { split_hello_resets: true, ..Defects::default() },
            (Engine::Mux, 1) => Defects { empty_notify: true, ..Defects::default() },
            (Engine::Mux, 2) => Defects { full_read_sticks: true, ..Defects::default() },
            (Engine::Mux, _) => Defects::V3_1_0,
        }
    }

    pub(super) fn ask(&mut self, haproxy: Haproxy) {
        let messages = self.messages();
        self.push_ask(haproxy, messages);
    }

    fn push_ask(&mut self, haproxy: Haproxy, messages: Vec<MessageSpec>) {
        let thread = self.workload.below(3) as u32;
        // A stream may have several events, which the applet engine distinguishes by frame-ids.
        let stream = self.workload.chance(1, 8).then(|| self.workload.below(3) as u32);
        self.push(Step::Ask(haproxy, EventSpec { thread, stream, messages }));
    }

    /// Adds an event that is about as large as a frame or much larger, so that it needs fragments or is too big.
    fn ask_large(&mut self, haproxy: Haproxy) {
        let frame = self.script.agent.connection.max_frame_size.min(*self.workload.pick(&[256, 300, 1000, 16_380]));
        let len = match self.workload.below(3) {
            0 => self.workload.between(1, u64::from(frame) * 3),
            _ => u64::from(frame).saturating_sub(self.workload.below(64)),
        };
        let mut messages = self.messages();
        let text = (b"text"[..].into(), Value::LongText(len as u32));
        match messages.first_mut() {
            Some(message) if message.args.len() < 255 => message.args.push(text),
            _ => messages.push(MessageSpec { name: b"m"[..].into(), args: vec![text] }),
        }
        self.push_ask(haproxy, messages);
    }

    /// Replaces a process by a new one, as a reload does; sometimes several times in a row. Returns the last process.
    fn reload(&mut self, haproxy: Haproxy, engine: Engine) -> Haproxy {
        let mut current = haproxy;
        let times = if self.workload.chance(1, 4) { self.workload.between(2, 5) } else { 1 };
        for _ in 0..times {
            self.push(Step::SoftStop(current));
            // The number of a process is one byte. When it is used up, there are no further reloads.
            let Some(next) = current.0.checked_add(4) else { return current };
            current = Haproxy(next);
            let settings = self.settings(engine);
            self.push(Step::Start(current, Box::new(settings)));
            if self.workload.chance(1, 2) {
                self.ask(current);
            }
        }
        current
    }

    /// Draws a link of the process: all its connections, or one of the first three.
    fn link_of(&mut self, haproxy: Haproxy) -> Link {
        match self.cuts.below(4) {
            0 | 1 => Link::All(haproxy),
            _ => Link::Of(haproxy, self.cuts.below(3) as u32),
        }
    }

    fn wait_for_haproxy(&mut self) {
        let started = self.script.steps.iter().rev().find_map(|step| match step {
            Step::Start(_, settings) => Some(settings.clone()),
            _ => None,
        });
        let Some(settings) = started.filter(|_| self.workload.chance(1, 3)) else { return self.wait() };
        let Settings { processing_timeout, hello_timeout, idle_timeout, retry_delay, pool_purge, .. } = *settings;
        let deadlines = [processing_timeout, hello_timeout, idle_timeout, retry_delay, pool_purge];
        let deadline: Nanos = *self.workload.pick(&deadlines);
        let time = deadline + self.workload.below(3) - 1;
        self.push(Step::Wait(time));
    }
}
