//! Runs a script on bare [`Connection`](spoa_core::Connection)s, without an endpoint: the connections share nothing but the time and the spare buffers.
//!
//! This is the contract of [`Connection`](spoa_core::Connection) for callers of their own, and the fastest way to search its states. The core is
//! compared with the checker after every action.

mod serve;
mod socket;
mod time;

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use spoa_core::table::Input;
use spoa_core::{Config, Instant};
use spoa_sim_checker::Limits;

use crate::compare;
use crate::coverage::{Coverage, Mark};
use crate::failure::{Failure, panic_text};
use crate::link::{self, Next};
use crate::outcome::{Buffers, Keep, Outcome, RUN_MAX};
use crate::script::{AgentSetup, Link, Nanos, Script, Step};
use crate::states::{ConnectionState, StepState};
use crate::trace::{Kind, Trace};
use crate::wording::BufferWords;
use socket::Socket;
use time::PendingAnswer;

/// The initial capacity for connections and for deferred answers, which is enough for most runs.
const CAPACITY: usize = 8;

/// The state of a run.
pub(crate) struct Bare {
    config: Config,
    limits: Limits,
    now: Nanos,
    sockets: Vec<Socket>,
    /// The answers that handlers will give later.
    pending: Vec<PendingAnswer>,
    /// The number of answers that were deferred.
    order: u64,
    /// The time at which a connection was last accepted, and the number of connections that were accepted at this time.
    accepted: (Nanos, u32),
    actions: u32,
    trace: Trace,
    coverage: Coverage,
    step: usize,
    keep: Keep,
    states: Vec<StepState>,
    buffers: Buffers,
    /// The unused buffers that the connections of the agent share.
    spare: spoa_core::Buffers,
    /// The earliest time at which HAProxy closes open connections after the last step.
    end_min: Nanos,
}

impl Bare {
    /// Runs `script`. HAProxy does not close open connections before the time `end_min`.
    pub(crate) fn run(script: &Script, keep: Keep, buffers: &mut Buffers, end_min: Nanos) -> Outcome {
        let mut bare = Self::new(&script.agent, keep, mem::take(buffers), end_min);
        let failure = match catch_unwind(AssertUnwindSafe(|| bare.play(script))) {
            Ok(result) => result.err(),
            Err(panic) => Some(bare.failure(0, "panic", panic_text(&*panic).into())),
        };
        bare.keep_state();
        let Self { trace, coverage, sockets, states, now, .. } = bare;
        *buffers = bare.buffers;
        let mut conversations = Vec::new();
        for socket in sockets {
            conversations.extend(socket.conversation);
            buffers.put_back(socket.oracle, socket.inlet);
        }
        Outcome { trace, coverage, failure, conversations, states, end: now }
    }

    fn new(agent: &AgentSetup, keep: Keep, buffers: Buffers, end_min: Nanos) -> Self {
        Self {
            config: agent.config(),
            limits: agent.limits(),
            now: 0,
            sockets: Vec::with_capacity(CAPACITY),
            pending: Vec::with_capacity(CAPACITY),
            order: 0,
            accepted: (0, 0),
            actions: 0,
            trace: Trace::new(keep.records),
            coverage: Coverage::default(),
            step: 0,
            keep,
            states: Vec::new(),
            buffers,
            spare: spoa_core::Buffers::default(),
            end_min,
        }
    }

    fn play(&mut self, script: &Script) -> Result<(), Failure> {
        let most = self.config.memory_max_by_buffer();
        let expected = self.limits.memory_max();
        if compare::by_buffer(most) != expected || self.config.memory_max() != expected.iter().sum::<usize>() {
            let detail = format!(
                "expected {} as the limits of memory, got {}",
                BufferWords(expected),
                BufferWords(compare::by_buffer(most))
            );
            return Err(self.failure(0, "memory", detail));
        }
        for step in &script.steps {
            self.step += 1;
            self.execute(step)?;
            self.keep_state();
        }
        self.reach_quiescence()
    }

    fn keep_state(&mut self) {
        if self.keep.states {
            let open = self.sockets.iter().filter(|socket| !socket.connection.is_closed());
            let connections = open.map(|socket| ConnectionState::of(socket.link, &socket.connection, &socket.oracle));
            let connections = connections.collect();
            self.states.push(StepState { step: self.step, at: self.now, connections, shared: Vec::new() });
        }
    }

    fn execute(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Connect(link) => self.connect(*link),
            Step::Wait(time) => self.wait_until(self.now.saturating_add(*time).min(RUN_MAX)),
            Step::Stop(grace) => self.stop(*grace),
            _ => {
                let at = step.link().and_then(|link| self.find(link));
                at.map_or(Ok(()), |at| self.execute_at(at, step))
            }
        }
    }

    /// Executes a step that concerns one open connection.
    fn execute_at(&mut self, at: usize, step: &Step) -> Result<(), Failure> {
        let Socket { inlet, outlet, .. } = &mut self.sockets[at];
        match link::apply(step, (inlet, outlet), self.now, &mut self.coverage) {
            Next::Deliver => return self.deliver(at),
            Next::Write => return self.drive(at),
            Next::Nothing => {}
        }
        match step {
            Step::Fin(_) => self.finish(at),
            Step::Reset(_) => self.reset(at),
            Step::Shed(_) => self.shed(at),
            // The other steps concern an endpoint or HAProxy's processes.
            _ => Ok(()),
        }
    }

    /// Returns the index of the open connection of a link.
    fn find(&self, link: Link) -> Option<usize> {
        let open = |socket: &Socket| socket.link == link && !socket.peer_closed && !socket.connection.is_closed();
        self.sockets.iter().rposition(open)
    }

    fn connect(&mut self, link: Link) -> Result<(), Failure> {
        if self.find(link).is_some() {
            return Ok(());
        }
        let (at, count) = self.accepted;
        self.accepted = (self.now, if at == self.now { count + 1 } else { 1 });
        if self.accepted.1 == 8 {
            self.coverage.reach(Mark::Crowd);
        }
        self.trace.note(self.now, link, Kind::Connect, &[]);
        let (oracle, inlet) = self.buffers.take(self.limits, self.now);
        let keeps = self.keep.conversations;
        self.sockets.push(Socket::accepted(link, self.config, oracle, inlet, self.now, keeps));
        self.drive(self.sockets.len() - 1)
    }

    /// Delivers bytes in transit, piece by piece. The agent handles each piece before the next one arrives.
    fn deliver(&mut self, at: usize) -> Result<(), Failure> {
        let mut pieces = 0;
        while self.sockets[at].inlet.arrive(pieces) {
            self.drive(at)?;
            pieces += 1;
        }
        Ok(())
    }

    fn finish(&mut self, at: usize) -> Result<(), Failure> {
        self.sockets[at].inlet.release();
        self.deliver(at)?;
        self.trace.note(self.now, self.sockets[at].link, Kind::Fin, &[]);
        let socket = &mut self.sockets[at];
        socket.inlet.finish();
        socket.peer_closed = true;
        self.drive(at)
    }

    fn reset(&mut self, at: usize) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        self.trace.note(self.now, socket.link, Kind::Reset, &[]);
        let lost = socket.inlet.reset();
        self.coverage.reach(if lost { Mark::ResetQueued } else { Mark::ResetIdle });
        socket.peer_closed = true;
        self.drive(at)
    }

    /// Drains all connections, each for itself.
    fn stop(&mut self, grace: Nanos) -> Result<(), Failure> {
        for at in 0..self.sockets.len() {
            let socket = &mut self.sockets[at];
            if socket.connection.is_closed() {
                continue;
            }
            self.coverage.cell(socket.connection.state(), Input::Stop);
            if socket.connection.usage().in_flight > 0 {
                self.coverage.reach(Mark::StoppedInFlight);
            }
            self.trace.note(self.now, socket.link, Kind::Stop, &[]);
            socket.connection.disconnect(instant(self.now), Duration::from_nanos(grace));
            socket.oracle.stop(self.now, grace);
            self.poll(at)?;
            self.drive(at)?;
        }
        Ok(())
    }

    fn shed(&mut self, at: usize) -> Result<(), Failure> {
        let socket = &mut self.sockets[at];
        self.coverage.cell(socket.connection.state(), Input::Shed);
        self.trace.note(self.now, socket.link, Kind::Shed, &[]);
        socket.connection.shed(instant(self.now));
        socket.oracle.shed(self.now);
        self.poll(at)?;
        self.drive(at)?;
        self.release_buffers(at)
    }

    fn failure(&self, at: usize, check: &'static str, detail: String) -> Failure {
        let socket = self.sockets.get(at);
        Failure {
            check,
            state: socket.map_or("none", |socket| socket.oracle.state()),
            link: socket.map_or(Link::Scripted(0), |socket| socket.link),
            step: self.step,
            at: self.now,
            detail,
        }
    }
}

const fn instant(now: Nanos) -> Instant {
    Instant::from_nanos(now)
}
