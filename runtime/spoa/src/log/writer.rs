//! Writes lines to standard error without ever waiting for its reader.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use spoa_runtime::text::is_unsafe;
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written; further ones are dropped. A line has a few kilobytes at most.
const QUEUE_MAX: usize = 2048;

/// Bytes of debug lines per second; further ones are dropped. A single peer can cause ten times as many.
const DEBUG_BYTES_MAX: usize = 4 << 20;

/// The longest time that the end of the process waits for queued lines to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Waits for queued lines to be written when it is dropped, for at most [`FLUSH_TIME`].
pub(crate) struct Flush {
    counts: Arc<Counts>,
    dropped: ErrorCounter,
}

/// The numbers of lines that were queued, dropped ones included, and written.
#[derive(Debug, Default)]
struct Counts {
    queued: AtomicU64,
    written: AtomicU64,
}

impl Drop for Flush {
    fn drop(&mut self) {
        let end = Instant::now() + FLUSH_TIME;
        let is_pending = || {
            let done = self.counts.written.load(Ordering::SeqCst) + self.dropped.dropped_lines() as u64;
            done < self.counts.queued.load(Ordering::SeqCst)
        };
        while is_pending() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Standard error, which counts the lines that were written to it.
struct Stderr(Arc<Counts>);

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line that cannot be written is lost.
        let _ = io::stderr().write_all(line);
        self.0.written.fetch_add(1, Ordering::SeqCst);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The way of a line to standard error.
pub(super) struct Lines {
    queue: NonBlocking,
    counts: Arc<Counts>,
    is_json: bool,
    budget: Budget,
    dropped: Dropped,
}

/// The number of lines that were dropped. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Dropped {
    by_queue: ErrorCounter,
    by_budget: Arc<AtomicU64>,
}

impl Dropped {
    pub(super) fn count(&self) -> u64 {
        self.by_queue.dropped_lines() as u64 + self.by_budget.load(Ordering::Relaxed)
    }
}

impl Lines {
    /// Starts the thread that writes them.
    pub(super) fn to_stderr(is_json: bool) -> (Self, Dropped, Flush) {
        let counts = Arc::<Counts>::default();
        let (queue, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(QUEUE_MAX)
            .thread_name("spoa-log")
            .finish(Stderr(Arc::clone(&counts)));
        // Its drop would write to standard output, and so wait for the reader of that.
        mem::forget(guard);
        let dropped = Dropped { by_queue: queue.error_counter(), by_budget: Arc::default() };
        let flush = Flush { counts: Arc::clone(&counts), dropped: queue.error_counter() };
        let lines = Self { queue, counts, is_json, budget: Budget::default(), dropped: dropped.clone() };
        (lines, dropped, flush)
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Line<'l> {
        Line { lines: self, is_debug: false }
    }

    fn make_writer_for(&'l self, meta: &Metadata<'_>) -> Line<'l> {
        Line { lines: self, is_debug: *meta.level() >= Level::DEBUG }
    }
}

/// Takes one line, which is written to it as a whole.
pub(super) struct Line<'l> {
    lines: &'l Lines,
    is_debug: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.is_debug && !self.lines.budget.allows(line.len(), Instant::now()) {
            self.lines.dropped.by_budget.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        let mut queue = self.lines.queue.clone();
        self.lines.counts.queued.fetch_add(1, Ordering::SeqCst);
        match self.lines.is_json.then(|| escaped_json(line)).flatten() {
            Some(escaped) => queue.write_all(escaped.as_bytes())?,
            None => queue.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes characters that JSON allows in a string but that a terminal must not receive. Returns `None` if there are none.
pub(crate) fn escaped_json(line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    let is_raw = |char: char| !char.is_ascii_control() && is_unsafe(char) || char == '\x7f';
    if text.is_ascii() && !text.contains('\x7f') || !text.contains(is_raw) {
        return None;
    }
    let mut escaped = String::with_capacity(text.len() + 32);
    for char in text.chars() {
        if is_raw(char) {
            let mut units = [0; 2];
            char.encode_utf16(&mut units).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        } else {
            escaped.push(char);
        }
    }
    Some(escaped)
}

/// Bounds the bytes of debug lines in each second.
#[derive(Debug, Default)]
struct Budget(Mutex<Option<(Instant, usize)>>);

impl Budget {
    fn allows(&self, bytes: usize, now: Instant) -> bool {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, used) = match &mut *current {
            Some(second) if now.saturating_duration_since(second.0) < Duration::from_secs(1) => second,
            other => other.insert((now, 0)),
        };
        let allowed = *used + bytes <= DEBUG_BYTES_MAX;
        if allowed {
            *used += bytes;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_lines_have_a_budget_per_second() {
        let (budget, start) = (Budget::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(budget.allows(DEBUG_BYTES_MAX, at(0)));
        assert!(!budget.allows(1, at(999)));
        assert!(budget.allows(1, at(1000)));
    }

    #[test]
    fn json_has_no_character_that_a_terminal_acts_on() {
        let line = "{\"a\":\"é\u{202e}\u{9b}\u{7f}\u{e0001}\\u001b\"}\n";
        let wanted = "{\"a\":\"é\\u202e\\u009b\\u007f\\udb40\\udc01\\u001b\"}\n";
        assert_eq!(escaped_json(line.as_bytes()).as_deref(), Some(wanted));
        assert_eq!(escaped_json("{\"a\":\"é\"}\n".as_bytes()), None);
    }
}
