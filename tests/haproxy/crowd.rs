//! Clients that keep asking on connections that they keep, as browsers and load generators do.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::log::WAIT_MAX;

/// Some clients, each sending one request after the other. Of answers it keeps counts alone: there may be millions.
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

/// What came of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answers: usize,
    /// Answers without `x-score`.
    pub(crate) unscored: usize,
    /// How many answers each of HAProxy's workers gave, by its process.
    pub(crate) workers: BTreeMap<String, usize>,
    /// What was wrong with the first request that had no answer.
    error: Option<String>,
}

impl Crowd {
    pub(crate) fn start(clients: usize, to: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    if let Err(error) = shared.converse(to) {
                        shared.lock().error.get_or_insert(error.to_string());
                        shared.more.notify_all();
                        return;
                    }
                }
            })
        };
        Self { clients: (0..clients).map(client).collect(), shared }
    }

    /// What came so far.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.lock().clone()
    }

    /// Waits until `enough` says so of what came so far, as long as it goes on coming.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, enough: impl Fn(&Counts) -> bool) {
        let (mut last, mut until) = (0, Instant::now() + WAIT_MAX);
        let mut counts = self.shared.lock();
        while !enough(&counts) {
            assert!(counts.error.is_none(), "a client has no answer: {counts:?}");
            assert!(Instant::now() < until, "no {what}: {counts:?}");
            if counts.answers >= last + 1000 {
                (last, until) = (counts.answers, Instant::now() + WAIT_MAX);
            }
            let left = until.saturating_duration_since(Instant::now());
            counts = self.shared.more.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends, and gives what came.
    ///
    /// # Panics
    /// If a request had no answer.
    pub(crate) fn stop(mut self) -> Counts {
        self.join();
        let counts = self.counts();
        assert_eq!(counts.error, None, "HAProxy answers");
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

    /// Asks on one connection until HAProxy ends it, as the old worker does at a reload.
    fn converse(&self, to: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WAIT_MAX))?;
        let mut stream = BufReader::new(stream);
        for asked in 0_u64.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let sent = stream.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n");
            match sent.and_then(|()| stream.fill_buf().map(<[u8]>::is_empty)) {
                Ok(false) => {}
                // Between two requests HAProxy may end a connection whenever it wants to.
                Ok(true) if asked > 0 => break,
                Err(error) if asked > 0 && is_end(&error) => break,
                Ok(true) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(error),
            }
            let answer = Answer::read(&mut stream)?;
            let mut counts = self.lock();
            counts.answers += 1;
            counts.unscored += usize::from(!answer.is_scored);
            match counts.workers.get_mut(&answer.worker) {
                Some(count) => *count += 1,
                None => _ = counts.workers.insert(answer.worker, 1),
            }
            self.more.notify_all();
            if answer.is_last {
                break;
            }
        }
        Ok(())
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// What an answer says, as far as it matters.
#[derive(Default)]
struct Answer {
    is_scored: bool,
    worker: String,
    is_last: bool,
}

impl Answer {
    /// The next one, whole.
    fn read(stream: &mut impl BufRead) -> io::Result<Self> {
        let (mut answer, mut body, mut line) = (Self::default(), 0, String::new());
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
                ("x-score", score) => answer.is_scored = !score.is_empty(),
                ("x-pid", pid) => answer.worker = pid.into(),
                ("connection", how) => answer.is_last = how == "close",
                ("content-length", len) => body = len.parse().map_err(io::Error::other)?,
                _ => {}
            }
        }
        if io::copy(&mut stream.take(body), &mut io::sink())? < body {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer)
    }
}
