//! What the tests share: HAProxy's side of the protocol, without believing the agent's code.
//!
//! - [`bytes`]: the codec, written a second time, and hex as the protocol's tables have it;
//! - [`frames`]: what HAProxy says and what the agent should answer;
//! - [`peer`]: HAProxy against a `Connection`, with a virtual clock;
//! - [`feed`]: the same input in several ways;
//! - [`agent`]: the binary `spoa` as a child process;
//! - [`admin`]: what it tells of itself over HTTP;
//! - [`client`]: HAProxy's end of a real socket;
//! - [`folder`]: files of a test;
//! - [`process`]: what a process takes;
//! - [`steady`]: a conversation that is measured.

#[path = "harness/admin.rs"]
pub mod admin;
#[path = "harness/agent.rs"]
pub mod agent;
#[path = "harness/bytes.rs"]
pub mod bytes;
#[path = "harness/client.rs"]
pub mod client;
#[path = "harness/feed.rs"]
pub mod feed;
#[path = "harness/folder.rs"]
pub mod folder;
#[path = "harness/frames.rs"]
pub mod frames;
#[path = "harness/peer.rs"]
pub mod peer;
#[path = "harness/process.rs"]
pub mod process;
#[path = "harness/steady.rs"]
pub mod steady;
