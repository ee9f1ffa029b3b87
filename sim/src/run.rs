//! Runs a script: on bare connections if they share nothing, otherwise on whole agents.

use crate::bare::Bare;
use crate::outcome::{Buffers, Keep, Outcome};
use crate::script::{AgentSetup, Nanos, Script, Step};
use crate::world::World;

/// Runs `script`. Keeps the records of the trace if `recording` is true. A panic of the agent is reported as a failure.
pub fn run(script: &Script, recording: bool) -> Outcome {
    run_until(script, recording, 0)
}

/// Runs `script` as [`run`] does, but HAProxy does not close open connections before the time `end`, if they are bare.
pub fn run_until(script: &Script, recording: bool, end: Nanos) -> Outcome {
    run_keeping(script, Keep { records: recording, conversations: true, states: false }, end)
}

/// Runs `script`, and keeps the records of the trace and the state after each step.
pub fn run_with_states(script: &Script) -> Outcome {
    run_keeping(script, Keep { records: true, conversations: true, states: true }, 0)
}

fn run_keeping(script: &Script, keep: Keep, end: Nanos) -> Outcome {
    let mut buffers = Buffers::default();
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
