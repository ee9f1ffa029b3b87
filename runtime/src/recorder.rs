//! Records the bytes of all connections, for captures.

use std::fmt;
use std::net::SocketAddr;

/// Records the connections of an agent. Set with [`Agent::record`](crate::Agent::record).
pub trait Recorder: Send + Sync + fmt::Debug {
    /// Takes note of a connection that was accepted, and returns its recorder. Called by the thread that serves the connection, which
    /// must not wait.
    fn connected(&self, ends: Ends) -> Box<dyn ConnectionRecorder>;
}

/// Records one connection. It is dropped when the agent closes the connection.
pub trait ConnectionRecorder {
    /// Takes note of an event. Called by the thread that serves the connection, which must not wait.
    fn record(&mut self, transfer: Transfer<'_>);
}

/// The addresses of a connection, which a unix socket does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The number of the connection, from 1, as in the log.
    pub number: u64,
    /// The address of HAProxy.
    pub peer: Option<SocketAddr>,
    /// The address of the agent.
    pub local: Option<SocketAddr>,
}

/// An event on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer<'b> {
    /// Bytes were received.
    Received(&'b [u8]),
    /// HAProxy has closed its direction.
    ReceivedEnd,
    /// HAProxy has reset the connection, or it has failed.
    Failed,
    /// Bytes were sent.
    Sent(&'b [u8]),
    /// The agent has closed its direction.
    SentEnd,
}
