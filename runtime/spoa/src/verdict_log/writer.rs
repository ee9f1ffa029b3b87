//! The thread that writes the log of verdicts, and the queue to it.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use spoa_runtime::text::Count;

use super::rate::Rate;
use super::sink::{Sink, Target, count};

/// Bytes that wait to be written; further lines are lost.
const QUEUE_MAX: usize = 4 << 20;

/// The time for which lines are collected before they are written together. Without it each line would wake the thread.
const COLLECTED: Duration = Duration::from_millis(20);

/// The time between attempts to open the file.
const RETRY: Duration = Duration::from_secs(1);

/// The longest time that the end of the process waits for queued lines to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// The number of attempts to lock the queue before a line is dropped. They take longer than another thread holds the lock, unless
/// that thread is interrupted.
const ATTEMPTS: usize = 200;

/// The queue to the thread.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    rate: Rate,
    /// Notified when there is something to do for the thread.
    work: Condvar,
    /// Notified when the thread ends.
    done: Condvar,
    counts: Counts,
}

#[derive(Default)]
struct Inner {
    lines: Vec<u8>,
    reopen: bool,
    stop: bool,
    has_ended: bool,
    /// The number of lines that the thread writes now.
    writing: u64,
    /// The last fault of the file, until it is reported.
    fault: Option<String>,
}

/// The numbers of lines.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) written: AtomicU64,
    /// Lost because there were more than the rate allows.
    pub(super) above_rate: AtomicU64,
    /// Lost because the queue was full, or another thread held its lock during all [`ATTEMPTS`].
    pub(super) full: AtomicU64,
    /// Lost because the file could not be written.
    pub(super) unwritten: AtomicU64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the queue. Returns `None` if another thread holds the lock during all [`ATTEMPTS`], because workers must not wait.
    fn lock_soon(&self) -> Option<MutexGuard<'_, Inner>> {
        for _ in 0..ATTEMPTS {
            match self.inner.try_lock() {
                Ok(inner) => return Some(inner),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
        }
        None
    }

    /// Counts a line against the rate. Returns false, and counts the line as lost, if it is above the rate.
    pub(super) fn allows_line(&self) -> bool {
        let is_allowed = self.rate.allows();
        if !is_allowed {
            self.counts.above_rate.fetch_add(1, Ordering::Relaxed);
        }
        is_allowed
    }

    /// Appends a line. It waits neither for the file nor for another thread.
    pub(super) fn push(&self, line: &[u8]) {
        let Some(mut inner) = self.lock_soon().filter(|inner| inner.lines.len() + line.len() <= QUEUE_MAX) else {
            self.counts.full.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let is_first = inner.lines.is_empty();
        inner.lines.extend_from_slice(line);
        drop(inner);
        if is_first {
            self.work.notify_one();
        }
    }

    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.work.notify_one();
    }

    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the last fault of the file, unless it was returned before.
    pub(super) fn fault(&self) -> Option<String> {
        self.lock().fault.take()
    }

    /// Waits until there are lines to write, the file is to be reopened, or `wait_max` has passed. Returns `None` after the last lines.
    fn next(&self, spare: &mut Vec<u8>, wait_max: Option<Duration>) -> Option<(Vec<u8>, bool)> {
        let mut inner = self.lock();
        let is_idle = |inner: &mut Inner| inner.lines.is_empty() && !inner.reopen && !inner.stop;
        inner = match wait_max {
            Some(time) => self.work.wait_timeout_while(inner, time, is_idle).unwrap_or_else(PoisonError::into_inner).0,
            None => self.work.wait_while(inner, is_idle).unwrap_or_else(PoisonError::into_inner),
        };
        if !inner.stop && !inner.reopen && !inner.lines.is_empty() {
            drop(inner);
            thread::sleep(COLLECTED);
            inner = self.lock();
        }
        if inner.stop && inner.lines.is_empty() {
            inner.has_ended = true;
            self.done.notify_all();
            return None;
        }
        inner.writing = count(&inner.lines);
        Some((mem::replace(&mut inner.lines, mem::take(spare)), mem::take(&mut inner.reopen)))
    }
}

/// Opens the log and starts the thread.
///
/// # Errors
/// The file cannot be opened, for another reason than that a FIFO has no reader yet, or the thread cannot be started.
pub(super) fn start(target: &Target, rate: Option<u64>) -> Result<(Arc<Queue>, Flush), String> {
    let sink = match target.open() {
        Ok(sink) => Some(sink),
        Err(error) if target.has_no_reader(&error) => None,
        Err(error) => return Err(failed(target, &error)),
    };
    let queue = Arc::new(Queue {
        // Allocated once: no worker holds the lock while memory grows.
        inner: Mutex::new(Inner { lines: Vec::with_capacity(QUEUE_MAX), ..Inner::default() }),
        rate: Rate::new(rate),
        work: Condvar::new(),
        done: Condvar::new(),
        counts: Counts::default(),
    });
    let open_at = sink.is_none().then(Instant::now);
    let writer = Writer { queue: Arc::clone(&queue), target: target.clone(), sink, open_at };
    let thread = thread::Builder::new().name("spoa-verdicts".into()).spawn(move || writer.run());
    thread.map_err(|error| format!("cannot start the thread that writes verdicts: {error}"))?;
    Ok((Arc::clone(&queue), Flush(queue)))
}

fn failed(target: &Target, error: &io::Error) -> String {
    match target {
        Target::Stderr => format!("cannot write verdicts to standard error: {error}"),
        Target::File(path) if target.has_no_reader(error) => format!("{}: nobody reads this FIFO", path.display()),
        Target::File(path) => format!("cannot write verdicts to {}: {error}", path.display()),
    }
}

struct Writer {
    queue: Arc<Queue>,
    target: Target,
    /// `None` if the file could not be opened.
    sink: Option<Sink>,
    /// The time of the next attempt to open the file, if it is to be opened.
    open_at: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        let mut spare = Vec::with_capacity(QUEUE_MAX);
        let wait = |open_at: Option<Instant>| open_at.map(|at| at.saturating_duration_since(Instant::now()));
        while let Some((mut lines, reopen)) = self.queue.next(&mut spare, wait(self.open_at)) {
            if reopen || self.open_at.is_some_and(|at| at <= Instant::now()) {
                self.open();
            }
            self.write(&lines);
            lines.clear();
            spare = lines;
        }
    }

    /// Opens the file. If that fails, the previous file stays in use, and the attempt is repeated after [`RETRY`].
    fn open(&mut self) {
        match self.target.open() {
            Ok(sink) => (self.sink, self.open_at) = (Some(sink), None),
            Err(error) => {
                self.open_at = Some(Instant::now() + RETRY);
                self.report(&error);
            }
        }
    }

    fn write(&mut self, lines: &[u8]) {
        let (written, fault) = match &mut self.sink {
            Some(sink) => sink.write(lines),
            None => (0, None),
        };
        let counts = &self.queue.counts;
        counts.written.fetch_add(written, Ordering::Relaxed);
        counts.unwritten.fetch_add(count(lines) - written, Ordering::Relaxed);
        if let Some(error) = fault {
            if error.kind() == io::ErrorKind::BrokenPipe && matches!(self.target, Target::File(_)) {
                // The reader of the FIFO has closed it.
                (self.sink, self.open_at) = (None, Some(Instant::now() + RETRY));
            }
            self.report(&error);
        }
    }

    fn report(&self, error: &io::Error) {
        self.queue.lock().fault = Some(failed(&self.target, error));
    }
}

/// Writes queued lines when it is dropped, for at most [`FLUSH_TIME`].
pub(crate) struct Flush(Arc<Queue>);

impl Drop for Flush {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.stop = true;
        self.0.work.notify_one();
        let ended = self.0.done.wait_timeout_while(inner, FLUSH_TIME, |inner| !inner.has_ended);
        let (inner, _) = ended.unwrap_or_else(PoisonError::into_inner);
        let left = if inner.has_ended { 0 } else { inner.writing + count(&inner.lines) };
        if left > 0 {
            let (lines, time) = (Count(left, "line"), FLUSH_TIME.as_secs());
            tracing::warn!(lost = left, "lost {lines} of the verdict log at the stop: not written within {time} s");
        }
    }
}
