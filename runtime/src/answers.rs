//! Deferred answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;
use spoa_core::endpoint::{Answer, Key};
use spoa_core::{AckTooBig, Instant, Ticket, TicketId};

use crate::handler::{HandlerError, Later};
use crate::log_limit::LogLimit;
use crate::panics;
use crate::ready::{Flag, Ready};

/// The futures of a worker's handler, which run on its thread, and their results.
///
/// These are not tasks of an executor: a cancelled task stays until the executor runs it, with its copy of the
/// messages, and peers that connect and leave could pile up such tasks faster than they are run. Here a cancelled
/// future is dropped at once, and a run polls each future that is ready, once.
pub(crate) struct Answers {
    work: Slab<Work>,
    /// Futures to poll in the next run.
    running: Vec<usize>,
    /// Futures to poll in the run after it, as reported by their wakers.
    ready: Arc<Ready>,
    finished: Vec<Answer<HandlerError>>,
    log_limit: LogLimit,
}

/// A running future, and the NOTIFY that it answers.
struct Work {
    key: Key,
    ticket: Ticket,
    since: Instant,
    later: Later,
    own: Arc<FutureWaker>,
    waker: Waker,
}

/// The identity of a running future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkId {
    number: usize,
    key: Key,
    ticket: TicketId,
}

/// Returns the line to log about a handler that failed.
pub(crate) fn failed(error: &HandlerError) -> String {
    if error.is::<AckTooBig>() {
        // The actions that fit are sent.
        return error.to_string();
    }
    format!("the handler failed, so HAProxy gets an empty ACK: {error}")
}

/// Returns the line to log about a handler that panicked with this message.
pub(crate) fn panicked(panic: &str) -> String {
    format!("the handler panicked, so HAProxy gets an empty ACK: {panic}")
}

impl Answers {
    pub(crate) fn new(log_limit: LogLimit) -> Self {
        Self { work: Slab::new(), running: Vec::new(), ready: Arc::new(Ready::new()), finished: Vec::new(), log_limit }
    }

    /// Adds `later`, which answers the NOTIFY `ticket` of connection `key`, handed out at `since`. The next
    /// [run](Self::run) polls it.
    pub(crate) fn spawn(&mut self, key: Key, ticket: Ticket, since: Instant, later: Later) -> WorkId {
        let entry = self.work.vacant_entry();
        let number = entry.key();
        let id = WorkId { number, key, ticket: ticket.id() };
        let own = Arc::new(FutureWaker { flag: Flag::up(number), ready: Arc::clone(&self.ready) });
        let waker = Waker::from(Arc::clone(&own));
        entry.insert(Work { key, ticket, since, later, own, waker });
        self.running.push(number);
        id
    }

    /// Drops a future, unless it is finished.
    pub(crate) fn cancel(&mut self, id: WorkId) {
        let is_there = |work: &Work| (work.key, work.ticket.id()) == (id.key, id.ticket);
        if self.work.get(id.number).is_some_and(is_there) {
            drop_caught(&self.log_limit, self.work.remove(id.number));
        }
        if self.work.is_empty() {
            // Without futures there is no run that would remove these.
            self.running.clear();
        }
    }

    /// True if there are futures to run.
    pub(crate) fn are_pending(&self) -> bool {
        !self.work.is_empty()
    }

    /// Polls each future that is ready, once; returns true if there are answers. The waker of `cx` is woken when one is
    /// ready again.
    pub(crate) fn run(&mut self, cx: &Context<'_>) -> bool {
        let Self { work, running, ready, finished, log_limit } = self;
        ready.hand_over(running, cx.waker());
        for number in running.drain(..) {
            // An index may be that of a future that is gone, or of a new one with the same index, which is then polled
            // once because its flag is lowered.
            let Some(Work { later, own, waker, .. }) = work.get_mut(number) else { continue };
            if !own.flag.lower() {
                continue;
            }
            let poll = catch_unwind(AssertUnwindSafe(|| later.as_mut().poll(&mut Context::from_waker(waker))));
            let actions = match poll {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(actions)) => actions,
                Err(_) => Err(format!("it panicked: {}", panics::take()).into()),
            };
            let Work { key, ticket, since, later, .. } = work.remove(number);
            drop_caught(log_limit, later);
            finished.push(Answer { key, ticket, since, actions });
        }
        !finished.is_empty()
    }

    /// Takes the finished answers.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Answer<HandlerError>> {
        self.finished.drain(..)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let Self { work, log_limit, .. } = self;
        work.drain().for_each(|work| drop_caught(log_limit, work));
    }
}

/// Drops something that belongs to a handler, which may panic.
fn drop_caught<T>(log_limit: &LogLimit, what: T) {
    if catch_unwind(AssertUnwindSafe(|| drop(what))).is_err() {
        let panic = panics::take();
        if log_limit.allows() {
            tracing::error!(panic, "a handler's future panicked when it was dropped: {panic}");
        }
    }
}

/// The waker of one future.
struct FutureWaker {
    flag: Flag,
    ready: Arc<Ready>,
}

impl Wake for FutureWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.raise(&self.flag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::{self, poll_fn};
    use std::rc::Rc;

    use spoa_core::wire::{Actions, HaproxyHello};
    use spoa_core::{Config, Connection, Event};

    fn key(serial: u32) -> Key {
        Key::new(0, serial)
    }

    /// Returns the tickets of `count` NOTIFYs.
    fn tickets(count: u8) -> Vec<Ticket> {
        let mut input = Vec::new();
        let hello = HaproxyHello {
            supported_versions: Some(b"2.0"),
            max_frame_size: Some(spoa_core::wire::TypedData::Uint32(16380)),
            capabilities: Some(b"pipelining"),
            ..HaproxyHello::default()
        };
        hello.encode(&mut input);
        (0..count).for_each(|sid| input.extend_from_slice(&[0, 0, 0, 7, 3, 0, 0, 0, 1, sid, 1]));
        let mut connection = Connection::new(Config::default(), Instant::ZERO);
        connection.recv_buf()[..input.len()].copy_from_slice(&input);
        connection.handle_input(Instant::ZERO, input.len());
        let mut tickets = Vec::new();
        while let Some(event) = connection.poll_event() {
            if let Event::Notify(notify) = event {
                tickets.push(notify.defer());
            }
        }
        tickets
    }

    struct CountsDrops(Rc<Cell<usize>>);

    impl Drop for CountsDrops {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn what_is_cancelled_is_gone_at_once_however_much_of_it_there_is() {
        let (mut answers, drops) = (Answers::new(LogLimit::default()), Rc::new(Cell::new(0)));
        for round in 1..=100 {
            let spawned: Vec<_> = tickets(64)
                .into_iter()
                .map(|ticket| {
                    let counts = CountsDrops(Rc::clone(&drops));
                    let later = async move {
                        let _counts = counts;
                        future::pending().await
                    };
                    answers.spawn(key(round), ticket, Instant::ZERO, Box::pin(later))
                })
                .collect();
            answers.run(&Context::from_waker(Waker::noop()));
            spawned.into_iter().for_each(|id| answers.cancel(id));
            assert_eq!(drops.get(), round as usize * 64);
        }
        assert!(!answers.are_pending());
    }

    #[test]
    fn a_run_takes_each_once_and_a_late_waker_does_no_harm() {
        let (mut answers, runs) = (Answers::new(LogLimit::default()), Rc::new(Cell::new(0)));
        let waker = Rc::new(Cell::new(None));
        let mut tickets = tickets(2).into_iter();
        let (seen, kept) = (Rc::clone(&runs), Rc::clone(&waker));
        let restless = poll_fn(move |cx| {
            seen.set(seen.get() + 1);
            cx.waker().wake_by_ref();
            kept.set(Some(cx.waker().clone()));
            Poll::Pending
        });
        let id = answers.spawn(key(1), tickets.next().unwrap(), Instant::ZERO, Box::pin(restless));
        for run in 1..=3 {
            assert!(!answers.run(&Context::from_waker(Waker::noop())));
            assert_eq!(runs.get(), run);
        }
        answers.cancel(id);
        let next =
            answers.spawn(key(2), tickets.next().unwrap(), Instant::ZERO, Box::pin(future::ready(Ok(Actions::new()))));
        assert_eq!(next.number, id.number);
        answers.cancel(id);
        waker.take().unwrap().wake();
        assert!(answers.run(&Context::from_waker(Waker::noop())), "the answer of the other one finished");
        assert_eq!(answers.take().map(|answer| answer.key).collect::<Vec<_>>(), [key(2)]);
    }

    /// Futures of peers that disconnect at once are added and cancelled before anything runs.
    #[test]
    fn what_never_ran_leaves_no_number_behind() {
        let (mut answers, runs) = (Answers::new(LogLimit::default()), Rc::new(Cell::new(0)));
        let kept = answers.spawn(key(0), tickets(1).remove(0), Instant::ZERO, Box::pin(future::pending()));
        for round in 1..=100 {
            let ids: Vec<_> = tickets(64)
                .into_iter()
                .map(|t| answers.spawn(key(round), t, Instant::ZERO, Box::pin(future::pending())))
                .collect();
            ids.into_iter().for_each(|id| answers.cancel(id));
        }
        let seen = Rc::clone(&runs);
        let counting = poll_fn(move |_| {
            seen.set(seen.get() + 1);
            Poll::Pending
        });
        let counted = answers.spawn(key(101), tickets(1).remove(0), Instant::ZERO, Box::pin(counting));
        answers.run(&Context::from_waker(Waker::noop()));
        assert_eq!(runs.get(), 1, "once, for all of the numbers it shares");
        [kept, counted].into_iter().for_each(|id| answers.cancel(id));
        let id = answers.spawn(key(1), tickets(1).remove(0), Instant::ZERO, Box::pin(future::pending()));
        answers.cancel(id);
        assert_eq!((answers.running.len(), answers.are_pending()), (0, false));
    }

    #[test]
    fn a_panic_costs_one_answer() {
        struct PanicsWhenDropped;
        impl Drop for PanicsWhenDropped {
            fn drop(&mut self) {
                panic!("as a handler's own may");
            }
        }
        let (mut answers, mut tickets) = (Answers::new(LogLimit::default()), tickets(3).into_iter());
        answers.spawn(
            key(1),
            tickets.next().unwrap(),
            Instant::ZERO,
            Box::pin(poll_fn(|_| panic!("as a handler may"))),
        );
        let kept = PanicsWhenDropped;
        let later = async move {
            let _kept = kept;
            future::pending().await
        };
        let id = answers.spawn(key(1), tickets.next().unwrap(), Instant::ZERO, Box::pin(later));
        answers.spawn(key(2), tickets.next().unwrap(), Instant::ZERO, Box::pin(future::ready(Ok(Actions::new()))));
        assert!(answers.run(&Context::from_waker(Waker::noop())));
        answers.cancel(id);
        let finished: Vec<_> = answers.take().map(|answer| (answer.key, answer.actions.is_ok())).collect();
        assert_eq!(finished, [(key(1), false), (key(2), true)]);
    }
}
