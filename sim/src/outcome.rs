//! The result of a run, the data that it keeps, and memory that later runs reuse.

use crate::conversation::Conversation;
use crate::coverage::Coverage;
use crate::failure::Failure;
use crate::link::Inlet;
use crate::script::Nanos;
use crate::states::StepState;
use crate::trace::Trace;
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
    /// The state after each step, if it is kept.
    pub states: Vec<StepState>,
    /// The time at the end of the run.
    pub end: Nanos,
}

/// The data that a run keeps besides the hash of its trace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keep {
    /// True to keep the records of the trace.
    pub(crate) records: bool,
    /// True to keep the conversation on each connection.
    pub(crate) conversations: bool,
    /// True to keep the state after each step.
    pub(crate) states: bool,
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
