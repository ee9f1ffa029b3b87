//! Receives HAProxy's log over UDP.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The longest time to wait for something that has to happen. Only a failing test waits that long.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);

/// Lines of text in the order of their arrival. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    pub(crate) fn push(&self, line: String) {
        self.lock().push(line);
        self.0.1.notify_all();
    }

    /// Returns all lines so far.
    pub(crate) fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Returns the number of lines so far, so that [`wait`](Self::wait) can skip them.
    pub(crate) fn mark(&self) -> usize {
        self.lock().len()
    }

    /// Returns the number of lines so far that contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.lock().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits for the next line, for half a second at most.
    pub(crate) fn wait_briefly(&self) {
        drop(self.0.1.wait_timeout(self.lock(), Duration::from_millis(500)).expect("no writer panicked"));
    }

    /// Skips the first `mark` lines, waits until `find` returns a value for a line, and returns the value.
    #[track_caller]
    pub(crate) fn wait<T>(&self, mark: usize, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.wait_all(what, |lines| lines.iter().skip(mark).find_map(|line| find(line)))
    }

    /// Waits for the `count`th line that contains `text`, counted from 1, and returns the rest of that line.
    #[track_caller]
    pub(crate) fn wait_count(&self, text: &str, count: usize) -> String {
        let rest = |line: &String| line.split_once(text).map(|(_, rest)| rest.to_owned());
        self.wait_all(text, |lines| lines.iter().filter_map(rest).nth(count - 1))
    }

    #[track_caller]
    fn wait_all<T>(&self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let until = Instant::now() + WAIT_MAX;
        let mut lines = self.lock();
        loop {
            if let Some(found) = find(&lines) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "expected a line with {what}, got {lines:#?}");
            lines = self.0.1.wait_timeout(lines, left).expect("no writer panicked").0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.0.lock().expect("no writer panicked")
    }
}

/// A syslog server for one HAProxy, which stops when dropped.
pub(crate) struct Log {
    pub(crate) addr: SocketAddr,
    pub(crate) lines: Lines,
}

impl Log {
    pub(crate) fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let addr = socket.local_addr().expect("the socket is bound");
        let lines = Lines::default();
        let sink = lines.clone();
        std::thread::spawn(move || {
            let mut buf = vec![0; 65_536];
            // An empty datagram stops the thread.
            while let Ok(len @ 1..) = socket.recv(&mut buf) {
                for line in String::from_utf8_lossy(&buf[..len]).lines() {
                    sink.push(line.to_owned());
                }
            }
        });
        Self { addr, lines }
    }

    /// Waits until all lines that HAProxy has sent before this call have arrived.
    #[track_caller]
    pub(crate) fn wait_for_sent(&self) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // Datagrams over the loopback interface arrive in the order in which they were sent.
        let mark = format!("mark {} of the test", COUNT.fetch_add(1, Ordering::Relaxed));
        let sent = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(mark.as_bytes(), self.addr));
        assert!(sent.is_ok(), "cannot send to the log: {sent:?}");
        self.lines.wait_count(&mark, 1);
    }

    /// Waits for an event of HAProxy's stream `sid` and returns its status; 0 is success.
    #[track_caller]
    pub(crate) fn status(&self, sid: u64) -> u32 {
        self.lines.wait(0, &format!("SPOE and sid={sid}"), |line| {
            SpoeLine::parse(line).filter(|event| event.sid == sid).map(|event| event.status)
        })
    }

    /// Returns the log lines of the events that failed so far.
    pub(crate) fn failed(&self) -> Vec<String> {
        let failed = |line: &String| SpoeLine::parse(line).is_some_and(|event| event.status != 0);
        self.lines.all().into_iter().filter(failed).collect()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // If the datagram is lost, the thread lives until the process exits, which does no harm.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.addr));
    }
}

/// An event in HAProxy's log: `SPOE: [agent] <EVENT:on-client-session> sid=3 st=0 ...`.
pub(crate) struct SpoeLine {
    pub(crate) sid: u64,
    pub(crate) status: u32,
}

impl SpoeLine {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, event) = line.split_once("SPOE: [")?;
        let number = |key| event.split(' ').find_map(|word| word.strip_prefix(key));
        Some(Self { sid: number("sid=")?.parse().ok()?, status: number("st=")?.parse().ok()? })
    }
}
