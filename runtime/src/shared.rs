//! What the connections of one worker share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use spoa_core::{Buffers, Notify};

use crate::answers::Answers;
use crate::clock::Clock;
use crate::counters::{Counters, SAMPLE};
use crate::handler::{Handler, HandlerError, Reply};
use crate::load::Loads;
use crate::log_limit::LogLimit;
use crate::settings::Settings;

/// How connections are ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// How long what is in flight may take.
    pub(crate) grace: Duration,
    /// How long to wait for an ACK behind which nothing is in flight: an end there crosses no NOTIFY. Zero ends at once.
    pub(crate) patience: Duration,
}

/// One thread's own; no other thread ever sees any of it.
pub(crate) struct Shared<H> {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) handler: H,
    pub(crate) answers: Answers,
    /// The buffers of whichever connection has its turn.
    pub(crate) spare: Buffers,
    pub(crate) log_limit: LogLimit,
    pub(crate) loads: Loads,
    pub(crate) counters: Arc<Counters>,
    /// How many NOTIFYs the handler was given.
    handled: u64,
    /// Set once, when the agent drains.
    pub(crate) drain: Option<Drain>,
}

impl<H: Handler> Shared<H> {
    /// Lets the handler answer. A panic of its own costs it that one answer.
    #[inline]
    pub(crate) fn handle(&mut self, notify: Notify<'_>) -> thread::Result<Result<Reply<H::Later>, HandlerError>> {
        self.handled = self.handled.wrapping_add(1);
        let start = self.handled.is_multiple_of(SAMPLE).then(Instant::now);
        let reply = catch_unwind(AssertUnwindSafe(|| self.handler.handle(notify)));
        if let (Some(start), Ok(Ok(Reply::Done))) = (start, &reply) {
            self.counters.in_place.add(start.elapsed());
        }
        reply
    }
}

impl<H> Shared<H> {
    pub(crate) fn new(settings: Settings, handler: H, counters: Arc<Counters>) -> Self {
        let loads = Loads::new(&settings, Arc::clone(&counters));
        Self {
            settings,
            clock: Clock::new(),
            handler,
            answers: Answers::new(),
            spare: Buffers::default(),
            log_limit: LogLimit::default(),
            loads,
            counters,
            handled: 0,
            drain: None,
        }
    }
}
