//! The events and the output of one connection, without times and without how the bytes were cut: what two runs that differ
//! in nothing else have in common.

use spoa_core::{CloseReason, Event, Negotiated};

use crate::digest::Digest;
use crate::script::Link;

/// One connection, from its accept to its end.
#[derive(Debug)]
pub struct Conversation {
    /// Its link. A link that was connected again has several conversations, in order.
    pub link: Link,
    /// The negotiated values, if the handshake was completed.
    pub ready: Option<Negotiated>,
    /// The number of NOTIFYs that were handed out.
    pub handed: u64,
    /// The engine-id, which the checker does not compare, and each NOTIFY, in order.
    pub heard: Digest,
    /// The end, in full: the checker compares no more than its code.
    pub closed: Option<CloseReason>,
    /// True if bytes had to wait in the socket because the agent's buffer was full. Then what is lost in a reset, and
    /// when an end is seen, depends on how many bytes they are.
    pub was_full: bool,
    /// The bytes that HAProxy received.
    pub sent: Vec<u8>,
}

impl Conversation {
    /// Nothing was said yet.
    pub fn new(link: Link) -> Self {
        Self { link, ready: None, handed: 0, heard: Digest::default(), closed: None, was_full: false, sent: Vec::new() }
    }

    /// The core told something.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Ready { negotiated, engine_id } => {
                self.ready = Some(*negotiated);
                self.heard.bytes(engine_id.unwrap_or_default());
            }
            Event::Notify(notify) => {
                self.handed += 1;
                self.heard.word(notify.stream_id().0);
                self.heard.word(notify.frame_id().0);
                self.heard.bytes(notify.payload());
            }
            Event::Closed(reason) => self.closed = Some(*reason),
        }
    }
}
