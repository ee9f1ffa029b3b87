//! The commands of `spoa-sim` and their output.

mod bugs;
mod chart;
mod conform;
mod corpus;
mod diff;
mod failures;
mod import;
mod json;
mod load;
mod pcapng;
mod progress;
mod run;
mod seeds;
mod state;
mod subject;
mod when;
mod workspace;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use spoa_core::table::{Input, StateName};
use spoa_sim::coverage::{Cause, Coverage, Mark};
use spoa_sim::distil::distil;
use spoa_sim::failure::Failure;
use spoa_sim::generate::{GENERATOR_VERSION, Profile, generate};
use spoa_sim::metamorphic::examine;
use spoa_sim::outcome::Outcome;
use spoa_sim::script::Script;
use spoa_sim::search::{Limits, search};
use spoa_sim::shrink::shrink;
use spoa_sim::text::parse;

use crate::Exit;
use crate::cli::{Command, Seeds, TraceFormat, View};
use progress::ProgressLine;

/// The number of times that each mark has to be reached with `--require-coverage`.
const MARKS_MIN: u64 = 10;

/// Executes a command.
pub(crate) fn command(command: &Command) -> Exit {
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::When { source, profile, draws, whole } => when::when(source, *profile, *draws, *whole),
        Command::Replay { seed, profile, trace, view } => {
            let trace = trace.or(view.state.is_none().then_some(TraceFormat::Text));
            replay(&generate(*seed, *profile), trace, *view)
        }
        Command::Show { seed, profile } => {
            print!("{}", generate(*seed, *profile));
            Exit::Held
        }
        Command::Script { files, trace, view } => worst(files.iter().map(|file| match read(file) {
            Ok(script) => {
                if !trace.is_some_and(TraceFormat::is_file) {
                    println!("{}", file.display());
                }
                replay(&script, *trace, *view)
            }
            Err(exit) => exit,
        })),
        Command::Shrink { source, profile, output } => shrink_source(source, *profile, output.as_deref()),
        Command::Corpus { folder } => corpus::run(folder.as_deref()),
        Command::Diff { build, seeds, profile } => diff::diff(build, seeds, *profile),
        Command::Hashes { seeds, profile } => diff::hashes(seeds, *profile),
        Command::Bugs { bugs } => match bugs::plant(bugs) {
            Ok(true) => Exit::Held,
            Ok(false) => Exit::Failed,
            Err(error) => {
                eprintln!("spoa-sim: {error}");
                Exit::Usage
            }
        },
        Command::Conform(arguments) => conform::conform(arguments),
        Command::Matrix(arguments) => conform::matrix(arguments),
        Command::Load(arguments) => load::load(arguments),
        Command::Import(arguments) => import::import(arguments),
        Command::Coverage { seeds, .. } if seeds.is_open() => {
            eprintln!("spoa-sim: the seeds of coverage need an end");
            Exit::Usage
        }
        Command::Coverage { seeds: Seeds(seeds), distil: Some(folder), profile } => {
            write_distilled(seeds, *profile, folder)
        }
        Command::Coverage { seeds, distil: None, profile } => {
            let mut line = ProgressLine::new(seeds);
            let limits = Limits::of_jobs(run::processors());
            let findings = search(seeds.0.clone(), *profile, limits, |progress| line.show(progress));
            line.clear();
            show_coverage(&findings.coverage);
            coverage_exit(&findings.coverage)
        }
    }
}

/// Returns the exit with the highest code.
fn worst(exits: impl Iterator<Item = Exit>) -> Exit {
    exits.fold(Exit::Held, |worst, exit| if worst as u8 >= exit as u8 { worst } else { exit })
}

/// Returns a script with its origin as the story.
fn with_story(script: &Script, origin: &str, failure: &Failure) -> Script {
    Script { story: vec![format!("{origin}: {}", failure.fingerprint())], ..script.clone() }
}

/// Describes the origin of a script.
fn origin_of(seed: u64, profile: Profile) -> String {
    format!("Seed {seed} of profile {}, generator {GENERATOR_VERSION}", profile.name())
}

fn replay(script: &Script, trace: Option<TraceFormat>, view: View) -> Exit {
    let Some(script) = view.part(script) else {
        eprintln!("spoa-sim: --until is above the number of steps, which is {}", script.steps.len());
        return Exit::Usage;
    };
    let script = &*script;
    if let Some(format) = view.state {
        return state::show(script, format, view.until);
    }
    let outcome = spoa_sim::run::run(script, trace.is_some());
    match trace {
        None => {}
        Some(TraceFormat::Text) => outcome.trace.records().iter().for_each(|record| println!("{record}")),
        Some(TraceFormat::Json) => outcome.trace.records().iter().for_each(|record| println!("{}", json::line(record))),
        Some(TraceFormat::Chart) => {
            print!("{}", chart::page(script, &outcome));
            return exit_of_outcome(&outcome);
        }
        Some(TraceFormat::Pcapng) => {
            if let Err(error) = pcapng::write(outcome.trace.records()) {
                eprintln!("spoa-sim: cannot write the capture: {error}");
                return Exit::Usage;
            }
            return exit_of_outcome(&outcome);
        }
    }
    let (line, exit) = verdict(script, outcome);
    println!("{line}");
    exit
}

/// Returns the last line of a run, and the exit. A script that does not fail is compared with others that must have the same result.
fn verdict(script: &Script, outcome: Outcome) -> (String, Exit) {
    let digest = outcome.trace.digest();
    match outcome.failure.or_else(|| examine(script, None)) {
        Some(failure) => (format!("FAILED: {failure}"), exit_of(&failure)),
        None => (format!("held, trace {digest:032x}"), Exit::Held),
    }
}

fn shrink_source(source: &str, profile: Profile, output: Option<&Path>) -> Exit {
    let (script, seed) = match script_of(source, profile) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let Some(shrunk) = shrink(&script) else {
        println!("{source} does not fail");
        return Exit::Held;
    };
    let failure = spoa_sim::run::run(&shrunk.script, false).failure;
    let text = match (&failure, seed) {
        (Some(failure), Some(seed)) => with_story(&shrunk.script, &origin_of(seed, profile), failure).to_string(),
        _ => shrunk.script.to_string(),
    };
    match output {
        None => print!("{text}"),
        Some(path) => {
            if let Err(error) = fs::write(path, text) {
                eprintln!("spoa-sim: cannot write {}: {error}", path.display());
                return Exit::Usage;
            }
        }
    }
    Exit::Failed
}

/// Returns the script of a seed, or of a file, and the seed.
fn script_of(source: &str, profile: Profile) -> Result<(Script, Option<u64>), Exit> {
    match source.parse::<u64>() {
        Ok(seed) => Ok((generate(seed, profile), Some(seed))),
        Err(_) => Ok((read(&PathBuf::from(source))?, None)),
    }
}

fn read(path: &Path) -> Result<Script, Exit> {
    let text = fs::read_to_string(path).map_err(|error| {
        eprintln!("spoa-sim: cannot read {}: {error}", path.display());
        Exit::Unreadable
    })?;
    let script = parse(&text).map_err(|error| {
        eprintln!("spoa-sim: {}: {error}", path.display());
        Exit::Unreadable
    })?;
    for (number, reason) in script.idle_steps() {
        let step = &script.steps[number - 1];
        eprintln!("spoa-sim: {}: step {number} does nothing, because {reason}: {step}", path.display());
    }
    Ok(script)
}

fn show_coverage(coverage: &Coverage) {
    let names: Vec<_> = Cause::ALL.iter().map(ToString::to_string).collect();
    for causes in [0..Input::ALL.len(), Input::ALL.len()..Cause::ALL.len()] {
        print!("{:<12}", "");
        names[causes.clone()].iter().for_each(|name| print!("{name:>15}"));
        println!();
        for state in StateName::ALL {
            print!("{:<12}", format!("{state:?}"));
            Cause::ALL[causes.clone()].iter().for_each(|&cause| print!("{:>15}", coverage.hits(state, cause)));
            println!();
        }
        println!();
    }
    let mut group = "";
    for mark in Mark::ALL {
        if mark.group() != group {
            group = mark.group();
            println!("\n{group}");
        }
        println!("{:>9}  {}", coverage.mark(mark), mark.words());
    }
}

fn write_distilled(seeds: &Range<u64>, profile: Profile, folder: &Path) -> Exit {
    for script in distil(seeds.clone(), profile) {
        let words = script.story.first().map_or("", String::as_str);
        let name: String =
            words.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let path = folder.join(format!("{}.spop", name.trim_matches('-').replace("--", "-")));
        if let Err(error) = fs::write(&path, script.to_string()) {
            eprintln!("spoa-sim: cannot write {}: {error}", path.display());
            return Exit::Usage;
        }
        println!("{}", path.display());
    }
    Exit::Held
}

fn coverage_exit(coverage: &Coverage) -> Exit {
    let missing = coverage.missing(MARKS_MIN);
    for line in &missing {
        println!("NOT COVERED: {line}");
    }
    if missing.is_empty() { Exit::Held } else { Exit::Coverage }
}

/// Returns a number with its noun, whose plural has an s.
fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn exit_of_outcome(outcome: &Outcome) -> Exit {
    outcome.failure.as_ref().map_or(Exit::Held, exit_of)
}

fn exit_of(failure: &Failure) -> Exit {
    match failure.check {
        "liveness" | "budget" | "progress" => Exit::Liveness,
        _ => Exit::Failed,
    }
}
