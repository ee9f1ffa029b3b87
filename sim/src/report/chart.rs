//! A trace as a sequence chart: HAProxy on the left, the agent on the right, time from top to bottom. The chart is one
//! HTML page without external files.

use std::fmt::Write;

use spoa_sim::outcome::Outcome;
use spoa_sim::script::{Nanos, Script};
use spoa_sim::trace::{Detail, Kind, Record};

/// Pixels between two rows.
const ROW: usize = 26;
/// The position of HAProxy's lane.
const LEFT: usize = 190;
/// The position of the agent's lane.
const RIGHT: usize = 850;
/// The number of characters that fit between the lanes.
const ARROW_LEN_MAX: usize = 88;
/// The number of characters that fit to the right of the lanes.
const NOTE_LEN_MAX: usize = 41;
const TOP: usize = 50;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>spoa-sim trace</title>
<style>
  :root { color-scheme: light dark; --ink: #1d2733; --dim: #67748a; --in: #1f6feb; --out: #1a7f37; --bad: #cf222e; --line: #d0d7de; --back: #fff }
  @media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #8b98a9; --in: #58a6ff; --out: #3fb950; --bad: #ff7b72; --line: #30363d; --back: #0d1117 } }
  body { background: var(--back); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem }
  h1 { font-size: 1.1rem; line-height: 1.35; margin: 0 0 .3rem } .verdict { color: var(--dim) } .verdict.bad { color: var(--bad); font-weight: 600 }
  svg { display: block; width: 100%; height: auto; margin: 1rem 0 } text { fill: var(--ink); font: 12px ui-monospace, monospace }
  .time, .note { fill: var(--dim) } .lane { stroke: var(--line) } .in { stroke: var(--in) } .out { stroke: var(--out) }
  .in-head { fill: var(--in) } .out-head { fill: var(--out) } .title { font: 600 13px system-ui, sans-serif }
  pre { border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; overflow-x: auto; font-size: 12px }
</style></head><body>
"#;

/// Returns the page for one run.
pub(super) fn page(script: &Script, outcome: &Outcome) -> String {
    let records: Vec<_> = outcome.trace.records().iter().filter(|record| is_shown(record)).collect();
    let mut page = String::from(HEAD);
    let title = if script.story.is_empty() { "A run of spoa-sim".into() } else { script.story.join(" ") };
    let _ = write!(page, "<h1>{}</h1>", escaped(&title));
    let _ = match &outcome.failure {
        Some(failure) => write!(page, "<p class=\"verdict bad\">{}</p>", escaped(&failure.to_string())),
        None => write!(page, "<p class=\"verdict\">Every check held. Trace {:032x}.</p>", outcome.trace.digest()),
    };
    lanes(&mut page, &records);
    let _ = writeln!(page, "<h1>Script</h1><pre>{}</pre></body></html>", escaped(&script.to_string()));
    page
}

fn is_shown(record: &Record) -> bool {
    record.kind != Kind::Eof
}

fn lanes(page: &mut String, records: &[&Record]) {
    let height = TOP + records.len() * ROW + 30;
    let _ = write!(page, "<svg viewBox=\"0 0 1160 {height}\" role=\"img\" aria-label=\"sequence chart\">");
    for (x, name) in [(LEFT, "HAProxy"), (RIGHT, "agent")] {
        let _ = write!(
            page,
            "<text class=\"title\" x=\"{x}\" y=\"22\" text-anchor=\"middle\">{name}</text>\
             <line class=\"lane\" x1=\"{x}\" y1=\"32\" x2=\"{x}\" y2=\"{}\"/>",
            height - 10
        );
    }
    let mut before: Option<Nanos> = None;
    for (n, record) in records.iter().enumerate() {
        let y = TOP + n * ROW;
        if before != Some(record.at) {
            let _ = write!(page, "<text class=\"time\" x=\"0\" y=\"{}\">{}</text>", y + 4, milliseconds(record.at));
            before = Some(record.at);
        }
        let _ = write!(page, "<text class=\"note\" x=\"120\" y=\"{}\">{}</text>", y + 4, record.link);
        row(page, y, record);
    }
    page.push_str("</svg>");
}

fn row(page: &mut String, y: usize, record: &Record) {
    let text = escaped(&label(record));
    match record.kind {
        Kind::Received | Kind::Connect | Kind::Fin | Kind::Reset => arrow(page, y, "in", LEFT, RIGHT, &text),
        Kind::Sent => arrow(page, y, "out", RIGHT, LEFT, &text),
        Kind::Event | Kind::Deadline | Kind::Stop | Kind::Shed | Kind::Eof | Kind::Lost => note(page, RIGHT, y, &text),
        Kind::LameDuck | Kind::Killed | Kind::Hung | Kind::Resumed | Kind::Launched => note(page, RIGHT, y, &text),
        Kind::Started | Kind::Asked | Kind::Answered | Kind::Checked | Kind::SoftStop => note(page, LEFT, y, &text),
    }
}

/// Writes the text of a record that concerns only one side, next to the lane of that side.
fn note(page: &mut String, lane: usize, y: usize, text: &str) {
    let _ = write!(page, "<text class=\"note\" x=\"{}\" y=\"{}\">{text}</text>", lane + 12, y + 4);
}

fn arrow(page: &mut String, y: usize, class: &str, from: usize, to: usize, text: &str) {
    let (tip, back) = if to > from { (to, to - 8) } else { (to, to + 8) };
    let _ = write!(
        page,
        "<line class=\"{class}\" x1=\"{from}\" y1=\"{y}\" x2=\"{to}\" y2=\"{y}\"/>\
         <path class=\"{class}-head\" d=\"M{tip} {y} L{back} {} L{back} {} Z\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
        y - 4,
        y + 4,
        usize::midpoint(LEFT, RIGHT),
        y - 5
    );
}

fn label(record: &Record) -> String {
    let text = match (&record.detail, record.kind) {
        (Detail::Words(words), Kind::Asked | Kind::Answered | Kind::SoftStop | Kind::Started) => {
            format!("{} {words}", record.kind.word())
        }
        (Detail::Words(words), _) => words.clone(),
        (Detail::Bytes(_), Kind::Received | Kind::Sent) => {
            let line = record.to_string();
            // The row already has the time and the link, and the direction of the arrow means received or sent.
            line.split_once(record.kind.word()).map(|(_, rest)| rest.trim().to_string()).unwrap_or_default()
        }
        (Detail::Bytes(_), kind) => kind.word().into(),
    };
    let is_on_the_right = matches!(record.kind, Kind::Event | Kind::Deadline | Kind::Stop | Kind::Shed);
    let len_max = if is_on_the_right { NOTE_LEN_MAX } else { ARROW_LEN_MAX };
    if text.chars().count() <= len_max {
        return text;
    }
    text.chars().take(len_max - 1).chain(['…']).collect()
}

fn milliseconds(at: Nanos) -> String {
    format!("{}.{:06} ms", at / 1_000_000, at % 1_000_000)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
