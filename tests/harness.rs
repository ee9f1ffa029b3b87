//! Code shared by the tests: HAProxy's side of the protocol, without the codec of the agent.
//!
//! - [`bytes`], [`frames`]: the frames of the conformance kit, which are encoded by the codec of the simulator's checker;
//! - [`peer`]: HAProxy's side of a `Connection`, with a virtual clock;
//! - [`feed`]: the same input, cut into reads in several ways;
//! - [`agent`]: the binary `spoa` as a child process;
//! - [`admin`]: an agent's metrics and health over HTTP;
//! - [`case`], [`symptom`]: faulty and cured configurations of HAProxy for `spoa doctor`;
//! - [`client`]: HAProxy's end of a real socket;
//! - [`folder`]: a folder of files for one test;
//! - [`process`]: processor time, memory and file limits of a process, and programs that tests need;
//! - [`steady`]: a connection in its steady state, for measurements.

pub use spoa_sim_kit::{bytes, frames};

#[path = "harness/admin.rs"]
pub mod admin;
#[path = "harness/agent.rs"]
pub mod agent;
#[path = "harness/case.rs"]
pub mod case;
#[path = "harness/client.rs"]
pub mod client;
#[path = "harness/feed.rs"]
pub mod feed;
#[path = "harness/folder.rs"]
pub mod folder;
#[path = "harness/peer.rs"]
pub mod peer;
#[path = "harness/process.rs"]
pub mod process;
#[path = "harness/steady.rs"]
pub mod steady;
#[path = "harness/symptom.rs"]
pub mod symptom;
