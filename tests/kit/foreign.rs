//! The kit against agents of other projects, which `tests/kit/agents/install` installs: their results are known.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, thread};

use spoa_sim_kit::conformance::{Case, CaseResult, Expectations, Options, Run, cases};
use spoa_sim_kit::socket::Address;
use spoa_sim_kit::subject::Subject;

use crate::alone;

/// The agents. For each there is a file with its expected results.
const AGENTS: &[&str] = &["haproxyspoa", "spoe-forge", "spop"];

/// The number of processes of an agent whose port can be chosen. Each is asked a part of the cases.
const PROCESSES: usize = 4;

/// Cases whose results depend on the speed of the machine: on what a slow agent has done by then.
const BY_CHANCE: &[&str] = &["3.2.6/slow-reader", "3.2.6/never-reads", "3.2.6/flood", "3.2.9/stop-in-flight"];

#[test]
fn agents_of_other_projects_have_their_known_results() {
    let _alone = alone();
    let folder = env::var_os("SPOA_AGENTS_DIR").map_or_else(|| target().join("agents"), PathBuf::from);
    let is_required = env::var_os("SPOA_REQUIRE_AGENTS").is_some();
    let options = &Options { timeout: Duration::from_secs(1), patience: Duration::from_secs(5), ..Options::default() };
    let mut differences = Vec::new();
    thread::scope(|scope| {
        let mut runs = Vec::new();
        for name in AGENTS {
            match fs::read_to_string(folder.join(name).with_extension("cmd")) {
                Ok(command) => {
                    let port = fs::read_to_string(folder.join(name).with_extension("port")).ok();
                    runs.push((name, scope.spawn(move || results(command.trim(), port.as_deref(), options))));
                }
                // It is the one that cannot be installed everywhere.
                Err(_) if is_required && *name != "spoe-forge" => panic!("{name} is not installed"),
                Err(_) => eprintln!("skipped: {name} is not installed (tests/kit/agents/install)"),
            }
        }
        for (name, run) in runs {
            let results = run.join().expect("the kit works");
            differences.extend(differences_of(name, &results));
        }
    });
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The table of results has the expected results of each agent.
#[test]
fn the_published_results_are_the_expected_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(folder.join("../sim/CONFORMANCE.md")).expect("the document exists");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `3."))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), cases().count(), "expected a row per case");
    assert!(rows.iter().all(|row| matches!(row[3], "✓" | "–")), "the agent of this project fails no case");
    for (column, name) in [(4, "spop"), (5, "haproxyspoa"), (6, "spoe-forge")] {
        let path = folder.join("kit/agents").join(name).with_extension("expected");
        let expected = fs::read_to_string(path).expect("a file per agent");
        assert_eq!(expected.lines().count(), rows.len(), "{name}");
        for (row, line) in rows.iter().zip(expected.lines()) {
            let (id, status) = line.split_once(' ').expect("a case and its result");
            let cell = match status {
                "pass" => "✓",
                "tolerated" => "~",
                "unsupported" => "–",
                _ => "**✗**",
            };
            assert_eq!((row[1], row[column]), (&*format!("`{id}`"), cell), "{name}");
        }
    }
}

/// Returns the folder of the build.
fn target() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_faulty-agent")).ancestors().nth(2).expect("a folder in target").to_owned()
}

fn differences_of(name: &str, results: &[CaseResult]) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kit/agents").join(name).with_extension("expected");
    if env::var_os("SPOA_KIT_WRITE").is_some() {
        fs::write(&path, Expectations::write(results)).expect("the folder can be written");
    }
    let text = fs::read_to_string(&path).unwrap_or_default();
    let expected = Expectations::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let difference = |result: &CaseResult| {
        let expected = expected.difference(result)?;
        Some(format!(
            "{name}: {}: expected {expected}, got {}: {}",
            result.id,
            result.status,
            result.words().join(" | ")
        ))
    };
    results.iter().filter(|result| !BY_CHANCE.contains(&&*result.id)).filter_map(difference).collect()
}

/// Runs all cases against an agent.
pub(crate) fn results(command: &str, port: Option<&str>, options: &Options) -> Vec<CaseResult> {
    let address = port.map(|port| Address::Tcp(format!("127.0.0.1:{}", port.trim())));
    let count = if address.is_some() { 1 } else { PROCESSES };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..count)
            .map(|part| {
                let address = address.clone();
                scope.spawn(move || part_of_results(command, address, options, |number| number % count == part))
            })
            .collect();
        let mut results: Vec<_> = parts.into_iter().flat_map(|part| part.join().expect("the kit works")).collect();
        results.sort_by_key(|result| cases().position(|case| case.id == result.id));
        results
    })
}

fn part_of_results(
    command: &str,
    address: Option<Address>,
    options: &Options,
    is_chosen: impl Fn(usize) -> bool,
) -> Vec<CaseResult> {
    let mut subject = Subject::start(&format!("exec {command}"), address, false).expect("the agent starts");
    let mut run = Run::new(&mut subject, options, None);
    let chosen: Vec<&Case> =
        cases().enumerate().filter(|(number, _)| is_chosen(*number)).map(|(_, case)| case).collect();
    chosen.into_iter().map(|case| run.case(case).expect("the agent can be restarted").0).collect()
}
