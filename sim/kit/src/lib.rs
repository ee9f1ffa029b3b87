//! Tests any SPOE agent over a socket, as HAProxy would use it.
//!
//! The kit knows nothing of the agent but its address, or a command that starts it. It plays HAProxy's side with the codec of
//! the simulator's checker, so it shares no code with the agent of this project.
//!
//! - [`conformance`]: the cases, and the run of them against one agent;
//! - [`report`]: results as a table, JSON, JUnit XML and one HTML page;
//! - [`load`]: patterns of load, with latencies and processor time;
//! - [`capture`]: conversations as captures of packets;
//! - [`judge`](mod@judge): the rules that an agent broke in a recorded conversation;
//! - [`subject`]: the agent under test;
//! - [`peer`]: HAProxy's end of one connection;
//! - [`bytes`], [`frames`]: frames and values that own their bytes, and the frames that HAProxy sends.

#![forbid(unsafe_code)]

pub mod bytes;
pub mod capture;
pub mod conformance;
pub mod frames;
pub mod judge;
pub mod load;
pub mod peer;
mod port;
pub mod process;
pub mod recorder;
pub mod report;
pub mod socket;
pub mod subject;
