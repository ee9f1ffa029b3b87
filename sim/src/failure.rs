//! A failure that a run found.

use std::any::Any;
use std::fmt;

use crate::script::{Link, Nanos};
use crate::text::Time;

/// Something that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The aspect that was checked.
    pub check: &'static str,
    /// The state the connection had to be in.
    pub state: &'static str,
    /// The connection.
    pub link: Link,
    /// The step of the script, from 1; one more than there are for what comes after the last.
    pub step: usize,
    /// When.
    pub at: Nanos,
    /// The expected and the actual value.
    pub detail: String,
}

/// The identity of a failure: two with the same one have the same cause, whatever led to them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint {
    check: &'static str,
    state: &'static str,
    kind: String,
}

impl Failure {
    /// Returns its identity.
    pub fn fingerprint(&self) -> Fingerprint {
        // Numbers differ from script to script; the words say what kind of thing it is.
        let words = self.detail.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).take(4);
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

/// Says where two outputs part.
pub fn compare_output(found: &[u8], wanted: &[u8]) -> String {
    let same = found.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    // Whole frames before that are of no interest.
    let (mut from, mut frame) = (0, 0);
    while let Some(length) = wanted.get(from..from + 4) {
        let len = 4 + u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if from + len > same {
            break;
        }
        from += len;
        frame += 1;
    }
    format!("{}, instead of {}, after {frame} frames", Frames(&found[from..]), Frames(&wanted[from..]))
}

/// The first few frames of an output.
struct Frames<'b>(&'b [u8]);

impl fmt::Display for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        match spoa_core::wire::Frame::split(self.0) {
            Ok(Some((frame, []))) => write!(f, "{frame}"),
            Ok(Some((frame, rest))) => write!(f, "{frame} and {} bytes more", rest.len()),
            _ => write!(f, "{} bytes that are no frame", self.0.len()),
        }
    }
}
