//! Runs many seeds on several threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::digest::Digest;
use crate::failure::Failure;
use crate::generate::{Profile, generate};
use crate::metamorphic::Relation;
use crate::outcome::{Buffers, Outcome};
use crate::run::{run, run_in};
use crate::script::Script;

/// The result of a range of seeds. It does not depend on the number of threads.
#[derive(Debug, Default)]
pub struct Findings {
    /// The number of seeds that were run.
    pub seeds: u64,
    /// The coverage of all seeds.
    pub coverage: Coverage,
    /// The hash of all traces.
    pub digest: u128,
    /// The seeds that failed, in order.
    pub failures: Vec<(u64, Failure)>,
    /// The number of seeds that were run a second time without a change.
    pub rerun: u64,
    /// The seeds whose second run had another trace than the first.
    pub unstable: Vec<u64>,
    /// The number of seeds that were compared by each relation.
    compared: [u64; Relation::ALL.len()],
}

impl Findings {
    /// Returns the number of seeds that were compared by the relations of this check.
    pub fn compared(&self, check: &str) -> u64 {
        let counts = Relation::ALL.iter().zip(self.compared).filter(|(relation, _)| relation.check() == check);
        counts.map(|(_, count)| count).sum()
    }

    /// Returns a check by which no seed was compared, although there were enough seeds.
    pub fn never_compared(&self) -> Option<&'static str> {
        let enough = self.seeds >= ENOUGH_SEEDS;
        Relation::ALL.iter().map(|relation| relation.check()).find(|check| enough && self.compared(check) == 0)
    }

    /// Adds the findings of other seeds.
    pub fn add(&mut self, chunk: Self) {
        self.seeds += chunk.seeds;
        self.coverage.add(&chunk.coverage);
        // A sum does not depend on the order in which threads finish.
        self.digest = self.digest.wrapping_add(chunk.digest);
        self.failures.extend(chunk.failures);
        self.rerun += chunk.rerun;
        self.unstable.extend(chunk.unstable);
        for (mine, theirs) in self.compared.iter_mut().zip(chunk.compared) {
            *mine += theirs;
        }
    }

    fn run(&mut self, seed: u64, script: &Script, buffers: &mut Buffers) {
        let outcome = if is_compared(seed) { run(script, false) } else { run_in(buffers, script) };
        self.seeds += 1;
        self.coverage.add(&outcome.coverage);
        self.digest = self.digest.wrapping_add(hash_with_seed(seed, outcome.trace.digest()));
        self.run_again(seed, script, &outcome);
        if let Some(failure) = outcome.failure {
            self.failures.push((seed, failure));
        }
    }

    /// Runs the script of some seeds again: without a change, or as another script that must have the same result.
    fn run_again(&mut self, seed: u64, script: &Script, outcome: &Outcome) {
        if seed.is_multiple_of(RERUN_EVERY) {
            self.rerun += 1;
            // This run has new buffers. If reused buffers influence a run, the traces differ.
            if run(script, false).trace.digest() != outcome.trace.digest() {
                self.unstable.push(seed);
            }
        }
        if is_compared(seed) {
            let relation = Relation::ALL[(seed / COMPARE_EVERY) as usize % Relation::ALL.len()];
            match relation.compare(script, outcome) {
                Ok(compared) => self.compared[relation as usize] += u64::from(compared),
                Err(failure) => self.failures.push((seed, failure)),
            }
        }
    }
}

/// The progress of a search.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The number of seeds that were run.
    pub done: u64,
    /// The number of cells that were reached, and the number of cells that can be reached.
    pub cells: (usize, usize),
    /// The number of failures.
    pub failed: usize,
}

/// The number of seeds that a thread takes at once.
const CHUNK: u64 = 256;
/// The number of scripts that are generated before the first of them is run. Alternating less often between generator
/// and runs uses the processor's cache better.
const BATCH: u64 = 16;
/// One seed in this many is run a second time without a change.
const RERUN_EVERY: u64 = 64;
/// One seed in this many is compared with another script that must have the same result, by one relation after the
/// other.
const COMPARE_EVERY: u64 = 40;
/// The number of seeds of which certainly some are compared by each relation.
const ENOUGH_SEEDS: u64 = 5000;

/// The limits of a search.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of threads.
    pub jobs: usize,
    /// The number of failures after which the search ends.
    pub failures_max: usize,
    /// The time at which it ends.
    pub until: Option<Instant>,
}

impl Limits {
    /// No limit but the number of threads.
    pub const fn of_jobs(jobs: usize) -> Self {
        Self { jobs, failures_max: usize::MAX, until: None }
    }
}

/// Runs all of `seeds`, or as many as the limits allow, and calls `progress` from time to time.
pub fn search(seeds: Range<u64>, profile: Profile, limits: Limits, mut progress: impl FnMut(Progress)) -> Findings {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicU64::new(seeds.end);
    let (results, done) = channel();
    thread::scope(|scope| {
        for _ in 0..limits.jobs.max(1) {
            let (next, stop, results) = (&next, &stop, results.clone());
            scope.spawn(move || {
                loop {
                    let start = next.fetch_add(CHUNK, Ordering::Relaxed);
                    let end = start.saturating_add(CHUNK).min(stop.load(Ordering::Relaxed));
                    if start >= end {
                        return;
                    }
                    // This fails only if the receiver has panicked.
                    let _ = results.send(run_chunk(start..end, profile));
                }
            });
        }
        drop(results);
        collect(&done, &stop, limits, &mut progress)
    })
}

fn collect(
    done: &Receiver<Findings>,
    stop: &AtomicU64,
    limits: Limits,
    progress: &mut impl FnMut(Progress),
) -> Findings {
    let mut all = Findings::default();
    loop {
        match done.recv_timeout(Duration::from_millis(200)) {
            Ok(chunk) => {
                all.add(chunk);
                if all.failures.len() >= limits.failures_max {
                    stop.store(0, Ordering::Relaxed);
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
        }
        if limits.until.is_some_and(|until| Instant::now() >= until) {
            stop.store(0, Ordering::Relaxed);
        }
        progress(Progress { done: all.seeds, cells: all.coverage.cells(), failed: all.failures.len() });
    }
    all.failures.sort_by_key(|(seed, _)| *seed);
    all.unstable.sort_unstable();
    all
}

fn run_chunk(seeds: Range<u64>, profile: Profile) -> Findings {
    let mut findings = Findings::default();
    let mut buffers = Buffers::default();
    let mut start = seeds.start;
    while start < seeds.end {
        let end = (start + BATCH).min(seeds.end);
        let scripts: Vec<_> = (start..end).map(|seed| (seed, generate(seed, profile))).collect();
        for (seed, script) in &scripts {
            findings.run(*seed, script, &mut buffers);
        }
        start = end;
    }
    findings
}

/// True for seeds that are compared with another script.
const fn is_compared(seed: u64) -> bool {
    seed % COMPARE_EVERY == 1
}

/// Returns the hash of a trace together with its seed.
fn hash_with_seed(seed: u64, trace: u128) -> u128 {
    let mut digest = Digest::default();
    digest.word(seed);
    digest.word(trace as u64);
    digest.word((trace >> 64) as u64);
    digest.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let one = search(0..600, Profile::Standard, Limits::of_jobs(1), |_| {});
        let three = search(0..600, Profile::Standard, Limits::of_jobs(3), |_| {});
        assert_eq!(one.digest, three.digest);
        assert_eq!(one.coverage, three.coverage);
        assert_eq!((one.seeds, three.seeds), (600, 600));
        assert_eq!((one.rerun, one.compared), (three.rerun, three.compared));
        assert!(one.rerun == 10 && one.compared.iter().sum::<u64>() > 8, "{} {:?}", one.rerun, one.compared);
    }

    #[test]
    fn a_check_by_which_no_seed_was_compared_is_reported() {
        let all = Findings { seeds: ENOUGH_SEEDS, compared: [0, 1, 0, 1, 1], ..Findings::default() };
        assert_eq!(all.never_compared(), None);
        let none_alone = Findings { compared: [1, 1, 1, 0, 1], ..all };
        assert_eq!(none_alone.never_compared(), Some("alone"));
        assert_eq!(Findings { seeds: ENOUGH_SEEDS - 1, ..none_alone }.never_compared(), None);
    }
}
