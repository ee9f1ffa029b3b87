//! The state of a list in one line of the log.

use std::time::{Duration, SystemTime};

use spoa_reputation::List;
use spoa_runtime::text::Count;

/// The end of a line about an optional list that was never loaded.
const EMPTY: &str = "the list is optional, and empty until its file can be used";

/// Logs a list that is in use, as a warning if it has bad lines.
pub(crate) fn log_list(list: &List) {
    let (name, prefixes, bad_lines) = (&list.config().name, list.prefixes(), list.bad_lines());
    if bad_lines > 0 {
        tracing::warn!(list = name, prefixes, bad_lines, "{}", summary(list));
    } else {
        tracing::info!(list = name, prefixes, bad_lines, "{}", summary(list));
    }
}

/// Logs the reason why the file of a list cannot be used, and the version that is in use.
pub(crate) fn log_refused(list: &List, error: &str) {
    let name = &list.config().name;
    if list.written().is_none() {
        tracing::warn!(list = name, error, "{error}; {EMPTY}");
    } else {
        tracing::error!(list = name, error, "{error}; the previous version stays in use: {}", summary(list));
    }
}

/// Returns the size, age and faults of a list in one line.
fn summary(list: &List) -> String {
    let (name, prefixes) = (&list.config().name, Count(list.prefixes(), "prefix"));
    let shadow = if list.config().shadow { ", in shadow mode" } else { "" };
    let Some(written) = list.written() else {
        let state = if list.config().path.is_some() { "not loaded yet" } else { "has bans only" };
        return format!("list {name}: {state}{shadow}");
    };
    let mut text = format!("list {name}: {prefixes}{shadow}, written {} ago", age(written, SystemTime::now()));
    if let Some((number, error)) = list.bad().next() {
        let count = Count(list.bad_lines(), "bad line");
        let path = list.config().path.as_ref().map_or_else(String::new, |path| path.display().to_string());
        text += &format!(", {count}, the first is {path}:{number}:{}: {error}", error.column);
    }
    text
}

/// Returns the time between two times in its largest unit.
fn age(then: SystemTime, now: SystemTime) -> String {
    // A clock may have been set back.
    let seconds = now.duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
