//! The actions that a process asks for, in order, until its driver takes them.

use crate::codec::AppliedActions;

/// A connection to the agent, numbered in the order they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// One event (or group) of a client's transaction; the caller's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId(pub u32);

/// How an event ended.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// The status that HAProxy logs as `st=`: 0 is good, 1 the processing timeout, 3 too big, 256+N a SPOP code, 257 connection lost.
    pub status: u32,
    /// The changes of variables by its ACK.
    pub actions: AppliedActions<'a>,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Action<'a> {
    /// Open a connection. Bytes may follow at once; they leave when it stands.
    Connect(LinkId),
    /// Send all of it.
    Send(LinkId, &'a [u8]),
    /// Close in an orderly way: FIN. HAProxy reads nothing more, but the applet still notices the agent's own FIN.
    Fin(LinkId),
    /// Close at once: RST. What is on its way to the agent may be lost.
    Reset(LinkId),
    /// An event is over.
    Done(EventId, Outcome<'a>),
    /// A health check is over.
    CheckDone {
        /// Its connection.
        link: LinkId,
        /// The server counts as up.
        up: bool,
        /// HAProxy's description.
        text: &'static str,
    },
}

#[derive(Clone, Copy, Debug)]
enum Queued {
    Connect(LinkId),
    Send { link: LinkId, start: usize, end: usize },
    Fin(LinkId),
    Reset(LinkId),
    Done { event: EventId, status: u32, start: usize, end: usize },
    CheckDone { link: LinkId, up: bool, text: &'static str },
}

/// The queue. `bytes` holds what the queued entries point to; both are emptied, not freed, once all is taken.
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

    /// Must precede every write to `bytes`: the taken entries' bytes go first.
    fn recycle(&mut self) {
        if self.taken == self.queue.len() {
            self.queue.clear();
            self.bytes.clear();
            self.taken = 0;
        }
    }

    pub(crate) fn connect(&mut self) -> LinkId {
        self.recycle();
        let link = LinkId(self.links);
        self.links += 1;
        self.push(Queued::Connect(link));
        link
    }

    /// Reserves a number; the connection is opened later by [`open`](Self::open).
    pub(crate) fn reserve(&mut self) -> LinkId {
        let link = LinkId(self.links);
        self.links += 1;
        link
    }

    pub(crate) fn open(&mut self, link: LinkId) {
        self.recycle();
        self.push(Queued::Connect(link));
    }

    /// Sends what `write` appends. Frames written one after the other leave together, as from HAProxy's own buffer.
    pub(crate) fn send(&mut self, link: LinkId, write: impl FnOnce(&mut Vec<u8>)) {
        self.recycle();
        let from = self.bytes.len();
        write(&mut self.bytes);
        let to = self.bytes.len();
        // An entry already taken must not grow: its bytes are with the caller.
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
            Queued::Connect(link) => Action::Connect(link),
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
    fn frames_of_one_link_leave_together() {
        let mut out = Output::new(5);
        let (a, b) = (out.connect(), out.connect());
        out.send(a, |bytes| bytes.extend_from_slice(b"one"));
        out.send(a, |bytes| bytes.extend_from_slice(b"two"));
        out.send(b, |bytes| bytes.extend_from_slice(b"three"));
        assert!(matches!(out.poll(), Some(Action::Connect(LinkId(0)))));
        assert!(matches!(out.poll(), Some(Action::Connect(LinkId(1)))));
        assert!(matches!(out.poll(), Some(Action::Send(LinkId(0), b"onetwo"))));
        assert!(matches!(out.poll(), Some(Action::Send(LinkId(1), b"three"))));
        assert!(out.poll().is_none());
        out.send(b, |bytes| bytes.extend_from_slice(b"four"));
        assert!(matches!(out.poll(), Some(Action::Send(LinkId(1), b"four"))));
    }
}
