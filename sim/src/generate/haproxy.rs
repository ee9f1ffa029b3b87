//! Runs with models of HAProxy: events, health checks and reloads of processes, and faults of the network.

use spoa_sim_haproxy::{Defects, Engine, Settings};

use super::Generator;
use super::redraw::running;
use super::weights::Weights;
use crate::script::{EventSpec, Haproxy, Link, MS, MessageSpec, Nanos, Step, Value};

super::weights::moves! {
    /// A move of a process, the network or the agent in a script with models.
    Move {
        Ask = Always(64),
        Burst = AtMost(4),
        Large = Usual,
        Wait = Usual,
        Check = Usual,
        Reload = AtMost(4),
        Cut = Usual,
        Hold = Fault,
        // Set to the frequency of `Hold`.
        Release = Fault,
        Room = Fault,
        Take = Fault,
        Reset = FaultAtMost(4),
        Stop = FaultAtMost(4),
        Shed = FaultAtMost(4),
    }
}

impl Generator {
    /// Fills the script with steps of processes of `engine`.
    pub(super) fn fill_with_haproxy(&mut self, engine: Engine) {
        let mut weights = Weights::draw(Move::ALL, &mut self.workload, self.swarm.calm);
        weights.set(Move::Release, weights.get(Move::Hold));
        let (mut processes, first) = running(&self.script.steps);
        if processes.is_empty() {
            let count = 1 + self.workload.weighted(&[8, 3, 1]) as u8;
            processes = (first..first.saturating_add(count)).map(Haproxy).collect();
            for haproxy in &processes {
                let settings = self.settings(engine);
                self.push(Step::Start(*haproxy, Box::new(settings)));
            }
        }
        // One of these steps takes as long as two steps of a script without a model.
        for _ in 0..self.swarm.steps.div_ceil(2) {
            let at = self.workload.below(processes.len() as u64) as usize;
            let haproxy = processes[at];
            match weights.pick(&mut self.workload) {
                Move::Ask => self.ask(haproxy),
                Move::Burst => (0..self.workload.magnitude(2, 24)).for_each(|_| self.ask(haproxy)),
                Move::Large => self.ask_large(haproxy),
                Move::Wait => self.wait_for_haproxy(),
                Move::Check => self.push(Step::Check(haproxy)),
                Move::Reload => processes[at] = self.reload(haproxy, engine),
                Move::Cut => {
                    let link = self.link_of(haproxy);
                    self.cut(link);
                }
                Move::Hold => {
                    let link = self.link_of(haproxy);
                    self.push(Step::Hold(link));
                }
                Move::Release => self.push(Step::Release(Link::All(haproxy))),
                Move::Room => {
                    let link = self.link_of(haproxy);
                    self.room(link);
                }
                Move::Take => {
                    let link = self.link_of(haproxy);
                    self.take(link);
                }
                Move::Reset => {
                    let link = self.link_of(haproxy);
                    self.push(Step::Reset(link));
                }
                Move::Shed => {
                    let link = self.link_of(haproxy);
                    self.push(Step::Shed(link));
                }
                Move::Stop => self.stop(),
            }
        }
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
