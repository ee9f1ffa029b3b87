//! Symptoms in the logs of HAProxy and of the agent.

use spoa_tests::agent::run;
use spoa_tests::folder::Folder;

use super::Seen;
use super::scene::Scene;

/// The start of HAProxy's lines about events.
const EVENT: &str = "SPOE: ";

/// A listed client passes because its event fails, and the log has no line about it.
pub(super) fn failure_not_logged(scene: &Scene<'_>) -> Seen {
    assert_eq!(scene.listed(), 200, "the listed client passes because its event fails");
    let count = events(scene);
    Seen { has_symptom: count == 0, what: format!("{count} events in the log") }
}

/// Events without an error are logged too.
pub(super) fn good_events_logged(scene: &Scene<'_>) -> Seen {
    const EVENTS: usize = 3;
    for _ in 0..EVENTS {
        assert_eq!(scene.unlisted(), 200, "the client that is not listed");
    }
    let count = events(scene);
    Seen { has_symptom: count >= EVENTS, what: format!("{EVENTS} events, {count} of them in the log") }
}

/// Returns the number of events in HAProxy's log. HAProxy logs an event before it responds to the request.
///
/// # Panics
/// If `spoa doctor --log` does not explain each of them.
fn events(scene: &Scene<'_>) -> usize {
    scene.log.wait_for_sent();
    let count = scene.log.lines.count(EVENT);
    if count > 0 {
        assert_eq!(explained(&scene.log.lines.all()), count as u64);
    }
    count
}

/// Returns the number of events that `spoa doctor --log` explains.
fn explained(lines: &[String]) -> u64 {
    let folder = Folder::with(&[("log", lines.join("\n").as_bytes())]);
    let output = run(&["doctor", "--json", "--log", &folder.path("log").display().to_string()]);
    let report = String::from_utf8_lossy(&output.stdout);
    let counts = report.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        line["count"].as_u64().expect("a count is a number")
    });
    counts.sum()
}

/// The agent logs a text. It does so before it listens.
pub(super) fn agent_log_contains(scene: &Scene<'_>) -> Seen {
    let lines = scene.agent.log();
    Seen { has_symptom: lines.iter().any(|line| line.contains(&scene.symptom.text)), what: format!("{lines:#?}") }
}
