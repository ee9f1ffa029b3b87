//! The settings of an agent, up to its open sockets.

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use spoa_core::Config;

use crate::addr::ListenAddr;
use crate::background::Background;
use crate::error::Error;
use crate::handler::Handler;
use crate::health::Heartbeat;
use crate::listener::{Inherited, Listener};
#[cfg(feature = "metrics")]
use crate::metrics::{Source, Sources};
#[cfg(feature = "metrics")]
use crate::page::Page;
use crate::recorder::Recorder;
use crate::server::Server;
use crate::settings::{Callback, Settings};

/// The settings of an agent: the addresses it listens on, and its limits.
#[derive(Clone, Debug)]
pub struct Agent {
    addrs: Vec<ListenAddr>,
    inherited: Vec<Arc<Inherited>>,
    admin: Vec<ListenAddr>,
    #[cfg(feature = "metrics")]
    sources: Sources,
    heartbeats: Vec<Heartbeat>,
    settings: Settings,
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

impl Agent {
    /// Returns an agent with default limits and no address.
    pub fn new() -> Self {
        Self {
            addrs: Vec::new(),
            inherited: Vec::new(),
            admin: Vec::new(),
            #[cfg(feature = "metrics")]
            sources: Sources::default(),
            heartbeats: Vec::new(),
            settings: Settings::default(),
        }
    }

    /// Adds an address to listen on.
    #[must_use]
    pub fn listen(mut self, addr: ListenAddr) -> Self {
        self.addrs.push(addr);
        self
    }

    /// Adds a listening socket that another process opened, as systemd does. It replaces the address of
    /// [`listen`](Self::listen) or [`admin`](Self::admin) that it is bound to, if there is one.
    #[must_use]
    pub fn listen_on_tcp(mut self, socket: TcpListener) -> Self {
        self.inherited.push(Arc::new(Inherited::Tcp(socket)));
        self
    }

    /// Adds a listening unix socket that another process opened, as [`listen_on_tcp`](Self::listen_on_tcp) does. Its file is
    /// not removed at the end.
    #[must_use]
    pub fn listen_on_unix(mut self, socket: UnixListener) -> Self {
        self.inherited.push(Arc::new(Inherited::Unix(socket)));
        self
    }

    /// Serves `/healthz`, `/readyz` and `/metrics` over HTTP on this address, to anyone who can connect.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn admin(mut self, addr: ListenAddr) -> Self {
        self.admin.push(addr);
        self
    }

    /// Adds metrics that the agent serves together with its own.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self, source: Arc<dyn Source>) -> Self {
        self.sources.own.push(source);
        self
    }

    /// Adds a page on the addresses of [`admin`](Self::admin). `path` begins with `/`. The agent's own paths have precedence.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn page(mut self, path: &'static str, page: Arc<dyn Page>) -> Self {
        self.sources.pages.push((path, page));
        self
    }

    /// Sets the version and the commit in the metric `spoa_build_info`, by default the version of this library and `unknown`.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn build_info(mut self, version: impl Into<String>, commit: impl Into<String>) -> Self {
        self.sources.build = (version.into(), commit.into());
        self
    }

    /// Adds a thread whose heartbeat counts for `/healthz`, `spoa_healthy` and [`heartbeat`](Self::heartbeat), like the
    /// heartbeat of each worker.
    #[must_use]
    pub fn depends_on(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeats.push(heartbeat);
        self
    }

    /// Sets the limits of each connection.
    #[must_use]
    pub const fn connection(mut self, config: Config) -> Self {
        self.settings.connection = config;
        self
    }

    /// Sets the number of threads that serve connections; by default one per processor.
    #[must_use]
    pub const fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.settings.workers = workers;
        self
    }

    /// Sets the lame-duck period: how long health checks are refused and everything else is served after SIGTERM, before the
    /// drain; by default none.
    ///
    /// HAProxy uses other servers once it has marked this one DOWN: with `inter 2s fall 2` after 4 s. With a longer period a
    /// stop loses no event, and each connection is then closed right after an ACK.
    #[must_use]
    pub const fn drain(mut self, drain: Duration) -> Self {
        self.settings.drain = drain;
        self
    }

    /// Sets the time that the drain may take; default 5 s. Most of it is for answers in flight, the last tenth (at most a
    /// second) for HAProxy to read what was sent last.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Sets the number of connections served at once, at least 1; default 65536. Further ones are rejected with code 13.
    #[must_use]
    pub const fn connections_max(mut self, max: usize) -> Self {
        self.settings.connections_max = max;
        self
    }

    /// Sets the largest number of NOTIFYs in flight on all connections; default 16384 per worker. At this limit, as at the
    /// [limit of a connection](Config::in_flight_max), no further NOTIFY is accepted until one is answered or overdue.
    ///
    /// Each worker has an equal share, at least one.
    #[must_use]
    pub const fn total_in_flight_max(mut self, max: usize) -> Self {
        self.settings.total_in_flight_max = Some(max);
        self
    }

    /// Sets the number of bytes that all connections may hold, in buffers and as copies of NOTIFYs in flight; default 64 MiB
    /// per worker, or the maximum of two connections if that is more. Memory that handlers allocate is not counted.
    ///
    /// While copies take half of the limit, no NOTIFY is accepted; they are freed as NOTIFYs are answered. Above the limit the
    /// connections that have held buffers for longest, with part of a frame or with unread output, are closed, with code 13
    /// if HAProxy still reads from them.
    ///
    /// Each worker has an equal share, which must have room for one connection with everything that it may hold.
    #[must_use]
    pub const fn total_bytes_max(mut self, max: usize) -> Self {
        self.settings.total_bytes_max = Some(max);
        self
    }

    /// Calls `beat` every `period`, for a watchdog, as long as the accepting thread, every worker and each thread of
    /// [`depends_on`](Self::depends_on) respond.
    #[must_use]
    pub fn heartbeat(mut self, period: Duration, beat: impl Fn() + Send + Sync + 'static) -> Self {
        self.settings.heartbeat = Some((period, Callback::new(beat)));
        self
    }

    /// Adds a task that `create` returns, and that runs from the start of the agent to its end: one that keeps a cache fresh, for
    /// example. All of them run on the executor of smol, by default on one thread, and must not block it; see [`smol::unblock`]. At
    /// the end, after the drain, a task is dropped.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use std::time::Duration;
    /// use spoa_runtime::Agent;
    ///
    /// let cache = Arc::new(Mutex::new(Vec::<String>::new()));
    /// let agent = Agent::new().background(move || {
    ///     let cache = Arc::clone(&cache);
    ///     async move {
    ///         loop {
    ///             smol::Timer::after(Duration::from_secs(60)).await;
    ///             cache.lock().unwrap().clear();
    ///         }
    ///     }
    /// });
    /// # drop(agent);
    /// ```
    #[must_use]
    pub fn background<F>(mut self, create: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.settings.background.push(Background::new(create));
        self
    }

    /// Calls `notify` when the agent begins to stop.
    #[must_use]
    pub fn when_stopping(mut self, notify: impl Fn() + Send + Sync + 'static) -> Self {
        self.settings.stopping = Some(Callback::new(notify));
        self
    }

    /// Logs a warning if HAProxy sent health checks but no NOTIFY for this long after the start; default never. The likely
    /// mistake is an SPOE filter that is configured and not used.
    #[must_use]
    pub const fn silence_warning(mut self, time: Duration) -> Self {
        self.settings.silence_warning = time;
        self
    }

    /// Logs each frame as one line at debug level, while that level is enabled.
    #[must_use]
    pub const fn log_frames(mut self, on: bool) -> Self {
        self.settings.log_frames = on;
        self
    }

    /// Records the bytes of all connections, which include what clients send.
    #[must_use]
    pub fn record(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.settings.recorder = Some(recorder);
        self
    }

    /// Returns the number of threads that serve connections.
    pub const fn worker_count(&self) -> NonZeroUsize {
        self.settings.workers
    }

    /// Returns the number of connections that are served at once.
    pub const fn connection_limit(&self) -> usize {
        self.settings.connections_max
    }

    /// Checks the limits, as [`bind`](Self::bind) does.
    ///
    /// # Errors
    /// The first limit that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        self.settings.validate()
    }

    /// Opens the sockets. HAProxy can connect from now on; [`Server::serve`] serves it.
    ///
    /// # Errors
    /// An address cannot be listened on, there is none, or a limit is out of range.
    pub fn bind(self) -> Result<Server, Error> {
        self.validate()?;
        let Self { mut addrs, inherited, admin: mut admin_addrs, heartbeats, settings, .. } = self;
        let (mut listeners, mut admin) = (Vec::new(), Vec::new());
        for socket in &inherited {
            let listener = Listener::inherit(socket).map_err(Error::Inherited)?;
            let is_served = |addr: &ListenAddr| listener.serves(addr);
            if admin_addrs.iter().any(is_served) {
                admin_addrs.retain(|addr| !is_served(addr));
                admin.push(listener);
            } else {
                addrs.retain(|addr| !is_served(addr));
                listeners.push(listener);
            }
        }
        // Sockets for the admin listeners alone are not enough: such an agent would be healthy but unreachable for HAProxy.
        if addrs.is_empty() && listeners.is_empty() {
            return Err(Error::NoAddress);
        }
        for addr in &addrs {
            listeners.push(Listener::bind(addr)?);
        }
        for addr in &admin_addrs {
            admin.push(Listener::bind(addr)?);
        }
        let server = Server::new(listeners, admin, heartbeats, settings);
        #[cfg(feature = "metrics")]
        let server = server.with_metrics(self.sources);
        Ok(server)
    }

    /// Opens the sockets and serves HAProxy until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// The same as those of [`bind`](Self::bind); or signals cannot be caught, or a thread cannot be started.
    pub fn run<H: Handler + Clone + Send>(self, handler: H) -> Result<(), Error> {
        self.bind()?.run(handler)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn socket(addr: &str) -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind(addr).unwrap();
        let addr = socket.local_addr().unwrap();
        (socket, addr)
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn an_inherited_socket_for_metrics_is_not_enough() {
        let (socket, addr) = socket("127.0.0.1:0");
        let agent = Agent::new().admin(ListenAddr::Tcp(addr)).listen_on_tcp(socket);
        assert!(matches!(agent.bind(), Err(Error::NoAddress)));
    }

    /// An inherited socket replaces only the `listen` lines that it serves.
    #[test]
    fn an_ipv4_wildcard_does_not_serve_ipv6() {
        let (socket, addr) = socket("0.0.0.0:0");
        let ipv4 = SocketAddr::from(([127, 0, 0, 1], addr.port()));
        let both = Agent::new().listen_on_tcp(socket.try_clone().unwrap()).listen(ListenAddr::Tcp(ipv4));
        assert_eq!(both.bind().unwrap().addrs().len(), 1);
        let ipv6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], addr.port()));
        let both = Agent::new().listen_on_tcp(socket).listen(ListenAddr::Tcp(ipv6));
        let both = both.bind();
        // A machine may have no IPv6. Then the line is an error.
        assert!(both.is_err() || both.is_ok_and(|server| server.addrs().len() == 2));
    }
}
