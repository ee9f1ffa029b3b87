//! The way to a worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mio::{Registry, Token, Waker};
use smol::channel::{Receiver, Sender, unbounded};
use socket2::Socket;

use crate::shared::Drain;

/// All that a worker shares with another thread, the accepting one, but for the other end of `commands`, which is its own.
/// Nothing of it is touched while frames are served.
///
/// Aligned so that no two workers' have a cache line in common (128 bytes: x86 fetches lines in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Mailbox {
    commands: Sender<Command>,
    waker: Waker,
    /// The worker was woken and has not looked since: of many commands at once one wakes it.
    is_called: AtomicBool,
    connections: AtomicUsize,
    turned_away: AtomicUsize,
}

#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this connection, or only turn it away.
    Serve { socket: Socket, number: u64, peer: String, welcome: bool },
    /// Refuse health checks, and serve on.
    Leave,
    /// Answer what is in flight, then end.
    Drain(Drain),
    /// End now.
    Abort,
}

impl Mailbox {
    /// A way to the worker that waits on `registry`, and its end of it. That there are commands shows there as `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<(Arc<Self>, Receiver<Command>)> {
        let (waker, (commands, received)) = (Waker::new(registry, token)?, unbounded());
        let is_called = AtomicBool::new(false);
        let (connections, turned_away) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok((Arc::new(Self { commands, waker, is_called, connections, turned_away }), received))
    }

    /// How many connections the worker serves, those on their way to it included.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many it has only to turn them away.
    pub(crate) fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::Relaxed)
    }

    const fn count(&self, welcome: bool) -> &AtomicUsize {
        if welcome { &self.connections } else { &self.turned_away }
    }

    /// True if the worker has ended: it takes no command any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Gives it one more.
    pub(crate) fn assign(&self, socket: Socket, number: u64, peer: String, welcome: bool) {
        self.count(welcome).fetch_add(1, Ordering::Relaxed);
        self.tell(Command::Serve { socket, number, peer, welcome });
    }

    pub(crate) fn tell(&self, command: Command) {
        // The channel has no bound. If the worker has ended, a connection is closed with the command.
        let _ = self.commands.try_send(command);
        if !self.is_called.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            self.heard();
            tracing::error!("cannot wake a worker: {error}");
        }
    }

    /// The worker: it heard the call, and looks at its commands now. Whatever comes from here on calls again.
    pub(crate) fn heard(&self) {
        self.is_called.swap(false, Ordering::AcqRel);
    }

    /// The worker: a connection is gone, which was served or not.
    pub(crate) fn ended(&self, welcome: bool) {
        self.count(welcome).fetch_sub(1, Ordering::Relaxed);
    }
}
