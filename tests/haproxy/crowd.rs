//! Clients that keep sending requests on persistent connections, as browsers and load generators do.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::log::WAIT_MAX;

/// Running clients, each of which sends one request after the other. They count responses but do not store them,
/// because there may be millions. They stop when this value is dropped.
pub(crate) struct Crowd {
    clients: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    counts: Mutex<Counts>,
    more: Condvar,
}

/// Counts of responses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) responses: usize,
    /// Responses without `x-score`.
    pub(crate) unscored: usize,
    /// Responses of each HAProxy worker, by its process id.
    pub(crate) workers: BTreeMap<String, usize>,
    /// The error of the first request without a response.
    error: Option<String>,
}

impl Crowd {
    pub(crate) fn start(clients: usize, to: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    if let Err(error) = shared.use_connection(to) {
                        shared.lock().error.get_or_insert(error.to_string());
                        shared.more.notify_all();
                        return;
                    }
                }
            })
        };
        Self { clients: (0..clients).map(client).collect(), shared }
    }

    /// Returns the counts so far.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.lock().clone()
    }

    /// Waits until `is_enough` returns true for the counts so far.
    ///
    /// # Panics
    /// If a request has no response, or if fewer than 1000 responses arrive in [`WAIT_MAX`].
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_enough: impl Fn(&Counts) -> bool) {
        let (mut last, mut until) = (0, Instant::now() + WAIT_MAX);
        let mut counts = self.shared.lock();
        while !is_enough(&counts) {
            assert!(counts.error.is_none(), "a request has no response: {counts:?}");
            assert!(Instant::now() < until, "expected {what}, got {counts:?}");
            if counts.responses >= last + 1000 {
                (last, until) = (counts.responses, Instant::now() + WAIT_MAX);
            }
            let left = until.saturating_duration_since(Instant::now());
            counts = self.shared.more.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Stops the clients and returns the counts.
    ///
    /// # Panics
    /// If a request had no response.
    pub(crate) fn stop(mut self) -> Counts {
        self.join();
        let counts = self.counts();
        assert_eq!(counts.error, None, "a request has no response");
        counts
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends requests on one connection until HAProxy closes it, as the old worker does at a reload.
    fn use_connection(&self, to: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WAIT_MAX))?;
        let mut stream = BufReader::new(stream);
        for count in 0_u64.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let sent = stream.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n");
            match sent.and_then(|()| stream.fill_buf().map(<[u8]>::is_empty)) {
                Ok(false) => {}
                // HAProxy may close a connection between two requests at any time.
                Ok(true) if count > 0 => break,
                Err(error) if count > 0 && is_close(&error) => break,
                Ok(true) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(error),
            }
            let response = Response::read(&mut stream)?;
            let mut counts = self.lock();
            counts.responses += 1;
            counts.unscored += usize::from(!response.is_scored);
            match counts.workers.get_mut(&response.worker) {
                Some(count) => *count += 1,
                None => _ = counts.workers.insert(response.worker, 1),
            }
            self.more.notify_all();
            if response.is_last {
                break;
            }
        }
        Ok(())
    }
}

/// True for an error that a connection closed by HAProxy causes.
fn is_close(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// The parts of a response that are counted.
#[derive(Default)]
struct Response {
    is_scored: bool,
    worker: String,
    is_last: bool,
}

impl Response {
    /// Reads the next response to its end.
    fn read(stream: &mut impl BufRead) -> io::Result<Self> {
        let (mut response, mut body, mut line) = (Self::default(), 0, String::new());
        stream.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(line));
        }
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match (name, value.trim()) {
                ("x-score", score) => response.is_scored = !score.is_empty(),
                ("x-pid", pid) => response.worker = pid.into(),
                ("connection", option) => response.is_last = option == "close",
                ("content-length", len) => body = len.parse().map_err(io::Error::other)?,
                _ => {}
            }
        }
        if io::copy(&mut stream.take(body), &mut io::sink())? < body {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(response)
    }
}
