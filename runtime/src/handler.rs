//! The interface of applications: messages in, variables out.

use std::error::Error;
use std::future::Pending;
use std::marker::PhantomData;

use spoa_core::wire::{Actions, Messages};
use spoa_core::{Ack, Notify, OwnedMessages, Ticket};

use crate::name::Name;

/// The reason why a handler cannot answer. It is logged, and HAProxy gets an empty ACK.
pub type HandlerError = Box<dyn Error>;

/// Answers NOTIFYs. Each worker has its own clone, which serves all connections of the worker.
///
/// [`quick`] and [`deferred`] turn a closure into a handler; implement the trait if some answers are immediate and some are not.
///
/// ```
/// use std::future::Future;
/// use std::pin::Pin;
/// use spoa_runtime::{Actions, Handler, HandlerError, Notify, Reply, Scope, SetVars};
///
/// /// Answers one message immediately, and others later.
/// #[derive(Clone)]
/// struct Users;
///
/// impl Handler for Users {
///     type Later = Pin<Box<dyn Future<Output = Result<Actions, HandlerError>>>>;
///
///     fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError> {
///         let known = notify.messages().any(|message| message.name() == b"ping");
///         if known {
///             let mut ack = notify.ack();
///             ack.set_var(Scope::Request, "pong", true)?;
///             ack.finish()?;
///             return Ok(Reply::Done);
///         }
///         let kept = notify.to_owned();
///         Ok(Reply::Later(notify.defer(), Box::pin(async move {
///             let mut actions = Actions::new();
///             actions.set_var(Scope::Request, "messages", kept.messages().count() as u32)?;
///             Ok(actions)
///         })))
///     }
/// }
/// ```
pub trait Handler: 'static {
    /// The future of a deferred answer. It runs on the worker's thread, and is dropped when its NOTIFY is overdue or its
    /// connection ends. Work that blocks has to run in [`smol::unblock`].
    type Later: Future<Output = Result<Actions, HandlerError>> + 'static;

    /// Answers `notify`, or takes its ticket to answer later. It must not block, because all connections of the worker wait
    /// for it.
    ///
    /// # Errors
    /// Any reason why it cannot answer; HAProxy gets an empty ACK.
    fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError>;

    /// Answers `notify` as [`handle`](Self::handle) does, and knows the connection that it came from. This is what the agent calls.
    ///
    /// # Errors
    /// The same as those of [`handle`](Self::handle).
    #[inline]
    fn handle_from(&mut self, notify: Notify<'_>, _peer: Peer<'_>) -> Result<Reply<Self::Later>, HandlerError> {
        self.handle(notify)
    }
}

/// The connection of HAProxy that a NOTIFY came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'c>(Option<&'c Name>);

impl<'c> Peer<'c> {
    pub(crate) const fn of(name: &'c Name) -> Self {
        Self(Some(name))
    }

    /// Returns an unknown peer, for calls without a connection.
    pub const fn unknown() -> Self {
        Self(None)
    }

    /// Returns the address of the connection as in logs, such as `192.0.2.1:1234`; empty if it is unknown.
    pub fn address(self) -> &'c str {
        self.0.map_or("", Name::peer)
    }

    /// Returns the engine-id of the HELLO, escaped and at most 64 bytes long before that; `None` if there was none.
    pub fn engine_id(self) -> Option<&'c str> {
        self.0?.engine()
    }
}

/// The outcome of a NOTIFY.
#[derive(Debug)]
pub enum Reply<F> {
    /// It was answered, or dropped, which sends an empty ACK.
    Done,
    /// The future returns the answer for this ticket.
    Later(Ticket, F),
}

/// Returns a handler with immediate answers: `answer` reads the messages and sets variables in one pass, without allocation.
///
/// Actions that exceed the negotiated frame size are dropped from the end, and a line is logged.
pub fn quick<F>(answer: F) -> Quick<F>
where
    F: FnMut(Messages<'_>, &mut Ack<'_>) -> Result<(), HandlerError> + 'static,
{
    Quick { answer }
}

/// Returns a handler with deferred answers, in any order: `answer` gets a copy of the messages and returns a future.
pub fn deferred<F, L>(answer: F) -> Deferred<F, L>
where
    F: FnMut(OwnedMessages) -> L + 'static,
    L: Future<Output = Result<Actions, HandlerError>> + 'static,
{
    Deferred { answer, later: PhantomData }
}

/// A handler made by [`quick`].
#[derive(Clone, Debug)]
pub struct Quick<F> {
    answer: F,
}

impl<F> Handler for Quick<F>
where
    F: FnMut(Messages<'_>, &mut Ack<'_>) -> Result<(), HandlerError> + 'static,
{
    type Later = Pending<Result<Actions, HandlerError>>;

    fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError> {
        let messages = notify.messages();
        let mut ack = notify.ack();
        (self.answer)(messages, &mut ack)?;
        ack.finish()?;
        Ok(Reply::Done)
    }
}

/// A handler made by [`deferred`].
#[derive(Debug)]
pub struct Deferred<F, L> {
    answer: F,
    later: PhantomData<fn() -> L>,
}

impl<F: Clone, L> Clone for Deferred<F, L> {
    fn clone(&self) -> Self {
        Self { answer: self.answer.clone(), later: PhantomData }
    }
}

impl<F, L> Handler for Deferred<F, L>
where
    F: FnMut(OwnedMessages) -> L + 'static,
    L: Future<Output = Result<Actions, HandlerError>> + 'static,
{
    type Later = L;

    fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError> {
        let later = (self.answer)(notify.to_owned());
        Ok(Reply::Later(notify.defer(), later))
    }
}
