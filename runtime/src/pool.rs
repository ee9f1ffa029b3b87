//! All workers, as the accepting thread sees them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use smol::channel::{Receiver, bounded};
use socket2::Socket;

use crate::counters::{Counter, Counters, Hello};
use crate::error::Error;
use crate::handler::Handler;
use crate::health::Heartbeat;
use crate::mailbox::{Command, Mailbox};
use crate::panics;
use crate::settings::Settings;
use crate::shared::Drain;
use crate::worker::{Sockets, Worker};

/// Where connections are handed to. When it is dropped, the workers end.
#[derive(Debug)]
pub(crate) struct Pool {
    workers: Vec<Seat>,
    settings: Settings,
    /// Connections that were closed at once.
    dropped: Counter,
    /// Connections that workers were given: the number of the last one.
    assigned: Counter,
    refuses_checks: AtomicBool,
    /// Signs of life of the accepting thread and of those that the agent depends on besides.
    heartbeats: Vec<Heartbeat>,
    accepting: Heartbeat,
}

/// A worker, as others see it.
#[derive(Debug)]
struct Seat {
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
}

/// How many connections above the limit are told at once that there is no room: an eighth of as many as may be, within these.
const TURNED_AWAY_MAX: RangeInclusive<usize> = 16..=1024;

impl Pool {
    /// Starts the worker threads. The channel says nothing, and closes when the last of them has ended.
    ///
    /// # Errors
    /// A thread, or what it waits on, cannot be had.
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
            pool.workers.push(Seat { mailbox, counters: Arc::clone(&counters) });
            let (settings, working) = (settings.clone(), working.clone());
            let body = move || {
                panics::capture_on_this_thread();
                Worker::new(settings, handler, sockets, counters).run();
                drop(working);
            };
            thread::Builder::new().name(format!("spoa-{number}")).spawn(body).map_err(Error::Worker)?;
        }
        Ok((pool, ended))
    }

    /// Gives a connection to the worker that has the fewest. Above the limit some are taken to be told so; beyond that
    /// they are just closed, or a flood of them would take what the others need.
    pub(crate) fn assign(&self, socket: Socket, peer: String) {
        let max = self.settings.connections_max;
        let welcome = self.connections() < max;
        let turned_away = || self.working().map(|worker| worker.turned_away()).sum::<usize>();
        if !welcome && turned_away() >= (max / 8).clamp(*TURNED_AWAY_MAX.start(), *TURNED_AWAY_MAX.end()) {
            self.dropped.add(1);
            if self.dropped.get().is_power_of_two() {
                tracing::warn!(
                    "{} connections were closed at once so far: {max} are served, and many wait to be told so",
                    self.dropped()
                );
            }
            return;
        }
        if let Some(worker) = self.working().min_by_key(|worker| worker.connections() + worker.turned_away()) {
            self.assigned.add(1);
            worker.assign(socket, self.assigned.get(), peer, welcome);
        }
    }

    /// How many connections are served.
    pub(crate) fn connections(&self) -> usize {
        self.working().map(|worker| worker.connections()).sum()
    }

    /// Within which limits they work.
    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many connections were closed at once, above the limit and those that are told so.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.working().count()
    }

    /// Returns the numbers of NOTIFYs and of answered health checks.
    pub(crate) fn notifies_and_checks(&self) -> (u64, u64) {
        let sum = |of: fn(&Counters) -> u64| self.workers.iter().map(|worker| of(&worker.counters)).sum();
        (sum(|of| of.notifies.get()), sum(|of| of.hellos.get(Hello::HealthCheck)))
    }

    /// Has each worker give a sign of life, and gives that of the accepting thread, which calls this.
    pub(crate) fn ask_for_signs_of_life(&self) {
        self.accepting.beat();
        self.working().for_each(|worker| worker.wake());
    }

    /// Returns the names of the threads that do not respond.
    pub(crate) fn hung_threads(&self) -> Vec<String> {
        let workers = self.working().map(|worker| worker.heartbeat());
        let hung = self.heartbeats.iter().chain(workers).filter(|heartbeat| heartbeat.is_hung());
        hung.map(|heartbeat| heartbeat.thread().to_owned()).collect()
    }

    /// What each worker has counted, also one that has ended.
    pub(crate) fn counters(&self) -> Vec<&Counters> {
        self.workers.iter().map(|worker| &*worker.counters).collect()
    }

    /// The workers, but for those that a panic has ended.
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
        self.workers.iter().for_each(|worker| worker.mailbox.tell(Command::Leave));
    }

    /// Tells every worker to end its connections in good order.
    pub(crate) fn drain(&self, drain: Drain) {
        self.refuses_checks.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(|worker| worker.mailbox.tell(Command::Drain(drain)));
    }

    /// Tells every worker to end.
    pub(crate) fn abort(&self) {
        self.workers.iter().for_each(|worker| worker.mailbox.tell(Command::Abort));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.abort();
    }
}
