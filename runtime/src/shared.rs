//! The state that the connections of one worker share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spoa_core::{Buffers, Notify, Ticket};

use crate::answers::Answers;
use crate::clock::Clock;
use crate::counters::{Counters, SAMPLE};
use crate::handler::{Handler, HandlerError, Reply};
use crate::load::Loads;
use crate::log_limit::LogLimit;
use crate::panics;
use crate::settings::Settings;
use crate::text::Count;

/// The time limits of a drain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// The time for answers in flight.
    pub(crate) grace: Duration,
    /// The time to wait for an ACK that leaves nothing in flight: closing right after it crosses no NOTIFY. Zero closes
    /// at once.
    pub(crate) patience: Duration,
}

/// The outcome of a NOTIFY that was handed to the handler.
pub(crate) enum Handled<L> {
    Done,
    Later(Ticket, L),
    Failed(HandlerError),
    /// The message of the panic.
    Panicked(String),
}

/// The state of one worker, which no other thread sees.
pub(crate) struct Shared<H> {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) handler: H,
    pub(crate) answers: Answers,
    /// The buffers of the connection that has its turn.
    pub(crate) spare: Buffers,
    pub(crate) log_limit: LogLimit,
    pub(crate) loads: Loads,
    pub(crate) counters: Arc<Counters>,
    /// The number of NOTIFYs handed to the handler.
    handled: u64,
    told_of_waiting: Option<spoa_core::Instant>,
    /// Set once, when the agent drains.
    pub(crate) drain: Option<Drain>,
}

impl<H: Handler> Shared<H> {
    /// Calls the handler. If it panics, that costs this one answer.
    #[inline]
    pub(crate) fn handle(&mut self, notify: Notify<'_>) -> Handled<H::Later> {
        self.handled = self.handled.wrapping_add(1);
        let start = self.handled.is_multiple_of(SAMPLE).then(Instant::now);
        // The result of `catch_unwind` is copied in wide pieces right after it was written in narrow ones, which stalls
        // the processor: for an immediate answer it is a single byte.
        let mut other = None;
        let is_done = catch_unwind(AssertUnwindSafe(|| match self.handler.handle(notify) {
            Ok(Reply::Done) => true,
            reply => {
                other = Some(reply);
                false
            }
        }));
        match (is_done, other) {
            (Ok(true), _) => {
                if let Some(start) = start {
                    self.counters.in_place.add(start.elapsed());
                }
                Handled::Done
            }
            (_, Some(Ok(Reply::Later(ticket, later)))) => Handled::Later(ticket, later),
            (_, Some(Err(error))) => Handled::Failed(error),
            _ => Handled::Panicked(panics::take()),
        }
    }
}

impl<H> Shared<H> {
    /// Warns that connections are queued, at most once per minute, because that may last, or come and go.
    pub(crate) fn tell_of_waiting(&mut self) {
        let now = self.clock.now();
        if self.told_of_waiting.is_none_or(|told| told + Duration::from_secs(60) <= now) {
            self.told_of_waiting = Some(now);
            let (waiting, in_flight, limit) = (self.loads.waiting(), self.loads.in_flight(), self.loads.limit());
            tracing::warn!(
                "{} queued on one worker: its share of {limit} allows no more than the {} in flight",
                Count(waiting as u64, "connection"),
                Count(in_flight as u64, "NOTIFY")
            );
        }
    }

    pub(crate) fn new(settings: Settings, handler: H, counters: Arc<Counters>) -> Self {
        let loads = Loads::new(&settings, Arc::clone(&counters));
        let log_limit = LogLimit::default();
        Self {
            settings,
            clock: Clock::new(),
            handler,
            answers: Answers::new(log_limit.clone()),
            spare: Buffers::default(),
            log_limit,
            loads,
            counters,
            handled: 0,
            told_of_waiting: None,
            drain: None,
        }
    }
}
