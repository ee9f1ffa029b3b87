//! Checks of whether somebody notices that events fail.

use crate::catalogue::{
    ERROR_UNREAD, EVERY_EVENT_LOGGED, FAIL_OPEN_UNNOTICED, LOG_LEVEL_HIDES_FAILURES, LOG_WITHOUT_TARGET,
};
use crate::checks::variables::Used;
use crate::finding::Finding;
use crate::setup::{Deployed, Setup};
use crate::source::Line;

/// The levels of a log that leave out warnings.
const SEVERE: [&str; 4] = ["emerg", "alert", "crit", "err"];

pub(super) fn check(setup: &Setup<'_>, deployed: &Deployed<'_>, used: &Used, findings: &mut Vec<Finding>) {
    let agent = &deployed.engine.agent;
    let Some(log) = agent.last("log") else { return unlogged(setup, deployed, used, findings) };
    let is_normal_hidden = agent.last("option dontlog-normal").is_some();
    if !is_normal_hidden {
        findings.push(Finding::new(&EVERY_EVENT_LOGGED, &log.place, &[]));
    }
    // A target of its own is enough.
    if agent.lines.iter().any(|line| line.word(0) == "log" && line.word(1) != "global") {
        return;
    }
    let targets: Vec<_> = setup.config.global.iter().filter(|line| line.word(0) == "log").collect();
    if targets.is_empty() {
        findings.push(Finding::new(&LOG_WITHOUT_TARGET, &log.place, &[]));
    }
    // `log TARGET [len N] [format F] FACILITY [LEVEL [MIN]]`
    let hiding: Vec<_> =
        targets.iter().filter_map(|line| Some((line, level(line).filter(|level| SEVERE.contains(level))?))).collect();
    if let Some((line, level)) = hiding.first().filter(|_| hiding.len() == targets.len()) {
        findings.push(Finding::new(&LOG_LEVEL_HIDES_FAILURES, &line.place, &[("level", level)]));
    }
}

/// Returns the level of a log line: the word after the facility.
fn level(line: &Line) -> Option<&str> {
    const FACILITIES: [&str; 16] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2", "ftp", "ntp",
        "audit", "alert", "cron2",
    ];
    let is_facility = |word: &String| FACILITIES.contains(&word.as_str()) || word.starts_with("local");
    let at = line.words.iter().skip(2).position(is_facility)? + 2;
    line.words.get(at + 1).map(String::as_str)
}

fn unlogged(setup: &Setup<'_>, deployed: &Deployed<'_>, used: &Used, findings: &mut Vec<Finding>) {
    let agent = &deployed.engine.agent;
    match agent.last("option set-on-error") {
        None => findings.push(Finding::new(&FAIL_OPEN_UNNOTICED, &agent.place, &[])),
        Some(line) => {
            let variable = format!("txn.{}.{}", agent.prefix(), line.word(2));
            if !used.errors.contains(&variable) && !setup.mentions(&variable) {
                findings.push(Finding::new(&ERROR_UNREAD, &line.place, &[("variable", &variable)]));
            }
        }
    }
}
