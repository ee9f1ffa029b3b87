//! The kit against the agent of this project, which passes every case and every conversation.

use std::time::Duration;

use spoa_sim::generate::{Profile, generate};
use spoa_sim::live::{Options, Trial, adapt};
use spoa_sim::text::parse_message;
use spoa_sim_kit::conformance::{self, Question, Status};
use spoa_sim_kit::subject::Subject;
use spoa_tests::agent::binary;

use crate::{alone, foreign};

/// The number of seeds, each of which is played by both engines.
const SEEDS: u64 = 150;

fn command() -> String {
    format!("{} --listen 127.0.0.1:{{port}} -n 1", binary().display())
}

#[test]
fn the_agent_of_this_project_passes_every_case() {
    let _alone = alone();
    for result in foreign::results(&command(), None, &conformance::Options::default()) {
        let is_good = matches!(result.status, Status::Pass | Status::Unsupported);
        assert!(is_good, "{} {}: {}", result.id, result.status, result.words().join(", "));
    }
}

#[test]
fn the_agent_of_this_project_breaks_no_rule_in_conversations_of_seeds() {
    let _alone = alone();
    let question = parse_message("check-client-ip(=192.0.2.1)").expect("a message");
    let mut subject = Subject::start(&format!("exec {}", command()), None, false).expect("the agent starts");
    // The agent has as much time as a busy machine needs.
    let options = Options { question: Question::default(), timeout: Duration::from_secs(10) };
    let mut trial = Trial::new(&mut subject, &options);
    let mut notifys = 0;
    for (seed, profile) in (0..SEEDS).flat_map(|seed| [(seed, Profile::Mux), (seed, Profile::Applet)]) {
        let script = adapt(&generate(seed, profile), &question);
        let played = trial.play(&script).expect("sockets work");
        assert!(played.findings.is_empty(), "seed {seed}, {}: {:#?}\n{script}", profile.name(), played.findings);
        notifys += played.notifys;
    }
    assert!(notifys > SEEDS as usize, "expected more than {notifys} NOTIFYs");
}
