//! The agent as a whole: sockets, workers, the way down.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use smol::channel::Receiver;
use smol::{LocalExecutor, Timer};
use spoa_core::Config;

use crate::addr::ListenAddr;
use crate::admin::Admin;
use crate::error::Error;
use crate::handler::Handler;
use crate::listener::{Inherited, Listener};
use crate::metrics::{Metrics, Source};
use crate::pool::Pool;
use crate::settings::Settings;
use crate::shared::Drain;
use crate::shutdown::{Stop, Stopper};

/// An agent to be: where it listens and within which limits.
#[derive(Clone, Debug)]
pub struct Agent {
    addrs: Vec<ListenAddr>,
    inherited: Vec<Arc<Inherited>>,
    admin: Vec<ListenAddr>,
    metrics: Vec<Arc<dyn Source>>,
    settings: Settings,
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

impl Agent {
    /// An agent with default limits that listens nowhere yet.
    pub fn new() -> Self {
        Self {
            addrs: Vec::new(),
            inherited: Vec::new(),
            admin: Vec::new(),
            metrics: Vec::new(),
            settings: Settings::default(),
        }
    }

    /// Listens there too.
    #[must_use]
    pub fn listen(mut self, addr: ListenAddr) -> Self {
        self.addrs.push(addr);
        self
    }

    /// Listens on this socket too, which somebody else has opened: systemd, or the agent whose place this one takes.
    #[must_use]
    pub fn listen_on_tcp(mut self, socket: TcpListener) -> Self {
        self.inherited.push(Arc::new(Inherited::Tcp(socket)));
        self
    }

    /// Listens on this unix socket too, which somebody else has opened and whose file is theirs.
    #[must_use]
    pub fn listen_on_unix(mut self, socket: UnixListener) -> Self {
        self.inherited.push(Arc::new(Inherited::Unix(socket)));
        self
    }

    /// Tells of its health and numbers over HTTP there too: `/healthz`, `/readyz` and `/metrics`. Whoever can connect is
    /// answered.
    #[must_use]
    pub fn admin(mut self, addr: ListenAddr) -> Self {
        self.admin.push(addr);
        self
    }

    /// Adds these to its metrics.
    #[must_use]
    pub fn metrics(mut self, source: Arc<dyn Source>) -> Self {
        self.metrics.push(source);
        self
    }

    /// The limits of each connection.
    #[must_use]
    pub const fn connection(mut self, config: Config) -> Self {
        self.settings.connection = config;
        self
    }

    /// How many threads serve connections; default one a processor.
    #[must_use]
    pub const fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.settings.workers = workers;
        self
    }

    /// How long health checks are refused while all else is served, before the way down; default not at all.
    ///
    /// HAProxy asks others when it has marked the server DOWN: with `inter 2s fall 2` after 4 s. Longer than that, no event
    /// is lost to the end of this agent, which then comes behind an ACK on each connection.
    #[must_use]
    pub const fn drain(mut self, drain: Duration) -> Self {
        self.settings.drain = drain;
        self
    }

    /// How long the way down may take in all; default 5 s. Most of it is for answering what is in flight, the last tenth
    /// (a second at most) for HAProxy to read our last words.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// How many connections to serve at once; default 65536. Any more are turned away with code 13.
    #[must_use]
    pub const fn connections_max(mut self, max: usize) -> Self {
        self.settings.connections_max = max;
        self
    }

    /// How many NOTIFYs of all connections may wait for their ACK; default 16384 for each worker. At the limit no other is
    /// taken, as at that of a [connection](Config::in_flight_max), until one is answered or overdue.
    ///
    /// Workers have an equal share each, of one at least.
    #[must_use]
    pub const fn total_in_flight_max(mut self, max: usize) -> Self {
        self.settings.total_in_flight_max = Some(max);
        self
    }

    /// How many bytes all connections may hold, in buffers and as copies of NOTIFYs in flight; default 64 MiB for each
    /// worker, or what two connections may hold if that is more. What handlers keep besides is not counted.
    ///
    /// While copies have half of it no NOTIFY is taken: they come free as NOTIFYs are answered. Above it those connections
    /// are ended that have kept something in buffers for longest, the rest of a frame that does not come or bytes that are
    /// not read, with code 13 if they read what they are sent.
    ///
    /// Workers have an equal share each, in which one connection with all that it may have must have room.
    #[must_use]
    pub const fn total_bytes_max(mut self, max: usize) -> Self {
        self.settings.total_bytes_max = Some(max);
        self
    }

    /// Has `beat` called every so often by the thread that accepts connections, as long as that goes on: for a watchdog.
    #[must_use]
    pub const fn heartbeat(mut self, period: Duration, beat: fn()) -> Self {
        self.settings.heartbeat = Some((period, beat));
        self
    }

    /// Calls `tell` when the way down begins.
    #[must_use]
    pub const fn when_stopping(mut self, tell: fn()) -> Self {
        self.settings.stopping = tell;
        self
    }

    /// Warns when for so long, from the start on, HAProxy has checked its health but asked it nothing; default never. The
    /// likely mistake is an SPOE filter that is configured and not used.
    #[must_use]
    pub const fn silence_warning(mut self, time: Duration) -> Self {
        self.settings.silence_warning = time;
        self
    }

    /// Logs each frame as one line, at debug level, as long as that is logged.
    #[must_use]
    pub const fn log_frames(mut self, on: bool) -> Self {
        self.settings.log_frames = on;
        self
    }

    /// Says which limit is out of range, if any; [`bind`](Self::bind) does so too.
    ///
    /// # Errors
    /// The first such limit.
    pub fn validate(&self) -> Result<(), Error> {
        self.settings.validate()
    }

    /// Opens the sockets. From here on HAProxy can connect; it is served by [`Server::serve`].
    ///
    /// # Errors
    /// An address cannot be listened on, there is none, or a limit is out of range.
    pub fn bind(self) -> Result<Server, Error> {
        self.validate()?;
        if self.addrs.is_empty() && self.inherited.is_empty() {
            return Err(Error::NoAddress);
        }
        let mut listeners = Vec::new();
        for socket in &self.inherited {
            listeners.push(Listener::inherit(socket).map_err(Error::Inherited)?);
        }
        for addr in &self.addrs {
            listeners.push(Listener::bind(addr)?);
        }
        let admin = self.admin.iter().map(Listener::bind).collect::<Result<Vec<_>, _>>()?;
        let addrs = listeners.iter().map(|listener| listener.addr().clone()).collect();
        let (stopper, stops) = Stopper::new();
        Ok(Server { addrs, listeners, admin, metrics: self.metrics, settings: self.settings, stopper, stops })
    }

    /// Opens the sockets and serves HAProxy until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), or signals cannot be caught, or no thread be started.
    pub fn run<H: Handler + Clone + Send>(self, handler: H) -> Result<(), Error> {
        self.bind()?.run(handler)
    }
}

/// An agent with open sockets.
#[derive(Debug)]
pub struct Server {
    addrs: Vec<ListenAddr>,
    listeners: Vec<Listener>,
    admin: Vec<Listener>,
    metrics: Vec<Arc<dyn Source>>,
    settings: Settings,
    stopper: Stopper,
    stops: Receiver<Stop>,
}

impl Server {
    /// Where it listens, with the real ports.
    pub fn addrs(&self) -> &[ListenAddr] {
        &self.addrs
    }

    /// Stops it, from another thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves HAProxy until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// As [`serve`](Self::serve), or signals cannot be caught.
    pub fn run<H: Handler + Clone + Send>(self, handler: H) -> Result<(), Error> {
        let signals = self.stopper().at_signals()?;
        self.serve_beside(handler, signals)
    }

    /// Serves HAProxy until [stopped](Stopper::stop); then the sockets are closed and all threads are on their way out.
    ///
    /// # Errors
    /// No thread can be started, or all of them were lost to panics.
    pub fn serve<H: Handler + Clone + Send>(self, handler: H) -> Result<(), Error> {
        self.serve_beside(handler, future::pending())
    }

    fn serve_beside<H>(self, handler: H, beside: impl Future<Output = ()>) -> Result<(), Error>
    where
        H: Handler + Clone + Send,
    {
        // The stopper is kept: without one the other end of `stops` would read as a stop.
        let Self { addrs, listeners, admin, metrics, settings, stopper: _stopper, stops } = self;
        let (pool, ended) = Pool::start(&settings, handler)?;
        let pool = Arc::new(pool);
        for addr in &addrs {
            tracing::info!("listening on {addr}");
        }
        // The first has what the tasks of the second start.
        let (conversations, executor) = (LocalExecutor::new(), LocalExecutor::new());
        for listener in admin {
            tracing::info!("metrics and health on {}", listener.addr());
            let admin = Admin { metrics: Metrics::new(Arc::clone(&pool), metrics.clone()), pool: Arc::clone(&pool) };
            executor.spawn(admin.serve(listener, &conversations)).detach();
        }
        if !settings.silence_warning.is_zero() {
            executor.spawn(warn_of_silence(Arc::clone(&pool), settings.silence_warning)).detach();
        }
        if let Some((period, beat)) = settings.heartbeat {
            let beats = async move {
                loop {
                    // Beside this thread: whoever is told may not be listening.
                    smol::unblock(beat).await;
                    Timer::after(period).await;
                }
            };
            executor.spawn(beats).detach();
        }
        let serve = async {
            // Dropped, they close the sockets.
            let accepting: Vec<_> =
                listeners.into_iter().map(|listener| executor.spawn(accept(listener, Arc::clone(&pool)))).collect();
            // Without a stopper nobody is waiting; but one is kept.
            let stop = async { Ok(stops.recv().await.unwrap_or(Stop::Promptly)) };
            let lost = async {
                let _ = ended.recv().await;
                Err(Error::WorkersLost)
            };
            let drain = match future::or(stop, lost).await? {
                Stop::Leave => settings.drain,
                Stop::Promptly => Duration::ZERO,
            };
            (settings.stopping)();
            if leave(&pool, drain, &stops).await {
                for task in accepting {
                    task.cancel().await;
                }
                wind_down(&pool, &settings, drain, &stops, &ended).await;
            }
            pool.abort();
            Ok(())
        };
        let beside = async {
            beside.await;
            future::pending().await
        };
        smol::block_on(conversations.run(executor.run(future::or(serve, beside))))
    }
}

/// Tells once if HAProxy checks the agent's health and asks it nothing.
async fn warn_of_silence(pool: Arc<Pool>, time: Duration) {
    loop {
        Timer::after(time).await;
        let (notifies, checks) = pool.asked();
        if notifies > 0 {
            return;
        }
        if checks > 0 {
            tracing::warn!(
                "{checks} health checks and no NOTIFY in {time:?}: is there a \"filter spoe\" in the frontend, does its engine have \
                 the name in brackets in its file, and does an event of it ever come to pass?"
            );
            return;
        }
    }
}

/// Refuses health checks for a while and serves on, so that HAProxy asks others; false if it was asked to stop again.
async fn leave(pool: &Pool, drain: Duration, stops: &Receiver<Stop>) -> bool {
    if drain.is_zero() {
        return true;
    }
    tracing::info!("leaving: health checks are refused for {drain:?}, {} connections served", pool.connections());
    pool.leave();
    let asked_again = async {
        let _ = stops.recv().await;
        tracing::info!("stopped at once, as asked");
        false
    };
    let done = async {
        Timer::after(drain).await;
        true
    };
    future::or(asked_again, done).await
}

/// Ends all connections: in good order if they take no longer than the grace period, and nobody asks again.
async fn wind_down(pool: &Pool, settings: &Settings, drain: Duration, stops: &Receiver<Stop>, ended: &Receiver<()>) {
    tracing::info!("stopping: {} connections open", pool.connections());
    // The end comes within the grace period, not at it; and a tenth of it is for HAProxy to read our last words.
    let time = settings.grace - WIND_DOWN_MARGIN.min(settings.grace / 20);
    let grace = time - settings.connection.linger.min(settings.grace / 10);
    // Who left in good order has lost no event yet, and goes on so.
    let patience = if drain.is_zero() { Duration::ZERO } else { PATIENCE.min(grace / 2) };
    pool.drain(Drain { grace, patience });
    let done = async {
        let _ = ended.recv().await;
        "stopped"
    };
    let asked_again = async {
        let _ = stops.recv().await;
        "stopped at once, as asked"
    };
    let late = async {
        Timer::after(time).await;
        "stopped at the end of the grace period"
    };
    let how = future::or(done, future::or(asked_again, late)).await;
    match pool.connections() {
        0 => tracing::info!("{how}"),
        open => tracing::warn!("{how}: {open} connections were cut"),
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
            Ok((socket, peer)) => {
                failing = false;
                pool.assign(socket, peer);
            }
            Err(error) if is_of_the_peer(&error) => tracing::debug!("a peer was gone before it was served: {error}"),
            Err(error) => {
                // Out of files or memory: the next attempt would fail as well until a connection ends.
                if !failing {
                    tracing::warn!("cannot accept on {}, trying on: {error}", listener.addr());
                }
                failing = true;
                Timer::after(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How long a connection that is to end may wait for an ACK to end behind.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is left of the grace period for the threads and the process to end.
const WIND_DOWN_MARGIN: Duration = Duration::from_millis(100);

/// How many connections one socket may give before the others, and a stop, have their turn.
const ACCEPTS_MAX: u64 = 64;

/// How long accepting pauses when the machine has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// True for what accept(2) reports of the connection it would have given, instead of itself.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkDown | NetworkUnreachable
    )
}
