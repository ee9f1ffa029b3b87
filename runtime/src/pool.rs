//! All workers, as seen by the accepting thread.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use smol::channel::{Receiver, bounded};
use spoa_core::endpoint::Drain;

use crate::counter::Counter;
use crate::counters::{Counters, Hello, Label};
use crate::engines::{self, Engine};
use crate::error::Error;
use crate::handler::Handler;
use crate::health::Heartbeat;
use crate::listener::Accepted;
use crate::mailbox::{Admission, Arrival, Command, Mailbox};
use crate::panics;
use crate::settings::Settings;
use crate::text::Count;
use crate::worker::{Sockets, Worker};

/// The workers, which end when this is dropped.
#[derive(Debug)]
pub(crate) struct Pool {
    workers: Vec<WorkerHandle>,
    settings: Settings,
    /// The number of connections that were closed without an answer.
    dropped: Counter,
    /// The number of connections that were assigned to workers, which is the name of the last one.
    assigned: Counter,
    refuses_checks: AtomicBool,
    /// The heartbeats of the accepting thread and of the threads added to the agent.
    heartbeats: Vec<Heartbeat>,
    accepting: Heartbeat,
}

/// A worker, as seen by other threads.
#[derive(Debug)]
struct WorkerHandle {
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
}

/// The number of connections above the limit that are rejected with code 13 at a time: an eighth of the limit, within this
/// range.
const TURNED_AWAY_MAX: RangeInclusive<usize> = 16..=1024;

impl Pool {
    /// Starts the worker threads. The channel closes when the last of them has ended.
    ///
    /// # Errors
    /// A thread, or what it waits on, cannot be created.
    pub(crate) fn start<H>(
        settings: &Settings,
        handler: H,
        mut heartbeats: Vec<Heartbeat>,
    ) -> Result<(Self, Receiver<()>), Error>
    where
        H: Handler + Clone + Send,
    {
        let (working, ended) = bounded(1);
        let accepting = Heartbeat::new("accepting thread");
        heartbeats.push(accepting.clone());
        let mut pool = Self {
            workers: Vec::new(),
            settings: settings.clone(),
            dropped: Counter::default(),
            assigned: Counter::default(),
            refuses_checks: AtomicBool::new(false),
            heartbeats,
            accepting,
        };
        for (number, handler) in vec![handler; settings.workers.get()].into_iter().enumerate() {
            let sockets = Sockets::new(number).map_err(Error::Worker)?;
            let (mailbox, counters) = (Arc::clone(sockets.mailbox()), Arc::<Counters>::default());
            pool.workers.push(WorkerHandle { mailbox, counters: Arc::clone(&counters) });
            let (settings, working, commands) = (settings.clone(), working.clone(), sockets.commands().clone());
            let body = move || {
                panics::capture_on_this_thread();
                let serve = || Worker::new(settings, handler, sockets, counters).run();
                if catch_unwind(AssertUnwindSafe(serve)).is_err() {
                    let panic = panics::take();
                    tracing::error!(
                        panic,
                        "worker {number} ended in a panic, with its connections: {panic}; please report it"
                    );
                }
                Mailbox::close(&commands);
                drop(working);
            };
            thread::Builder::new().name(format!("spoa-{number}")).spawn(body).map_err(Error::Worker)?;
        }
        Ok((pool, ended))
    }

    /// Assigns a connection to the worker that has the fewest. Above the limit, a bounded number of connections is rejected with
    /// code 13 at a time. Beyond that number the one that has waited longest is closed, so that a health check, which is
    /// answered at once, is always heard.
    pub(crate) fn assign(&self, accepted: Accepted) {
        let max = self.settings.connections_max;
        let rejected = || self.working().map(|worker| worker.turned_away()).sum::<usize>();
        let (admission, worker) = if self.connections() < max {
            (Admission::Welcome, self.working().min_by_key(|worker| worker.connections() + worker.turned_away()))
        } else if rejected() < (max / 8).clamp(*TURNED_AWAY_MAX.start(), *TURNED_AWAY_MAX.end()) {
            (Admission::AboveLimit, self.working().min_by_key(|worker| worker.turned_away()))
        } else {
            self.count_dropped();
            (Admission::InPlaceOfAnother, self.working().max_by_key(|worker| worker.turned_away()))
        };
        if let Some(worker) = worker {
            self.assigned.add(1);
            worker.assign(Arrival { accepted, number: self.assigned.get(), admission });
        }
    }

    fn count_dropped(&self) {
        self.dropped.add(1);
        if self.dropped.get().is_power_of_two() {
            let max = self.settings.connections_max;
            tracing::warn!(
                "{} closed without an answer so far: {max} are open, which is the limit, and too many \
                 are being rejected",
                Count(self.dropped(), "connection")
            );
        }
    }

    /// Returns the number of served connections.
    pub(crate) fn connections(&self) -> usize {
        self.working().map(|worker| worker.connections()).sum()
    }

    /// Returns the settings.
    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the number of connections that were closed without an answer.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// Returns the number of workers that run.
    pub(crate) fn workers(&self) -> usize {
        self.working().count()
    }

    /// Returns the numbers of NOTIFYs and of answered health checks.
    pub(crate) fn notifies_and_checks(&self) -> (u64, u64) {
        let sum = |of: fn(&Counters) -> u64| self.workers.iter().map(|worker| of(&worker.counters)).sum();
        (sum(|of| of.core.notifies.get()), sum(|of| of.hellos.at(Hello::HealthCheck.index())))
    }

    /// Requests a heartbeat from each worker, and beats for the accepting thread, which calls this.
    pub(crate) fn request_heartbeats(&self) {
        self.accepting.beat();
        self.working().for_each(|worker| worker.wake());
    }

    /// Returns the names of the threads that do not respond.
    pub(crate) fn hung_threads(&self) -> Vec<String> {
        // A worker that has ended before a stop was lost to a panic.
        let is_lost = |worker: &Mailbox| worker.is_closed() && self.is_ready();
        let is_hung = |worker: &&Mailbox| is_lost(worker) || !worker.is_closed() && worker.heartbeat().is_hung();
        let workers = self.workers.iter().map(|worker| &*worker.mailbox).filter(is_hung).map(Mailbox::heartbeat);
        let others = self.heartbeats.iter().filter(|heartbeat| heartbeat.is_hung());
        others.chain(workers).map(|heartbeat| heartbeat.thread().to_owned()).collect()
    }

    /// Returns the counters of each worker, including workers that have ended.
    pub(crate) fn counters(&self) -> Vec<&Counters> {
        self.workers.iter().map(|worker| &*worker.counters).collect()
    }

    /// Returns the engines of HAProxy that are connected, or were recently.
    pub(crate) fn engines(&self) -> Vec<Engine> {
        engines::merged(self.workers.iter().map(|worker| &worker.counters.engines), SystemTime::now())
    }

    /// Returns the workers that run: a panic may have ended others.
    fn working(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.workers.iter().map(|worker| &worker.mailbox).filter(|worker| !worker.is_closed())
    }

    /// False from the beginning of a stop.
    pub(crate) fn is_ready(&self) -> bool {
        !self.refuses_checks.load(Ordering::Relaxed)
    }

    /// Begins the lame-duck period: health checks are refused from now on, so that HAProxy uses other servers.
    pub(crate) fn refuse_checks(&self) {
        self.refuses_checks.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(|worker| worker.mailbox.tell(Command::RefuseChecks));
    }

    /// Makes every worker drain its connections.
    pub(crate) fn drain(&self, drain: Drain) {
        self.refuses_checks.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(|worker| worker.mailbox.tell(Command::Drain(drain)));
    }

    /// Ends every worker at once.
    pub(crate) fn abort(&self) {
        self.workers.iter().for_each(|worker| worker.mailbox.tell(Command::Abort));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.abort();
    }
}
