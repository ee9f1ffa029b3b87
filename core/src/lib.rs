//! The agent side of SPOP 2.0, HAProxy's Stream Processing Offload Protocol, as a state machine without I/O: bytes and
//! time in, frames and events out.
//!
//! There is no clock, socket, thread or randomness in here: a [`Connection`] is handed bytes, hands out events, takes
//! answers and lends the bytes to send. Whatever drives it (sockets, a simulator, a fuzzer) sees the same protocol.
//!
//! # The loop
//!
//! After each `handle_*`, and after each answer, poll in this order: events until there is none, then bytes to send,
//! then the next deadline.
//!
//! ```
//! use spoa_core::wire::{HaproxyHello, Scope, TypedData};
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
//! // The socket is readable: read into the lent buffer. An empty one says "not now".
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
//!     let len = bytes.len(); // what the socket took
//!     socket_out.extend_from_slice(bytes);
//!     connection.transmitted(Instant::from_nanos(2), len);
//! }
//! let _wake_me_at = connection.poll_timeout();
//! # assert!(socket_out.ends_with(b"\x01\x03\x01\x08ip_score\x03\x2a"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds, whatever the peer does
//!
//! - Every NOTIFY gets exactly one ACK, unless its connection ends first: in place, later by its [`Ticket`], or an
//!   empty one if it was dropped or is overdue.
//! - Frames leave whole, within the negotiated size, and nothing follows an AGENT-DISCONNECT.
//! - The status of a HAPROXY-DISCONNECT is echoed, and no code that is not in SPOE.txt is ever sent.
//! - Memory stays within [`Config::memory_max`]: at a limit NOTIFYs wait in the receive buffer; when that is
//!   full [`recv_buf`](Connection::recv_buf) is empty and the socket pushes back. Nothing is dropped.
//! - No input panics.
//!
//! The states and what they do with each input are one [table]; the bytes are in [wire].
//!
//! # Out of scope
//!
//! SPOP 1.0 (HAProxy before 1.8.10), TLS (HAProxy and a local proxy have it), answering on another connection of the
//! same engine (see [`Config::capabilities`]).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod ack;
mod buffers;
mod config;
mod connection;
mod error;
mod event;
mod handshake;
mod in_flight;
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
pub use config::{Config, ConfigError};
pub use connection::{Connection, TicketError};
pub use error::{DecodeError, Fault, Field, OtherProtocol, PeerError};
pub use event::{CloseReason, Event, LocalReason, Notify, OwnedMessages};
pub use handshake::Negotiated;
pub use in_flight::{Ticket, TicketId};
pub use stats::Stats;
pub use status::Status;
pub use time::Instant;
