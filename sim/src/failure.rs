//! Failures, which end a run.

use std::any::Any;
use std::fmt;

use crate::script::{Link, Nanos};
use crate::text::Time;

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The name of the check.
    pub check: &'static str,
    /// The state that the connection should have.
    pub state: &'static str,
    /// The connection, or the process.
    pub link: Link,
    /// The step of the script, from 1. A failure after the last step has the number of steps plus 1.
    pub step: usize,
    /// The time.
    pub at: Nanos,
    /// A description. If values are compared, it is `expected EXPECTED, got ACTUAL`.
    pub detail: String,
}

/// The identity of a failure. Failures with the same fingerprint are assumed to have the same cause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint {
    check: &'static str,
    state: &'static str,
    kind: String,
}

impl Failure {
    /// Returns the fingerprint: check, state and the first four words of the description.
    pub fn fingerprint(&self) -> Fingerprint {
        // The actual value comes first, because it distinguishes causes better than the expected value does.
        let parts = self.detail.split_once(", got ").filter(|_| self.detail.starts_with("expected "));
        let (expected, actual) = parts.unwrap_or(("", &self.detail));
        // Numbers are left out, because they differ between scripts that fail for the same cause.
        let words = [actual, expected].into_iter().flat_map(|part| part.split(|c: char| !c.is_alphabetic()));
        let words = words.filter(|word| !word.is_empty()).take(4);
        Fingerprint { check: self.check, state: self.state, kind: words.collect::<Vec<_>>().join("-").to_lowercase() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, state, link, step, at, detail } = self;
        write!(f, "{check} is wrong on {link} ({state}), step {step}, at {}: {detail}", Time(*at))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.check, self.state, self.kind)
    }
}

/// Returns the message of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message")
}

/// Describes the first difference of two outputs.
pub fn compare_output(actual: &[u8], expected: &[u8]) -> String {
    let same = actual.iter().zip(expected).take_while(|(a, b)| a == b).count();
    // Whole frames that are equal are skipped.
    let (mut from, mut frame) = (0, 1);
    while let Some(length) = expected.get(from..from + 4) {
        let len = 4 + u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if from + len > same {
            break;
        }
        from += len;
        frame += 1;
    }
    format!("expected {} at frame {frame}, got {}", Frames(&expected[from..]), Frames(&actual[from..]))
}

/// Displays the first frame of an output, and the number of bytes after it.
struct Frames<'b>(&'b [u8]);

impl fmt::Display for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        match spoa_core::wire::Frame::split(self.0) {
            Ok(Some((frame, []))) => write!(f, "{frame}"),
            Ok(Some((frame, rest))) => write!(f, "{frame} and {} more bytes", rest.len()),
            _ => write!(f, "{} bytes that are not a frame", self.0.len()),
        }
    }
}
