//! Warnings about a setup that protects nothing, and about faults of the agent.

use spoa_runtime::text::{Count, Escaped};

use super::format::{count, span};
use super::reading::{Reading, Rise};

/// The uptime in seconds after which health checks without a NOTIFY are a fault of the configuration.
const NOTIFY_EXPECTED_AFTER: f64 = 300.0;

/// As the alert SpoaListNotChecked: after a start the downloader has its time.
const CHECK_EXPECTED_AFTER: f64 = 900.0;
/// The age of a check in seconds that is a fault.
const CHECK_AGE_MAX: f64 = 6.0 * 3600.0;

/// The number of warnings of one kind about lists that are shown, so that they do not hide others.
const LISTS_SHOWN: usize = 5;

/// Returns warnings, the most important first. `refused` has the lists that could not be loaded, with the cause.
pub(super) fn of(now: &Reading, rise: Option<Rise<'_>>, refused: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    setup(now, &mut found);
    if let Some(rise) = rise {
        unread_addresses(now, rise, &mut found);
    }
    lists(now, refused, &mut found);
    if let Some(rise) = rise {
        events(rise, &mut found);
    }
    found
}

/// Adds warnings that hold until the configuration or the agent changes.
fn setup(now: &Reading, found: &mut Vec<String>) {
    if now.sum("spoa_healthy", &[]) == 0.0 {
        found.push("A thread does not respond: /healthz returns 503. The log names the thread.".into());
    }
    if !now.has("spoa_lists_generation") {
        found.push("No lists are configured: scores are random and protect nothing.".into());
    }
    let unsaved = now.sum("spoa_bans_unsaved", &[]);
    if unsaved > 0.0 {
        let unsaved = count(unsaved);
        found.push(format!(
            "Changes of bans could not be written ({unsaved}), so that a restart undoes them. The log has the cause."
        ));
    }
    let checks = now.sum("spoa_hellos_total", &[("kind", "health_check")]);
    if now.uptime() > NOTIFY_EXPECTED_AFTER && checks > 0.0 && now.sum("spoa_notifies_total", &[]) == 0.0 {
        found.push(
            "HAProxy checks the agent's health but has sent no NOTIFY. Is there a \"filter spoe\" line in a frontend that has \
             traffic, and does the event of the message occur?"
                .into(),
        );
    }
    let unknown = now.sum("spoa_messages_total", &[("message", "(other)")]);
    if unknown > 0.0 {
        let unknown = count(unknown);
        found.push(format!(
            "HAProxy has sent messages that no message rule serves ({unknown} since the start): their clients pass. The log names \
             them."
        ));
    }
}

/// Adds warnings about arguments that held no address since the last reading.
fn unread_addresses(now: &Reading, rise: Rise<'_>, found: &mut Vec<String>) {
    const FAMILY: &str = "spoa_strings_without_address_total";
    for sample in now.all(FAMILY) {
        let (message, argument) = (sample.label("message"), sample.label("argument"));
        let before = rise.before.sum(FAMILY, &[("message", message), ("argument", argument)]);
        if sample.value > before {
            let total = count(sample.value);
            let (message, argument) = (Escaped(message), Escaped(argument));
            found.push(format!(
                "Strings in {argument} of {message} hold no address ({total} since the start): their clients pass."
            ));
        }
    }
}

/// Adds warnings about lists that are old.
fn lists(now: &Reading, refused: &[(String, String)], found: &mut Vec<String>) {
    let refused = refused.iter().map(|(_, error)| {
        let error = Escaped(error);
        format!("Not loaded: {error}. The previous version of the list stays in use; without one, the list is empty.")
    });
    add_few(refused, found);
    if now.uptime() > CHECK_EXPECTED_AFTER {
        let late = now.all("spoa_list_checked_timestamp_seconds").iter().filter_map(|sample| {
            let (age, list) = (now.age(sample.value), Escaped(sample.label("list")));
            let text =
                || format!("The last successful check for a new version of the list {list} was {} ago.", span(age));
            (age > CHECK_AGE_MAX).then(text)
        });
        add_few(late, found);
    }
}

/// Adds the first lines, of which there may be one per list, and the number of the others.
fn add_few(lines: impl Iterator<Item = String>, found: &mut Vec<String>) {
    let mut lines = lines.peekable();
    found.extend(lines.by_ref().take(LISTS_SHOWN));
    if lines.peek().is_some() {
        found.push(format!("The same holds for {}.", Count(lines.count() as u64, "more list")));
    }
}

/// Adds warnings about something that happened since the last reading.
fn events(rise: Rise<'_>, found: &mut Vec<String>) {
    let mut warn = |families: &[&str], wanted: &[(&str, &str)], text: &str| {
        if families.iter().any(|family| rise.of(family, wanted) > 0.0) {
            found.push(text.to_owned());
        }
    };
    let unanswered = "Events get an empty ACK because the agent failed to answer them, and their clients get no score. The log has the cause.";
    warn(&["spoa_acks_total"], &[("kind", "unanswered")], unanswered);
    let expired = "Events get an empty ACK because their answer was late, and their clients get no score.";
    warn(&["spoa_acks_total"], &[("kind", "expired")], expired);
    let refused = "A configuration was refused at a SIGHUP. The log names the error.";
    warn(&["spoa_configurations_refused_total"], &[], refused);
    let rejected = "Connections are rejected, because --connections-max is reached.";
    warn(&["spoa_connections_turned_away_total", "spoa_connections_dropped_total"], &[], rejected);
    let invalid = "A client of the agent's port does not speak valid SPOP. The log names it.";
    warn(&["spoa_protocol_errors_total"], &[], invalid);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: &str = "spoa_healthy 1\nspoa_lists_generation 1\n";

    fn warnings(text: &str, before: &str) -> Vec<String> {
        let read = |text: &str| Reading::new(&format!("{HEALTHY}{text}"), Vec::new());
        let (now, before) = (read(text), read(before));
        of(&now, Some(Rise { now: &now, before: &before }), &[])
    }

    /// Each fault is shown, and nothing else.
    #[test]
    fn each_fault_has_its_warning() {
        let start = |seconds| {
            let now = std::time::UNIX_EPOCH.elapsed().expect("the clock is after 1970").as_secs_f64();
            format!("process_start_time_seconds {}\n", now - seconds)
        };
        let (young, old) = (start(200.0), start(2000.0));
        let check = "spoa_hellos_total{kind=\"health_check\"} 9\n";
        assert_eq!(warnings("", ""), [""; 0]);
        assert_eq!(warnings(&format!("{young}{check}"), ""), [""; 0]);
        for (now, part) in [
            (format!("{old}{check}spoa_notifies_total 0\n"), "has sent no NOTIFY"),
            ("spoa_messages_total{message=\"(other)\"} 7\n".into(), "serves (7 since the start)"),
            (
                "spoa_strings_without_address_total{message=\"m\",argument=\"a\"} 2\n".into(),
                "Strings in a of m hold no address (2 since",
            ),
            (format!("{old}spoa_list_checked_timestamp_seconds{{list=\"l\"}} 1000\n"), "version of the list l was"),
            ("spoa_bans_unsaved 3\n".into(), "Changes of bans could not be written (3)"),
            ("spoa_acks_total{kind=\"unanswered\"} 1\n".into(), "failed to answer"),
            ("spoa_acks_total{kind=\"expired\"} 1\n".into(), "was late"),
            ("spoa_configurations_refused_total 1\n".into(), "at a SIGHUP"),
            ("spoa_connections_dropped_total 1\n".into(), "are rejected"),
            ("spoa_protocol_errors_total{kind=\"malformed\"} 1\n".into(), "valid SPOP"),
        ] {
            let found = warnings(&now, "");
            assert!(found.len() == 1 && found[0].contains(part), "{now}: {found:?}");
            let lasts = ["has sent no NOTIFY", "could not be written", "since the start)", "the list l was"];
            let is_lasting = lasts.iter().any(|text| part.contains(text));
            assert_eq!(warnings(&now, &now).len(), usize::from(is_lasting), "{now}");
        }
        let dead = of(&Reading::new("spoa_healthy 0\n", Vec::new()), None, &[]);
        assert!(
            dead.len() == 2 && dead[0].contains("A thread does not respond") && dead[1].contains("No lists"),
            "{dead:?}"
        );
    }

    #[test]
    fn many_lists_do_not_hide_other_warnings() {
        let refused: Vec<_> = (0..500).map(|n| (n.to_string(), format!("list {n}: is \u{1b} empty"))).collect();
        let found = of(&Reading::new(HEALTHY, Vec::new()), None, &refused);
        assert_eq!(found.len(), 6);
        assert!(found[0].starts_with("Not loaded: list 0: is \\u{1b} empty. "), "{found:?}");
        assert_eq!(found[5], "The same holds for 495 more lists.");
    }
}
