//! HAProxy's side of SPOP 2.0, the Stream Processing Offload Protocol, as machines without I/O: what the simulator
//! plays against the agent, and what recordings of real HAProxy are held against.
//!
//! Nothing here comes from the agent's own crates, so that a mistake there cannot hide here. Rules carry where they come
//! from: SPOE.txt, or the function of HAProxy's source, or the number (`#1340` is haproxy/haproxy#1340).
//!
//! - [`Process`]: one HAProxy process, of the [mux engine](Engine::Mux) or the [applet engine](Engine::Applet), with the
//!   [bugs](Defects) of single versions on demand.
//! - [`codec`]: the bytes.
//! - [`recording`] and [`accepts`]: conversations taken from real HAProxy, and whether the model could have had them.

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
mod settings;
mod time;

pub use accept::{Mismatch, Variant, accepts};
pub use check::{CHECK_CRASHED, CHECK_UP};
pub use output::{Action, EventId, LinkId, Outcome};
pub use process::Process;
pub use settings::{Defects, Engine, Settings};
pub use time::{MICROSECOND, MILLISECOND, SECOND, Time};

#[cfg(test)]
mod testing;
