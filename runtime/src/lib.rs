//! Runs SPOE agents: drives [`spoa_core`] over sockets, on one thread per processor, with smol for everything that has to wait.
//!
//! An application is a [`Handler`]: it receives HAProxy's messages and returns variables to set. A handler with immediate
//! answers:
//!
//! ```no_run
//! use spoa_runtime::{Agent, Scope, SetVars, quick};
//!
//! fn main() -> Result<(), spoa_runtime::Error> {
//!     Agent::new().listen("127.0.0.1:12345".parse()?).run(quick(|request, ack| {
//!         for message in request {
//!             let path = message.get::<&str>("path")?;
//!             ack.set_var(Scope::Transaction, "is_admin", path.starts_with("/admin"))?;
//!         }
//!         Ok(())
//!     }))
//! }
//! ```
//!
//! A handler with deferred answers. While one NOTIFY waits for its answer, others on the same connection are answered:
//!
//! ```no_run
//! use spoa_runtime::{Actions, Agent, Scope, SetVars, deferred};
//! # async fn look_up(_: &str) -> Result<u32, std::io::Error> { Ok(0) }
//!
//! fn main() -> Result<(), spoa_runtime::Error> {
//!     Agent::new().listen("unix:/run/agent.sock".parse()?).run(deferred(async |request| {
//!         let mut actions = Actions::new();
//!         for message in request.messages() {
//!             actions.set_var(Scope::Session, "quota", look_up(message.get("user")?).await?)?;
//!         }
//!         Ok(actions)
//!     }))
//! }
//! ```
//!
//! HAProxy receives an ACK for each NOTIFY, whatever the handler does, and the connection stays open. If the handler fails,
//! panics or exceeds [`ack_timeout`](ConnectionConfig::ack_timeout), the ACK is empty and a line is logged. If the handler
//! drops a NOTIFY without an answer, the ACK is empty and nothing is logged.
//!
//! The feature `metrics`, which is on by default, serves metrics for Prometheus, health and pages of the application over HTTP.

#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "only metrics read the counters"))]

mod addr;
#[cfg(feature = "metrics")]
mod admin;
mod agent;
mod answers;
mod background;
mod bell;
mod clock;
mod context;
mod counter;
mod counters;
mod engines;
mod error;
mod frame_log;
mod handler;
mod health;
mod listener;
mod log_limit;
mod mailbox;
#[cfg(feature = "metrics")]
mod metrics;
mod name;
#[cfg(feature = "metrics")]
mod page;
mod panics;
mod pool;
mod priority;
mod ready;
mod recorder;
mod report;
mod server;
mod settings;
mod shell;
mod shutdown;
mod socket;
mod stream;
mod sync;
pub mod testing;
pub mod text;
mod timer;
mod worker;

pub use addr::{AddrError, ListenAddr, UnixSocket};
pub use agent::Agent;
pub use context::{Context, OwnedRequest, Request};
pub use counter::Counter;
pub use engines::{Engine, Versions};
pub use error::Error;
pub use handler::{Deferred, Handler, HandlerError, Later, Quick, Reply, deferred, quick};
pub use health::{Heartbeat, SILENCE_MAX};
#[cfg(feature = "metrics")]
pub use metrics::{Families, Source, Unit};
#[cfg(feature = "metrics")]
pub use page::{Page, PageAnswer, PagePost, PageRequest, PageStatus, PostSender, Transport};
pub use panics::log_panic;
pub use priority::lower_priority;
pub use recorder::{ConnectionRecorder, Ends, Recorder, Transfer};
pub use server::Server;
pub use shutdown::Stopper;
#[doc(hidden)]
pub use spoa_core::connection_limits;
pub use spoa_core::from_message;
pub use spoa_core::wire::{
    Actions, ArgFault, BadArg, Capabilities, FromArg, FromMessage, Headers, Message, Messages, Scope, SetVars,
    TypedData,
};
pub use spoa_core::{Ack, Config as ConnectionConfig, ConfigError, Limit, LimitValue, Notify, OwnedMessages, Ticket};
pub use stream::{StreamServer, serve_stream};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
