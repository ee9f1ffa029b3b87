//! Finds a small set of small scripts that together reach every coverage goal.

use std::ops::Range;

use crate::coverage::Goal;
use crate::generate::{Profile, generate};
use crate::run::run;
use crate::script::Script;
use crate::shrink::reduce;

/// Returns scripts that together reach every goal that `seeds` of this profile reach. For each goal that the scripts so far do not
/// reach, the first seed that reaches it is shrunk.
pub fn distil(seeds: Range<u64>, profile: Profile) -> Vec<Script> {
    let mut first: Vec<(Goal, Option<u64>)> = Goal::all().map(|goal| (goal, None)).collect();
    for seed in seeds {
        if first.iter().all(|(_, seed)| seed.is_some()) {
            break;
        }
        let coverage = run(&generate(seed, profile), false).coverage;
        let reached = first.iter_mut().filter(|(goal, found)| found.is_none() && coverage.has(*goal));
        reached.for_each(|(_, found)| *found = Some(seed));
    }
    let mut open: Vec<_> = first.iter().map(|(goal, _)| *goal).collect();
    let mut scripts = Vec::new();
    for (goal, seed) in first {
        let Some(seed) = seed.filter(|_| open.contains(&goal)) else { continue };
        let reaches = |script: &Script| {
            let outcome = run(script, false);
            outcome.failure.is_none() && outcome.coverage.has(goal)
        };
        let mut script = reduce(&generate(seed, profile), reaches).script;
        let coverage = run(&script, false).coverage;
        let (reached, left) = open.iter().partition::<Vec<Goal>, _>(|goal| coverage.has(**goal));
        // The story begins with the goal for which the script was made.
        let others = reached.iter().filter(|other| **other != goal).map(ToString::to_string);
        script.story = [goal.to_string()].into_iter().chain(others).collect();
        scripts.push(script);
        open = left;
    }
    scripts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distilled_scripts_reach_every_goal_that_the_seeds_reach() {
        let seeds = 0..40;
        let scripts = distil(seeds.clone(), Profile::Standard);
        let reached = |goal: Goal| scripts.iter().any(|script| run(script, false).coverage.has(goal));
        let all =
            |goal: Goal| seeds.clone().any(|seed| run(&generate(seed, Profile::Standard), false).coverage.has(goal));
        for goal in Goal::all() {
            assert!(reached(goal) || !all(goal), "{goal}");
        }
        let longest = scripts.iter().map(|script| script.steps.len()).max();
        assert!(longest < Some(25), "expected fewer than 25 steps, got {longest:?}");
    }
}
