//! What an application is: messages in, variables out.

use std::error::Error;
use std::future::Pending;
use std::marker::PhantomData;

use spoa_core::wire::{Actions, Messages};
use spoa_core::{Ack, Notify, OwnedMessages, Ticket};

/// Why an answer cannot be given; it is logged, and the NOTIFY is answered empty.
pub type HandlerError = Box<dyn Error>;

/// Answers NOTIFYs. Each worker thread has its own clone, which serves all its connections.
///
/// [`quick`] and [`deferred`] make one of a closure; implement it where some answers are quick and some are not.
///
/// ```
/// use std::future::Future;
/// use std::pin::Pin;
/// use spoa_runtime::{Actions, Handler, HandlerError, Notify, Reply, Scope};
///
/// /// Knows some users; asks elsewhere for the rest.
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
    /// The future of an answer that comes later. It runs on the worker's thread and is dropped when its NOTIFY is
    /// overdue or its connection ends; work that blocks belongs into [`smol::unblock`].
    type Later: Future<Output = Result<Actions, HandlerError>> + 'static;

    /// Answers `notify`, or takes its ticket to answer later. It must not block: its worker's other connections wait.
    ///
    /// # Errors
    /// Whatever keeps it from answering; the NOTIFY is answered empty.
    fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError>;
}

/// What became of a NOTIFY.
#[derive(Debug)]
pub enum Reply<F> {
    /// It was answered, or dropped to be answered empty.
    Done,
    /// The future gives the answer for this ticket.
    Later(Ticket, F),
}

/// A handler that answers in place: `answer` reads the messages and sets variables in one pass, without allocation.
///
/// Actions beyond the negotiated frame size are cut from the end, and the cut is logged.
pub fn quick<F>(answer: F) -> Quick<F>
where
    F: FnMut(Messages<'_>, &mut Ack<'_>) -> Result<(), HandlerError> + 'static,
{
    Quick { answer }
}

/// A handler that answers later, in any order: `answer` takes a copy of the messages and returns a future.
pub fn deferred<F, L>(answer: F) -> Deferred<F, L>
where
    F: FnMut(OwnedMessages) -> L + 'static,
    L: Future<Output = Result<Actions, HandlerError>> + 'static,
{
    Deferred { answer, later: PhantomData }
}

/// See [`quick`].
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

/// See [`deferred`].
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
