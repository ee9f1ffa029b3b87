//! The checker of the simulator: a second implementation of the rules for an agent.
//!
//! An [`Oracle`] receives every input of one connection and computes the events, output and deadlines that the agent
//! must produce. It shares no code with the core, not even the codec. Both may still misunderstand the specification in
//! the same way, but a mistake in only one of them is found.

#![forbid(unsafe_code)]

mod answers;
pub mod codec;
mod counts;
mod fragments;
mod hello;
mod limits;
mod oracle;

#[cfg(test)]
#[path = "../../../tests/vectors/mod.rs"]
mod vectors;

pub use answers::Answer;
pub use counts::Counts;
pub use limits::Limits;
pub use oracle::{Event, Oracle, Reason};
