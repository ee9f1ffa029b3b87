//! Runs of a fleet: several agents behind HAProxy, which are restarted one after the other, killed, and hang.

use spoa_sim_haproxy::{Engine, Settings};

use super::Generator;
use super::redraw::running;
use crate::script::{AgentId, Haproxy, Link, MS, Nanos, Step};

const TRAFFIC: usize = 0;
const ROLL: usize = 1;
const RELOAD: usize = 2;
const KILL: usize = 3;
const HANG: usize = 4;
const RESET: usize = 5;
const LOSE: usize = 6;
const HOLD: usize = 7;
const KINDS: usize = 8;
/// The first kind of step that is a fault.
const FAULTS: usize = RELOAD;

impl Generator {
    /// Fills the script with agents that are restarted under the traffic of HAProxy.
    pub(super) fn fill_with_fleet(&mut self) {
        let agents = self.script.agent.agents as u8;
        let engine = if self.workload.chance(1, 2) { Engine::Mux } else { Engine::Applet };
        let count = 1 + u8::from(self.workload.chance(1, 3));
        let checks = (self.workload.magnitude(20 * MS, 200 * MS), self.workload.between(1, 3) as u32);
        let (mut processes, first) = running(&self.script.steps);
        if processes.is_empty() {
            processes = (first..first.saturating_add(count)).map(Haproxy).collect();
            for haproxy in processes.clone() {
                self.start_balancer(haproxy, engine, checks);
            }
        }
        let weights = self.fleet_weights();
        for _ in 0..self.swarm.steps.div_ceil(12) {
            let at = self.workload.below(processes.len() as u64) as usize;
            let haproxy = processes[at];
            let agent = AgentId(1 + self.workload.below(u64::from(agents)) as u8);
            match self.workload.weighted(&weights) {
                TRAFFIC => self.traffic(&processes, 20 * MS),
                ROLL => self.roll(&processes, agents, checks),
                RELOAD => {
                    self.push(Step::SoftStop(haproxy));
                    if let Some(next) = haproxy.0.checked_add(2) {
                        processes[at] = Haproxy(next);
                        self.start_balancer(processes[at], engine, checks);
                    }
                }
                KILL => {
                    self.push(Step::Kill(agent));
                    self.traffic(&processes, 20 * MS);
                    self.push(Step::Launch(agent));
                }
                HANG => {
                    self.push(Step::Hang(agent));
                    self.traffic(&processes, 50 * MS);
                    self.push(Step::Resume(agent));
                }
                RESET => self.push(Step::Reset(Link::All(haproxy))),
                LOSE => {
                    let number = self.workload.below(4) as u32;
                    self.push(Step::Lose(Link::Of(haproxy, number)));
                }
                HOLD | KINDS.. => {
                    self.push(Step::Hold(Link::All(haproxy)));
                    self.traffic(&processes, 5 * MS);
                    self.push(Step::Release(Link::All(haproxy)));
                }
            }
        }
    }

    fn fleet_weights(&mut self) -> [u32; KINDS] {
        let mut weights = [0; KINDS];
        (weights[TRAFFIC], weights[ROLL]) = (2, 3);
        // In half of the seeds nothing goes wrong, so that no event may be lost.
        if !self.swarm.calm && self.faults.chance(1, 2) {
            for weight in &mut weights[FAULTS..] {
                *weight = 2 * u32::from(self.faults.chance(1, 2));
            }
        }
        weights
    }

    /// Starts a process whose servers are the agents.
    fn start_balancer(&mut self, haproxy: Haproxy, engine: Engine, (check_inter, fall): (Nanos, u32)) {
        let base = Settings::of(engine);
        let settings = Settings {
            retry_delay: if self.workload.chance(7, 8) { 50 * MS } else { base.retry_delay },
            latency: if self.workload.chance(1, 2) { self.workload.magnitude(1000, MS) } else { 0 },
            threads: self.workload.between(1, 3) as u32,
            reconnect_gap: self.workload.magnitude(20 * MS, 200 * MS),
            servers: self.script.agent.agents,
            check_inter,
            fall,
            rise: self.workload.between(1, 2) as u32,
            redispatch: self.workload.chance(7, 8),
            error_limit: if self.workload.chance(1, 2) { self.workload.between(1, 3) as u32 } else { 0 },
            check_timeout: check_inter.max(MS),
            ..base
        };
        self.push(Step::Start(haproxy, Box::new(settings)));
    }

    /// Starts events for about as long as `duration`.
    fn traffic(&mut self, processes: &[Haproxy], duration: Nanos) {
        let count = self.workload.between(1, 3);
        for _ in 0..count {
            for haproxy in processes {
                let burst = if self.workload.chance(1, 8) { self.workload.between(2, 8) } else { 1 };
                (0..burst).for_each(|_| self.ask(*haproxy));
            }
            let wait = self.workload.magnitude(1, (duration / count).max(2));
            self.push(Step::Wait(wait));
        }
    }

    /// Restarts all agents, one after the other, as an operator does.
    fn roll(&mut self, processes: &[Haproxy], agents: u8, (check_inter, fall): (Nanos, u32)) {
        for agent in (1..=agents).map(AgentId) {
            // In some rolls an agent is stopped before HAProxy has noticed, or without a lame-duck period.
            let checks = if self.faults.chance(3, 4) { fall + 1 } else { 1 };
            if self.faults.chance(7, 8) {
                self.push(Step::LameDuck(agent));
                // Events until the server is down, so that some are in flight when the agent drains.
                for _ in 0..checks * 2 {
                    processes.iter().for_each(|haproxy| self.ask(*haproxy));
                    self.push(Step::Wait(check_inter / 2));
                }
            }
            let grace = self.workload.magnitude(20 * MS, 2000 * MS);
            self.push(Step::Drain(agent, grace));
            self.traffic(processes, 100 * MS);
            if self.faults.chance(7, 8) {
                self.push(Step::Wait(grace));
                self.push(Step::Launch(agent));
                self.push(Step::Wait(2 * check_inter));
            } else {
                // A second stop.
                self.push(Step::Kill(agent));
                self.push(Step::Launch(agent));
            }
            self.traffic(processes, 20 * MS);
        }
    }
}
