//! The queue of the actions of a process, in order, until its driver takes them.

use crate::codec::AppliedActions;
use crate::servers::ServerId;

/// A connection to the agent. Connections are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// An event (or group) of a client's transaction, by the number that the caller chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId(pub u32);

/// The result of an event.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// The status that HAProxy logs as `st=`: 0 is success, 1 the processing timeout, 3 a message that is too big,
    /// 256+N the SPOP code N, and 257 a lost connection.
    pub status: u32,
    /// The changes of variables in its ACK.
    pub actions: AppliedActions<'a>,
}

/// An action of a process.
#[derive(Clone, Debug)]
pub enum Action<'a> {
    /// Opens a connection to a server. Bytes may follow immediately; they are sent when the connection is established.
    Connect(LinkId, ServerId),
    /// Sends all of these bytes.
    Send(LinkId, &'a [u8]),
    /// Closes with FIN. HAProxy reads nothing more, but the applet still notices the agent's own FIN.
    Fin(LinkId),
    /// Closes with RST. Bytes on the way to the agent may be lost.
    Reset(LinkId),
    /// An event has ended.
    Done(EventId, Outcome<'a>),
    /// A health check has ended.
    CheckDone {
        /// Its connection.
        link: LinkId,
        /// True if HAProxy considers the server up.
        up: bool,
        /// HAProxy's description of the result.
        text: &'static str,
    },
}

#[derive(Clone, Copy, Debug)]
enum Queued {
    Connect(LinkId, ServerId),
    Send { link: LinkId, start: usize, end: usize },
    Fin(LinkId),
    Reset(LinkId),
    Done { event: EventId, status: u32, start: usize, end: usize },
    CheckDone { link: LinkId, up: bool, text: &'static str },
}

/// The queue. `bytes` holds the bytes of the queued entries. Both are cleared, but keep their memory, once all entries
/// are taken.
#[derive(Debug)]
pub(crate) struct Output {
    queue: Vec<Queued>,
    taken: usize,
    bytes: Vec<u8>,
    links: u32,
    prefix_len: usize,
}

impl Output {
    pub(crate) const fn new(prefix_len: usize) -> Self {
        Self { queue: Vec::new(), taken: 0, bytes: Vec::new(), links: 0, prefix_len }
    }

    fn push(&mut self, entry: Queued) {
        self.queue.push(entry);
    }

    /// Clears the queue and the bytes if all entries are taken. Has to be called before every write to `bytes`.
    fn recycle(&mut self) {
        if self.taken == self.queue.len() {
            self.queue.clear();
            self.bytes.clear();
            self.taken = 0;
        }
    }

    pub(crate) fn connect(&mut self, server: ServerId) -> LinkId {
        let link = self.reserve();
        self.open(link, server);
        link
    }

    /// Reserves a number for a connection that [`open`](Self::open) opens later.
    pub(crate) fn reserve(&mut self) -> LinkId {
        let link = LinkId(self.links);
        self.links += 1;
        link
    }

    pub(crate) fn open(&mut self, link: LinkId, server: ServerId) {
        self.recycle();
        self.push(Queued::Connect(link, server));
    }

    /// Sends the bytes that `write` appends. Consecutive frames of a connection are sent together, as from HAProxy's
    /// own buffer.
    pub(crate) fn send(&mut self, link: LinkId, write: impl FnOnce(&mut Vec<u8>)) {
        self.recycle();
        let from = self.bytes.len();
        write(&mut self.bytes);
        let to = self.bytes.len();
        // An entry that is taken must not grow, because the caller has its bytes.
        if let Some(Queued::Send { link: last, end, .. }) = self.queue[self.taken..].last_mut()
            && *last == link
            && *end == from
        {
            *end = to;
            return;
        }
        self.push(Queued::Send { link, start: from, end: to });
    }

    pub(crate) fn fin(&mut self, link: LinkId) {
        self.recycle();
        self.push(Queued::Fin(link));
    }

    pub(crate) fn reset(&mut self, link: LinkId) {
        self.recycle();
        self.push(Queued::Reset(link));
    }

    pub(crate) fn done(&mut self, event: EventId, status: u32, actions: &[u8]) {
        self.recycle();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(actions);
        self.push(Queued::Done { event, status, start, end: start + actions.len() });
    }

    pub(crate) fn check_done(&mut self, link: LinkId, up: bool, text: &'static str) {
        self.recycle();
        self.push(Queued::CheckDone { link, up, text });
    }

    pub(crate) fn poll(&mut self) -> Option<Action<'_>> {
        let entry = *self.queue.get(self.taken)?;
        self.taken += 1;
        Some(match entry {
            Queued::Connect(link, server) => Action::Connect(link, server),
            Queued::Send { link, start, end } => Action::Send(link, &self.bytes[start..end]),
            Queued::Fin(link) => Action::Fin(link),
            Queued::Reset(link) => Action::Reset(link),
            Queued::Done { event, status, start, end } => {
                let actions = AppliedActions::new(&self.bytes[start..end], self.prefix_len);
                Action::Done(event, Outcome { status, actions })
            }
            Queued::CheckDone { link, up, text } => Action::CheckDone { link, up, text },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_frames_of_a_link_are_sent_together() {
        let mut out = Output::new(5);
        let (a, b) = (out.connect(ServerId(0)), out.connect(ServerId(1)));
        out.send(a, |bytes| bytes.extend_from_slice(b"one"));
        out.send(a, |bytes| bytes.extend_from_slice(b"two"));
        out.send(b, |bytes| bytes.extend_from_slice(b"three"));
        assert!(matches!(out.poll(), Some(Action::Connect(LinkId(0), ServerId(0)))));
        assert!(matches!(out.poll(), Some(Action::Connect(LinkId(1), ServerId(1)))));
        assert!(matches!(out.poll(), Some(Action::Send(LinkId(0), b"onetwo"))));
        assert!(matches!(out.poll(), Some(Action::Send(LinkId(1), b"three"))));
        assert!(out.poll().is_none());
        out.send(b, |bytes| bytes.extend_from_slice(b"four"));
        assert!(matches!(out.poll(), Some(Action::Send(LinkId(1), b"four"))));
    }
}
