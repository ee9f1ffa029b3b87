//! The commands of `spoa-sim` and their output.

mod bugs;
mod chart;
mod conform;
mod import;
mod json;
mod load;
mod pcapng;
mod progress;
mod seeds;
mod state;
mod subject;
mod when;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::{fs, io};

use spoa_core::table::{Input, StateName};
use spoa_sim::coverage::{Cause, Coverage, Mark};
use spoa_sim::distil::distil;
use spoa_sim::failure::Failure;
use spoa_sim::generate::{GENERATOR_VERSION, Profile, generate};
use spoa_sim::guided;
use spoa_sim::metamorphic::examine;
use spoa_sim::outcome::Outcome;
use spoa_sim::run::run;
use spoa_sim::script::Script;
use spoa_sim::search::{Findings, search};
use spoa_sim::shrink::{shrink, shrink_failure};
use spoa_sim::text::{VERSION, parse};

use crate::Exit;
use crate::cli::{Command, TraceFormat, View};
use progress::ProgressLine;

/// The number of times that each mark has to be reached with `--require-coverage`.
const MARKS_MIN: u64 = 10;

/// Executes a command.
pub(crate) fn command(command: &Command) -> Exit {
    match command {
        Command::Run { seeds, profile, guided: true, .. } => run_guided(seeds, *profile),
        Command::Run { seeds, profile, jobs, require_coverage, .. } => {
            run_seeds(seeds, *profile, jobs.map(usize::from), *require_coverage)
        }
        Command::When { source, profile, draws } => when::when(source, *profile, *draws),
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
        Command::Corpus { folder } => run_corpus(folder),
        Command::Bugs { names } => match bugs::plant(names) {
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
        Command::Coverage { seeds, distil: Some(folder), profile } => write_distilled(seeds, *profile, folder),
        Command::Coverage { seeds, distil: None, profile } => {
            let findings = run_search(seeds, *profile, None);
            show_coverage(&findings.coverage);
            coverage_exit(&findings.coverage)
        }
    }
}

/// Returns the exit with the highest code.
fn worst(exits: impl Iterator<Item = Exit>) -> Exit {
    exits.fold(Exit::Held, |worst, exit| if worst as u8 >= exit as u8 { worst } else { exit })
}

fn run_corpus(folder: &Path) -> Exit {
    let mut paths = Vec::new();
    if let Err(error) = find_scripts(folder, &mut paths) {
        eprintln!("spoa-sim: cannot read {}: {error}", folder.display());
        return Exit::Unreadable;
    }
    paths.sort();
    if paths.is_empty() {
        eprintln!("spoa-sim: there is no script (*.spop) in {}", folder.display());
        return Exit::Unreadable;
    }
    worst(paths.iter().map(|path| match read(path) {
        Ok(script) => {
            println!("{}\n    {}", path.display(), script.story.join("\n    "));
            replay(&script, None, View::ALL)
        }
        Err(exit) => exit,
    }))
}

/// Appends the paths of all scripts in a folder and its subfolders.
fn find_scripts(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_scripts(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "spop") {
            paths.push(path);
        }
    }
    Ok(())
}

fn run_search(seeds: &Range<u64>, profile: Profile, jobs: Option<usize>) -> Findings {
    let jobs = jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let mut line = ProgressLine::new(seeds.end - seeds.start);
    // Ten failures are enough to see whether they have one cause or several.
    let findings = search(seeds.clone(), profile, jobs, 10, |progress| line.show(progress));
    line.clear();
    findings
}

fn run_seeds(seeds: &Range<u64>, profile: Profile, jobs: Option<usize>, require_coverage: bool) -> Exit {
    println!(
        "seeds {}..{}, profile {}, generator {GENERATOR_VERSION}, scripts {VERSION}",
        seeds.start,
        seeds.end,
        profile.name()
    );
    let findings = run_search(seeds, profile, jobs);
    let (hit, cells) = findings.coverage.cells();
    println!(
        "{} seeds, {hit} of {cells} cells of the state tables reached, hash of the traces {:032x}",
        findings.seeds, findings.digest
    );
    println!("{}", describe_reruns(&findings));
    if let Some(seed) = findings.unstable.first() {
        println!("UNSTABLE: seed {seed} had two different traces; number of such seeds: {}", findings.unstable.len());
        return Exit::Unstable;
    }
    if let Some((seed, failure)) = findings.failures.first() {
        for (seed, failure, count) in kinds(&findings.failures) {
            println!("FAILED: seed {seed}: {failure}");
            if count > 1 {
                println!("        and {} more with the same fingerprint", count - 1);
            }
        }
        show_shrunk(*seed, profile, failure);
        return exit_of(failure);
    }
    if findings.coverage.mark(Mark::Notify) == 0 {
        println!("NOTHING CHECKED: no seed delivered a NOTIFY");
        return Exit::Coverage;
    }
    // Runs with a model of HAProxy are not compared.
    let compares = matches!(profile, Profile::Standard | Profile::Calm);
    if let Some(check) = findings.never_compared().filter(|_| compares) {
        println!("NOTHING COMPARED: no seed was compared by \"{check}\"");
        return Exit::Coverage;
    }
    if require_coverage {
        let exit = coverage_exit(&findings.coverage);
        if exit != Exit::Held {
            return exit;
        }
    }
    println!("every check held");
    Exit::Held
}

/// Runs a search that is guided by coverage, and shows the first failure.
fn run_guided(seeds: &Range<u64>, profile: Profile) -> Exit {
    println!(
        "guided by coverage from seed {}, profile {}, generator {GENERATOR_VERSION}, scripts {VERSION}",
        seeds.start,
        profile.name()
    );
    let mut line = ProgressLine::new(seeds.end - seeds.start);
    let found = guided::search(seeds.clone(), profile, 1, |progress| line.show(progress));
    line.clear();
    let (hit, cells) = found.coverage.cells();
    println!(
        "{} runs, {hit} of {cells} cells of the state tables reached, {} cells, marks and pairs of marks; {} scripts kept",
        found.runs, found.features, found.kept
    );
    let Some((script, failure, runs)) = found.failures.first() else {
        println!("every check held");
        return Exit::Held;
    };
    println!("FAILED: run {runs}: {failure}\nfingerprint {}", failure.fingerprint());
    let shrunk = shrink_failure(script, failure);
    println!("shrunk from {} steps to {} in {} tries:\n", script.steps.len(), shrunk.script.steps.len(), shrunk.tries);
    print!("{}", shrunk.script);
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

fn show_shrunk(seed: u64, profile: Profile, failure: &Failure) {
    println!("fingerprint {}", failure.fingerprint());
    let script = generate(seed, profile);
    let shrunk = shrink_failure(&script, failure);
    println!("shrunk from {} steps to {} in {} tries:\n", script.steps.len(), shrunk.script.steps.len(), shrunk.tries);
    print!("{}", with_story(&shrunk.script, seed, failure));
    println!("\nto see the trace: spoa-sim replay {seed} --profile {}", profile.name());
}

fn with_story(script: &Script, seed: u64, failure: &Failure) -> Script {
    let story = vec![format!("Seed {seed}, generator {GENERATOR_VERSION}: {}", failure.fingerprint())];
    Script { story, ..script.clone() }
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
    let outcome = run(script, trace.is_some());
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
    match &outcome.failure.or_else(|| examine(script, None)) {
        Some(failure) => {
            println!("FAILED: {failure}");
            exit_of(failure)
        }
        None => {
            println!("held, trace {:032x}", outcome.trace.digest());
            Exit::Held
        }
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
    let failure = run(&shrunk.script, false).failure;
    let text = match (&failure, seed) {
        (Some(failure), Some(seed)) => with_story(&shrunk.script, seed, failure).to_string(),
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
    parse(&text).map_err(|error| {
        eprintln!("spoa-sim: {}: {error}", path.display());
        Exit::Unreadable
    })
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
