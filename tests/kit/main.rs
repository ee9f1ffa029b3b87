//! The conformance kit: an agent without a fault passes every case, and for each case there is an agent that fails it.

mod foreign;
mod load;
mod own;
mod seeds;

use std::collections::BTreeSet;
use std::env;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use spoa_sim_kit::conformance::{Case, CaseResult, Options, Run, Status, cases};
use spoa_sim_kit::subject::Subject;
use spoa_tests::folder::Folder;

/// The number of agents that are tested at the same time. Most of the time they wait.
const PARALLEL: usize = 8;

/// Cases that take long or open many connections, and are run against the agents whose fault they find only, unless `SPOA_KIT_ALL` is set.
const SLOW: &[&str] = &[
    "3.2.4/hello-byte-by-byte",
    "3.2.5/hello-in-one-piece",
    "3.2.4/many-health-checks",
    "3.2.6/one-after-the-other",
    "3.2.8/resets",
    "3.2.3/no-hello",
    "3.2.8/resets-after-any-byte",
    "3.2.6/fragments-without-end",
    "3.2.6/slow-reader",
    "3.2.6/never-reads",
    "3.2.6/flood",
    "3.2/announced-and-not-sent",
    "3.2.3/crowd-without-hello",
    "3.2.3/crowd",
    "3.1/flipped-bits",
    "3.1/random-payloads",
    "3.2/random-bytes",
    "3.2.9/stop",
    "3.2.9/stop-in-flight",
];

/// The agent with planted faults.
const AGENT: &str = env!("CARGO_BIN_EXE_faulty-agent");

/// A fault: its case, and the other cases that have to fail.
struct Fault {
    case: String,
    also: Vec<String>,
}

/// Returns the faults of the agent.
fn faults() -> Vec<Fault> {
    let output = Command::new(AGENT).arg("list").output().expect("the agent can be run");
    let list = String::from_utf8(output.stdout).expect("cases are ASCII");
    let fault = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Fault { case: words.next().expect("a case"), also: words.collect() }
    };
    list.lines().map(fault).collect()
}

/// Lets only one of the tests with many processes run at a time. Otherwise an agent may be too slow to answer in time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the chosen cases against the agent with a fault.
fn results(fault: &str, is_chosen: impl Fn(&Case) -> bool) -> Vec<CaseResult> {
    let options = Options { patience: Duration::from_secs(3), memory_max: 16 << 20, ..Options::default() };
    let command = format!("exec {AGENT} {fault} {{port}}");
    let mut subject = Subject::start(&command, None, env::var_os("SPOA_KIT_SHOW").is_some()).expect("the agent starts");
    let mut run = Run::new(&mut subject, &options, None);
    let chosen = cases().filter(|case| is_chosen(case));
    chosen.map(|case| run.case(case).expect("the agent can be restarted").0).collect()
}

fn failed(results: &[CaseResult]) -> BTreeSet<&str> {
    results.iter().filter(|result| result.status == Status::Fail).map(|result| &*result.id).collect()
}

#[test]
fn an_agent_without_a_fault_passes_every_case() {
    let _alone = alone();
    let results: Vec<_> =
        ["none", "unfragmented"].map(|fault| results(fault, |_| true)).into_iter().flatten().collect();
    for result in &results {
        let is_good = matches!(result.status, Status::Pass | Status::Unsupported);
        assert!(is_good, "{} {}: {}", result.id, result.status, result.words().join(", "));
    }
    for case in cases() {
        let passes = |result: &CaseResult| result.id == case.id && result.status == Status::Pass;
        assert!(results.iter().any(passes), "{} is never supported", case.id);
    }
}

/// The result of a case is kept although the agent that it has ended cannot be started again.
#[test]
fn a_case_that_ends_the_agent_has_a_result() {
    let case = cases().find(|case| case.id == "3.2.8/resets-after-any-byte").expect("the case exists");
    let folder = Folder::with(&[]);
    let (once, options) = (folder.path("once"), Options::default());
    let command = format!("mkdir {} && exec {AGENT} {} {{port}}", once.display(), case.id);
    let mut subject = Subject::start(&command, None, false).expect("the agent starts");
    let mut run = Run::new(&mut subject, &options, None);
    let (result, _) = run.case(case).expect("the agent runs");
    assert!(result.status == Status::Fail && result.note.is_some(), "{result:?}");
    let error = run.case(case).expect_err("the command works once").to_string();
    assert!(error.contains("the agent's process ended"), "{error}");
}

#[test]
fn each_case_has_an_agent_that_fails_it() {
    let _alone = alone();
    let faults = faults();
    let planted: Vec<_> = faults.iter().map(|fault| &*fault.case).collect();
    assert_eq!(planted, cases().map(|case| case.id).collect::<Vec<_>>(), "expected a fault for each case, in order");
    let is_chosen = |fault: &&Fault| env::var("SPOA_KIT_FAULT").map_or(true, |only| fault.case.contains(&only));
    let queue = Mutex::new(faults.iter().filter(is_chosen));
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(fault) = { queue.lock().expect("no thread panics").next() } {
                    let difference = difference(fault);
                    wrong.lock().expect("no thread panics").extend(difference);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panics");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs the cases against an agent with this fault. Returns a description if others fail than those that have to.
fn difference(fault: &Fault) -> Option<String> {
    let all = env::var_os("SPOA_KIT_ALL").is_some();
    let results = results(&fault.case, |case| all || case.id == fault.case || !SLOW.contains(&case.id));
    let failed = failed(&results);
    let has_run = |id: &&str| results.iter().any(|result| result.id == *id);
    let expected: BTreeSet<_> = [&fault.case].into_iter().chain(&fault.also).map(|id| &**id).filter(has_run).collect();
    let is_expected = if fault.also == ["*"] { failed.contains(&*fault.case) } else { failed == expected };
    let words = results.iter().filter(|result| failed.contains(&*result.id));
    let words: Vec<_> = words.map(|result| format!("{}: {}", result.id, result.words().join(" | "))).collect();
    (!is_expected).then(|| format!("the fault of {}: expected {expected:?} to fail, got {words:#?}", fault.case))
}
