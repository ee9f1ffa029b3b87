//! The judge of the simulator: what an agent has to do, written a second time.
//!
//! An [`Oracle`] is told everything that is done to one connection, works out on its own what must come of it, and
//! compares. It shares no code with the core, its codec included; where both agree, both may still be wrong, but not
//! by the same slip of the pen.

#![forbid(unsafe_code)]

mod answers;
mod counts;
mod fragments;
mod hello;
mod limits;
mod oracle;
mod read;
pub mod write;

pub use answers::Answer;
pub use counts::Counts;
pub use limits::Limits;
pub use oracle::{Event, Oracle, SILENT};
