//! The agent side of SPOP 2.0, HAProxy's Stream Processing Offload Protocol, as a state machine without I/O.
//!
//! This crate has no clock, socket, thread or randomness. A [`Connection`] receives bytes and the current time, returns
//! events, accepts answers and lends out the bytes to send. Its caller decides when to read, write and wait. A server
//! with sockets, a simulator and a fuzzer therefore run the same protocol code.
//!
//! # The loop
//!
//! After each call of a `handle_*` method, and after each answer, poll in this order: events until there are none, then
//! the bytes to send, then the next deadline.
//!
//! ```
//! use spoa_core::wire::{HaproxyHello, Scope, SetVars, TypedData};
//! use spoa_core::{Config, Connection, Event, Instant};
//!
//! # let mut socket_in = Vec::new();
//! # HaproxyHello {
//! #     supported_versions: Some(b"2.0"),
//! #     max_frame_size: Some(TypedData::Uint32(16380)),
//! #     capabilities: Some(b"pipelining"),
//! #     ..HaproxyHello::default()
//! # }
//! # .encode(&mut socket_in);
//! # socket_in.extend_from_slice(b"\0\0\0\x1e\x03\0\0\0\x01\x01\x01\x0fcheck-client-ip\x01\0\x06\xc0\0\x02\x01");
//! # let mut socket_out = Vec::new();
//! let mut connection = Connection::new(Config::default(), Instant::ZERO);
//!
//! // The socket is readable: read into the buffer of the connection. An empty buffer means that it must not read now.
//! let buf = connection.recv_buf();
//! let len = socket_in.len().min(buf.len());
//! buf[..len].copy_from_slice(&socket_in[..len]);
//! connection.handle_input(Instant::from_nanos(1), len);
//!
//! while let Some(event) = connection.poll_event() {
//!     match event {
//!         Event::Ready { negotiated, .. } => assert_eq!(negotiated.max_frame_size, 16380),
//!         Event::Notify(notify) => {
//!             let known = notify.messages().any(|message| message.name() == b"check-client-ip");
//!             let mut ack = notify.ack();
//!             if known {
//!                 ack.set_var(Scope::Session, "ip_score", 42u32)?;
//!             }
//!             ack.finish()?;
//!         }
//!         Event::Closed(reason) => println!("closed: {reason:?}"),
//!     }
//! }
//! while let Some(bytes) = connection.poll_transmit() {
//!     let len = bytes.len(); // the number of bytes that the socket accepted
//!     socket_out.extend_from_slice(bytes);
//!     connection.transmitted(Instant::from_nanos(2), len);
//! }
//! let _wake_me_at = connection.poll_timeout();
//! # assert!(socket_out.ends_with(b"\x01\x03\x01\x08ip_score\x03\x2a"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! These hold whatever the peer sends:
//!
//! - Every NOTIFY gets exactly one ACK unless its connection ends first. The answer is immediate, or deferred
//!   with a [`Ticket`]. A NOTIFY that the caller drops, or does not answer before the deadline, gets an empty ACK.
//! - Only whole frames are sent, none larger than the negotiated size, and nothing after an AGENT-DISCONNECT.
//! - The status of a HAPROXY-DISCONNECT is echoed, and a status code that is not in SPOE.txt is never sent.
//! - Memory stays within [`Config::memory_max`]. At a limit NOTIFYs wait in the receive buffer. Once that is full,
//!   [`recv_buf`](Connection::recv_buf) is empty and the caller stops reading, so that the socket slows the peer
//!   down. No NOTIFY is dropped.
//! - No input causes a panic.
//!
//! The module [table] documents the states and the step for each state and input. The module [wire] documents the
//! encoding of frames.
//!
//! # Out of scope
//!
//! - SPOP 1.0 (HAProxy before 1.8.10).
//! - TLS: HAProxy and a local proxy can provide it.
//! - ACKs on another connection with the same engine-id; see [`Config::capabilities`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(test)]
#[path = "../../tests/vectors/mod.rs"]
mod vectors;

mod ack;
mod buffers;
mod config;
mod connection;
pub mod endpoint;
mod error;
mod event;
mod handshake;
mod in_flight;
mod memory;
mod outbox;
mod reassembly;
mod recv;
mod send;
mod spare;
mod stats;
mod status;
pub mod table;
mod time;
pub mod wire;

pub use ack::{Ack, AckTooBig};
pub use buffers::Buffers;
pub use config::{Config, ConfigError, Limit, LimitValue};
pub use connection::{Blocked, Connection, InputWait, TicketError, Usage};
pub use error::{DecodeError, Fault, Field, OtherProtocol, PeerError};
pub use event::{CloseReason, Event, LocalReason, Notify, OwnedMessages};
pub use handshake::Negotiated;
pub use in_flight::{Ticket, TicketId};
pub use memory::Memory;
pub use stats::Stats;
pub use status::Status;
pub use time::Instant;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
