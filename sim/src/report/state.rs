//! The state of core and checker after each step of a script.

use std::borrow::Cow;
use std::fmt::Write as _;

use spoa_sim::outcome::Outcome;
use spoa_sim::run::run_with_states;
use spoa_sim::script::Script;
use spoa_sim::states::StepState;
use spoa_sim::text::Time;

use super::verdict;
use crate::Exit;
use crate::cli::{StateFormat, View};

impl View {
    /// Everything, without states.
    pub(super) const ALL: Self = Self { until: None, state: None };

    /// Returns the script up to the chosen step; `None` if it has fewer steps.
    pub(super) fn part<'s>(&self, script: &'s Script) -> Option<Cow<'s, Script>> {
        match self.until {
            None => Some(Cow::Borrowed(script)),
            Some(until) if until > script.steps.len() => None,
            Some(until) => {
                let steps = script.steps[..until].to_vec();
                Some(Cow::Owned(Script { steps, ..script.clone() }))
            }
        }
    }
}

/// Shows the states of a run: of all steps, or of one.
pub(super) fn show(script: &Script, format: StateFormat, only: Option<usize>) -> Exit {
    let outcome = run_with_states(script);
    for (number, text) in texts(script, &outcome, format) {
        if only.is_none_or(|only| only == number) {
            println!("{text}");
        }
    }
    let (line, exit) = verdict(script, outcome);
    println!("{line}");
    exit
}

/// Returns the state after each step as text, and the number of the step.
pub(super) fn texts(script: &Script, outcome: &Outcome, format: StateFormat) -> Vec<(usize, String)> {
    outcome.states.iter().map(|state| (state.step, text(script, state, format))).collect()
}

fn text(script: &Script, state: &StepState, format: StateFormat) -> String {
    let StepState { step, at, connections, .. } = state;
    let words = script.steps.get(step - 1).map_or("everything is finished".into(), ToString::to_string);
    let mut text = format!("after step {step}, at {}: {words}\n{state}", Time(*at));
    if format == StateFormat::Full {
        for connection in connections {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {}: {}", connection.link, connection.core);
        }
    }
    text
}
