//! Commands from the accepting thread to a worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::{Registry, Token, Waker};
use smol::channel::{Receiver, Sender, unbounded};
use spoa_core::endpoint::Drain;

use crate::bell::Bell;
use crate::health::Heartbeat;
use crate::listener::Accepted;

/// Everything that a worker shares with the accepting thread. It is not touched while frames are served.
///
/// The alignment keeps two workers off the same cache lines (128 bytes, because x86 fetches lines in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Mailbox {
    commands: Sender<Command>,
    waker: Waker,
    /// Of many commands at once, one wakes the worker.
    bell: Bell,
    connections: AtomicUsize,
    turned_away: AtomicUsize,
    heartbeat: Heartbeat,
}

#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this connection, or reject it.
    Serve(Arrival),
    /// Refuse health checks, and serve everything else.
    RefuseChecks,
    /// Answer the NOTIFYs in flight, then end.
    Drain(Drain),
    /// End now.
    Abort,
}

/// A connection that was assigned to a worker.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) accepted: Accepted,
    pub(crate) number: u64,
    pub(crate) admission: Admission,
}

/// The reception of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is served.
    Welcome,
    /// It is above the limit of connections: it is served if another gives way, and otherwise rejected, unless it is a health check.
    AboveLimit,
    /// The same; and as many are being rejected as may be, so that the oldest of them is closed without an answer.
    InPlaceOfAnother,
}

impl Mailbox {
    /// Returns the mailbox of worker `number`, which waits on `registry`, and the receiving end. Commands show there as
    /// `token`.
    pub(crate) fn new(number: usize, registry: &Registry, token: Token) -> io::Result<(Arc<Self>, Receiver<Command>)> {
        let (waker, (commands, received)) = (Waker::new(registry, token)?, unbounded());
        let (connections, turned_away) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let heartbeat = Heartbeat::new(format!("worker {number}"));
        Ok((Arc::new(Self { commands, waker, bell: Bell::new(), connections, turned_away, heartbeat }), received))
    }

    /// Returns the number of connections that the worker serves, including those in its mailbox.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Returns the number of connections that it is rejecting.
    pub(crate) fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::Relaxed)
    }

    const fn count(&self, welcome: bool) -> &AtomicUsize {
        if welcome { &self.connections } else { &self.turned_away }
    }

    /// True if the worker has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Assigns a connection to it.
    pub(crate) fn assign(&self, arrival: Arrival) {
        self.count(arrival.admission == Admission::Welcome).fetch_add(1, Ordering::Relaxed);
        self.tell(Command::Serve(arrival));
    }

    pub(crate) fn tell(&self, command: Command) {
        // The channel is unbounded. If the worker has ended, a connection is closed when the command is dropped.
        let _ = self.commands.try_send(command);
        self.wake();
    }

    /// Has the worker look at its commands and give a sign of life.
    pub(crate) fn wake(&self) {
        if let Err(error) = self.bell.ring(|| self.waker.wake()) {
            tracing::error!("cannot wake a worker: {error}");
        }
    }

    /// Called by the worker before it looks at its commands: a later command wakes it again.
    pub(crate) fn heard(&self) {
        self.bell.answer();
        self.heartbeat.beat();
    }

    /// Returns the worker's sign of life, which it gives whenever it is woken.
    pub(crate) const fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Closes the mailbox of a worker that has ended, and drops the commands that it has not read: the connections in them are
    /// closed, so that HAProxy does not wait for them.
    pub(crate) fn close(commands: &Receiver<Command>) {
        commands.close();
        while commands.try_recv().is_ok() {}
    }

    /// Called by the worker when a connection above the limit is served, because another has given way to it.
    pub(crate) fn promoted(&self) {
        self.count(false).fetch_sub(1, Ordering::Relaxed);
        self.count(true).fetch_add(1, Ordering::Relaxed);
    }

    /// Called by the worker when a connection has ended.
    pub(crate) fn ended(&self, welcome: bool) {
        self.count(welcome).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use mio::Poll;

    use super::*;

    #[test]
    fn a_closed_mailbox_keeps_no_command() {
        let poll = Poll::new().expect("the test can wait");
        let (mailbox, commands) = Mailbox::new(0, poll.registry(), Token(0)).expect("the mailbox can wake it");
        mailbox.tell(Command::RefuseChecks);
        // A worker that ends drops its receiver.
        drop(commands.clone());
        assert_eq!((mailbox.is_closed(), commands.len()), (false, 1));
        Mailbox::close(&commands);
        assert_eq!((mailbox.is_closed(), commands.len()), (true, 0));
        mailbox.tell(Command::Abort);
        assert_eq!(commands.len(), 0);
    }
}
