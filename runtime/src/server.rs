//! An agent with open sockets: serves HAProxy until it is stopped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use smol::channel::Receiver;
use smol::{LocalExecutor, Timer};
use spoa_core::endpoint::Drain;

use crate::addr::ListenAddr;
#[cfg(feature = "metrics")]
use crate::admin::{Admin, AdminThread};
use crate::background::Background;
use crate::error::Error;
use crate::handler::Handler;
use crate::health::Heartbeat;
use crate::listener::Listener;
#[cfg(feature = "metrics")]
use crate::metrics::{Metrics, Sources};
use crate::pool::Pool;
use crate::settings::{Callback, Settings};
use crate::shutdown::{Stop, Stopper};
use crate::text::{Count, Span};

/// An agent with open sockets.
#[derive(Debug)]
pub struct Server {
    addrs: Vec<ListenAddr>,
    listeners: Vec<Listener>,
    admin: Vec<Listener>,
    #[cfg(feature = "metrics")]
    sources: Sources,
    heartbeats: Vec<Heartbeat>,
    settings: Settings,
    stopper: Stopper,
    stops: Receiver<Stop>,
}

impl Server {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        admin: Vec<Listener>,
        heartbeats: Vec<Heartbeat>,
        settings: Settings,
    ) -> Self {
        let addrs = listeners.iter().map(|listener| listener.addr().clone()).collect();
        let (stopper, stops) = Stopper::new();
        Self {
            addrs,
            listeners,
            admin,
            #[cfg(feature = "metrics")]
            sources: Sources::default(),
            heartbeats,
            settings,
            stopper,
            stops,
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn with_metrics(self, sources: Sources) -> Self {
        Self { sources, ..self }
    }

    /// Returns the addresses that it listens on, with the real ports.
    pub fn addrs(&self) -> &[ListenAddr] {
        &self.addrs
    }

    /// Returns a handle that stops it from another thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves HAProxy until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// The same as those of [`serve`](Self::serve); or signals cannot be caught.
    pub fn run<H: Handler + Clone + Send>(self, handler: H) -> Result<(), Error> {
        let signals = self.stopper().at_signals()?;
        self.serve_beside(handler, signals)
    }

    /// Serves HAProxy until [stopped](Stopper::stop). When it returns, the sockets are closed and all threads are ending.
    ///
    /// # Errors
    /// A thread cannot be started, or all workers were lost to panics.
    pub fn serve<H: Handler + Clone + Send>(self, handler: H) -> Result<(), Error> {
        self.serve_beside(handler, future::pending())
    }

    fn serve_beside<H>(self, handler: H, beside: impl Future<Output = ()>) -> Result<(), Error>
    where
        H: Handler + Clone + Send,
    {
        // The stopper is kept because the channel would close without one, which would read as a stop.
        let Self { addrs, listeners, admin, heartbeats, settings, stopper: _stopper, stops, .. } = self;
        let (pool, ended) = Pool::start(&settings, handler, heartbeats)?;
        let pool = Arc::new(pool);
        for addr in &addrs {
            tracing::info!(addr = %addr, "listening on {addr}");
            warn_if_exposed(addr, "SPOP has no authentication: every host that can connect is served");
        }
        for listener in &admin {
            let addr = listener.addr();
            tracing::info!(addr = %addr, "metrics and health on {addr}");
            warn_if_exposed(addr, "everyone who can connect can read the metrics and pages");
        }
        #[cfg(feature = "metrics")]
        let _admin = AdminThread::start(admin, || {
            let pages = self.sources.pages.clone();
            let metrics = Metrics::new(Arc::clone(&pool), self.sources);
            Admin { pool: Arc::clone(&pool), metrics, pages }
        })?;
        let executor = LocalExecutor::new();
        executor.spawn(watch_health(Arc::clone(&pool))).detach();
        if !settings.silence_warning.is_zero() {
            executor.spawn(warn_of_silence(Arc::clone(&pool), settings.silence_warning)).detach();
        }
        if let Some((period, beat)) = settings.heartbeat.clone() {
            executor.spawn(feed_watchdog(Arc::clone(&pool), period, beat)).detach();
        }
        // Dropped at the end, which cancels them.
        let _background: Vec<_> = settings.background.iter().map(Background::spawn).collect();
        let serve = async {
            // Dropping the tasks closes the sockets.
            let accepting: Vec<_> =
                listeners.into_iter().map(|listener| executor.spawn(accept(listener, Arc::clone(&pool)))).collect();
            let stop = async { Ok(stops.recv().await.unwrap_or(Stop::Promptly)) };
            let lost = async {
                let _ = ended.recv().await;
                Err(Error::WorkersLost)
            };
            let drain = match future::or(stop, lost).await? {
                Stop::AfterLameDuck => settings.drain,
                Stop::Promptly => Duration::ZERO,
            };
            settings.stopping.iter().for_each(Callback::call);
            if refuse_checks(&pool, drain, &stops).await {
                for task in accepting {
                    task.cancel().await;
                }
                drain_connections(&pool, &settings, drain, &stops, &ended).await;
            }
            pool.abort();
            Ok(())
        };
        let beside = async {
            beside.await;
            future::pending().await
        };
        smol::block_on(executor.run(future::or(serve, beside)))
    }
}

/// Warns if other hosts can reach an address, and why that matters.
fn warn_if_exposed(addr: &ListenAddr, why: &str) {
    if let ListenAddr::Tcp(tcp) = addr
        && !tcp.ip().to_canonical().is_loopback()
    {
        tracing::warn!(
            addr = %addr,
            "{addr} is not a loopback address, and {why}; use 127.0.0.1, [::1] or a unix socket, or let a firewall admit HAProxy alone"
        );
    }
}

/// The time between two requests for heartbeats.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);

/// Requests heartbeats from the workers, and logs when a thread hangs and when it responds again.
async fn watch_health(pool: Arc<Pool>) {
    let mut hung = Vec::new();
    loop {
        pool.request_heartbeats();
        Timer::after(HEALTH_PERIOD).await;
        let now = pool.hung_threads();
        for thread in now.iter().filter(|thread| !hung.contains(*thread)) {
            tracing::error!(thread, "{thread} does not respond: /healthz returns 503 until it does");
        }
        for thread in hung.iter().filter(|thread| !now.contains(thread)) {
            tracing::info!(thread, "{thread} responds again");
        }
        hung = now;
    }
}

/// Calls `beat` every `period` while all threads respond.
async fn feed_watchdog(pool: Arc<Pool>, period: Duration, beat: Callback) {
    loop {
        if pool.hung_threads().is_empty() {
            // On another thread, because the receiver may block.
            let beat = beat.clone();
            smol::unblock(move || beat.call()).await;
            Timer::after(period).await;
        } else {
            Timer::after(HEALTH_PERIOD.min(period)).await;
        }
    }
}

/// Warns once if HAProxy checks the agent's health and sends no NOTIFY.
async fn warn_of_silence(pool: Arc<Pool>, time: Duration) {
    loop {
        Timer::after(time).await;
        let (notifies, checks) = pool.notifies_and_checks();
        if notifies > 0 {
            return;
        }
        if checks > 0 {
            let (checks, time) = (Count(checks, "health check"), Span(time));
            tracing::warn!(
                "{checks} and no NOTIFY in {time}: is there a \"filter spoe\" line in a frontend that has traffic, does its \"messages\" \
                 line name the message, and does the event of the message ever occur?"
            );
            return;
        }
    }
}

/// Refuses health checks during the lame-duck period, and serves everything else; returns false if a second stop was asked
/// for.
async fn refuse_checks(pool: &Pool, drain: Duration, stops: &Receiver<Stop>) -> bool {
    if drain.is_zero() {
        return true;
    }
    let connections = Count(pool.connections() as u64, "connection");
    // Before the line is logged, because a check may follow it immediately.
    pool.refuse_checks();
    tracing::info!("stopping: health checks are refused for {}, {connections} open and served", Span(drain));
    let asked_again = async {
        let _ = stops.recv().await;
        tracing::info!("stopped at once, because a stop was requested again");
        false
    };
    let done = async {
        Timer::after(drain).await;
        true
    };
    future::or(asked_again, done).await
}

/// Drains all connections within the grace period, unless a second stop is asked for.
async fn drain_connections(
    pool: &Pool,
    settings: &Settings,
    drain: Duration,
    stops: &Receiver<Stop>,
    ended: &Receiver<()>,
) {
    // The end comes within the grace period, not at it; and a tenth of it is for HAProxy to read what was sent last.
    let time = settings.grace - DRAIN_MARGIN.min(settings.grace / 20);
    let grace = time - settings.connection.linger.min(settings.grace / 10);
    // After a lame-duck period no event has been lost yet, and none is to be: connections wait for the best moment.
    let patience = if drain.is_zero() { Duration::ZERO } else { PATIENCE.min(grace / 2) };
    let open = pool.connections() as u64;
    pool.drain(Drain { grace, patience });
    tracing::info!(connections = open, "draining {}", Count(open, "connection"));
    let done = async {
        let _ = ended.recv().await;
        "stopped"
    };
    let asked_again = async {
        let _ = stops.recv().await;
        "stopped at once, because a stop was requested again"
    };
    let late = async {
        Timer::after(time).await;
        "stopped at the end of the grace period"
    };
    let how = future::or(done, future::or(asked_again, late)).await;
    match pool.connections() as u64 {
        0 => tracing::info!("{how}"),
        open => tracing::warn!(connections = open, "{how}: {} closed without a drain", Count(open, "connection")),
    }
}

/// Hands every connection of one socket to a worker.
async fn accept(listener: Listener, pool: Arc<Pool>) {
    let mut failing = false;
    for accepted in 0_u64.. {
        if accepted % ACCEPTS_MAX == 0 {
            future::yield_now().await;
        }
        match listener.accept().await {
            Ok(accepted) => {
                failing = false;
                pool.assign(accepted);
            }
            Err(error) if is_of_the_peer(&error) => {
                tracing::debug!("a connection was lost before it was accepted: {error}");
            }
            Err(error) => {
                // Out of files or memory: the next attempt fails as well until a connection ends.
                if !failing {
                    tracing::warn!("cannot accept connections on {}: {error}; retrying", listener.addr());
                }
                failing = true;
                Timer::after(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The longest time that a draining connection waits for an ACK with which to close.
const PATIENCE: Duration = Duration::from_secs(1);

/// The part of the grace period that is left for the threads and the process to end.
const DRAIN_MARGIN: Duration = Duration::from_millis(100);

/// The number of connections that one socket accepts before the others, and a stop, have their turn.
const ACCEPTS_MAX: u64 = 64;

/// The time for which accepting pauses when the machine has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// True for errors of accept(2) that concern the connection to be accepted, not the listening socket.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkDown | NetworkUnreachable
    )
}
