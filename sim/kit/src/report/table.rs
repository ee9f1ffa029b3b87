//! Results as lines of text.

use std::fmt::Write as _;

use super::Report;
use crate::conformance::{CaseResult, Status, Verdict};

/// Returns the lines of one result: the result, its case and what was seen; for anything but a pass also the verdicts.
pub fn result_lines(result: &CaseResult) -> String {
    let mut text = format!("{:<11} {:<38}", result.status, result.id);
    let Some(outcome) = &result.outcome else {
        let _ = write!(text, " {}", result.note.as_deref().unwrap_or_default());
        return text;
    };
    let _ = write!(text, " {} | {}", outcome.answer.got, outcome.end.got);
    if result.status == Status::Fail {
        let _ = write!(text, "\n{:13}{}: {}", "", result.level.word(), result.rule);
    }
    for (judged, what) in [(&outcome.answer, "answer"), (&outcome.end, "end")] {
        match &judged.verdict {
            Verdict::Good => {}
            Verdict::Tolerated(better) => {
                let _ = write!(text, "\n{:13}better {what}: {better}", "");
            }
            Verdict::Wrong(expected) => {
                let _ = write!(text, "\n{:13}expected {what}: {expected}", "");
            }
        }
    }
    if let Some(note) = &result.note {
        let _ = write!(text, "\n{:13}{note}", "");
    }
    text
}

/// Returns one line with the number of results of each kind.
pub fn summary(report: &Report) -> String {
    let counts = Status::ALL.map(|status| format!("{} {status}", report.count(status)));
    format!("{}: {}", report.agent, counts.join(", "))
}

/// Returns a Markdown table of several agents: a row per case, and a column per agent.
pub fn matrix(reports: &[Report]) -> String {
    let mut text = String::from("| case | level |");
    for report in reports {
        let _ = write!(text, " {} |", report.agent.replace('|', "\\|"));
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(reports.len()));
    text.push('\n');
    for (id, level) in rows(reports) {
        let _ = write!(text, "| `{id}` | {level} |");
        for report in reports {
            let result = report.results.iter().find(|result| result.id == id);
            let _ = write!(text, " {} |", result.map_or("", |result| cell(result.status)));
        }
        text.push('\n');
    }
    text.push_str("| **passed, tolerated, unsupported, failed** | |");
    for report in reports {
        let counts = Status::ALL.map(|status| report.count(status).to_string());
        let _ = write!(text, " {} |", counts.join(", "));
    }
    text.push('\n');
    text
}

/// Returns the cases of all reports and their levels, each once, in the order of the first report that has it.
pub(super) fn rows(reports: &[Report]) -> Vec<(&str, &'static str)> {
    let mut rows: Vec<(&str, &'static str)> = Vec::new();
    for result in reports.iter().flat_map(|report| &report.results) {
        if !rows.iter().any(|(id, _)| *id == result.id) {
            rows.push((&result.id, result.level.word()));
        }
    }
    rows
}

const fn cell(status: Status) -> &'static str {
    match status {
        Status::Pass => "✓",
        Status::Tolerated => "~",
        Status::Unsupported => "–",
        Status::Fail => "**✗**",
    }
}
