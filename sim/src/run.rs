//! Runs a script: on bare connections if they share nothing, otherwise on whole agents.

use crate::bare::Bare;
use crate::conversation::Conversation;
use crate::coverage::Coverage;
use crate::failure::Failure;
use crate::link::Inlet;
use crate::script::{AgentSetup, Nanos, Script, Step};
use crate::trace::Trace;
use crate::world::World;
use spoa_sim_checker::{Limits, Oracle};

/// The longest duration of a run, about 36 years, so that sums of times do not overflow.
pub(crate) const RUN_MAX: Nanos = 1 << 60;

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The trace.
    pub trace: Trace,
    /// The coverage.
    pub coverage: Coverage,
    /// The failure, if there is one.
    pub failure: Option<Failure>,
    /// The conversation on each connection, in the order in which the agent accepted them; empty if they are not kept.
    pub conversations: Vec<Conversation>,
    /// The time at the end of the run.
    pub end: Nanos,
}

/// Runs `script`. Keeps the records of the trace if `recording` is true. A panic of the agent is reported as a failure.
pub fn run(script: &Script, recording: bool) -> Outcome {
    run_until(script, recording, 0)
}

/// Runs `script` as [`run`] does, but HAProxy does not close open connections before the time `end`, if they are bare.
pub fn run_until(script: &Script, recording: bool, end: Nanos) -> Outcome {
    let (keep, mut buffers) = (Keep { records: recording, conversations: true }, Buffers::default());
    if shares_nothing(script) {
        Bare::run(script, keep, &mut buffers, end)
    } else {
        World::run(script, keep, &mut buffers)
    }
}

/// Runs `script` as [`run`] does, but reuses `buffers`, and keeps neither records nor conversations.
pub fn run_in(buffers: &mut Buffers, script: &Script) -> Outcome {
    if shares_nothing(script) {
        Bare::run(script, Keep::default(), buffers, 0)
    } else {
        World::run(script, Keep::default(), buffers)
    }
}

/// True if the connections of a script share nothing but the time, so that each is a state machine of its own.
pub fn shares_nothing(script: &Script) -> bool {
    let AgentSetup { endpoint, connections_max, total_in_flight_max, total_bytes_max, .. } = script.agent;
    let defaults = AgentSetup::default();
    let is_unlimited =
        total_in_flight_max >= defaults.total_in_flight_max && total_bytes_max >= defaults.total_bytes_max;
    let connects = script.steps.iter().filter(|step| matches!(step, Step::Connect(_))).count();
    let of_agents = |step: &Step| matches!(step, Step::Start(..) | Step::Lose(_)) || step.agent().is_some();
    !endpoint && is_unlimited && connects <= connections_max as usize && !script.steps.iter().any(of_agents)
}

/// The data that a run keeps besides the hash of its trace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keep {
    /// True to keep the records of the trace.
    pub(crate) records: bool,
    /// True to keep the conversation on each connection.
    pub(crate) conversations: bool,
}

/// Memory that is reused by later runs. It must not influence them.
#[derive(Debug, Default)]
pub struct Buffers {
    unused: Vec<(Oracle, Inlet)>,
}

impl Buffers {
    /// Returns the checker and the socket of a connection that was just accepted.
    pub(crate) fn take(&mut self, limits: Limits, now: Nanos) -> (Oracle, Inlet) {
        match self.unused.pop() {
            Some((mut oracle, inlet)) => {
                oracle.restart(limits, now);
                (oracle, inlet.recycled())
            }
            None => (Oracle::new(limits, now), Inlet::default()),
        }
    }

    /// Keeps the memory of a connection that has ended.
    pub(crate) fn put_back(&mut self, oracle: Oracle, inlet: Inlet) {
        self.unused.push((oracle, inlet));
    }
}
