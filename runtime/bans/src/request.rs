//! Checks a requested change against the lists in use.

use std::borrow::Cow;

use spoa_reputation::{Edition, ListConfig, SCORE_MAX};

use crate::clock::Moment;
use crate::record::{Action, Record, Timestamp};

/// The list of [`Action::Ban`] by default.
pub const BANS: &str = "bans";
/// The list of [`Action::Allow`] by default.
pub const ALLOWED: &str = "allowed";

/// The longest reason and the longest origin, in bytes.
const TEXT_MAX: usize = 200;

/// The longest time that a ban can have, in seconds: a hundred years.
const SECONDS_MAX: f64 = 100.0 * 365.25 * 86_400.0;

/// The milliseconds that the clock of another agent may be ahead. A change from the far future would hide all later ones.
const AHEAD_MAX: u64 = 3_600_000;

/// Checks a change that adds a ban, and fills in its list and its end. A removal needs neither.
///
/// # Errors
/// A text for people says what is wrong.
pub(crate) fn resolve<'r>(mut record: Record<'r>, edition: &Edition, now: Moment) -> Result<Record<'r>, String> {
    let configured = |name: &str| edition.config.lists.iter().find(|list| list.name == name);
    if let Some(time) = record.changed.max(record.created).filter(|time| time.0 > now.wall.saturating_add(AHEAD_MAX)) {
        return Err(format!("it was changed at {time}, which is in the future: compare the clocks of the machines"));
    }
    if record.action == Action::Remove {
        return Ok(record);
    }
    let is_allowed = record.action == Action::Allow;
    let default = Cow::Borrowed(if is_allowed { ALLOWED } else { BANS });
    let name = record.list.get_or_insert(default).clone();
    let list =
        configured(&name).ok_or_else(|| format!("no list is called {name}: the lists are {}", names(edition)))?;
    match (is_allowed, list.allow) {
        (false, true) => return Err(format!("the list {name} allows its addresses: use \"allow\", or another list")),
        (true, false) => {
            return Err(format!("the list {name} does not allow its addresses: use \"ban\", or another list"));
        }
        _ => {}
    }
    check_cover(&record, list)?;
    if record.score.is_some_and(|score| u32::from(score) > SCORE_MAX) {
        return Err(format!("the score has to be from 0 to {SCORE_MAX}"));
    }
    let texts = [
        ("name of the list", &*name),
        ("reason", &*record.reason),
        ("origin", record.origin.as_deref().unwrap_or_default()),
    ];
    for (name, text) in texts {
        if text.len() > TEXT_MAX {
            return Err(format!("the {name} has {} bytes; at most {TEXT_MAX} are possible", text.len()));
        }
    }
    record.until = match (record.seconds.take(), record.until) {
        (Some(_), Some(_)) => return Err("\"for\" and \"until\" exclude each other".into()),
        (Some(seconds), None) if seconds > 0.0 && seconds <= SECONDS_MAX => {
            Some(Timestamp(now.wall.saturating_add((seconds * 1000.0) as u64)))
        }
        (Some(_), None) => return Err("\"for\" has to be a time above 0 s, of at most 100 years".into()),
        (None, until) => until,
    };
    match (record.created, record.until) {
        // A copy of the ban of another agent, which has a time, may arrive late.
        (None, Some(until)) if until.0 <= now.wall && record.changed.is_none() => {
            Err(format!("its end, {until}, is over"))
        }
        (Some(created), Some(until)) if created >= until => {
            Err(format!("its end, {until}, is not after it was created"))
        }
        _ => Ok(record),
    }
}

/// Checks that a slip of the hand does not ban half of the internet.
fn check_cover(record: &Record<'_>, list: &ListConfig) -> Result<(), String> {
    let (prefix, max) = (record.address.0, list.prefix_cover_max());
    let percent = prefix.cover();
    if percent > max {
        return Err(format!(
            "{prefix} covers {percent:.1} % of all public addresses of its family; at most {max} % are possible (max-cover of the \
             list {})",
            list.name
        ));
    }
    Ok(())
}

fn names(edition: &Edition) -> String {
    let names: Vec<_> = edition.config.lists.iter().map(|list| list.name.as_str()).collect();
    names.join(", ")
}
