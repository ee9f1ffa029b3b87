//! The command `run`: runs many seeds, and shows the failures.

use std::thread;
use std::time::Instant;

use spoa_sim::coverage::{Coverage, Mark};
use spoa_sim::failure::Failure;
use spoa_sim::generate::{GENERATOR_VERSION, Profile, generate};
use spoa_sim::guided;
use spoa_sim::profiles::Choice;
use spoa_sim::script::Script;
use spoa_sim::search::{Findings, Limits, search};
use spoa_sim::shrink::shrink_failure;
use spoa_sim::text::VERSION;

use super::failures::Failures;
use super::progress::ProgressLine;
use super::{counted, coverage_exit, exit_of, origin_of, with_story, worst};
use crate::Exit;
use crate::cli::{Profiles, RunArgs, Seeds};

/// The number of seeds without --seeds.
const SEEDS: u64 = 10_000;
/// The number of failures after which no further seeds are run. They are enough to see whether there are several causes.
const FAILURES_MAX: usize = 10;
/// The number of seeds after which another kind of runs may be chosen.
const ROUND: u64 = 500;

/// Executes `run`.
pub(super) fn run(arguments: &RunArgs) -> Exit {
    if arguments.guided && arguments.profile == Profiles::Any {
        eprintln!("spoa-sim: --guided needs one profile");
        return Exit::Usage;
    }
    let default = Seeds(0..if arguments.time.is_some() { Seeds::END } else { SEEDS });
    let seeds = arguments.seeds.clone().unwrap_or(default);
    let failures = Failures::of(arguments.failures.as_deref());
    let kept = match failures.replay() {
        Ok(exit) => exit,
        Err(problem) => {
            eprintln!("spoa-sim: {problem}");
            return Exit::Usage;
        }
    };
    let exit = match arguments.profile {
        Profiles::One(profile) if arguments.guided => run_guided(&seeds, profile, &failures),
        Profiles::One(profile) => run_profile(arguments, &seeds, profile, &failures),
        Profiles::Any => run_any(arguments, &seeds, &failures),
    };
    worst([kept, exit].into_iter())
}

/// Returns the limits of a search.
fn limits(arguments: &RunArgs) -> Limits {
    let jobs = arguments.jobs.map_or_else(processors, usize::from);
    let until = arguments.time.map(|time| Instant::now() + time);
    Limits { jobs, failures_max: FAILURES_MAX, until }
}

pub(super) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn run_profile(arguments: &RunArgs, seeds: &Seeds, profile: Profile, failures: &Failures) -> Exit {
    let end = if seeds.is_open() { String::new() } else { seeds.0.end.to_string() };
    println!(
        "seeds {}..{end}, profile {}, generator {GENERATOR_VERSION}, scripts {VERSION}",
        seeds.0.start,
        profile.name()
    );
    let mut line = ProgressLine::new(seeds);
    let findings = search(seeds.0.clone(), profile, limits(arguments), |progress| line.show(progress));
    line.clear();
    let (hit, cells) = findings.coverage.cells();
    println!(
        "{} seeds, {hit} of {cells} cells of the state tables reached, hash of the traces {:032x}",
        findings.seeds, findings.digest
    );
    println!("{}", describe_reruns(&findings));
    match show_failures(&findings, profile, failures) {
        Some(exit) => exit,
        // Runs with a model of HAProxy are not compared.
        None => conclude(arguments, &findings, matches!(profile, Profile::Standard | Profile::Calm)),
    }
}

/// Runs seeds of all kinds. The kind is chosen again and again by the marks that are rare.
fn run_any(arguments: &RunArgs, seeds: &Seeds, failures: &Failures) -> Exit {
    let (limits, mut choice) = (limits(arguments), Choice::default());
    let mut line = ProgressLine::new(seeds);
    let (mut next, mut all) = ([seeds.0.start; Profile::ALL.len()], Vec::<(Profile, Findings)>::new());
    let (mut left, mut failed) = (seeds.count(), 0);
    while left > 0 && failed < FAILURES_MAX && limits.until.is_none_or(|until| Instant::now() < until) {
        let profile = choice.next();
        let start = next[profile as usize];
        let count = ROUND.min(left);
        next[profile as usize] += count;
        let done = seeds.count() - left;
        let findings = search(start..start + count, profile, limits, |mut progress| {
            progress.done += done;
            line.show(progress);
        });
        left -= count;
        failed += findings.failures.len();
        choice.add(profile, findings.seeds, &findings.coverage);
        match all.iter_mut().find(|(other, _)| *other == profile) {
            Some((_, sum)) => sum.add(findings),
            None => all.push((profile, findings)),
        }
    }
    line.clear();
    for (profile, findings) in &all {
        println!("{:<9} {:>8} seeds, hash of the traces {:032x}", profile.name(), findings.seeds, findings.digest);
    }
    let shown = all.iter().filter_map(|(profile, findings)| show_failures(findings, *profile, failures));
    let exits: Vec<_> = shown.collect();
    if !exits.is_empty() {
        return worst(exits.into_iter());
    }
    let mut sum = Findings::default();
    all.into_iter().for_each(|(_, findings)| sum.add(findings));
    conclude(arguments, &sum, true)
}

/// Shows the failures of seeds, one of each kind with its small script. Returns `None` if there are none.
fn show_failures(findings: &Findings, profile: Profile, failures: &Failures) -> Option<Exit> {
    if let Some(seed) = findings.unstable.first() {
        println!("UNSTABLE: seed {seed} had two different traces; number of such seeds: {}", findings.unstable.len());
        return Some(Exit::Unstable);
    }
    let kinds = kinds(&findings.failures);
    for (seed, failure, count) in &kinds {
        println!("FAILED: seed {seed}: {failure}");
        if *count > 1 {
            println!("        and {} more with the same fingerprint", count - 1);
        }
        show_shrunk(&generate(*seed, profile), failure, &origin_of(*seed, profile), failures);
        println!("to see the trace: spoa-sim replay {seed} --profile {}", profile.name());
    }
    if findings.failures.len() >= FAILURES_MAX {
        let (seeds, failed) = (counted(findings.seeds as usize, "seed"), counted(findings.failures.len(), "failure"));
        println!("stopped after {seeds} and {failed}");
    }
    (!kinds.is_empty()).then(|| worst(kinds.iter().map(|(_, failure, _)| exit_of(failure))))
}

/// Checks that seeds that did not fail have checked enough.
fn conclude(arguments: &RunArgs, findings: &Findings, are_compared: bool) -> Exit {
    if has_checked_nothing(&findings.coverage) {
        return Exit::Coverage;
    }
    if let Some(check) = findings.never_compared().filter(|_| are_compared) {
        println!("NOTHING COMPARED: no seed was compared by \"{check}\"");
        return Exit::Coverage;
    }
    if arguments.require_coverage {
        let exit = coverage_exit(&findings.coverage);
        if exit != Exit::Held {
            return exit;
        }
    }
    println!("every check held");
    Exit::Held
}

fn has_checked_nothing(coverage: &Coverage) -> bool {
    let is_nothing = coverage.mark(Mark::Notify) == 0;
    if is_nothing {
        println!("NOTHING CHECKED: no seed delivered a NOTIFY");
    }
    is_nothing
}

/// Runs a search that is guided by coverage, and shows the first failure.
fn run_guided(seeds: &Seeds, profile: Profile, failures: &Failures) -> Exit {
    println!(
        "guided by coverage from seed {}, profile {}, generator {GENERATOR_VERSION}, scripts {VERSION}",
        seeds.0.start,
        profile.name()
    );
    let mut line = ProgressLine::new(seeds);
    let found = guided::search(seeds.0.clone(), profile, 1, |progress| line.show(progress));
    line.clear();
    let (hit, cells) = found.coverage.cells();
    println!(
        "{} runs, {hit} of {cells} cells of the state tables reached, {} cells, marks and pairs of marks; {} kept",
        found.runs,
        found.features,
        counted(found.kept, "script")
    );
    let Some((script, failure, runs)) = found.failures.first() else {
        if has_checked_nothing(&found.coverage) {
            return Exit::Coverage;
        }
        println!("every check held");
        return Exit::Held;
    };
    println!("FAILED: run {runs}: {failure}");
    let origin = format!("Run {runs} of a guided search from seed {}, profile {}", seeds.0.start, profile.name());
    show_shrunk(script, failure, &origin, failures);
    exit_of(failure)
}

/// Describes how many seeds were run more than once, and in which form.
fn describe_reruns(findings: &Findings) -> String {
    let [cuts, alone, fragments] = ["other-cuts", "alone", "fragments"].map(|check| findings.compared(check));
    format!(
        "seeds run again: {} without a change, {cuts} cut into other pieces, {alone} with each connection alone, \
         {fragments} with fragments exchanged for whole NOTIFYs",
        findings.rerun
    )
}

/// Returns the first failure with each fingerprint, and the number of failures that have it.
fn kinds(failures: &[(u64, Failure)]) -> Vec<(u64, &Failure, usize)> {
    let mut kinds: Vec<(u64, &Failure, usize)> = Vec::new();
    for (seed, failure) in failures {
        let fingerprint = failure.fingerprint();
        match kinds.iter_mut().find(|(_, known, _)| known.fingerprint() == fingerprint) {
            Some((_, _, count)) => *count += 1,
            None => kinds.push((*seed, failure, 1)),
        }
    }
    kinds
}

/// Makes the script of a failure small, prints it, and keeps it.
fn show_shrunk(script: &Script, failure: &Failure, origin: &str, failures: &Failures) {
    println!("fingerprint {}", failure.fingerprint());
    let shrunk = shrink_failure(script, failure);
    println!("shrunk from {} steps to {} in {} tries:\n", script.steps.len(), shrunk.script.steps.len(), shrunk.tries);
    let small = with_story(&shrunk.script, origin, failure);
    println!("{small}");
    match failures.keep(&small, failure) {
        Ok(Some(path)) => println!("kept, and run first the next time: {}", path.display()),
        Ok(None) => {}
        Err(problem) => eprintln!("spoa-sim: {problem}"),
    }
}
