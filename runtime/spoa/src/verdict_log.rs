//! The log of verdicts: a JSON object per line, in a file or on standard error.

mod line;
mod rate;
mod sink;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;
use serde::Deserialize;
use spoa_reputation::{Decision, Observer};
use spoa_runtime::text::Count;
use spoa_runtime::{Families, Source};

use writer::Queue;

use line::with_line;
pub(crate) use rate::Rate;
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
    /// The lost lines that were reported, by cause.
    unwritten: Reported,
    full: Reported,
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

impl VerdictLog {
    /// Opens the log and starts its thread. Dropping [`Flush`] writes the queued lines.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be started.
    pub(crate) fn start(target: &Target, settings: Settings) -> Result<(Arc<Self>, Flush), String> {
        let (queue, flush) = writer::start(target, settings.rate)?;
        let [unwritten, full, above_rate] = Default::default();
        let log = Self { settings, queue, seen: AtomicU64::new(0), unwritten, full, above_rate };
        Ok((Arc::new(log), flush))
    }

    /// Reopens the file, which has been renamed.
    pub(crate) fn reopen(&self) {
        self.queue.reopen();
    }

    /// Reports a fault of the file, and lines that were lost: those above the rate once a minute.
    pub(crate) fn report_lost(&self) {
        if let Some(fault) = self.queue.fault() {
            tracing::warn!("{fault}");
        }
        let counts = self.queue.counts();
        for (reported, count, cause) in [
            (&self.unwritten, &counts.unwritten, "the file could not be written"),
            (&self.full, &counts.full, "the queue was full; use --verdict-log-sample or --verdict-log-rate"),
        ] {
            if let Some(new) = reported.rise(count.load(Ordering::Relaxed), Duration::ZERO) {
                tracing::warn!(lost = new, "lost {} of the verdict log: {cause}", Count(new, "line"));
            }
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
        // Checked first, because formatting the line is more expensive.
        if self.queue.allows_line() {
            with_line(decision, self.settings.sample, SystemTime::now(), |line| self.queue.push(line));
        }
    }
}

/// True for one of `sample` numbers on average. They are mixed, because each nth verdict would be of the same message if HAProxy
/// sends messages in turn.
const fn is_sampled(number: u64, sample: u64) -> bool {
    // SplitMix64.
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).is_multiple_of(sample)
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
