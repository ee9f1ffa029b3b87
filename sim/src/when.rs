//! Finds the step at which a failure begins.
//!
//! A script fails at the step where a check notices the fault, which may be long after its cause. So everything from some step on is
//! drawn again, many times, and the share of these scripts that still fail is counted. Before the cause, few of them fail. After
//! it, most do, whatever follows: the share jumps at the step that is the cause.

use crate::failure::Failure;
use crate::generate::{Profile, redrawn};
use crate::metamorphic::examine;
use crate::script::Script;

/// The share of scripts that fail if only its first steps are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chances {
    /// The number of scripts that were drawn for each number of kept steps.
    pub draws: u32,
    /// The number of those that failed, by the number of kept steps, from none to all.
    pub failed: Vec<u32>,
}

impl Chances {
    /// Returns the number of the step at which the failure begins, from 1: the step that divides the share of scripts that hold by the
    /// largest factor. Returns 0 if the script has no steps.
    ///
    /// A step that raises the share of failures from 70 to 100 % decides more than one that raises it from 30 to 60 %, which only
    /// prepares the failure. A share near 100 % counts as 100 %, because the cause may be noticed later, whatever follows.
    pub fn jump(&self) -> usize {
        let left = |failed: u32| (1.0 - f64::from(failed) / f64::from(self.draws)).max(CERTAIN);
        let mut best = (0, 0.0);
        for (at, pair) in self.failed.windows(2).enumerate() {
            let ratio = left(pair[0]) / left(pair[1]);
            // The first of several equal factors counts.
            if ratio > best.1 {
                best = (at + 1, ratio);
            }
        }
        best.0
    }
}

/// The share of scripts that do not fail below which a failure counts as certain.
const CERTAIN: f64 = 0.1;

/// Counts how often a script fails by the same check as `failure` if its first steps are kept and the others are drawn again,
/// for each number of steps. Draws of `profile` are made.
pub fn chances(script: &Script, failure: &Failure, profile: Profile, draws: u32) -> Chances {
    let fails =
        |script: &Script| examine(script, Some(failure.check)).is_some_and(|other| other.check == failure.check);
    let len = script.steps.len();
    let failed = (0..=len).map(|kept| {
        if kept == len {
            return draws;
        }
        // The same draws for each number of steps, so that the counts differ by the kept steps only.
        let all = (0..draws).filter(|&draw| fails(&redrawn(script, kept, profile, DRAWS + u64::from(draw))));
        all.count() as u32
    });
    Chances { draws, failed: failed.collect() }
}

/// Returns the number of steps of the shortest beginning of the script that fails by the same check as `failure`.
pub fn shortest_beginning(script: &Script, failure: &Failure) -> Option<usize> {
    (0..=script.steps.len()).find(|&len| {
        let beginning = Script { steps: script.steps[..len].to_vec(), ..script.clone() };
        examine(&beginning, Some(failure.check)).is_some_and(|other| other.check == failure.check)
    })
}

/// The first draw. Seeds of runs are below it, so that a draw is not the seed of the script itself.
const DRAWS: u64 = 1 << 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_begins_at_the_step_that_decides() {
        let jump = |failed: &[u32]| Chances { draws: 100, failed: failed.to_vec() }.jump();
        assert_eq!(jump(&[10, 20, 20, 90, 100]), 3);
        assert_eq!(jump(&[33, 33, 61, 72, 100]), 4, "an earlier step only prepares it");
        assert_eq!(jump(&[5, 5, 93, 94, 100]), 2, "it is noticed later");
        assert_eq!(jump(&[100]), 0);
        assert_eq!(jump(&[100, 100, 100]), 1, "it always fails");
    }
}
