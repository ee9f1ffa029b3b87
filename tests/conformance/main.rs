//! The conformance table of SPOP 2.0 against the core, through bytes alone: each row is a test with its id in its name.
//!
//! H is about the handshake, N about NOTIFY and ACK, F about fragments, X about the end. `D(n)` is an AGENT-DISCONNECT
//! of code n with its canonical text, and nothing behind it.

mod clock;
mod disconnect;
mod ending;
mod fragments;
mod hello;
mod notify;
mod shared_limits;
