//! The tables of the status.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use spoa_runtime::Engine;
use spoa_runtime::text::Escaped;

use super::format::{NOTHING, count, or_nothing, per_second, span};
use super::reading::{Reading, Rise, Sample};
use crate::recent;

/// A table.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    /// Explains which rows are in the table; empty if that is obvious.
    pub(crate) note: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A column of a table.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// It has texts, aligned to the left, instead of numbers.
    pub(crate) is_text: bool,
}

/// Returns the tables that have rows, and that of messages.
pub(super) fn of(
    now: &Reading,
    rise: Option<Rise<'_>>,
    refused: &[(String, String)],
    recent: Vec<Vec<String>>,
) -> Vec<Table> {
    let others = [lists(now, refused), bans(now), engines(now, rise), recent_verdicts(recent)];
    let others = others.into_iter().filter(|table| !table.rows.is_empty());
    [messages(now, rise)].into_iter().chain(others).collect()
}

impl Table {
    /// Returns a table. The names of columns with texts begin with `<`.
    fn new(title: &str, note: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Self {
        let column = |name: &&str| {
            let text = name.strip_prefix('<');
            Column { name: text.unwrap_or(name).to_owned(), is_text: text.is_some() }
        };
        let escaped = |cell: String| Escaped(cell).to_string();
        Self {
            title: title.to_owned(),
            note: note.to_owned(),
            columns: columns.iter().map(column).collect(),
            rows: rows.into_iter().map(|cells| cells.into_iter().map(escaped).collect()).collect(),
        }
    }
}

fn messages(now: &Reading, rise: Option<Rise<'_>>) -> Table {
    let verdicts = now.by("spoa_verdicts_total", ["message", "verdict"]);
    let shadow = now.by("spoa_shadow_verdicts_total", ["message", "verdict"]);
    let (has_verdicts, has_shadow) = (now.has("spoa_verdicts_total"), now.has("spoa_shadow_verdicts_total"));
    let mut columns = vec!["<message", "rate", "count"];
    if has_verdicts {
        columns.extend(["listed", "unknown", "allow"]);
    }
    if has_shadow {
        columns.push("listed without shadow mode");
    }
    let row = |message: &str, total: f64| {
        let of = |counts: &BTreeMap<_, _>, verdict| or_nothing(counts.get(&[message, verdict]).copied(), count);
        let rate = or_nothing(rise, |rise| per_second(rise.rate("spoa_messages_total", &[("message", message)])));
        let name = if message == "(other)" { "not served" } else { message };
        let mut cells = vec![name.to_owned(), rate, count(total)];
        if has_verdicts {
            cells.extend(["listed", "unknown", "allow"].map(|verdict| of(&verdicts, verdict)));
        }
        if has_shadow {
            cells.push(of(&shadow, "listed"));
        }
        cells
    };
    let rows = now.all("spoa_messages_total").iter().map(|sample| row(sample.label("message"), sample.value)).collect();
    Table::new("Messages", "", &columns, rows)
}

/// The label of lists beyond the first thousand names, which are counted together.
const MORE_LISTS: &str = "(more)";

fn lists(now: &Reading, refused: &[(String, String)]) -> Table {
    let matches = now.by("spoa_list_matches_total", ["list", "mode"]);
    let [bad, written, checked] = ["bad_lines", "written_timestamp_seconds", "checked_timestamp_seconds"]
        .map(|name| now.by(&format!("spoa_list_{name}"), ["list", ""]));
    let has_shadow = now.all("spoa_list_matches_total").iter().any(|sample| sample.label("mode") == "shadow");
    let mut columns = vec!["<list", "matches"];
    if has_shadow {
        columns.push("matches in shadow mode");
    }
    columns.extend(["entries", "bad lines", "file written", "checked", "<last load"]);
    let counts = |list: &str| {
        let modes = if has_shadow { &["enforced", "shadow"][..] } else { &["enforced"] };
        let counts = modes.iter().map(|mode| or_nothing(matches.get(&[list, *mode]).copied(), count));
        [list.to_owned()].into_iter().chain(counts).collect::<Vec<_>>()
    };
    let age = |time: Option<&f64>| or_nothing(time, |time| span(now.age(*time)) + " ago");
    let mut rows = Vec::new();
    for sample in now.all("spoa_list_entries") {
        let list = sample.label("list");
        let is_refused = refused.iter().any(|(name, _)| name == list);
        let state = if is_refused { "refused" } else { "ok" }.to_owned();
        let mut cells = counts(list);
        cells.extend([count(sample.value), or_nothing(bad.get(&[list, ""]).copied(), count)]);
        cells.extend([age(written.get(&[list, ""])), age(checked.get(&[list, ""])), state]);
        rows.push(cells);
    }
    if matches.contains_key(&[MORE_LISTS, "enforced"]) {
        let mut cells = counts(MORE_LISTS);
        cells.resize(columns.len(), NOTHING.to_owned());
        rows.push(cells);
    }
    Table::new("Lists", "", &columns, rows)
}

fn bans(now: &Reading) -> Table {
    let [added, removed, expired] =
        ["added", "removed", "expired"].map(|what| now.by(&format!("spoa_bans_{what}_total"), ["list", "origin"]));
    let row = |sample: &Sample| {
        let key = [sample.label("list"), sample.label("origin")];
        let of = |counts: &BTreeMap<_, _>| or_nothing(counts.get(&key).copied(), count);
        [key[0].to_owned(), key[1].to_owned(), count(sample.value), of(&added), of(&removed), of(&expired)].into()
    };
    let rows = now.all("spoa_bans").iter().map(row).collect();
    let columns = ["<list", "<added by", "in effect", "added", "removed", "ended"];
    Table::new("Bans", "", &columns, rows)
}

fn engines(now: &Reading, rise: Option<Rise<'_>>) -> Table {
    let note = "A row for each SPOE filter since HAProxy 3.1, and for each filter and thread up to 3.0, that was connected within \
                the last hour. The version is guessed from the HELLO; the last change is that of the number of connections. Health checks name no \
                engine and are not shown.";
    let columns = ["<HAProxy", "<version", "rate", "NOTIFYs", "connections", "first seen", "last change", "<engine-id"];
    let ago = |time: SystemTime| span(now.time.duration_since(time).unwrap_or_default().as_secs_f64()) + " ago";
    let row = |engine: &Engine| {
        vec![
            engine.peer.clone(),
            engine.versions.to_string(),
            or_nothing(rise.and_then(|rise| rise.engine_rate(engine)), per_second),
            count(engine.notifies as f64),
            count(engine.connections as f64),
            ago(engine.first_seen),
            ago(engine.last_change),
            engine.id.clone().unwrap_or_else(|| NOTHING.to_owned()),
        ]
    };
    Table::new("HAProxy processes", note, &columns, now.engines.iter().map(row).collect())
}

fn recent_verdicts(rows: Vec<Vec<String>>) -> Table {
    let note =
        "Also those that would be listed without shadow mode. The first ten of each second are kept, fifty in all.";
    Table::new("Recent listed verdicts", note, &recent::COLUMNS, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(table: &Table) -> Vec<String> {
        table.rows.iter().map(|row| row.join("|")).collect()
    }

    #[test]
    fn tables_have_a_row_for_each_label() {
        let now = Reading::new(
            "spoa_messages_total{message=\"m\"} 3\nspoa_messages_total{message=\"(other)\"} 1\n\
             spoa_verdicts_total{message=\"m\",verdict=\"listed\"} 2\nspoa_verdicts_total{message=\"m\",verdict=\"allow\"} 0\n\
             spoa_list_entries{list=\"a\\n\"} 1234\nspoa_list_entries{list=\"b\"} 0\n\
             spoa_list_bad_lines{list=\"b\"} 5\nspoa_list_matches_total{list=\"b\",mode=\"enforced\"} 7\n\
             spoa_list_matches_total{list=\"(more)\",mode=\"enforced\"} 9\n",
            Vec::new(),
        );
        let tables = of(&now, None, &[("b".into(), "is gone".into())], Vec::new());
        let titles: Vec<_> = tables.iter().map(|table| &*table.title).collect();
        assert_eq!(titles, ["Messages", "Lists"]);
        assert_eq!(texts(&tables[0]), ["m|–|3|2|–|0", "not served|–|1|–|–|–"]);
        let lists = ["a\\n|–|1\u{202f}234|–|–|–|ok", "b|7|0|5|–|–|refused", "(more)|9|–|–|–|–|–"];
        assert_eq!(texts(&tables[1]), lists);
        for table in &tables {
            assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{table:?}");
        }
    }
}
