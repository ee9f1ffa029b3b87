//! The agent around the connections of one worker: the handler, the log and the counters.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use spoa_core::Notify;
use spoa_core::endpoint::{Handled, Host, Key, Report, Socket};

use crate::answers::{Answers, WorkId, failed, panicked};
use crate::clock::Clock;
use crate::context::Context;
use crate::counters::{Counters, SAMPLE};
use crate::engines::EngineConnection;
use crate::handler::{Handler, HandlerError, Reply};
use crate::log_limit::LogLimit;
use crate::name::Name;
use crate::panics;
use crate::report::Reporter;
use crate::settings::Settings;

/// A socket with a name in the log, and the engine of HAProxy that it belongs to, from the HELLO on.
pub(crate) trait NamedSocket: Socket {
    fn name(&self) -> &Name;

    fn name_and_engine(&mut self) -> (&Name, &mut Option<EngineConnection>);
}

/// The state of one worker beside its endpoint, which no other thread sees. Its sockets are of the type `S`.
pub(crate) struct Shell<H, S> {
    pub(crate) clock: Clock,
    handler: H,
    pub(crate) answers: Answers,
    pub(crate) reporter: Reporter,
    /// The number of NOTIFYs handed to the handler.
    handled: u64,
    sockets: PhantomData<S>,
}

impl<H, S> Shell<H, S> {
    pub(crate) fn new(settings: Settings, handler: H, counters: Arc<Counters>) -> Self {
        let (clock, log_limit) = (Clock::new(), LogLimit::default());
        let answers = Answers::new(log_limit.clone());
        let reporter = Reporter::new(settings, log_limit, counters);
        Self { clock, handler, answers, reporter, handled: 0, sockets: PhantomData }
    }
}

impl<H: Handler, S: NamedSocket> Host for Shell<H, S> {
    type Socket = S;
    type Error = HandlerError;
    type Work = WorkId;

    /// Calls the handler. If it panics, that costs this one answer.
    #[inline]
    fn notify(&mut self, key: Key, socket: &mut S, notify: Notify<'_>) -> Handled<WorkId> {
        self.handled = self.handled.wrapping_add(1);
        let start = self.handled.is_multiple_of(SAMPLE).then(Instant::now);
        // The result of `catch_unwind` is copied in wide pieces right after it was written in narrow ones, which stalls
        // the processor: for an immediate answer it is a single byte.
        let mut other = None;
        let context = Context::new(socket.name(), self.reporter.settings.connection.ack_timeout);
        let is_done = catch_unwind(AssertUnwindSafe(|| match self.handler.handle(notify, context) {
            Ok(Reply::Done) => true,
            reply => {
                other = Some(reply);
                false
            }
        }));
        match (is_done, other) {
            (Ok(true), _) => {
                if let Some(start) = start {
                    self.reporter.counters.in_place.add(start.elapsed());
                }
            }
            (_, Some(Ok(Reply::Later(ticket, later)))) => {
                let id = ticket.id();
                return Handled::Deferred(id, self.answers.spawn(key, ticket, self.clock.now(), later));
            }
            (_, Some(Err(error))) => self.reporter.warn(socket.name(), "handler_failed", &failed(&error)),
            _ => self.reporter.warn(socket.name(), "handler_panicked", &panicked(&panics::take())),
        }
        Handled::Done
    }

    fn cancel(&mut self, work: WorkId) {
        self.answers.cancel(work);
    }

    fn report(&mut self, socket: &mut S, report: Report<'_, HandlerError>) {
        let (name, engine) = socket.name_and_engine();
        self.reporter.report(name, engine, &report, &self.clock);
    }
}
