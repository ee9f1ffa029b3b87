//! The data that the page and `spoa top` show: texts in the order in which people read them.

use serde::{Deserialize, Serialize};
use spoa_runtime::text::Escaped;

use super::format::{at_most, count, mebibytes, or_nothing, per_second, span};
use super::reading::{Reading, Rise};
use super::tables::{self, Column, Table};
use super::warnings;

/// The status of an agent.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// `serving`, `stopping` or `not healthy`.
    pub(crate) state: String,
    pub(crate) tone: Tone,
    /// The version, and the time since the start.
    pub(crate) about: String,
    /// The time over which rates and times are computed.
    pub(crate) span: String,
    /// It has lists, so that it can be asked about addresses.
    pub(crate) has_lists: bool,
    /// The part that bans have on the page.
    #[serde(default)]
    pub(crate) bans: BanAccess,
    /// Faults that an operator should know of, the most important first.
    pub(crate) warnings: Vec<String>,
    /// Names and values.
    pub(crate) numbers: Vec<(String, String)>,
    pub(crate) tables: Vec<Table>,
}

/// The things that the page can do with bans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BanAccess {
    /// There are none.
    #[default]
    None,
    /// It shows them, but cannot change them.
    Shown,
    /// It can change them with the token.
    Token,
}

/// The colour of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tone {
    Good,
    Warn,
    Bad,
}

impl Status {
    /// Returns the status with texts that are safe for a terminal, even if another program has sent it.
    pub(crate) fn escaped(self) -> Self {
        let text = |text: String| Escaped(text).to_string();
        let texts = |texts: Vec<String>| texts.into_iter().map(text).collect();
        let column = |column: Column| Column { name: text(column.name), ..column };
        let table = |table: Table| Table {
            title: text(table.title),
            note: text(table.note),
            columns: table.columns.into_iter().map(column).collect(),
            rows: table.rows.into_iter().map(texts).collect(),
        };
        Self {
            state: text(self.state),
            about: text(self.about),
            span: text(self.span),
            warnings: texts(self.warnings),
            numbers: self.numbers.into_iter().map(|(name, value)| (text(name), text(value))).collect(),
            tables: self.tables.into_iter().map(table).collect(),
            ..self
        }
    }

    /// Returns the status in this reading. `refused` has the lists that could not be loaded, and `recent` the rows of the last
    /// verdicts.
    pub(super) fn new(
        now: &Reading,
        rise: Option<Rise<'_>>,
        refused: &[(String, String)],
        recent: Vec<Vec<String>>,
    ) -> Self {
        let (state, tone) = if now.sum("spoa_healthy", &[]) == 0.0 {
            ("not healthy", Tone::Bad)
        } else if now.sum("spoa_up", &[]) == 0.0 {
            ("stopping", Tone::Warn)
        } else {
            ("serving", Tone::Good)
        };
        Self {
            state: state.into(),
            tone,
            about: about(now),
            span: span(rise.map_or(0.0, Rise::seconds)),
            has_lists: now.has("spoa_lists_generation"),
            bans: BanAccess::None,
            warnings: warnings::of(now, rise, refused),
            numbers: numbers(now, rise),
            tables: tables::of(now, rise, refused, recent),
        }
    }
}

fn about(now: &Reading) -> String {
    let build = now.all("spoa_build_info").first();
    let label = |name| build.map_or("", |build| build.label(name));
    format!("{} ({}), started {} ago", Escaped(label("version")), Escaped(label("commit")), span(now.uptime()))
}

fn numbers(now: &Reading, rise: Option<Rise<'_>>) -> Vec<(String, String)> {
    let rate = |family, wanted: &[_]| or_nothing(rise, |rise| per_second(rise.rate(family, wanted)));
    let sum = |family| count(now.sum(family, &[]));
    let hellos = |kind| count(now.sum("spoa_hellos_total", &[("kind", kind)]));
    let largest = largest_bound(now);
    let time = |share| or_nothing(rise.and_then(|rise| quantile(rise, share)), |bound| at_most(bound, largest));
    let mut numbers =
        vec![("NOTIFYs", rate("spoa_notifies_total", &[])), ("NOTIFYs since the start", sum("spoa_notifies_total"))];
    if now.has("spoa_verdicts_total") {
        numbers.push(("Listed", rate("spoa_verdicts_total", &[("verdict", "listed")])));
    }
    numbers.extend([
        ("Time to an answer, median", time(0.5)),
        ("Time to an answer, 99\u{a0}%", time(0.99)),
        ("NOTIFYs in flight", sum("spoa_notifies_in_flight")),
        ("Connections", format!("{} of {}", sum("spoa_connections"), sum("spoa_connections_limit"))),
        ("HELLOs accepted", hellos("accepted")),
        ("HELLOs refused", hellos("refused")),
        ("Health checks", hellos("health_check")),
        ("Memory", mebibytes(now.sum("process_resident_memory_bytes", &[]))),
    ]);
    numbers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

const ANSWERS: &str = "spoa_handler_seconds_bucket";

/// Returns the upper bound of a bucket of the answers' times; infinity for the last one.
fn bound(text: &str) -> f64 {
    if text == "+Inf" { f64::INFINITY } else { text.parse().unwrap_or(f64::NAN) }
}

/// Returns the largest finite bound of the answers' times in seconds.
fn largest_bound(now: &Reading) -> f64 {
    let bounds = now.all(ANSWERS).iter().map(|sample| bound(sample.label("le")));
    bounds.filter(|bound| bound.is_finite()).fold(0.0, f64::max)
}

/// Returns the upper bound of the bucket that holds this share of the answers since the last reading, in seconds; `None` if too few
/// were measured.
fn quantile(rise: Rise<'_>, share: f64) -> Option<f64> {
    // One in 64 immediate answers is measured, and each deferred one.
    let weight = |answer: &str| if answer == "in_place" { 64.0 } else { 1.0 };
    let mut bounds = Vec::<(f64, f64)>::new();
    for sample in rise.now.all(ANSWERS) {
        let (answer, le) = (sample.label("answer"), sample.label("le"));
        let count = (sample.value - rise.before.sum(ANSWERS, &[("answer", answer), ("le", le)])) * weight(answer);
        match bounds.iter_mut().find(|(known, _)| *known == bound(le)) {
            Some((_, counts)) => *counts += count,
            None => bounds.push((bound(le), count)),
        }
    }
    if rise.of("spoa_handler_seconds_count", &[]) * (1.0 - share) < 1.0 {
        return None;
    }
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (_, total) = *bounds.last()?;
    bounds.iter().find(|(_, below)| *below >= share * total).map(|(bound, _)| *bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(now: &str, before: Option<&str>) -> Status {
        let now = Reading::new(now, Vec::new());
        let before = before.map(|text| Reading::new(text, Vec::new()));
        let rise = before.as_ref().map(|before| Rise { now: &now, before });
        Status::new(&now, rise, &[], Vec::new())
    }

    fn number<'s>(status: &'s Status, name: &str) -> &'s str {
        &status.numbers.iter().find(|(known, _)| known == name).expect("the number is shown").1
    }

    #[test]
    fn the_state_is_that_of_the_health() {
        for (healthy, up, state, tone) in
            [(1, 1, "serving", Tone::Good), (1, 0, "stopping", Tone::Warn), (0, 1, "not healthy", Tone::Bad)]
        {
            let status = status(&format!("spoa_healthy {healthy}\nspoa_up {up}\n"), None);
            assert_eq!((&*status.state, status.tone), (state, tone));
        }
    }

    /// Immediate answers weigh 64 times as much as deferred ones, because one in 64 of them is measured.
    #[test]
    fn times_of_answers_are_upper_bounds_of_those_since_the_last_reading() {
        let answers = |in_place: [u32; 3], deferred: [u32; 3]| {
            let mut text = String::new();
            for (answer, [small, large, all]) in [("in_place", in_place), ("deferred", deferred)] {
                for (le, count) in [("1e-06", small), ("10.0", large), ("+Inf", all)] {
                    text += &format!("spoa_handler_seconds_bucket{{le=\"{le}\",answer=\"{answer}\"}} {count}\n");
                }
                text += &format!("spoa_handler_seconds_count{{answer=\"{answer}\"}} {all}\n");
            }
            text
        };
        let before = answers([0, 0, 5], [0, 0, 0]);
        let show = |now: String| {
            let status = status(&now, Some(&before));
            let times = ["Time to an answer, median", "Time to an answer, 99\u{a0}%"];
            times.map(|name| number(&status, name).to_owned())
        };
        assert_eq!(show(before.clone()), ["–", "–"]);
        assert_eq!(show(answers([2, 2, 7], [0, 0, 0])), ["≤ 1 µs", "–"]);
        assert_eq!(show(answers([100, 100, 105], [0, 50, 50])), ["≤ 1 µs", "≤ 1 µs"]);
        assert_eq!(show(answers([100, 100, 105], [0, 6000, 6001])), ["≤ 1 µs", "≤ 10 s"]);
        assert_eq!(show(answers([1, 1, 6], [0, 0, 640])), ["> 10 s", "> 10 s"]);
    }

    #[test]
    fn every_text_is_safe_for_a_terminal() {
        let texts = "spoa_build_info{version=\"\u{1b}\",commit=\"c\"} 1\nspoa_messages_total{message=\"m\"} 3\n";
        let json = serde_json::to_string(&status(texts, None)).expect("it is JSON");
        let texts = ["rate", "Messages", "serving", "not healthy", "NOTIFYs", "No lists", "–", "0 s"];
        let hostile =
            texts.iter().fold(json, |json, text| json.replace(&format!("\"{text}"), &format!("\"\\u001b[2J{text}")));
        let status = serde_json::from_str::<Status>(&hostile).expect("it is a status").escaped();
        let shown = serde_json::to_string(&status).expect("it is JSON");
        assert!(shown.contains("\\\\u{1b}[2J") && !shown.contains("\\u001b"), "{shown}");
    }

    #[test]
    fn a_status_survives_json() {
        let status = status("spoa_healthy 1\nspoa_up 1\nspoa_messages_total{message=\"m\"} 3\n", None);
        let json = serde_json::to_string(&status).expect("it is JSON");
        assert_eq!(serde_json::from_str::<Status>(&json).expect("it is a status"), status);
        assert_eq!(number(&status, "NOTIFYs"), "–");
    }
}
