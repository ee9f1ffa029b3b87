//! The thread that writes the log of verdicts, and the queue to it.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::sink::{Sink, Target, count};
#[cfg(target_os = "linux")]
use crate::priority;

/// Bytes that wait to be written; further lines are lost.
const QUEUE_MAX: usize = 4 << 20;

/// The time for which lines are collected before they are written together. Without it each line would wake the thread.
const COLLECTED: Duration = Duration::from_millis(20);

/// The time after which a file is opened again that could not be opened or written.
const RETRY: Duration = Duration::from_secs(1);

/// The longest time that the end of the process waits for queued lines to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// The queue to the thread.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    rate: Rate,
    /// Notified when there is something to do for the thread.
    work: Condvar,
    /// Notified when the thread has written everything, or ends.
    done: Condvar,
    counts: Counts,
}

/// Bounds the lines per second. Workers only count down; the thread fills it again.
struct Rate {
    /// The lines per second; `None` for no limit.
    max: Option<i64>,
    /// The lines that are left in this second; negative if more were asked for.
    left: AtomicI64,
}

/// The period in which the rate is filled again.
const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Inner {
    lines: Vec<u8>,
    reopen: bool,
    stop: bool,
    has_ended: bool,
    /// The reason why lines were lost last.
    fault: Option<String>,
}

/// The numbers of lines.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) written: AtomicU64,
    /// Lost because there were more than the rate allows.
    pub(super) above_rate: AtomicU64,
    /// Lost because the queue was full.
    pub(super) full: AtomicU64,
    /// Lost because the file could not be written.
    pub(super) unwritten: AtomicU64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the room for a line in this second. Returns false, and counts the line as lost, if there is none.
    pub(super) fn take_room(&self) -> bool {
        let is_allowed = self.rate.max.is_none() || self.rate.left.fetch_sub(1, Ordering::Relaxed) > 0;
        if !is_allowed {
            self.counts.above_rate.fetch_add(1, Ordering::Relaxed);
        }
        is_allowed
    }

    /// Appends a line. It does not wait for the file.
    pub(super) fn push(&self, line: &[u8]) {
        let mut inner = self.lock();
        if inner.lines.len() + line.len() > QUEUE_MAX {
            drop(inner);
            self.counts.full.fetch_add(1, Ordering::Relaxed);
            return;
        }
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

    /// Returns the reason why lines were lost last, if the file is the reason, and forgets it.
    pub(super) fn fault(&self) -> Option<String> {
        self.lock().fault.take()
    }

    /// Waits until there are lines to write, or the file is to be opened again. Returns `None` at the end.
    fn next(&self, spare: &mut Vec<u8>, filled_at: &mut Instant) -> Option<(Vec<u8>, bool)> {
        let mut inner = self.lock();
        loop {
            self.fill(filled_at);
            if !inner.lines.is_empty() || inner.reopen || inner.stop {
                break;
            }
            inner = self.work.wait_timeout(inner, SECOND).unwrap_or_else(PoisonError::into_inner).0;
        }
        if !inner.stop && !inner.reopen {
            drop(inner);
            thread::sleep(COLLECTED);
            inner = self.lock();
        }
        if inner.stop && inner.lines.is_empty() {
            inner.has_ended = true;
            self.done.notify_all();
            return None;
        }
        Some((mem::replace(&mut inner.lines, mem::take(spare)), mem::take(&mut inner.reopen)))
    }

    /// Fills the rate again if a second is over.
    fn fill(&self, filled_at: &mut Instant) {
        if let Some(max) = self.rate.max
            && filled_at.elapsed() >= SECOND
        {
            *filled_at = Instant::now();
            self.rate.left.store(max, Ordering::Relaxed);
        }
    }
}

/// Opens the log and starts the thread.
///
/// # Errors
/// The file cannot be opened, for another reason than that a FIFO has no reader yet, or the thread cannot be started.
pub(super) fn start(target: &Target, rate: Option<u64>) -> Result<(Arc<Queue>, Flush), String> {
    let sink = match target.open() {
        Ok(sink) => Some(sink),
        Err(error) if Target::has_no_reader(&error) => None,
        Err(error) => return Err(failed(target, &error)),
    };
    let max = rate.map(|rate| i64::try_from(rate).unwrap_or(i64::MAX));
    let queue = Arc::new(Queue {
        inner: Mutex::default(),
        rate: Rate { max, left: AtomicI64::new(max.unwrap_or_default()) },
        work: Condvar::new(),
        done: Condvar::new(),
        counts: Counts::default(),
    });
    let writer = Writer { queue: Arc::clone(&queue), target: target.clone(), sink, retry_at: None };
    let thread = thread::Builder::new().name("spoa-verdicts".into()).spawn(move || writer.run());
    thread.map_err(|error| format!("cannot start the thread that writes verdicts: {error}"))?;
    Ok((Arc::clone(&queue), Flush(queue)))
}

fn failed(target: &Target, error: &io::Error) -> String {
    match target {
        Target::Stderr => format!("cannot write verdicts to standard error: {error}"),
        Target::File(path) if Target::has_no_reader(error) => format!("{}: nobody reads this FIFO", path.display()),
        Target::File(path) => format!("cannot write verdicts to {}: {error}", path.display()),
    }
}

struct Writer {
    queue: Arc<Queue>,
    target: Target,
    /// `None` while the file cannot be opened.
    sink: Option<Sink>,
    /// The time of the next attempt to open it.
    retry_at: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        #[cfg(target_os = "linux")]
        priority::lower();
        let (mut spare, mut filled_at) = (Vec::new(), Instant::now());
        while let Some((mut lines, reopen)) = self.queue.next(&mut spare, &mut filled_at) {
            if reopen || self.sink.is_none() && self.is_retry_due() {
                self.open();
            }
            self.write(&lines);
            lines.clear();
            spare = lines;
        }
    }

    fn is_retry_due(&self) -> bool {
        self.retry_at.is_none_or(|at| at <= Instant::now())
    }

    /// Opens the file. If that fails, the one that is open stays in use.
    fn open(&mut self) {
        match self.target.open() {
            Ok(sink) => self.sink = Some(sink),
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY);
                self.queue.lock().fault = Some(failed(&self.target, &error));
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
                // The reader of a FIFO has gone.
                self.sink = None;
            }
            self.queue.lock().fault = Some(failed(&self.target, &error));
        }
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
        drop(ended);
    }
}
