//! The command `import`: judges the agent in a capture, and replays HAProxy's side to the core.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::time::Duration;

use spoa_sim::import::{Masks, scripts};
use spoa_sim::run::run;
use spoa_sim::script::{Script, Step};
use spoa_sim_kit::capture::{Import as Capture, Importer};
use spoa_sim_kit::judge::{Finding, Judgement, judge};

use super::subject::Problem;
use super::{counted, exit_of, worst};
use crate::Exit;
use crate::cli::Import;

/// The number of notes that are shown. A capture that begins in the middle has one per connection.
const NOTES_MAX: usize = 20;

/// The number of findings about a rule that are shown. A fault that is in every connection would hide the others.
const SHOWN_MAX: usize = 3;

/// Executes `import`.
pub(super) fn import(arguments: &Import) -> Exit {
    match read(arguments).and_then(|capture| examine(arguments, &capture)) {
        Ok(exit) => exit,
        Err(problem) => {
            eprintln!("spoa-sim: {problem}");
            Exit::Usage
        }
    }
}

fn read(arguments: &Import) -> Result<Capture, Problem> {
    let mut importer = Importer::new(arguments.port);
    for path in &arguments.captures {
        let file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        importer.add(BufReader::new(file)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let capture = importer.finish();
    if capture.segments == 0 {
        return Err(format!("{} has no TCP segment of port {} (--port)", names(arguments), arguments.port));
    }
    Ok(capture)
}

fn examine(arguments: &Import, capture: &Capture) -> Result<Exit, Problem> {
    if let Some(folder) = &arguments.output {
        fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    }
    let judgement = judge(&capture.recording);
    show(capture, &judgement);
    let mut masks = if arguments.keep_values { Masks::none() } else { Masks::default() };
    let mut exits = vec![if judgement.findings.is_empty() { Exit::Held } else { Exit::Failed }];
    let mut written = 0;
    let mut findings: BTreeMap<u32, Vec<&Finding>> = BTreeMap::new();
    judgement.findings.iter().for_each(|finding| findings.entry(finding.link).or_default().push(finding));
    for (link, script) in scripts(&capture.recording, &mut masks) {
        // A connection on which HAProxy sent nothing has nothing to replay.
        if !script.steps.iter().any(|step| matches!(step, Step::Send(..) | Step::Raw(..))) {
            continue;
        }
        let script = Script { story: story(arguments, link, findings.get(&link).map_or(&[], Vec::as_slice)), ..script };
        if let Some(folder) = &arguments.output {
            let path = folder.join(format!("connection-{link}.spop"));
            fs::write(&path, script.to_string())
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            written += 1;
        }
        if let Some(failure) = run(&script, false).failure {
            println!("connection {link}: the core FAILED with HAProxy's side: {failure}");
            exits.push(exit_of(&failure));
        }
    }
    if let Some(folder) = &arguments.output {
        println!("{} in {}", counted(written, "script"), folder.display());
        if masks.kept() > 0 {
            println!("{} bytes are no messages, so the scripts have them unchanged", masks.kept());
        }
    }
    Ok(worst(exits.into_iter()))
}

/// Prints what the capture has, and what the agent did wrong.
fn show(capture: &Capture, judgement: &Judgement) {
    let Judgement { findings, disputes, notifys, latencies, open } = judgement;
    let (connections, notifys) = (counted(capture.connections.len(), "connection"), counted(*notifys, "NOTIFY"));
    println!("{connections}, {notifys}, {} answered, {open} open at the end", latencies.len());
    let quantile = |percent: usize| latencies.get(latencies.len() * percent / 100).map_or(0, Duration::as_micros);
    if let Some(longest) = latencies.last() {
        let (p50, p99, longest) = (quantile(50), quantile(99), longest.as_micros());
        println!("latency of the agent: p50 {p50} us, p99 {p99} us, longest {longest} us");
    }
    capture.notes.iter().take(NOTES_MAX).for_each(|note| println!("note: {note}"));
    if let Some(more) = capture.notes.len().checked_sub(NOTES_MAX).filter(|more| *more > 0) {
        println!("note: {more} more");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        let count = counts.entry(finding.case).or_default();
        *count += 1;
        if *count <= SHOWN_MAX {
            println!("agent: {finding}");
        }
    }
    for (case, count) in counts.iter().filter(|(_, count)| **count > SHOWN_MAX) {
        println!("agent: {case}: {} more", count - SHOWN_MAX);
    }
    // These say that one side is wrong, but not which.
    disputes.iter().take(NOTES_MAX).for_each(|dispute| println!("ended with an error: {dispute}"));
    if findings.is_empty() {
        println!("the agent broke no rule");
    } else {
        println!("spoa-sim conform --explain CASE shows the rule of a case");
    }
}

/// Returns the story of a script: its origin, and the rules that the agent broke on its connection.
fn story(arguments: &Import, link: u32, findings: &[&Finding]) -> Vec<String> {
    let mut story = vec![format!("Connection {link} of {}.", names(arguments))];
    story.extend(
        findings.iter().map(|finding| format!("The agent of the capture broke {}: {}.", finding.case, finding.text)),
    );
    story
}

/// Returns the names of the files.
fn names(arguments: &Import) -> String {
    let names = arguments.captures.iter().filter_map(|path| path.file_name());
    names.map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(", ")
}
