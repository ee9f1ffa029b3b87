//! The report of findings, as text and as JSON, and all kinds of findings for the manual.

use std::collections::BTreeMap;

use serde::Serialize;
use spoa_doctor::{Diagnosis, Finding, KINDS, Kind, Severity};
use spoa_runtime::text::{Count, Escaped};

/// Returns the report: findings by severity, the worst first. `is_agent_known` is true if the agent's configuration was read.
pub(super) fn text(diagnosis: &Diagnosis, is_agent_known: bool) -> String {
    let mut text = String::new();
    let mut by_severity = BTreeMap::<_, Vec<&Finding>>::new();
    for finding in &diagnosis.findings {
        by_severity.entry(finding.kind.severity).or_default().push(finding);
    }
    for (severity, findings) in by_severity {
        text += &format!("{}:\n", severity.name());
        for Finding { kind, place, happens, cure } in findings {
            let lines = [
                format!("  {place}: {} [{}]", kind.title, kind.id),
                format!("    {happens}"),
                format!("    What to do: {cure}"),
            ];
            lines.iter().for_each(|line| text += &format!("{}\n", Escaped(line)));
        }
    }
    if diagnosis.findings.is_empty() && diagnosis.engines > 0 {
        text += &format!("nothing found in the setup of {}\n", Count(diagnosis.engines as u64, "engine"));
    }
    if diagnosis.engines > 0 && !is_agent_known {
        text += "note: without the agent's configuration (.toml) its variables and arguments are not checked\n";
    }
    text
}

/// Returns all kinds of findings as Markdown.
pub(crate) fn findings() -> String {
    let mut text = String::new();
    for severity in Severity::ALL {
        text += &format!("\n{}:\n\n", upper_first(severity.name()));
        for kind in KINDS.iter().filter(|kind| kind.severity == severity) {
            let (title, happens, cure) = (kind.title, Kind::general(kind.happens), Kind::general(kind.cure));
            text += &format!("- `{}`: {}. {happens} {cure}\n", kind.id, upper_first(title));
        }
    }
    text
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A finding as JSON.
#[derive(Serialize)]
struct Line<'f> {
    id: &'f str,
    severity: &'f str,
    file: &'f str,
    line: usize,
    title: &'f str,
    happens: &'f str,
    cure: &'f str,
}

/// Returns a line of JSON per finding, in the order of files and lines.
pub(super) fn json(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for Finding { kind, place, happens, cure } in &diagnosis.findings {
        let (file, line) = (&*place.file, place.line);
        let severity = kind.severity.name();
        let line = Line { id: kind.id, severity, file, line, title: kind.title, happens, cure };
        text += &serde_json::to_string(&line).expect("a line has no maps, whose keys could be no strings");
        text.push('\n');
    }
    text
}
