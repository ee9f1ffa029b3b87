//! A search that is guided by coverage: scripts that reach something new are kept, changed, and run again.

use std::ops::Range;

use crate::coverage::{Coverage, FEATURES};
use crate::failure::Failure;
use crate::generate::{Profile, extended, generate};
use crate::outcome::Buffers;
use crate::random::{Purpose, Random};
use crate::run::run_in;
use crate::script::{AgentSetup, Script};
use crate::search::Progress;

/// The number of steps that are appended to the script of a seed.
const STEPS_MORE: usize = 32;
/// The largest number of steps of a changed script.
const STEPS_MAX: usize = 64;
/// The draws of changed scripts. Seeds of runs are below them.
const DRAWS: u64 = 1 << 49;

/// The result of a guided search.
#[derive(Debug, Default)]
pub struct Guided {
    /// The number of runs.
    pub runs: u64,
    /// The coverage of all runs.
    pub coverage: Coverage,
    /// The number of scripts that were kept.
    pub kept: usize,
    /// The number of cells, marks, and pairs of marks in one run that were reached.
    pub features: usize,
    /// The scripts that failed, the failures, and the number of runs up to each.
    pub failures: Vec<(Script, Failure, u64)>,
}

/// A script that has reached something new.
struct Kept {
    script: Script,
    features: Vec<usize>,
}

struct Search {
    profile: Profile,
    kept: Vec<Kept>,
    /// The number of runs that have reached each feature.
    hits: Vec<u64>,
    random: Random,
    draw: u64,
}

/// Runs as many scripts as there are `seeds`. Some are those of seeds, the others are changed ones that have reached something new.
/// Stops after `failures_max` failures. The result depends on the arguments alone.
pub fn search(seeds: Range<u64>, profile: Profile, failures_max: usize, mut progress: impl FnMut(Progress)) -> Guided {
    let mut search = Search {
        profile,
        kept: Vec::new(),
        hits: vec![0; FEATURES],
        random: Random::new(seeds.start, Purpose::Workload),
        draw: DRAWS,
    };
    let (mut result, mut buffers, mut next) = (Guided::default(), Buffers::default(), seeds.start);
    for _ in seeds {
        let is_fresh = search.kept.is_empty() || search.random.chance(2, 3);
        let script = if is_fresh {
            next += 1;
            search.lengthened(&generate(next - 1, profile))
        } else {
            search.changed()
        };
        let outcome = run_in(&mut buffers, &script);
        result.runs += 1;
        result.coverage.add(&outcome.coverage);
        if let Some(failure) = outcome.failure {
            result.failures.push((script.clone(), failure, result.runs));
        }
        search.keep_if_new(script, outcome.coverage.features());
        progress(Progress { done: result.runs, cells: result.coverage.cells(), failed: result.failures.len() });
        if result.failures.len() >= failures_max {
            break;
        }
    }
    result.kept = search.kept.len();
    result.features = search.hits.iter().filter(|hits| **hits > 0).count();
    result
}

impl Search {
    fn keep_if_new(&mut self, script: Script, features: Vec<usize>) {
        let is_new = features.iter().any(|&feature| self.hits[feature] == 0);
        features.iter().for_each(|&feature| self.hits[feature] += 1);
        if is_new {
            self.kept.push(Kept { script, features });
        }
    }

    /// Returns a script with more steps. They are drawn with another choice of kinds and faults.
    fn lengthened(&mut self, script: &Script) -> Script {
        self.draw += 1;
        let len = script.steps.len();
        extended(script, len, (len + STEPS_MORE).min(STEPS_MAX.max(len)), self.profile, self.draw)
    }

    /// Returns a kept script with a change.
    fn changed(&mut self) -> Script {
        self.draw += 1;
        let (script, other) = (self.pick().script.clone(), self.pick().script.clone());
        let len = script.steps.len();
        let kept = self.random.between(len as u64 / 2, len as u64) as usize;
        let longer = (len + self.random.between(1, 16) as usize).min(STEPS_MAX).max(kept);
        match self.random.below(10) {
            0..5 => extended(&script, kept, longer, self.profile, self.draw),
            5..7 => {
                let at = self.random.below(len as u64 + 1) as usize;
                extended(&script, at, longer, self.profile, self.draw)
            }
            // The second part is of another script. Its steps that do not apply do nothing.
            7..9 if other.agent.agents == script.agent.agents => {
                let from = self.random.below(other.steps.len() as u64 + 1) as usize;
                let steps = script.steps[..kept].iter().chain(&other.steps[from..]).take(STEPS_MAX.max(kept));
                Script { steps: steps.cloned().collect(), ..script }
            }
            // The limits of the other script. HAProxy's servers are the agents, so their number stays.
            _ => Script { agent: AgentSetup { agents: script.agent.agents, ..other.agent }, ..script },
        }
    }

    /// Chooses a script of a few, the one that has reached the rarest feature.
    fn pick(&mut self) -> &Kept {
        let rarity = |kept: &Kept| kept.features.iter().map(|&feature| self.hits[feature]).min().unwrap_or(u64::MAX);
        let candidates: Vec<_> = (0..3).map(|_| self.random.below(self.kept.len() as u64) as usize).collect();
        let best = candidates.into_iter().min_by_key(|&at| rarity(&self.kept[at])).unwrap_or(0);
        &self.kept[best]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_guided_search_is_always_the_same_and_reaches_more_than_seeds_alone() {
        let run = || search(0..1500, Profile::Standard, usize::MAX, |_| {});
        let (one, other) = (run(), run());
        assert_eq!((&one.coverage, one.kept), (&other.coverage, other.kept));
        assert!(one.failures.is_empty(), "{:?}", one.failures[0].1);
        let mut buffers = Buffers::default();
        let mut alone = BTreeSet::new();
        for seed in 0..1500 {
            alone.extend(run_in(&mut buffers, &generate(seed, Profile::Standard)).coverage.features());
        }
        assert!(one.features > alone.len(), "{} and {}", one.features, alone.len());
    }
}
