//! The circumstances of a NOTIFY: its connection, and the time that is left for its answer.

use std::time::{Duration, Instant};

use spoa_core::OwnedMessages;
use spoa_core::wire::Messages;

use crate::name::Name;

/// The connection that a NOTIFY was received on, and the time that is left for its answer.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    name: Option<&'c Name>,
    ack_timeout: Duration,
}

impl<'c> Context<'c> {
    pub(crate) const fn new(name: &'c Name, ack_timeout: Duration) -> Self {
        Self { name: Some(name), ack_timeout }
    }

    /// Returns a context without a connection, for calls that no agent makes. An answer has an hour.
    pub const fn unknown() -> Self {
        Self { name: None, ack_timeout: Duration::from_secs(3600) }
    }

    /// Returns the address of the connection as in logs, such as `192.0.2.1:1234`; empty if it is unknown.
    pub fn peer(self) -> &'c str {
        self.name.map_or("", Name::peer)
    }

    /// Returns the engine-id of the HELLO, escaped and at most 64 bytes long before that; `None` if there was none.
    pub fn engine_id(self) -> Option<&'c str> {
        self.name?.engine()
    }

    /// Returns the time after which an answer is too late, because the agent has sent an empty ACK: after
    /// [`ack_timeout`](crate::ConnectionConfig::ack_timeout) from now. To be called at once.
    pub fn deadline(self) -> Instant {
        Instant::now() + self.ack_timeout
    }
}

/// The messages of a NOTIFY that is answered immediately, and its [`Context`]. It can be iterated over.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    pub(crate) messages: Messages<'r>,
    pub(crate) context: Context<'r>,
}

impl<'r> Request<'r> {
    /// Returns the messages.
    pub fn messages(&self) -> Messages<'r> {
        self.messages.clone()
    }

    /// Returns the connection, and the time that is left.
    pub const fn context(&self) -> Context<'r> {
        self.context
    }
}

impl<'r> IntoIterator for Request<'r> {
    type Item = spoa_core::wire::Message<'r>;
    type IntoIter = Messages<'r>;

    fn into_iter(self) -> Messages<'r> {
        self.messages
    }
}

/// The messages of a NOTIFY that is answered later, and its [`Context`].
#[derive(Debug)]
pub struct OwnedRequest {
    messages: OwnedMessages,
    name: Option<Name>,
    deadline: Instant,
}

impl OwnedRequest {
    pub(crate) fn new(messages: OwnedMessages, context: Context<'_>) -> Self {
        Self { messages, name: context.name.cloned(), deadline: context.deadline() }
    }

    /// Returns the messages.
    pub fn messages(&self) -> Messages<'_> {
        self.messages.messages()
    }

    /// Returns the address of the connection; see [`Context::peer`].
    pub fn peer(&self) -> &str {
        self.name.as_ref().map_or("", Name::peer)
    }

    /// Returns the engine-id of the HELLO; see [`Context::engine_id`].
    pub fn engine_id(&self) -> Option<&str> {
        self.name.as_ref()?.engine()
    }

    /// Returns the time at which the future is dropped, because the agent sends an empty ACK.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }
}
