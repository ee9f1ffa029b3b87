//! The events and output of one connection, without times and without the sizes of reads and writes. Two runs that
//! differ only in those have equal conversations.

use spoa_core::{CloseReason, Event, Negotiated};

use crate::digest::Digest;
use crate::script::Link;

/// One connection, from its accept to its end.
#[derive(Debug)]
pub struct Conversation {
    /// The link. A link that was connected more than once has several conversations, in order.
    pub link: Link,
    /// The negotiated values, if the handshake was completed.
    pub ready: Option<Negotiated>,
    /// The number of NOTIFYs that were handed out.
    pub notifies: u64,
    /// Hash of the engine-id, which the checker does not compare, and of all NOTIFYs in order.
    pub received: Digest,
    /// The reason of the end, with all details. The checker compares only its code.
    pub closed: Option<CloseReason>,
    /// True if bytes had to wait in the socket because the agent's receive buffer was full. Then the number of bytes
    /// decides which of them a reset loses, and when the agent notices the end.
    pub was_full: bool,
    /// The bytes that the agent sent.
    pub sent: Vec<u8>,
}

impl Conversation {
    /// Creates the conversation of a connection that was just accepted.
    pub fn new(link: Link) -> Self {
        Self {
            link,
            ready: None,
            notifies: 0,
            received: Digest::default(),
            closed: None,
            was_full: false,
            sent: Vec::new(),
        }
    }

    /// Adds an event of the core.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Ready { negotiated, engine_id } => {
                self.ready = Some(*negotiated);
                self.received.bytes(engine_id.unwrap_or_default());
            }
            Event::Notify(notify) => {
                self.notifies += 1;
                self.received.word(notify.stream_id().0);
                self.received.word(notify.frame_id().0);
                self.received.bytes(notify.payload());
            }
            Event::Closed(reason) => self.closed = Some(*reason),
        }
    }
}
