//! The log of verdicts: a JSON object per line, in a file or on standard error.

mod sink;
mod writer;

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use clap::ValueEnum;
use humantime::Rfc3339Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use spoa_reputation::lists::{Match, Verdict};
use spoa_reputation::{Decision, Observer, Prefix};
use spoa_runtime::text::Count;
use spoa_runtime::{Families, Source};

use crate::log::escaped_json;
use writer::Queue;

pub(crate) use sink::Target;
pub(crate) use writer::Flush;

/// The verdicts that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Which {
    /// Those that are `listed`, or would be if everything in shadow mode were enforced
    #[default]
    Listed,
    /// All
    All,
}

/// The settings of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) which: Which,
    /// One of this many verdicts is logged.
    pub(crate) sample: u64,
    /// The number of lines per second; `None` for no limit.
    pub(crate) rate: Option<u64>,
}

/// Logs verdicts. Workers only append a line to a buffer in memory; a thread writes it.
pub(crate) struct VerdictLog {
    settings: Settings,
    queue: Arc<Queue>,
    /// The number of verdicts so far, for sampling.
    seen: AtomicU64,
    /// The number of lost lines that were reported.
    reported: AtomicU64,
}

/// A line.
#[derive(Serialize)]
struct Line<'l> {
    #[serde(serialize_with = "as_text")]
    time: Rfc3339Timestamp,
    message: &'l str,
    address: Option<IpAddr>,
    #[serde(flatten)]
    verdict: Fields<'l>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would: Option<Fields<'l>>,
    generation: u64,
    peer: &'l str,
    engine: Option<&'l str>,
}

/// A verdict and the list that decided it; empty strings if none did.
#[derive(Serialize)]
struct Fields<'l> {
    verdict: &'static str,
    score: u32,
    list: &'l str,
    #[serde(serialize_with = "as_text_if_any")]
    prefix: Option<Prefix>,
    category: &'l str,
}

fn as_text<S: Serializer>(value: &impl fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

fn as_text_if_any<S: Serializer>(value: &Option<impl fmt::Display>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_str(""),
    }
}

impl<'l> Fields<'l> {
    fn of(verdict: Verdict<'l>, score: u32) -> Self {
        let config = verdict.matched().map(|matched| matched.list().config());
        Self {
            verdict: verdict.name(),
            score,
            list: config.map_or("", |config| &config.name),
            prefix: verdict.matched().map(Match::prefix),
            category: config.map_or("", |config| &config.category),
        }
    }
}

impl VerdictLog {
    /// Opens the log and starts its thread. What is queued is written when [`Flush`] is dropped.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be started.
    pub(crate) fn start(target: &Target, settings: Settings) -> Result<(Arc<Self>, Flush), String> {
        let (queue, flush) = writer::start(target, settings.rate)?;
        let log = Self { settings, queue, seen: AtomicU64::new(0), reported: AtomicU64::new(0) };
        Ok((Arc::new(log), flush))
    }

    /// Opens the file again, which has been renamed.
    pub(crate) fn reopen(&self) {
        self.queue.reopen();
    }

    /// Reports lines that were lost since the last call.
    pub(crate) fn report_lost(&self) {
        let counts = self.queue.counts();
        let lost = [&counts.unwritten, &counts.full, &counts.above_rate].map(|count| count.load(Ordering::Relaxed));
        let lost = lost.iter().sum::<u64>();
        let new = lost - self.reported.swap(lost, Ordering::Relaxed);
        if new > 0 {
            let reason = self
                .queue
                .fault()
                .unwrap_or_else(|| "more than --verdict-log-rate allows, or than can be written".into());
            tracing::warn!(lost = new, "lost {}: {reason}", Count(new, "line of the verdict log"));
        }
    }
}

impl Observer for VerdictLog {
    fn decided(&self, decision: &Decision<'_>) {
        if self.settings.which == Which::Listed && !decision.is_listed() {
            return;
        }
        if self.settings.sample > 1 && !self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.settings.sample) {
            return;
        }
        // The room is taken before the line is made, which takes longer.
        if self.queue.take_room() {
            with_line(decision, SystemTime::now(), |line| self.queue.push(line));
        }
    }
}

/// True if another list or prefix decided.
fn differs(one: Verdict<'_>, other: Verdict<'_>) -> bool {
    match (one.matched(), other.matched()) {
        (Some(one), Some(other)) => {
            one.list().config().name != other.list().config().name || one.prefix() != other.prefix()
        }
        (None, None) => false,
        _ => true,
    }
}

/// Calls `push` with the line of a verdict.
fn with_line(decision: &Decision<'_>, now: SystemTime, push: impl FnOnce(&[u8])) {
    let line = Line {
        time: humantime::format_rfc3339_millis(now),
        message: decision.rule.message(),
        address: decision.address,
        verdict: Fields::of(decision.verdict, decision.score),
        would: differs(decision.would, decision.verdict).then(|| Fields::of(decision.would, decision.would_score)),
        generation: decision.edition.generation,
        peer: decision.peer.address(),
        engine: decision.peer.engine_id(),
    };
    thread_local! {
        /// Reused, so that a line allocates nothing.
        static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    LINE.with_borrow_mut(|bytes| {
        bytes.clear();
        serde_json::to_writer(&mut *bytes, &line).expect("a line has no maps, whose keys could be no strings");
        bytes.push(b'\n');
        match escaped_json(bytes) {
            Some(escaped) => push(escaped.as_bytes()),
            None => push(bytes),
        }
    });
}

impl fmt::Debug for VerdictLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerdictLog").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The lines that were written and lost.
impl Source for VerdictLog {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let counts = self.queue.counts();
        let of = |result: &str, count: &AtomicU64| ([("result", result.to_owned())], count.load(Ordering::Relaxed));
        let help = "Lines of the verdict log: written, or lost because they were above --verdict-log-rate (rate), because the thread \
                    that writes was too slow (queue), or because the file could not be written (file).";
        let all = [
            of("written", &counts.written),
            of("rate", &counts.above_rate),
            of("queue", &counts.full),
            of("file", &counts.unwritten),
        ];
        families.counters("verdict_log_lines", help, all.into_iter())
    }
}
