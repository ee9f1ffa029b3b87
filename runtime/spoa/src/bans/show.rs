//! A ban as a line of text.

use std::time::Duration;

use spoa_bans::{Action, Moment, Record, Timestamp};

/// Returns a line such as `192.0.2.7 banned in list bans, score 5, until 2026-11-28 08:00:00 UTC (in 2h), by alice: scans`. It is
/// not escaped.
pub(super) fn line(ban: &Record<'_>, now: Moment) -> String {
    let action = if ban.action == Action::Allow { "allowed" } else { "banned" };
    let mut text = format!("{} {action} in list {}", ban.address.0, ban.list.as_deref().unwrap_or_default());
    if let Some(score) = ban.score {
        text += &format!(", score {score}");
    }
    text += &match ban.until {
        Some(until) => format!(", {}", end(until, now)),
        None => ", without an end".into(),
    };
    if let Some(origin) = &ban.origin {
        text += &format!(", by {origin}");
    }
    if !ban.reason.is_empty() {
        text += &format!(": {}", ban.reason);
    }
    text
}

/// Returns `until 2026-11-28 08:00:00 UTC (in 2h)`.
fn end(until: Timestamp, now: Moment) -> String {
    let text = until.to_string();
    let seconds = text.split('.').next().unwrap_or(&text).replace('T', " ");
    let left = Duration::from_secs(until.0.saturating_sub(now.wall).div_ceil(1000));
    format!("until {seconds} UTC (in {})", humantime::format_duration(left))
}
