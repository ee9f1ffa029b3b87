//! The interface of applications: messages in, variables out.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use spoa_core::wire::Actions;
use spoa_core::{Ack, Notify, Ticket};

use crate::context::{Context, OwnedRequest, Request};

/// The reason why a handler cannot answer. It is logged, and HAProxy gets an empty ACK.
pub type HandlerError = Box<dyn Error>;

/// The future of a deferred answer. It runs on the worker's thread, and is dropped when its NOTIFY is overdue or its
/// connection ends. Work that blocks has to run in [`smol::unblock`].
pub type Later = Pin<Box<dyn Future<Output = Result<Actions, HandlerError>>>>;

/// Answers NOTIFYs. Each worker has its own clone, which serves all connections of the worker.
///
/// [`quick`] and [`deferred`] turn a closure into a handler; implement the trait if some answers are immediate and some are not.
///
/// ```
/// use spoa_runtime::{Actions, Context, Handler, HandlerError, Notify, Reply, Scope, SetVars};
///
/// /// Answers one message immediately, and others later.
/// #[derive(Clone)]
/// struct Users;
///
/// impl Handler for Users {
///     fn handle(&mut self, notify: Notify<'_>, _context: Context<'_>) -> Result<Reply, HandlerError> {
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
    /// Answers `notify`, or takes its ticket to answer later. It must not block, because all connections of the worker wait
    /// for it.
    ///
    /// # Errors
    /// Any reason why it cannot answer; HAProxy gets an empty ACK.
    fn handle(&mut self, notify: Notify<'_>, context: Context<'_>) -> Result<Reply, HandlerError>;
}

/// The outcome of a NOTIFY.
pub enum Reply {
    /// It was answered, or dropped, which sends an empty ACK.
    Done,
    /// The future returns the answer for this ticket.
    Later(Ticket, Later),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("Done"),
            Self::Later(ticket, _) => f.debug_tuple("Later").field(ticket).finish_non_exhaustive(),
        }
    }
}

/// Returns a handler with immediate answers: `answer` reads the messages and sets variables in one pass, without allocation.
/// Each worker has its own clone of `answer`, which may change what it captures.
///
/// Actions that exceed the negotiated frame size are dropped from the end, and a line is logged.
pub fn quick<F>(answer: F) -> Quick<F>
where
    F: FnMut(Request<'_>, &mut Ack<'_>) -> Result<(), HandlerError> + 'static,
{
    Quick { answer }
}

/// Returns a handler with deferred answers, in any order: `answer` gets a copy of the messages, and other NOTIFYs are answered
/// while it waits. All workers share `answer` and what it captures.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use spoa_runtime::{Actions, Scope, SetVars, deferred};
///
/// let count = AtomicU64::new(0);
/// let handler = deferred(async move |request| {
///     let mut actions = Actions::new();
///     for _ in request.messages() {
///         actions.set_var(Scope::Session, "count", count.fetch_add(1, Ordering::Relaxed))?;
///     }
///     Ok(actions)
/// });
/// # drop(handler);
/// ```
pub fn deferred<F>(answer: F) -> Deferred<F>
where
    F: AsyncFn(OwnedRequest) -> Result<Actions, HandlerError> + 'static,
{
    Deferred { answer: Arc::new(answer) }
}

/// A handler made by [`quick`].
#[derive(Clone, Debug)]
pub struct Quick<F> {
    answer: F,
}

impl<F> Handler for Quick<F>
where
    F: FnMut(Request<'_>, &mut Ack<'_>) -> Result<(), HandlerError> + 'static,
{
    fn handle(&mut self, notify: Notify<'_>, context: Context<'_>) -> Result<Reply, HandlerError> {
        let request = Request { messages: notify.messages(), context };
        let mut ack = notify.ack();
        (self.answer)(request, &mut ack)?;
        ack.finish()?;
        Ok(Reply::Done)
    }
}

/// A handler made by [`deferred`].
#[derive(Debug)]
pub struct Deferred<F> {
    answer: Arc<F>,
}

impl<F> Clone for Deferred<F> {
    fn clone(&self) -> Self {
        Self { answer: Arc::clone(&self.answer) }
    }
}

impl<F> Handler for Deferred<F>
where
    F: AsyncFn(OwnedRequest) -> Result<Actions, HandlerError> + 'static,
{
    fn handle(&mut self, notify: Notify<'_>, context: Context<'_>) -> Result<Reply, HandlerError> {
        let (answer, request) = (Arc::clone(&self.answer), OwnedRequest::new(notify.to_owned(), context));
        let later = async move { answer(request).await };
        Ok(Reply::Later(notify.defer(), Box::pin(later)))
    }
}
