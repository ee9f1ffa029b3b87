//! The cases, by section of SPOE.txt.

mod disconnect;
mod fragments;
mod handshake;
mod hello;
mod hostile;
mod malformed;
mod notify;
mod stop;

use super::case::Case;

/// All cases, in the order in which they run. Those that may end the agent are last.
pub(super) const ALL: &[&[Case]] = &[
    handshake::CASES,
    hello::CASES,
    notify::CASES,
    malformed::CASES,
    fragments::CASES,
    disconnect::CASES,
    hostile::CASES,
    stop::CASES,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::conformance::cases;

    #[test]
    fn cases_have_ids_of_their_own_and_complete_texts() {
        let mut ids = BTreeSet::new();
        for case in cases() {
            assert!(ids.insert(case.id), "{} occurs twice", case.id);
            let (section, name) = case.id.split_once('/').expect("a section and a name");
            assert!(section.starts_with("3.") && section.chars().all(|c| c == '.' || c.is_ascii_digit()), "{section}");
            assert!(name.chars().all(|c| c == '-' || c.is_ascii_alphanumeric()), "{name}");
            assert!(case.rule.ends_with('.') && !case.source.is_empty(), "{}", case.id);
        }
        assert!(ids.len() >= 100, "expected at least 100 cases, got {}", ids.len());
    }
}
