//! The errors of an agent.

use std::io;
use std::num::NonZeroUsize;

use crate::addr::{AddrError, ListenAddr};
use spoa_core::ConfigError;

/// The reason why an agent cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No [`listen`](crate::Agent::listen) was given.
    #[error("no address to listen on")]
    NoAddress,
    /// A text that is not an address.
    #[error(transparent)]
    Addr(#[from] AddrError),
    /// The limits of a connection are out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// See [`Agent::total_bytes_max`](crate::Agent::total_bytes_max).
    #[error(
        "{given} bytes for all connections are too few: one connection on each worker takes {least} bytes in \
         total (workers: {workers})"
    )]
    TotalBytesMax {
        /// The limit.
        given: usize,
        /// The lowest limit that is possible.
        least: usize,
        /// The number of workers that share it.
        workers: NonZeroUsize,
    },
    /// See [`Agent::connections_max`](crate::Agent::connections_max).
    #[error("at least one connection must be allowed")]
    ConnectionsMax,
    /// See [`Agent::total_in_flight_max`](crate::Agent::total_in_flight_max).
    #[error("at least one NOTIFY must be allowed in flight")]
    TotalInFlightMax,
    /// An address cannot be listened on.
    #[error("cannot listen on {addr}: {error}")]
    Listen {
        /// The address.
        addr: ListenAddr,
        /// The cause.
        error: io::Error,
    },
    /// An inherited socket cannot be used.
    #[error("cannot listen on an inherited socket: {0}")]
    Inherited(io::Error),
    /// Another process listens on this unix socket.
    #[error("cannot listen on {0}: another process listens on it")]
    SocketInUse(ListenAddr),
    /// The path of a unix socket is a file of another kind.
    #[error("cannot listen on {0}: there is a file that is not a socket")]
    NotASocket(ListenAddr),
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(io::Error),
    /// A thread cannot be started.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
    /// Every worker ended in a panic. This is a bug of the agent, since panics of handlers are caught.
    #[error("no worker is left: every one ended in a panic")]
    WorkersLost,
}
