//! Files with the results that are expected of an agent.
//!
//! ```text
//! # An agent that closes the connection without a status.
//! 3.2.4/no-versions fail
//! 3.2.6/fragments unsupported
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use thiserror::Error;

use super::cases;
use super::run::CaseResult;
use super::verdict::Status;

/// The expected result of each case that a file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations(BTreeMap<String, Status>);

/// The cases that an agent is known to fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownFailing(Vec<String>);

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct LineError {
    /// The number of the line, from 1.
    pub line: usize,
    /// The reason.
    pub reason: String,
}

impl Expectations {
    /// Reads a file with a case and its result per line. Text after `#` is a comment.
    ///
    /// # Errors
    /// The first line that is no case and result, or names a case again.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut expected = BTreeMap::new();
        for (line, words) in lines(text) {
            let error = |reason: String| LineError { line, reason };
            let [id, status] = words[..] else { return Err(error("expected a case and its result".into())) };
            check_case(id).map_err(error)?;
            let status = Status::ALL.into_iter().find(|known| known.word() == status).ok_or_else(|| {
                error(format!("{status} is no result: expected pass, tolerated, unsupported or fail"))
            })?;
            if expected.insert(id.to_owned(), status).is_some() {
                return Err(error(format!("{id} occurs twice")));
            }
        }
        Ok(Self(expected))
    }

    /// Writes the results of a run as a file that expects them.
    pub fn write(results: &[CaseResult]) -> String {
        let mut text = String::new();
        for result in results {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{} {}", result.id, result.status);
        }
        text
    }

    /// Returns the expected result if `result` has another one. A case that the file does not name is expected not to fail.
    pub fn difference(&self, result: &CaseResult) -> Option<Status> {
        match self.0.get(&result.id) {
            Some(expected) => (*expected != result.status).then_some(*expected),
            None => (result.status == Status::Fail).then_some(Status::Pass),
        }
    }
}

impl KnownFailing {
    /// Reads a file with a case per line. Text after `#` is a comment.
    ///
    /// # Errors
    /// The first line that is no case.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut ids = Vec::new();
        for (line, words) in lines(text) {
            let error = |reason: String| LineError { line, reason };
            let [id] = words[..] else { return Err(error("expected one case".into())) };
            check_case(id).map_err(error)?;
            ids.push(id.to_owned());
        }
        Ok(Self(ids))
    }

    /// True if the agent is known to fail this case.
    pub fn contains(&self, id: &str) -> bool {
        self.0.iter().any(|known| known == id)
    }

    /// Returns the expected result if `result` has another one: a listed case has to fail, and no other may.
    pub fn difference(&self, result: &CaseResult) -> Option<Status> {
        match (self.0.contains(&result.id), result.status == Status::Fail) {
            (true, false) if result.status != Status::Unsupported => Some(Status::Fail),
            (false, true) => Some(Status::Pass),
            _ => None,
        }
    }
}

/// Returns the number and the words of each line that has any.
fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    (1..).zip(text.lines().map(words)).filter(|(_, words)| !words.is_empty())
}

fn words(line: &str) -> Vec<&str> {
    line.split('#').next().unwrap_or_default().split_whitespace().collect()
}

fn check_case(id: &str) -> Result<(), String> {
    if cases().any(|case| case.id == id) { Ok(()) } else { Err(format!("there is no case {id} (--list)")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Level;

    fn result(id: &str, status: Status) -> CaseResult {
        CaseResult {
            id: id.into(),
            level: Level::Must,
            rule: String::new(),
            source: String::new(),
            status,
            outcome: None,
            note: None,
            millis: 0,
            recording: String::new(),
        }
    }

    #[test]
    fn each_difference_from_a_file_is_found() {
        let expected = Expectations::parse("# an agent\n\n3.2.4/no-versions fail # accepts\n3.2.7/ack tolerated\n")
            .expect("a file");
        for (id, status, difference) in [
            ("3.2.4/no-versions", Status::Fail, None),
            ("3.2.4/no-versions", Status::Pass, Some(Status::Fail)),
            ("3.2.7/ack", Status::Pass, Some(Status::Tolerated)),
            ("3.2.4/hello", Status::Fail, Some(Status::Pass)),
            ("3.2.4/hello", Status::Unsupported, None),
        ] {
            assert_eq!(expected.difference(&result(id, status)), difference, "{id} {status}");
        }
        let written = Expectations::write(&[result("3.2.4/hello", Status::Pass), result("3.2.7/ack", Status::Fail)]);
        assert_eq!(written, "3.2.4/hello pass\n3.2.7/ack fail\n");
        assert!(Expectations::parse(&written).is_ok());
    }

    #[test]
    fn a_known_failure_that_passes_is_a_difference() {
        let known = KnownFailing::parse("3.2.4/no-versions\n").expect("a file");
        for (id, status, difference) in [
            ("3.2.4/no-versions", Status::Fail, None),
            ("3.2.4/no-versions", Status::Pass, Some(Status::Fail)),
            ("3.2.7/ack", Status::Fail, Some(Status::Pass)),
            ("3.2.7/ack", Status::Tolerated, None),
            ("3.2.4/no-versions", Status::Unsupported, None),
        ] {
            assert_eq!(known.difference(&result(id, status)), difference, "{id} {status}");
        }
    }

    #[test]
    fn bad_lines_are_reported() {
        for (text, line, part) in [
            ("3.2.7/ack", 1, "a case and its result"),
            ("\n3.2.7/ack works", 2, "works is no result"),
            ("3.2.7/x pass", 1, "there is no case 3.2.7/x"),
            ("3.2.7/ack pass\n3.2.7/ack fail", 2, "occurs twice"),
        ] {
            let error = Expectations::parse(text).expect_err(part);
            assert!(error.line == line && error.reason.contains(part), "{error}");
        }
        assert_eq!(KnownFailing::parse("3.2.7/ack fail").expect_err("two words").reason, "expected one case");
    }
}
