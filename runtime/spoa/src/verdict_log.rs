//! The log of verdicts: a JSON object per line, in a file or on standard error.

mod rate;
mod sink;
mod writer;

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;
use humantime::Rfc3339Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use spoa_reputation::lists::{Match, Verdict};
use spoa_reputation::{Decision, Judged, Observer, Prefix};
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
    /// Verdicts that are `listed`, or would be if everything in shadow mode were enforced
    #[default]
    Listed,
    /// All verdicts
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
    /// The lost lines that were reported: those that cannot be written, and those above the rate.
    unwritten: Reported,
    above_rate: Reported,
}

/// The number of lines that were reported, and the time of the last report.
#[derive(Default)]
struct Reported(Mutex<(u64, Option<Instant>)>);

impl Reported {
    /// Returns how many lines are new, if there are any and the last report is at least `period` old.
    fn rise(&self, count: u64, period: Duration) -> Option<u64> {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, last) = *reported;
        if count == before || last.is_some_and(|last| last.elapsed() < period) {
            return None;
        }
        *reported = (count, Some(Instant::now()));
        Some(count - before)
    }
}

/// A line.
#[derive(Serialize)]
struct Line<'l> {
    #[serde(serialize_with = "as_text")]
    time: Rfc3339Timestamp,
    message: &'l str,
    /// The name of the policy that the message selected.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'l str>,
    #[serde(flatten)]
    verdict: Fields<'l>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would: Option<Fields<'l>>,
    /// One of so many verdicts is logged.
    #[serde(skip_serializing_if = "is_one")]
    sample: u64,
    generation: u64,
    peer: &'l str,
    engine: Option<&'l str>,
}

/// A verdict and the list that decided it; empty strings if none did.
#[derive(Serialize)]
struct Fields<'l> {
    address: Option<IpAddr>,
    verdict: &'static str,
    score: u32,
    list: &'l str,
    #[serde(serialize_with = "as_text_if_any")]
    prefix: Option<Prefix>,
    category: &'l str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde needs")]
const fn is_one(sample: &u64) -> bool {
    *sample == 1
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
    fn of(Judged { address, verdict, score }: Judged<'l>) -> Self {
        let config = verdict.matched().map(|matched| matched.list().config());
        Self {
            address,
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
        let (unwritten, above_rate) = (Reported::default(), Reported::default());
        let log = Self { settings, queue, seen: AtomicU64::new(0), unwritten, above_rate };
        Ok((Arc::new(log), flush))
    }

    /// Opens the file again, which has been renamed.
    pub(crate) fn reopen(&self) {
        self.queue.reopen();
    }

    /// Reports a fault of the file, and lines that were lost: those above the rate once a minute.
    pub(crate) fn report_lost(&self) {
        if let Some(fault) = self.queue.fault() {
            tracing::warn!("{fault}");
        }
        let counts = self.queue.counts();
        let unwritten = counts.unwritten.load(Ordering::Relaxed) + counts.full.load(Ordering::Relaxed);
        if let Some(new) = self.unwritten.rise(unwritten, Duration::ZERO) {
            tracing::warn!(lost = new, "lost {}: they cannot be written", Count(new, "line of the verdict log"));
        }
        if let Some(new) = self.above_rate.rise(counts.above_rate.load(Ordering::Relaxed), Duration::from_secs(60)) {
            let rate = self.settings.rate.unwrap_or_default();
            let lost = Count(new, "verdict");
            tracing::warn!(lost = new, "did not log {lost}: --verdict-log-rate allows {rate} lines per second");
        }
    }
}

impl Observer for VerdictLog {
    fn decided(&self, decision: &Decision<'_>) {
        if self.settings.which == Which::Listed && !decision.is_listed() {
            return;
        }
        if self.settings.sample > 1 && !is_sampled(self.seen.fetch_add(1, Ordering::Relaxed), self.settings.sample) {
            return;
        }
        // Asked before the line is made, which takes longer.
        if self.queue.allows_line() {
            with_line(decision, self.settings.sample, SystemTime::now(), |line| self.queue.push(line));
        }
    }
}

/// True for one of `sample` numbers. They have no pattern: if they had, of two messages that always come together only one would
/// be logged.
const fn is_sampled(number: u64, sample: u64) -> bool {
    // SplitMix64.
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).is_multiple_of(sample)
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
fn with_line(decision: &Decision<'_>, sample: u64, now: SystemTime, push: impl FnOnce(&[u8])) {
    let line = Line {
        time: humantime::format_rfc3339_millis(now),
        message: decision.rule.message(),
        policy: decision.policy,
        verdict: Fields::of(decision.judged),
        would: differs(decision.would.verdict, decision.judged.verdict).then(|| Fields::of(decision.would)),
        sample,
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
