//! The conformance of an agent: one case per rule of the protocol, each with a verdict on what the agent answered and on how
//! the connection ended.
//!
//! A rule is a section of HAProxy's SPOE.txt, or something that HAProxy does and the document does not say. For every case
//! there is an agent with one planted fault in the tests that fails it.

mod case;
mod cases;
mod expected;
mod hello;
mod play;
mod question;
mod run;
mod verdict;

pub use case::{Case, Engine, Level, Needs};
pub use expected::{Expectations, KnownFailing, LineError};
pub use hello::Announced;
pub(crate) use hello::disconnect_code;
pub(crate) use play::{FRAME_SIZE, HEADER_MAX};
pub use question::Question;
pub use run::{CaseResult, Options, Run, Selection};
pub use verdict::{Judged, Outcome, Status, Verdict};

/// Returns all cases, in the order in which they run.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    cases::ALL.iter().copied().flatten()
}
