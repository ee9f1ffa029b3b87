//! A trace as a sequence chart: HAProxy on the left, a lifeline of the agent for each connection, time from top to bottom. The chart
//! is one HTML page without external files.

use std::fmt::Write;

use spoa_sim::failure::Failure;
use spoa_sim::outcome::Outcome;
use spoa_sim::script::{Link, Nanos, Script};
use spoa_sim::trace::{Detail, Kind, Record};

/// Pixels between two rows.
const ROW: usize = 26;
/// The position of HAProxy's lifeline.
const LEFT: usize = 150;
/// The position of the first lifeline of the agent, and the distance between two of them.
const FIRST: usize = 720;
const DISTANCE: usize = 70;
/// The width of the notes to the right of the lifelines.
const NOTES: usize = 420;
/// The number of characters that fit between HAProxy and the first lifeline.
const ARROW_LEN_MAX: usize = 74;
/// The number of characters that fit to the right of the lifelines.
const NOTE_LEN_MAX: usize = 54;
const TOP: usize = 50;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>spoa-sim trace</title>
<style>
  :root { color-scheme: light dark; --ink: #1d2733; --dim: #67748a; --in: #1f6feb; --out: #1a7f37; --bad: #cf222e; --line: #d0d7de; --back: #fff }
  @media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #8b98a9; --in: #58a6ff; --out: #3fb950; --bad: #ff7b72; --line: #30363d; --back: #0d1117 } }
  body { background: var(--back); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; padding: 0 1rem }
  h1 { font-size: 1.1rem; line-height: 1.35; margin: 0 0 .3rem } .verdict { color: var(--dim) } .verdict.bad { color: var(--bad); font-weight: 600 }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem .8rem; margin: .4rem 0 } dt { color: var(--dim) } dd { margin: 0; font: 12px/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
  dd.expected { color: var(--out) } dd.got { color: var(--bad) }
  div.chart { overflow-x: auto } svg { display: block; margin: 1rem 0 } text { fill: var(--ink); font: 12px ui-monospace, monospace }
  .time, .note { fill: var(--dim) } .lane { stroke: var(--line) } .live { stroke: var(--dim); stroke-width: 3 } .in { stroke: var(--in) } .out { stroke: var(--out) }
  .in-head { fill: var(--in) } .out-head { fill: var(--out) } .title { font: 600 13px system-ui, sans-serif } .bad { fill: var(--bad) }
  pre { border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; overflow-x: auto; font-size: 12px }
</style></head><body>
"#;

/// Returns the page for one run.
pub(super) fn page(script: &Script, outcome: &Outcome) -> String {
    let records: Vec<_> = outcome.trace.records().iter().filter(|record| is_shown(record)).collect();
    let mut page = String::from(HEAD);
    let title = if script.story.is_empty() { "A run of spoa-sim".into() } else { script.story.join(" ") };
    let _ = write!(page, "<h1>{}</h1>", escaped(&title));
    match &outcome.failure {
        Some(failure) => verdict(&mut page, failure),
        None => {
            let _ = write!(page, "<p class=\"verdict\">Every check held. Trace {:032x}.</p>", outcome.trace.digest());
        }
    }
    Chart::of(&records).write(&mut page, &records, outcome.failure.as_ref());
    let _ = writeln!(page, "<h1>Script</h1><pre>{}</pre></body></html>", escaped(&script.to_string()));
    page
}

/// Writes what failed, with the expected and the actual value in lines of their own.
fn verdict(page: &mut String, failure: &Failure) {
    let Failure { check, state, link, step, detail, .. } = failure;
    let _ = write!(page, "<p class=\"verdict bad\">{check} is wrong on {link} ({state}), step {step}</p>");
    let _ = match detail.strip_prefix("expected ").and_then(|rest| rest.split_once(", got ")) {
        Some((expected, got)) => write!(
            page,
            "<dl><dt>expected</dt><dd class=\"expected\">{}</dd><dt>got</dt><dd class=\"got\">{}</dd></dl>",
            escaped(expected),
            escaped(got)
        ),
        None => write!(page, "<dl><dt>what</dt><dd class=\"got\">{}</dd></dl>", escaped(detail)),
    };
}

fn is_shown(record: &Record) -> bool {
    record.kind != Kind::Eof
}

/// The lifelines of a chart.
struct Chart {
    /// The connections, each with the rows of its first and last record.
    links: Vec<(Link, usize, usize)>,
}

impl Chart {
    fn of(records: &[&Record]) -> Self {
        let mut links: Vec<(Link, usize, usize)> = Vec::new();
        for (row, record) in records.iter().enumerate() {
            if !is_connection(record.link) {
                continue;
            }
            match links.iter_mut().find(|(link, ..)| *link == record.link) {
                Some((.., last)) => *last = row,
                None => links.push((record.link, row, row)),
            }
        }
        Self { links }
    }

    /// Returns the position of the lifeline of a link; for what is no connection that of the first one.
    fn lane(&self, link: Link) -> usize {
        FIRST + DISTANCE * self.links.iter().position(|(other, ..)| *other == link).unwrap_or(0)
    }

    /// Returns the position of the notes.
    fn notes(&self) -> usize {
        FIRST + DISTANCE * self.links.len().saturating_sub(1) + 14
    }

    fn write(&self, page: &mut String, records: &[&Record], failure: Option<&Failure>) {
        let height = TOP + (records.len() + 1) * ROW + 30;
        let width = self.notes() + NOTES;
        let _ = write!(
            page,
            "<div class=\"chart\"><svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"sequence chart\">"
        );
        self.lifelines(page, height);
        let mut before: Option<Nanos> = None;
        for (n, record) in records.iter().enumerate() {
            let y = TOP + n * ROW;
            if before != Some(record.at) {
                let _ = write!(page, "<text class=\"time\" x=\"0\" y=\"{}\">{}</text>", y + 4, milliseconds(record.at));
                before = Some(record.at);
            }
            self.row(page, y, record);
        }
        if let Some(failure) = failure {
            let (y, lane) = (TOP + records.len() * ROW, self.lane(failure.link));
            let _ = write!(
                page,
                "<g><title>{}</title><path class=\"bad\" d=\"M{lane} {} l7 12 l-14 0 Z\"/>\
                 <text class=\"bad\" x=\"{}\" y=\"{}\">{}</text></g>",
                escaped(&failure.to_string()),
                y - 8,
                self.notes(),
                y + 4,
                escaped(&cut(&format!("{} is wrong", failure.check), NOTE_LEN_MAX))
            );
        }
        page.push_str("</svg></div>");
    }

    fn lifelines(&self, page: &mut String, height: usize) {
        let _ = write!(
            page,
            "<text class=\"title\" x=\"{LEFT}\" y=\"22\" text-anchor=\"middle\">HAProxy</text>\
             <line class=\"lane\" x1=\"{LEFT}\" y1=\"32\" x2=\"{LEFT}\" y2=\"{}\"/>",
            height - 10
        );
        for (link, first, last) in &self.links {
            let x = self.lane(*link);
            let _ = write!(
                page,
                "<text class=\"title\" x=\"{x}\" y=\"22\" text-anchor=\"middle\">{link}</text>\
                 <line class=\"lane\" x1=\"{x}\" y1=\"32\" x2=\"{x}\" y2=\"{}\"/>\
                 <line class=\"live\" x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{}\"/>",
                height - 10,
                TOP + first * ROW,
                TOP + last * ROW
            );
        }
    }

    fn row(&self, page: &mut String, y: usize, record: &Record) {
        let full = label(record);
        let lane = self.lane(record.link);
        let _ = write!(page, "<g><title>{}</title>", escaped(&format!("{} {full}", record.link)));
        match record.kind {
            Kind::Received | Kind::Connect | Kind::Fin | Kind::Reset => arrow(page, y, "in", LEFT, lane, &full),
            Kind::Sent => arrow(page, y, "out", lane, LEFT, &full),
            Kind::Started | Kind::Asked | Kind::Answered | Kind::Checked | Kind::SoftStop => {
                note(page, LEFT + 12, y, &format!("{} {full}", record.link), ARROW_LEN_MAX);
            }
            _ => note(page, self.notes(), y, &format!("{} {full}", record.link), NOTE_LEN_MAX),
        }
        page.push_str("</g>");
    }
}

/// True for a link that is one connection.
const fn is_connection(link: Link) -> bool {
    matches!(link, Link::Scripted(_) | Link::Of(..))
}

/// Writes the text of a record that concerns only one side.
fn note(page: &mut String, x: usize, y: usize, text: &str, len_max: usize) {
    let _ = write!(page, "<text class=\"note\" x=\"{x}\" y=\"{}\">{}</text>", y + 4, escaped(&cut(text, len_max)));
}

fn arrow(page: &mut String, y: usize, class: &str, from: usize, to: usize, text: &str) {
    let (tip, back) = if to > from { (to, to - 8) } else { (to, to + 8) };
    let _ = write!(
        page,
        "<line class=\"{class}\" x1=\"{from}\" y1=\"{y}\" x2=\"{to}\" y2=\"{y}\"/>\
         <path class=\"{class}-head\" d=\"M{tip} {y} L{back} {} L{back} {} Z\"/>\
         <text x=\"{}\" y=\"{}\">{}</text>",
        y - 4,
        y + 4,
        LEFT + 12,
        y - 5,
        escaped(&cut(text, ARROW_LEN_MAX))
    );
}

/// Returns the whole text of a record.
fn label(record: &Record) -> String {
    match (&record.detail, record.kind) {
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
    }
}

/// Cuts a text that does not fit. The whole text is shown when the pointer is on it.
fn cut(text: &str, len_max: usize) -> String {
    if text.chars().count() <= len_max {
        return text.into();
    }
    text.chars().take(len_max - 1).chain(['…']).collect()
}

fn milliseconds(at: Nanos) -> String {
    format!("{}.{:06} ms", at / 1_000_000, at % 1_000_000)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
