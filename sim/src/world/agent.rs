//! The processes of agents: they start, refuse health checks, drain, end, are killed, and hang.

use std::ops::Range;
use std::time::Duration;

use spoa_core::endpoint::{Drain, Endpoint, Limits};

use super::admission::Admission;
use super::{Failed, Worker, World};
use crate::coverage::Mark;
use crate::script::{AgentId, Link, Nanos};
use crate::trace::Kind;

/// A process of an agent.
pub(super) struct Agent {
    /// The numbers of its workers.
    pub(super) workers: Range<usize>,
    pub(super) phase: Phase,
    /// It refuses health checks.
    pub(super) is_lame: bool,
    /// It does nothing until it is resumed.
    pub(super) is_hung: bool,
    /// The grace period and the patience of its drain.
    pub(super) drain: Option<(Nanos, Nanos)>,
    /// The connections that the kernel has accepted for it while it hangs.
    pub(super) backlog: Vec<usize>,
    /// The signals that it will handle when it is resumed.
    signals: Vec<Signal>,
}

/// The life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It accepts connections.
    Running,
    /// It accepts no connections, and ends with the last one.
    Draining,
    /// There is no process.
    Ended,
}

impl Agent {
    /// True if it serves HAProxy and will go on.
    pub(super) fn serves(&self) -> bool {
        self.phase == Phase::Running && !self.is_hung && !self.is_lame
    }
}

#[derive(Clone, Copy, Debug)]
enum Signal {
    LameDuck,
    Drain(Nanos),
}

impl World {
    /// Returns the process of an agent that has just started.
    pub(super) fn start_agent(&mut self, agent: usize) -> Agent {
        let count = self.setup.workers.clamp(1, 8) as usize;
        let limits = Limits {
            in_flight_max: (self.setup.total_in_flight_max as usize / count).max(1),
            bytes_max: (self.setup.total_bytes_max() / count).max(1),
        };
        let first = self.workers.len();
        let config = self.setup.config();
        for _ in 0..count {
            self.workers.push(Worker { endpoint: Endpoint::new(config, limits), agent });
            let admission = Admission::new(limits, config.max_frame_size as usize);
            self.state.borrow_mut().admissions.push(admission);
        }
        Agent {
            workers: first..self.workers.len(),
            phase: Phase::Running,
            is_lame: false,
            is_hung: false,
            drain: None,
            backlog: Vec::new(),
            signals: Vec::new(),
        }
    }

    pub(super) fn refuse_checks(&mut self, agent: usize) -> Result<(), Failed> {
        let Agent { phase: Phase::Running, is_hung, signals, .. } = &mut self.agents[agent] else { return Ok(()) };
        if *is_hung {
            signals.push(Signal::LameDuck);
            return Ok(());
        }
        self.note(agent, Kind::LameDuck);
        self.agents[agent].is_lame = true;
        for worker in self.agents[agent].workers.clone() {
            self.workers[worker].endpoint.refuse_healthchecks();
        }
        self.agent_leaves(agent);
        Ok(())
    }

    pub(super) fn drain(&mut self, agent: usize, grace: Nanos) -> Result<(), Failed> {
        let patience = self.setup.patience;
        let Agent { phase, is_hung, signals, workers, drain, .. } = &mut self.agents[agent];
        match *phase {
            Phase::Ended => return Ok(()),
            _ if *is_hung => {
                signals.push(Signal::Drain(grace));
                return Ok(());
            }
            Phase::Running | Phase::Draining => {}
        }
        (*phase, *drain) = (Phase::Draining, Some((grace, patience)));
        let (grace, patience) = (Duration::from_nanos(grace), Duration::from_nanos(patience));
        for worker in workers.clone() {
            self.workers[worker].endpoint.drain(Drain { grace, patience });
        }
        self.note(agent, Kind::Stop);
        self.agent_leaves(agent);
        Ok(())
    }

    /// Ends a process at once: by a second stop, or a fault. The kernel resets its connections.
    pub(super) fn kill(&mut self, agent: usize) -> Result<(), Failed> {
        if self.agents[agent].phase == Phase::Ended {
            return Ok(());
        }
        self.note(agent, Kind::Killed);
        let workers = self.agents[agent].workers.clone();
        let open = self.state.borrow().open.clone();
        for at in open {
            let worker = self.state.borrow().peers[at].worker;
            if workers.contains(&worker) {
                self.lose(at)?;
            }
        }
        let Agent { phase, backlog, signals, is_hung, .. } = &mut self.agents[agent];
        (*phase, *is_hung) = (Phase::Ended, false);
        backlog.clear();
        signals.clear();
        self.players.iter_mut().for_each(|player| player.may_lose_events = true);
        self.check_ended(agent)
    }

    pub(super) fn hang(&mut self, agent: usize) -> Result<(), Failed> {
        if self.agents[agent].phase != Phase::Ended {
            self.note(agent, Kind::Hung);
            self.agents[agent].is_hung = true;
            self.players.iter_mut().for_each(|player| player.may_lose_events = true);
        }
        Ok(())
    }

    pub(super) fn resume(&mut self, agent: usize) -> Result<(), Failed> {
        if !std::mem::take(&mut self.agents[agent].is_hung) {
            return Ok(());
        }
        self.note(agent, Kind::Resumed);
        self.state.borrow_mut().coverage.reach(Mark::Hung);
        for at in std::mem::take(&mut self.agents[agent].backlog) {
            self.accept(at);
        }
        for signal in std::mem::take(&mut self.agents[agent].signals) {
            match signal {
                Signal::LameDuck => self.refuse_checks(agent)?,
                Signal::Drain(grace) => self.drain(agent, grace)?,
            }
        }
        if self.is_prompt() { self.run_passes() } else { Ok(()) }
    }

    pub(super) fn launch(&mut self, agent: usize) -> Result<(), Failed> {
        if self.agents[agent].phase == Phase::Ended {
            self.note(agent, Kind::Launched);
            self.agents[agent] = self.start_agent(agent);
            self.state.borrow_mut().coverage.reach(Mark::Launched);
        }
        Ok(())
    }

    /// Ends processes that have drained their last connection.
    pub(super) fn end_drained(&mut self) {
        for agent in &mut self.agents {
            let is_empty = || agent.workers.clone().all(|worker| self.workers[worker].endpoint.is_empty());
            if agent.phase == Phase::Draining && !agent.is_hung && agent.backlog.is_empty() && is_empty() {
                agent.phase = Phase::Ended;
                self.state.borrow_mut().coverage.reach(Mark::Drained);
            }
        }
    }

    /// Checks that the workers of a process hold nothing.
    pub(super) fn check_ended(&self, agent: usize) -> Result<(), Failed> {
        for worker in self.agents[agent].workers.clone() {
            let endpoint = &self.workers[worker].endpoint;
            let (usage, deadline) = (endpoint.usage(), endpoint.next_deadline());
            if !endpoint.is_empty() || usage.bytes() > 0 || endpoint.queued() > 0 || deadline.is_some() {
                let detail = format!(
                    "expected nothing held at the end, got {} NOTIFYs in flight, {} bytes and {}",
                    usage.in_flight,
                    usage.bytes(),
                    if deadline.is_some() { "a deadline" } else { "no deadline" }
                );
                return self.fail(0, "quiescence", detail);
            }
        }
        let state = self.state.borrow();
        let of_agent = |at: usize| self.agents[agent].workers.contains(&state.peers[at].worker);
        let useless = state.work.iter().find(|work| of_agent(work.at)).map(|work| work.at);
        drop(state);
        useless.map_or(Ok(()), |at| self.fail(at, "work", "work goes on after the process has ended".into()))
    }

    fn note(&self, agent: usize, kind: Kind) {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        state.trace.note(now, Link::Agent(AgentId(agent as u8 + 1)), kind, &[]);
    }
}
