//! Conversations of seeds find planted faults, and the script of a failure becomes small and still fails.

use std::time::Duration;

use spoa_sim::generate::{Profile, generate};
use spoa_sim::live::{Failing, Options, Trial, adapt};
use spoa_sim::script::Script;
use spoa_sim::text::{parse, parse_message};
use spoa_sim_kit::conformance::Question;
use spoa_sim_kit::subject::Subject;

use crate::{AGENT, alone};

/// The faults, and the kind of failure that the agent has in conversations of HAProxy.
const FAULTS: &[(&str, &str)] = &[
    ("3.2.6/stream-id-0", "3.2.7/ack: no answer to NOTIFY"),
    ("3.2.7/ack-fits", "3.2.7/ack-fits: an ACK of bytes, being negotiated"),
    ("3.2.5/hello-in-one-piece", "3.2.5/hello-in-one-piece: AGENT-HELLO arrived in pieces, cut after bytes"),
];

/// The number of seeds within which each fault is found.
const SEEDS_MAX: u64 = 100;
/// The largest number of steps of a small script.
const STEPS_MAX: usize = 4;

#[test]
fn seeds_find_faults_and_their_scripts_become_small() {
    let _alone = alone();
    let question = parse_message("check-client-ip(=192.0.2.1)").expect("a message");
    let options = Options { question: Question::default(), timeout: Duration::from_millis(500) };
    for (fault, kind) in FAULTS {
        let mut subject =
            Subject::start(&format!("exec {AGENT} {fault} {{port}}"), None, false).expect("the agent starts");
        let mut trial = Trial::new(&mut subject, &options);
        let (script, failing) = first(&mut trial, kind).unwrap_or_else(|| panic!("no seed finds the fault of {fault}"));
        let shrunk = trial.shrink(&script, &question, &failing, Duration::from_secs(60)).expect("the agent restarts");
        let text = shrunk.script.to_string();
        assert!(shrunk.script.steps.len() <= STEPS_MAX, "{fault}: the script has more than {STEPS_MAX} steps\n{text}");
        let again = parse(&text).expect("the text of a script is a script");
        let played = trial.play(&again).expect("sockets work");
        let fails = played.findings.iter().any(|finding| Failing::of(finding) == failing);
        assert!(fails, "{fault}: the small script does not fail\n{text}");
    }
}

/// Returns the script of the first seed with this kind of failure, twice in a row, and the kind.
fn first(trial: &mut Trial<'_>, kind: &str) -> Option<(Script, Failing)> {
    let question = parse_message("check-client-ip(=192.0.2.1)").expect("a message");
    let all = (0..SEEDS_MAX).flat_map(|seed| [(seed, Profile::Mux), (seed, Profile::Applet)]);
    all.into_iter().find_map(|(seed, profile)| {
        let script = adapt(&generate(seed, profile), &question);
        let mut failing = || {
            let played = trial.play(&script).expect("sockets work");
            played.findings.iter().map(Failing::of).find(|failing| failing.to_string() == kind)
        };
        // A busy machine may be late once.
        let first = failing()?;
        failing()?;
        Some((script, first))
    })
}

/// The agent still has to answer what is written last: the soft-stop of HAProxy, also if it arrives in pieces.
#[test]
fn a_run_waits_until_everything_is_written() {
    let _alone = alone();
    let command = format!("exec {AGENT} 3.2.8/normal {{port}}");
    let mut subject = Subject::start(&command, None, false).expect("the agent starts");
    let options = Options { question: Question::default(), timeout: Duration::from_millis(500) };
    let mut trial = Trial::new(&mut subject, &options);
    for cut in ["", "cut h1 1,...\n"] {
        let text = format!("spop-script 4\nhaproxy h1 engine=applet\n{cut}ask h1 check-client-ip(=192.0.2.1)\n");
        let played = trial.play(&parse(&text).expect("a script")).expect("sockets work");
        let cases: Vec<_> = played.findings.iter().map(|finding| finding.case).collect();
        assert_eq!(cases, ["3.2.8/normal"], "{text}");
    }
}
