//! Models of HAProxy's side of SPOP 2.0, the Stream Processing Offload Protocol, without I/O. The simulator runs them
//! against the agent, and tests compare them with recordings of real HAProxy.
//!
//! This crate depends on none of the agent's crates, so that they cannot share a mistake. Comments name the source of a
//! rule: a section of SPOE.txt, a function of HAProxy, or an issue (`#1340` is haproxy/haproxy#1340).
//!
//! - [`Process`]: one HAProxy process with the [mux engine](Engine::Mux) or the [applet engine](Engine::Applet), and
//!   optionally with the [bugs](Defects) of particular versions.
//! - [`codec`]: encoding and decoding of frames.
//! - [`recording`] and [`accepts`]: recorded conversations of real HAProxy, and the check that the model could have
//!   produced a recording.

#![forbid(unsafe_code)]

pub mod accept;
mod applet;
mod check;
pub mod codec;
mod conditions;
mod mux;
mod output;
mod process;
pub mod recording;
mod servers;
mod settings;
mod time;

pub use accept::{Mismatch, Variant, accepts};
pub use check::{CHECK_CRASHED, CHECK_UP};
pub use output::{Action, EventId, LinkId, Outcome};
pub use process::Process;
pub use servers::ServerId;
pub use settings::{Defects, Engine, Settings};
pub use time::{MICROSECOND, MILLISECOND, SECOND, Time};

#[cfg(test)]
mod testing;
#[cfg(test)]
#[path = "../../../tests/vectors/mod.rs"]
mod vectors;
