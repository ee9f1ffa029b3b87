//! The answers that come later.

use std::cell::{Cell, RefCell};
use std::future;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;

use futures_lite::FutureExt;
use smol::{LocalExecutor, Task};
use spoa_core::Ticket;
use spoa_core::wire::Actions;

use crate::handler::HandlerError;

/// The futures of a worker's handler, which run on its thread, and what came of them.
pub(crate) struct Answers {
    executor: Rc<LocalExecutor<'static>>,
    /// The executor at work.
    running: Pin<Box<dyn Future<Output = ()>>>,
    outcome: Rc<Outcome>,
}

/// What the futures tell.
#[derive(Default)]
struct Outcome {
    came: RefCell<Vec<Answer>>,
    /// How many futures there are, those included that were cancelled but not dropped yet.
    pending: Cell<usize>,
}

/// The answer to one NOTIFY of a connection.
pub(crate) struct Answer {
    /// The connection's number.
    pub(crate) key: usize,
    pub(crate) ticket: Ticket,
    pub(crate) actions: Result<Actions, HandlerError>,
}

/// What is logged of a handler that panicked.
pub(crate) const PANICKED: &str = "the handler panicked, answered empty";

impl Answers {
    pub(crate) fn new() -> Self {
        let executor = Rc::new(LocalExecutor::new());
        let run = Rc::clone(&executor);
        let running = Box::pin(async move { run.run(future::pending()).await });
        Self { executor, running, outcome: Rc::default() }
    }

    /// Runs `later` for connection `key`, whose `ticket` it answers; dropping the task cancels it.
    pub(crate) fn spawn<L>(&self, key: usize, ticket: Ticket, later: L) -> Task<()>
    where
        L: Future<Output = Result<Actions, HandlerError>> + 'static,
    {
        let pending = Pending::new(&self.outcome);
        self.executor.spawn(async move {
            let actions = AssertUnwindSafe(later).catch_unwind().await.unwrap_or_else(|_| Err(PANICKED.into()));
            pending.0.came.borrow_mut().push(Answer { key, ticket, actions });
        })
    }

    /// True if there are futures to run.
    pub(crate) fn are_pending(&self) -> bool {
        self.outcome.pending.get() > 0
    }

    /// Runs the futures as far as they go now; true if answers came. The waker of `cx` is told when one can go on.
    pub(crate) fn run(&mut self, cx: &mut Context<'_>) -> bool {
        // It never ends, and takes a break after some hundred futures.
        let _ = self.running.as_mut().poll(cx);
        !self.outcome.came.borrow().is_empty()
    }

    /// Puts the answers that came into `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut Vec<Answer>) {
        mem::swap(&mut *self.outcome.came.borrow_mut(), taken);
    }
}

/// Counts a future, until it is dropped.
struct Pending(Rc<Outcome>);

impl Pending {
    fn new(outcome: &Rc<Outcome>) -> Self {
        outcome.pending.set(outcome.pending.get() + 1);
        Self(Rc::clone(outcome))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.set(self.0.pending.get() - 1);
    }
}
