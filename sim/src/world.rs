//! Runs a script on whole agents: their endpoints, the handlers behind them, and HAProxy's processes in front.
//!
//! An agent has one [`Endpoint`] for each worker. Its sockets report readiness once, late, several changes at once, or falsely.
//! HAProxy is played by the script itself, connection by connection, or by models that balance their events over all agents.
//!
//! Several models judge a run: the checker of single connections, which is asked at each call of an endpoint; naive models of
//! what connections share ([admission], [handover], [shedding]); HAProxy's own idea of the answers ([judge]); and quiescence.

mod admission;
mod agent;
mod calls;
mod checks;
mod codec;
mod handover;
mod haproxy;
mod host;
mod judge;
mod links;
mod passes;
mod peer;
mod player;
mod quiescence;
mod shedding;
mod state;
mod time;
mod transit;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use spoa_core::endpoint::{Endpoint, Readiness};

use crate::failure::panic_text;
use crate::outcome::{Buffers, Keep, Outcome, RUN_MAX};
use crate::script::{AgentId, AgentSetup, Link, Nanos, Script, Step};
use crate::states::{ConnectionState, StepState};
use agent::{Agent, Phase};
use host::SimHost;
use player::Player;
use state::State;
use transit::InTransit;

/// The state of a run.
pub(crate) struct World {
    /// The settings of every agent.
    setup: AgentSetup,
    agents: Vec<Agent>,
    /// The workers of all agents, also of those that have ended.
    workers: Vec<Worker>,
    /// HAProxy's processes.
    players: Vec<Player>,
    host: SimHost,
    state: Rc<RefCell<State>>,
    /// The changes of each socket that were not reported yet, and the connections that have any.
    changes: Vec<Readiness>,
    changed: Vec<usize>,
    /// The bytes and actions on their way between HAProxy and the agents.
    transit: VecDeque<InTransit>,
    turns: u32,
    passes: u32,
    actions: u32,
    keep: Keep,
    states: Vec<StepState>,
    buffers: Buffers,
}

/// A worker of an agent.
struct Worker {
    endpoint: Endpoint<SimHost>,
    /// The index of its agent.
    agent: usize,
}

/// A failure, which the state has.
struct Failed;

impl World {
    /// Runs `script`.
    pub(crate) fn run(script: &Script, keep: Keep, buffers: &mut Buffers) -> Outcome {
        let mut world = Self::new(&script.agent, keep, mem::take(buffers));
        let result = catch_unwind(AssertUnwindSafe(|| world.play(script)));
        if result.is_ok() {
            // After a panic the state may be borrowed.
            world.keep_state();
        }
        let states = mem::take(&mut world.states);
        let state = Rc::clone(&world.state);
        *buffers = mem::take(&mut world.buffers);
        drop(world);
        // A panic inside a call of the host leaves the state borrowed.
        let mut state = match Rc::try_unwrap(state) {
            Ok(state) => state.into_inner(),
            Err(_) => unreachable!("the world and its sockets are dropped"),
        };
        if let Err(panic) = result {
            state.fail(0, "panic", panic_text(&*panic).into());
        }
        let State { trace, coverage, failure, now, peers, .. } = state;
        let mut conversations = Vec::new();
        for peer in peers {
            conversations.extend(peer.conversation);
            buffers.put_back(peer.oracle, peer.inlet);
        }
        Outcome { trace, coverage, failure, conversations, states, end: now }
    }

    fn new(setup: &AgentSetup, keep: Keep, buffers: Buffers) -> Self {
        let state = Rc::new(RefCell::new(State::new(keep.records)));
        let mut world = Self {
            setup: setup.clone(),
            agents: Vec::new(),
            workers: Vec::new(),
            players: Vec::new(),
            host: SimHost(Rc::clone(&state)),
            state,
            changes: Vec::new(),
            changed: Vec::new(),
            transit: VecDeque::new(),
            turns: 0,
            passes: 0,
            actions: 0,
            keep,
            states: Vec::new(),
            buffers,
        };
        for number in 0..setup.agents.clamp(1, 16) as usize {
            let agent = world.start_agent(number);
            world.agents.push(agent);
        }
        world
    }

    fn play(&mut self, script: &Script) -> Result<(), Failed> {
        for (number, step) in script.steps.iter().enumerate() {
            self.state.borrow_mut().step = number + 1;
            self.execute(step)?;
            if (number as u32).is_multiple_of(self.setup.lazy.max(1)) {
                self.run_all()?;
            }
            self.keep_state();
        }
        self.state.borrow_mut().step += 1;
        self.reach_quiescence()
    }

    fn keep_state(&mut self) {
        if !self.keep.states {
            return;
        }
        let state = self.state.borrow();
        let mut connections = Vec::new();
        for peer in state.peers.iter().filter(|peer| peer.is_open) {
            let endpoint = &mut self.workers[peer.worker].endpoint;
            if let Some((connection, _)) = peer.key.and_then(|key| endpoint.get_mut(key)) {
                connections.push(ConnectionState::of(peer.link, connection, &peer.oracle));
            }
        }
        let shared = self.workers.iter().enumerate().map(|(number, Worker { endpoint, agent })| {
            let (usage, queued) = (endpoint.usage(), endpoint.queued());
            let (in_flight, bytes) = (usage.in_flight, usage.bytes());
            format!(
                "worker {number} of a{}: {in_flight} NOTIFYs in flight, {bytes} bytes held, {queued} queued",
                agent + 1
            )
        });
        self.states.push(StepState { step: state.step, at: state.now, connections, shared: shared.collect() });
    }

    fn execute(&mut self, step: &Step) -> Result<(), Failed> {
        match step {
            Step::Connect(link) => {
                if self.find(*link).is_none() && self.agents[0].phase != Phase::Ended {
                    self.connect(*link, 0);
                }
                Ok(())
            }
            Step::Wait(time) => self.wait_until(self.now().saturating_add(*time).min(RUN_MAX)),
            Step::Stop(grace) => (0..self.agents.len()).try_for_each(|agent| self.drain(agent, *grace)),
            Step::LameDuck(agent) => self.of_agent(*agent, Self::refuse_checks),
            Step::Drain(agent, grace) => self.of_agent(*agent, |world, agent| world.drain(agent, *grace)),
            Step::Kill(agent) => self.of_agent(*agent, Self::kill),
            Step::Hang(agent) => self.of_agent(*agent, Self::hang),
            Step::Resume(agent) => self.of_agent(*agent, Self::resume),
            Step::Launch(agent) => self.of_agent(*agent, Self::launch),
            Step::Start(name, settings) => {
                self.start(*name, settings);
                Ok(())
            }
            Step::Ask(name, event) => self.ask(*name, event),
            Step::Check(name) => self.check_health(*name),
            Step::SoftStop(name) => self.soft_stop(*name),
            _ => {
                let Some(link) = step.link() else { return Ok(()) };
                if let Link::Scripted(_) = link {
                    return self.find(link).map_or(Ok(()), |at| self.execute_at(at, step));
                }
                self.targets(link, step).into_iter().try_for_each(|at| self.execute_at(at, step))
            }
        }
    }

    fn of_agent(
        &mut self,
        agent: AgentId,
        act: impl FnOnce(&mut Self, usize) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let at = usize::from(agent.0).wrapping_sub(1);
        if at < self.agents.len() { act(self, at) } else { Ok(()) }
    }

    fn now(&self) -> Nanos {
        self.state.borrow().now
    }

    /// True if passes follow each change at once.
    const fn is_prompt(&self) -> bool {
        self.setup.lazy <= 1
    }

    fn fail<T>(&self, at: usize, check: &'static str, detail: String) -> Result<T, Failed> {
        self.state.borrow_mut().fail(at, check, detail);
        Err(Failed)
    }

    /// Returns an error if a call of an endpoint has failed a check.
    fn checked(&self) -> Result<(), Failed> {
        if self.state.borrow().failure.is_some() { Err(Failed) } else { Ok(()) }
    }

    /// Lets agents and HAProxy react to each other until nothing is left to do.
    fn run_all(&mut self) -> Result<(), Failed> {
        loop {
            self.run_passes()?;
            if !self.forward_all()? {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::run::run;
    use crate::text::parse;

    const HELLO: &str = "hello supported-versions=\"2.0\" max-frame-size=u32:16380 capabilities=\"pipelining\"";

    #[test]
    fn a_conversation_through_an_endpoint_is_judged_by_both_models() {
        let script = format!(
            "spop-script 3\nagent endpoint=1 total-in-flight-max=1\nconnect c1\nconnect c2\nsend c1 {HELLO}\nsend c2 {HELLO}\n\
             send c1 notify m(plan=score@10ms)\nsend c2 notify m(plan=score@10ms)\nwait 50ms\n"
        );
        assert_eq!(run(&parse(&script).unwrap(), false).failure, None);
    }
}
