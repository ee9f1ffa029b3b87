//! Waits for deferred answers and for the sockets of a worker together.

use std::future;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use smol::Async;

use crate::answers::Answers;
use crate::timer::LazyTimer;

/// The end of a wait in which no answer is finished and no socket is ready.
pub(super) enum Wakeup {
    /// There is something to do already.
    Now,
    /// This time, if there is one.
    At(Option<Instant>),
}

/// Waits as smol does, which takes more system calls than a wait for sockets alone: deferred answers are futures with timers and
/// sockets of smol in them.
pub(super) struct Waiter {
    /// Reports to smol that the worker's own `Poll` has events.
    polled: Async<OwnedFd>,
    timer: LazyTimer,
}

impl Waiter {
    pub(super) fn new(polled: Async<OwnedFd>) -> Self {
        Self { polled, timer: LazyTimer::default() }
    }

    /// Runs deferred answers until one is finished or there is something else to do.
    pub(super) async fn run_answers(&mut self, answers: &mut Answers, wakeup: Wakeup) {
        let Self { polled, timer } = self;
        let Wakeup::At(deadline) = wakeup else {
            answers.run(&Context::from_waker(Waker::noop()));
            return;
        };
        future::poll_fn(|cx| {
            let is_finished = answers.run(cx);
            let is_due = deadline.is_some_and(|at| timer.poll(cx, at));
            if is_finished || is_due || polled.poll_readable(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
