//! Many seeds, on several threads, with one result.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::coverage::Coverage;
use crate::digest::Digest;
use crate::failure::Failure;
use crate::generate::{Profile, generate};
use crate::metamorphic::Relation;
use crate::script::Script;
use crate::world::{Buffers, Outcome, run, run_in};

/// The result of a range of seeds. It does not depend on the number of threads.
#[derive(Debug, Default)]
pub struct Findings {
    /// The number of seeds that were run.
    pub seeds: u64,
    /// Their coverage.
    pub coverage: Coverage,
    /// The fingerprint of all their traces.
    pub digest: u128,
    /// The seeds that failed, in order.
    pub failures: Vec<(u64, Failure)>,
    /// The number of seeds that were run a second time without a change.
    pub twice: u64,
    /// Seeds whose second run was not the same as the first.
    pub unstable: Vec<u64>,
    compared: [u64; Relation::ALL.len()],
}

impl Findings {
    /// The number of seeds that were compared with another script of theirs, by the relations that `check` is about.
    pub fn compared(&self, check: &str) -> u64 {
        let about = Relation::ALL.iter().zip(self.compared).filter(|(relation, _)| relation.check() == check);
        about.map(|(_, count)| count).sum()
    }

    /// A check by which no seed was compared, though there were enough of them.
    pub fn never_compared(&self) -> Option<&'static str> {
        let enough = self.seeds >= COMPARED_SURELY;
        Relation::ALL.iter().map(|relation| relation.check()).find(|check| enough && self.compared(check) == 0)
    }

    fn add(&mut self, chunk: Self) {
        self.seeds += chunk.seeds;
        self.coverage.add(&chunk.coverage);
        // A sum, so that the order in which threads finish does not show.
        self.digest = self.digest.wrapping_add(chunk.digest);
        self.failures.extend(chunk.failures);
        self.twice += chunk.twice;
        self.unstable.extend(chunk.unstable);
        for (mine, theirs) in self.compared.iter_mut().zip(chunk.compared) {
            *mine += theirs;
        }
    }

    fn run(&mut self, seed: u64, script: &Script, buffers: &mut Buffers) {
        let outcome = if is_compared(seed) { run(script, false) } else { run_in(buffers, script) };
        self.seeds += 1;
        self.coverage.add(&outcome.coverage);
        self.digest = self.digest.wrapping_add(of_seed(seed, outcome.trace.digest()));
        self.run_again(seed, script, &outcome);
        if let Some(failure) = outcome.failure {
            self.failures.push((seed, failure));
        }
    }

    /// Runs a script of a seed's, whose `outcome` is known, in other ways too, if it is the seed's turn.
    fn run_again(&mut self, seed: u64, script: &Script, outcome: &Outcome) {
        if seed.is_multiple_of(TWICE) {
            self.twice += 1;
            // In memory of its own: what one run leaves behind must not show in the next.
            if run(script, false).trace.digest() != outcome.trace.digest() {
                self.unstable.push(seed);
            }
        }
        if is_compared(seed) {
            let relation = Relation::ALL[(seed / COMPARED) as usize % Relation::ALL.len()];
            match relation.compare(script, outcome) {
                Ok(compared) => self.compared[relation as usize] += u64::from(compared),
                Err(failure) => self.failures.push((seed, failure)),
            }
        }
    }
}

/// The progress so far.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Seeds done.
    pub done: u64,
    /// Cells of the matrix hit, and those there are.
    pub cells: (usize, usize),
    /// Seeds that failed.
    pub failed: usize,
}

/// Seeds that a thread takes at once.
const CHUNK: u64 = 256;
/// Scripts that are made before the first of them is run: each half of the program is in the processor's cache then.
const BATCH: u64 = 16;
/// One seed in so many is run twice.
const TWICE: u64 = 64;
/// One seed in so many is compared with another script that has to come to the same, by each relation in turn.
const COMPARED: u64 = 40;
/// Of so many seeds some are compared by each relation.
const COMPARED_SURELY: u64 = 5000;

/// Runs all of `seeds` on `jobs` threads; tells `progress` now and then. Stops early after `failures_max` failures.
pub fn search(
    seeds: Range<u64>,
    profile: Profile,
    jobs: usize,
    failures_max: usize,
    mut progress: impl FnMut(Progress),
) -> Findings {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicU64::new(seeds.end);
    let (results, done) = channel();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (next, stop, results) = (&next, &stop, results.clone());
            scope.spawn(move || {
                loop {
                    let start = next.fetch_add(CHUNK, Ordering::Relaxed);
                    let end = start.saturating_add(CHUNK).min(stop.load(Ordering::Relaxed));
                    if start >= end {
                        return;
                    }
                    // Nobody listens any more only if the search has panicked.
                    let _ = results.send(run_chunk(start..end, profile));
                }
            });
        }
        drop(results);
        collect(&done, &stop, failures_max, &mut progress)
    })
}

fn collect(
    done: &Receiver<Findings>,
    stop: &AtomicU64,
    failures_max: usize,
    progress: &mut impl FnMut(Progress),
) -> Findings {
    let mut all = Findings::default();
    loop {
        match done.recv_timeout(Duration::from_millis(200)) {
            Ok(chunk) => {
                all.add(chunk);
                if all.failures.len() >= failures_max {
                    stop.store(0, Ordering::Relaxed);
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
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

/// True if it is a seed's turn to be run as another script too.
const fn is_compared(seed: u64) -> bool {
    seed % COMPARED == 1
}

/// A trace and the seed it belongs to, in one number.
fn of_seed(seed: u64, trace: u128) -> u128 {
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
        let one = search(0..600, Profile::Standard, 1, usize::MAX, |_| {});
        let three = search(0..600, Profile::Standard, 3, usize::MAX, |_| {});
        assert_eq!(one.digest, three.digest);
        assert_eq!(one.coverage, three.coverage);
        assert_eq!((one.seeds, three.seeds), (600, 600));
        assert_eq!((one.twice, one.compared), (three.twice, three.compared));
        assert!(one.twice == 10 && one.compared.iter().sum::<u64>() > 8, "{} {:?}", one.twice, one.compared);
    }

    #[test]
    fn comparing_nothing_does_not_pass_unseen() {
        let all = Findings { seeds: COMPARED_SURELY, compared: [0, 1, 0, 1, 1], ..Findings::default() };
        assert_eq!(all.never_compared(), None);
        let none_alone = Findings { compared: [1, 1, 1, 0, 1], ..all };
        assert_eq!(none_alone.never_compared(), Some("alone"));
        assert_eq!(Findings { seeds: COMPARED_SURELY - 1, ..none_alone }.never_compared(), None);
    }
}
