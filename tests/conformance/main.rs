//! Tests the core against the conformance table of SPOP 2.0, without sockets. Each row of the table is at least one
//! test, whose name starts with the id of the row.
//!
//! Rows H are about the handshake, N about NOTIFY and ACK, F about fragments, and X about the end of a connection.
//! `D(n)` is an AGENT-DISCONNECT with code n and its canonical text, after which the agent sends nothing.

mod clock;
mod disconnect;
mod ending;
mod fragments;
mod hello;
mod notify;
mod shared_limits;
