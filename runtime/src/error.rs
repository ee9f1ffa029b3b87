//! Why an agent cannot run.

use std::io;
use std::num::NonZeroUsize;

use crate::addr::{AddrError, ListenAddr};
use spoa_core::ConfigError;

/// Why an agent cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No [`listen`](crate::Agent::listen) was given.
    #[error("no address to listen on")]
    NoAddress,
    /// Text that is no address.
    #[error(transparent)]
    Addr(#[from] AddrError),
    /// The limits of a connection are out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// See [`Agent::total_bytes_max`](crate::Agent::total_bytes_max).
    #[error("{given} bytes in all are too few: room for a connection of each of {workers} workers takes {least}")]
    TotalBytesMax {
        /// The limit as it was given.
        given: usize,
        /// What it has to be at least.
        least: usize,
        /// How many workers share it.
        workers: NonZeroUsize,
    },
    /// See [`Agent::connections_max`](crate::Agent::connections_max).
    #[error("at least one connection must be allowed")]
    ConnectionsMax,
    /// See [`Agent::total_in_flight_max`](crate::Agent::total_in_flight_max).
    #[error("at least one NOTIFY must be allowed in flight")]
    TotalInFlightMax,
    /// A socket cannot be opened for HAProxy.
    #[error("cannot listen on {addr}: {error}")]
    Listen {
        /// Where.
        addr: ListenAddr,
        /// Why not.
        error: io::Error,
    },
    /// A socket that was handed down cannot be used.
    #[error("cannot listen on a socket that was handed down: {0}")]
    Inherited(io::Error),
    /// Another process answers on this unix socket.
    #[error("cannot listen on {0}: another process does")]
    SocketInUse(ListenAddr),
    /// There is a file in the place of a unix socket.
    #[error("cannot listen on {0}: there is a file that is no socket")]
    NotASocket(ListenAddr),
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(io::Error),
    /// A thread cannot be started.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
    /// Every worker ended in a panic: a bug, for a handler's own are caught.
    #[error("no worker is left: each was lost to a panic")]
    WorkersLost,
}
