//! The objects that a worker waits on.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use mio::{Poll, Token};
use smol::Async;
use smol::channel::Receiver;

use super::wait::Waiter;
use crate::mailbox::{Command, Mailbox};

/// The token of the mailbox. The token of a connection is its index.
pub(super) const MAILBOX: Token = Token(usize::MAX);

/// The objects that a worker waits on, created before its thread so that an error can be returned.
pub(crate) struct Sockets {
    pub(super) poll: Poll,
    pub(super) waiter: Waiter,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) commands: Receiver<Command>,
}

impl Sockets {
    pub(crate) fn new(number: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waiter = Waiter::new(Async::new_nonblocking(poll.registry().as_fd().try_clone_to_owned()?)?);
        let (mailbox, commands) = Mailbox::new(number, poll.registry(), MAILBOX)?;
        Ok(Self { poll, waiter, mailbox, commands })
    }

    /// Returns the receiving end of the mailbox, which also receives what the worker leaves unread.
    pub(crate) const fn commands(&self) -> &Receiver<Command> {
        &self.commands
    }

    /// Returns the mailbox of the worker.
    pub(crate) const fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }
}
