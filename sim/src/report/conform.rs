//! The commands `conform` and `matrix`: tests any agent over a socket.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write as _, stderr};
use std::path::Path;

use spoa_sim_kit::capture::write_pcapng;
use spoa_sim_kit::conformance::{Case, CaseResult, Expectations, KnownFailing, Options, Run, Selection, cases};
use spoa_sim_kit::report::{self, Report};

use super::seeds;
use super::subject::{self, Problem};
use crate::Exit;
use crate::cli::{Conform, Matrix};

/// Executes `conform`.
pub(super) fn conform(arguments: &Conform) -> Exit {
    let selection =
        Selection { engine: arguments.engine, level: arguments.level, patterns: arguments.patterns.clone() };
    let chosen: Vec<_> = cases().filter(|case| selection.includes(case)).collect();
    let done = if let Some(id) = &arguments.explain {
        explain(id)
    } else if chosen.is_empty() {
        Err("no case has such an id (--list)".into())
    } else if arguments.list {
        chosen.iter().for_each(|case| println!("{:<38} {:<8} {}", case.id, case.level.word(), case.rule));
        Ok(Exit::Held)
    } else if seeds::are_asked(arguments) {
        seeds::run(arguments)
    } else {
        run(arguments, &selection, &chosen)
    };
    done.unwrap_or_else(|problem| {
        eprintln!("spoa-sim: {problem}");
        Exit::Usage
    })
}

/// Executes `matrix`.
pub(super) fn matrix(arguments: &Matrix) -> Exit {
    let reports: Result<Vec<_>, Problem> = arguments
        .reports
        .iter()
        .map(|path| Report::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display())))
        .collect();
    let done = reports.and_then(|reports| match &arguments.html {
        Some(path) => write(path, &report::page(&reports)),
        None => {
            print!("{}", report::matrix(&reports));
            Ok(())
        }
    });
    match done {
        Ok(()) => Exit::Held,
        Err(problem) => {
            eprintln!("spoa-sim: {problem}");
            Exit::Usage
        }
    }
}

fn explain(id: &str) -> Result<Exit, Problem> {
    let case = cases().find(|case| case.id == id).ok_or_else(|| format!("there is no case {id} (--list)"))?;
    println!("{}\n{}\n\nlevel   {}\nsource  {}", case.id, case.rule, case.level.word(), case.source);
    if let Some(engine) = case.engine {
        println!("engine  {}", engine.word());
    }
    if !case.needs.describe().is_empty() {
        println!("unsupported if {}", case.needs.describe());
    }
    Ok(Exit::Held)
}

/// The expected results.
enum Expected {
    Results(Expectations),
    KnownFailing(KnownFailing),
}

impl Expected {
    fn of(arguments: &Conform) -> Result<Self, Problem> {
        let describe = |path: &Path, error| format!("{}: {error}", path.display());
        match (&arguments.expected, &arguments.known_failing) {
            (Some(path), _) => {
                let expected = Expectations::parse(&read(path)?).map_err(|error| describe(path, error))?;
                Ok(Self::Results(expected))
            }
            (None, Some(path)) => {
                let known = KnownFailing::parse(&read(path)?).map_err(|error| describe(path, error))?;
                Ok(Self::KnownFailing(known))
            }
            (None, None) => Ok(Self::KnownFailing(KnownFailing::default())),
        }
    }

    /// Describes the difference between the expected result and this one, if there is one.
    fn describe(&self, result: &CaseResult) -> Option<String> {
        let expected = match self {
            Self::Results(expected) => expected.difference(result),
            Self::KnownFailing(known) => known.difference(result),
        };
        Some(format!("{}: expected {}, got {}", result.id, expected?, result.status))
    }
}

fn run(arguments: &Conform, selection: &Selection, chosen: &[&Case]) -> Result<Exit, Problem> {
    let expected = Expected::of(arguments)?;
    if let Some(folder) = &arguments.pcapng {
        fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    }
    let options = Options {
        question: subject::question(&arguments.question)?,
        timeout: arguments.timeout,
        patience: arguments.patience,
        memory_max: u64::from(arguments.memory_max) << 20,
    };
    let mut subject = subject::subject(&arguments.subject)?;
    let described = arguments.subject.cmd.clone().unwrap_or_else(|| subject.address().to_string());
    let mut run = Run::new(&mut subject, &options, selection.engine);
    let announced = run.announced().cloned();
    match &announced {
        Some(announced) => println!(
            "{described} announces frames of {} bytes and the capabilities \"{}\"",
            announced.max_frame_size,
            announced.capabilities.join(",")
        ),
        None => println!("{described} does not complete a handshake"),
    }
    if arguments.dry_run {
        for case in chosen {
            println!("{:<11} {}", if run.can_play(case) { "run" } else { "unsupported" }, case.id);
        }
        return Ok(Exit::Held);
    }
    let mut report = Report {
        format: report::FORMAT,
        agent: arguments.name.clone().unwrap_or_else(|| described.clone()),
        subject: described,
        announced,
        results: Vec::new(),
    };
    let played = play(arguments, &mut run, chosen, &mut report.results);
    // The results so far are worth a report also if the agent cannot be restarted.
    write_reports(arguments, &report)?;
    println!("\n{}", report::summary(&report));
    played?;
    let differences: Vec<_> = report.results.iter().filter_map(|result| expected.describe(result)).collect();
    Ok(conclude(&differences, arguments.expected.is_some() || arguments.known_failing.is_some()))
}

/// Runs the cases, and shows and keeps their results.
fn play(
    arguments: &Conform,
    run: &mut Run<'_>,
    chosen: &[&Case],
    results: &mut Vec<CaseResult>,
) -> Result<(), Problem> {
    for (number, case) in (1..).zip(chosen) {
        show_progress(number, Some(chosen.len()), case.id);
        let played = run.case(case);
        clear_progress();
        let (result, recording) = played.map_err(|error| format!("cannot restart the agent: {error}"))?;
        println!("{}", report::result_lines(&result));
        results.push(result);
        if let Some(folder) = &arguments.pcapng {
            let path = folder.join(format!("{}.pcapng", case.id.replace('/', "-")));
            let file = File::create(&path).and_then(|file| write_pcapng(&recording, BufWriter::new(file)));
            file.map_err(|error| cannot_write(&path, &error))?;
        }
    }
    Ok(())
}

/// Prints the differences from the expected results.
fn conclude(differences: &[String], has_file: bool) -> Exit {
    if differences.is_empty() {
        println!("{}", if has_file { "every result is as expected" } else { "no case failed" });
        return Exit::Held;
    }
    if has_file {
        println!("not as expected:");
        differences.iter().for_each(|difference| println!("  {difference}"));
    }
    Exit::Failed
}

fn write_reports(arguments: &Conform, report: &Report) -> Result<(), Problem> {
    if let Some(path) = &arguments.json {
        write(path, &report.to_json())?;
    }
    if let Some(path) = &arguments.junit {
        write(path, &report::junit(report))?;
    }
    if let Some(path) = &arguments.html {
        write(path, &report::page(std::slice::from_ref(report)))?;
    }
    if let Some(path) = &arguments.write_expected {
        write(path, &Expectations::write(&report.results))?;
    }
    Ok(())
}

/// Shows the case or script that runs, if standard error is a terminal.
pub(super) fn show_progress(number: usize, all: Option<usize>, id: &str) {
    if stderr().is_terminal() {
        let of = all.map_or(String::new(), |all| format!("/{all}"));
        eprint!("\r\x1b[2K[{number}{of}] {id}");
        let _ = stderr().flush();
    }
}

pub(super) fn clear_progress() {
    if stderr().is_terminal() {
        eprint!("\r\x1b[2K");
    }
}

pub(super) fn read(path: &Path) -> Result<String, Problem> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), Problem> {
    fs::write(path, text).map_err(|error| cannot_write(path, &error))
}

pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Problem {
    format!("cannot write {}: {error}", path.display())
}
