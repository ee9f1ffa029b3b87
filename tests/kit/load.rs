//! The load of the kit, on an agent with and without faults.

use std::time::Duration;

use spoa_sim_kit::conformance::Question;
use spoa_sim_kit::load::{Figures, Load, LoadError, Pattern};
use spoa_sim_kit::subject::Subject;

use crate::AGENT;

const PIPELINE: Pattern = Pattern::Pipeline { connections: 3, in_flight: 16, warm_up: Duration::from_millis(10) };
const CHURN: Pattern = Pattern::Churn { clients: 2 };

/// Runs a load for a moment against the agent with a fault.
fn run(fault: &str, pattern: Pattern, question: Question) -> Result<Figures, LoadError> {
    let subject = Subject::start(&format!("exec {AGENT} {fault} {{port}}"), None, false).expect("the agent starts");
    let (address, pid) = (subject.address().clone(), subject.pid());
    Load { address, pid, pattern, time: Duration::from_millis(100), question }.run()
}

#[test]
fn a_load_has_figures() {
    for pattern in [PIPELINE, CHURN] {
        let figures = run("none", pattern, Question::default()).expect("every NOTIFY is answered");
        let Figures { acks, p50_us, p99_us, p999_us, max_us, .. } = figures;
        assert!(acks > 0 && p50_us > 0 && p50_us <= p99_us && p99_us <= p999_us && p999_us <= max_us, "{figures:?}");
        assert!((figures.acks_per_second * figures.seconds - acks as f64).abs() < 1.0, "{figures:?}");
        assert!(figures.cpu_us_per_ack.is_some(), "{figures:?}");
    }
}

#[test]
fn a_wrong_answer_ends_a_load() {
    for pattern in [PIPELINE, CHURN] {
        let error = run("3.2.7/ack", pattern, Question::default()).expect_err("the ACK has another frame-id");
        assert!(matches!(error, LoadError::Answer(_)), "{error}");
        let error = run("3.2.4/hello", pattern, Question::default()).expect_err("the AGENT-HELLO has a stream-id");
        assert!(matches!(error, LoadError::Handshake(_)), "{error}");
        let question = Question { variable: Some("other".into()), ..Question::default() };
        let error = run("none", pattern, question).expect_err("there is no such variable");
        assert!(matches!(error, LoadError::Variable(_)), "{error}");
    }
}

#[test]
fn an_agent_that_stops_answering_ends_a_load() {
    let error = run("3.2.6/one-after-the-other", PIPELINE, Question::default()).expect_err("a NOTIFY is not answered");
    assert!(matches!(error, LoadError::Silence), "{error}");
    let nowhere = Load {
        address: "127.0.0.1:1".parse().expect("an address"),
        pid: None,
        pattern: PIPELINE,
        time: Duration::from_secs(1),
        question: Question::default(),
    };
    assert!(matches!(nowhere.run(), Err(LoadError::Io(_))));
}
