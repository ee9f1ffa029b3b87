//! Why an agent cannot run.

use std::io;

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
