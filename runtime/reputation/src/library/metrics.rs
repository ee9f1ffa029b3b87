//! The metrics of the lists: a row for each gauge of a list, and the outcomes of reloads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Library, Refused, Shared, lock};
use crate::list::{List, REASONS};
use spoa_runtime::{Families, Source, Unit};

/// A gauge of each list.
struct Row {
    /// The name, without the prefix `spoa_list_` and the suffix of the unit.
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    /// Returns the value, if the list has one.
    value: fn(&List, &State) -> Option<f64>,
}

/// The state of lists that is not in the lists themselves.
struct State {
    refused: Refused,
    checked: BTreeMap<String, SystemTime>,
}

const ROWS: [Row; 7] = [
    Row { name: "prefixes", help: "Prefixes in a list.", unit: None, value: |list, _| Some(list.prefixes() as f64) },
    Row {
        name: "entries",
        help: "Addresses, prefixes and ranges in the file of a list.",
        unit: None,
        value: |list, _| Some(list.detected().entries as f64),
    },
    Row {
        name: "cover_ratio",
        help: "Share of all public addresses that a list covers, of IPv4 or of IPv6, whichever is larger. Overlapping prefixes count \
               twice.",
        unit: None,
        value: |list, _| Some(list.cover()),
    },
    Row {
        name: "bad_lines",
        help: "Lines of a list that could not be read as an address, prefix or range.",
        unit: None,
        value: |list, _| Some(list.bad_lines() as f64),
    },
    Row {
        name: "written_timestamp",
        help: "Modification time of the file of a list in use, in seconds since 1970.",
        unit: Some(Unit::Seconds),
        value: |list, _| list.written().map(since_1970),
    },
    Row {
        name: "checked_timestamp",
        help: "When the downloader last found a list to be the newest version, in seconds since 1970; only for lists with a file \
               .NAME.checked beside them.",
        unit: Some(Unit::Seconds),
        value: |list, state| state.checked.get(&list.config().name).copied().map(since_1970),
    },
    Row {
        name: "refused",
        help: "1 if the last load of a list failed: its previous version is in use or, if it was never loaded, an empty list.",
        unit: None,
        value: |list, state| Some(f64::from(u8::from(state.refused.contains_key(&list.config().name)))),
    },
];

fn since_1970(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The size, age and state of each list, and the outcomes of reloads.
impl Source for Library {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let Shared { edition, refused, counts, verdicts, checked, loaded, failed, configurations_refused, .. } =
            &*self.0;
        counts.write(families)?;
        let edition = edition.load();
        verdicts.write(counts, edition.has_shadow(), families)?;
        let state = State { refused: lock(refused).clone(), checked: lock(checked).clone() };
        let help = "Generation of the lists in use; that of the start is 1.";
        families.gauge("lists_generation", help, edition.generation)?;
        for Row { name, help, unit, value } in &ROWS {
            let label = |list: &List| [("list", list.config().name.clone())];
            // Those without a file have bans only, which are counted elsewhere.
            let lists = edition.lists.iter().filter(|list| list.config().path.is_some());
            let values = lists.filter_map(|list| Some((label(list), value(list, &state)?)));
            families.gauges(&format!("list_{name}"), help, *unit, values)?;
        }
        let help = "Configurations that could not be used at a SIGHUP, so that the previous one stayed in use.";
        families.counter("configurations_refused", help, configurations_refused.load(Ordering::Relaxed))?;
        let reasons = || REASONS.into_iter().zip(failed.iter().map(|count| count.load(Ordering::Relaxed)));
        let refused = reasons().map(|(_, count)| count).sum();
        let results = [("loaded", loaded.load(Ordering::Relaxed)), ("refused", refused)];
        let results = results.into_iter().map(|(result, count)| ([("result", result.to_owned())], count));
        families.counters("list_reloads", "Loads of lists, by result.", results)?;
        let reasons = reasons().map(|(reason, count)| ([("reason", reason.to_owned())], count));
        families.counters("list_refusals", "Loads of lists that were refused, by reason.", reasons)
    }
}
