//! The way to a worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mio::{Registry, Token, Waker};
use smol::channel::{Receiver, Sender, unbounded};
use socket2::Socket;

/// All that a worker shares with another thread, the accepting one. Nothing of it is touched while frames are served.
///
/// Aligned so that no two workers' have a cache line in common (128 bytes: x86 fetches lines in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Mailbox {
    commands: (Sender<Command>, Receiver<Command>),
    waker: Waker,
    /// The worker was woken and has not looked since: of many commands at once one wakes it.
    is_called: AtomicBool,
    connections: AtomicUsize,
}

#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this connection, or only turn it away.
    Serve { socket: Socket, peer: String, welcome: bool },
    /// Answer what is in flight for so long, then end.
    Drain(Duration),
    /// End now.
    Abort,
}

impl Mailbox {
    /// A way to the worker that waits on `registry`; that there are commands shows there as `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Arc<Self>> {
        let (waker, connections) = (Waker::new(registry, token)?, AtomicUsize::new(0));
        Ok(Arc::new(Self { commands: unbounded(), waker, is_called: AtomicBool::new(false), connections }))
    }

    /// How many connections the worker has, those on their way to it included.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Gives it one more.
    pub(crate) fn assign(&self, socket: Socket, peer: String, welcome: bool) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.tell(Command::Serve { socket, peer, welcome });
    }

    pub(crate) fn tell(&self, command: Command) {
        // The channel has no bound, and both of its ends are here.
        let _ = self.commands.0.try_send(command);
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

    /// The worker: takes the next command.
    pub(crate) fn command(&self) -> Option<Command> {
        self.commands.1.try_recv().ok()
    }

    /// The worker: a connection is gone.
    pub(crate) fn ended(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
