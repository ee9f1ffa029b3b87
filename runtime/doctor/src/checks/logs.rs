//! Checks of whether somebody notices that events fail.

use crate::catalogue::{
    ERROR_UNREAD, EVERY_EVENT_LOGGED, FAIL_OPEN_UNNOTICED, LOG_LEVEL_HIDES_FAILURES, LOG_WITHOUT_TARGET,
};
use crate::checks::variables::Used;
use crate::finding::Finding;
use crate::setup::{Deployed, Setup};

/// The levels of a log that leave out warnings.
const SEVERE: [&str; 4] = ["emerg", "alert", "crit", "err"];

pub(super) fn check(setup: &Setup<'_>, deployed: &Deployed<'_>, used: &Used, findings: &mut Vec<Finding>) {
    let agent = &deployed.engine.agent;
    let Some(log) = agent.last("log") else { return unlogged(deployed, used, findings) };
    let is_normal_hidden = agent.last("option dontlog-normal").is_some();
    if !is_normal_hidden {
        findings.push(Finding::new(&EVERY_EVENT_LOGGED, &log.place, &[]));
    }
    if log.word(1) != "global" {
        return;
    }
    let targets: Vec<_> = setup.config.global.iter().filter(|line| line.word(0) == "log").collect();
    if targets.is_empty() {
        findings.push(Finding::new(&LOG_WITHOUT_TARGET, &log.place, &[]));
    }
    // `log TARGET [len N] [format F] FACILITY [LEVEL]`
    let hiding: Vec<_> = targets
        .iter()
        .filter_map(|line| Some((line, line.words.iter().skip(2).find(|w| SEVERE.contains(&w.as_str()))?)))
        .collect();
    if let Some((line, level)) = hiding.first().filter(|_| hiding.len() == targets.len()) {
        findings.push(Finding::new(&LOG_LEVEL_HIDES_FAILURES, &line.place, &[("level", level)]));
    }
}

fn unlogged(deployed: &Deployed<'_>, used: &Used, findings: &mut Vec<Finding>) {
    let agent = &deployed.engine.agent;
    match agent.last("option set-on-error") {
        None => findings.push(Finding::new(&FAIL_OPEN_UNNOTICED, &agent.place, &[])),
        Some(line) => {
            let variable = format!("txn.{}.{}", agent.prefix(), line.word(2));
            if !used.errors.contains(&variable) {
                findings.push(Finding::new(&ERROR_UNREAD, &line.place, &[("variable", &variable)]));
            }
        }
    }
}
