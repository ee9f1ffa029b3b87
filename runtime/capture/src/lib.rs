//! Writes connections as captures of packets in pcapng format, for Wireshark.
//!
//! A program sees the bytes of a connection, not its packets. A [`Flow`] makes packets of them, with addresses, ports and
//! sequence numbers, and a [`Writer`] writes packets to a file.

#![forbid(unsafe_code)]

mod flow;
mod writer;

pub use flow::{Flow, Side, Traffic};
pub use writer::Writer;
