//! The log of verdicts: a JSON object per line, in a file or on standard error.

mod sink;
mod writer;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use spoa_reputation::lists::Verdict;
use spoa_reputation::{Decision, Observer};
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
    budget: Mutex<Budget>,
    /// Lines above the rate.
    above_rate: AtomicU64,
    /// The number of lost lines that were reported.
    reported: AtomicU64,
}

/// The lines of the current second.
#[derive(Default)]
struct Budget {
    since: Option<Instant>,
    used: u64,
}

/// A line.
#[derive(Serialize)]
struct Line<'l> {
    time: String,
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
    prefix: String,
    category: &'l str,
}

impl<'l> Fields<'l> {
    fn of(decision: &Decision<'l>, verdict: Verdict<'l>) -> Self {
        let config = verdict.matched().map(|matched| matched.list().config());
        Self {
            verdict: verdict.name(),
            score: decision.edition.score(verdict),
            list: config.map_or("", |config| &config.name),
            prefix: verdict.matched().map_or_else(String::new, |matched| matched.prefix().to_string()),
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
        let (queue, flush) = writer::start(target)?;
        let log = Self {
            settings,
            queue,
            seen: AtomicU64::new(0),
            budget: Mutex::default(),
            above_rate: AtomicU64::new(0),
            reported: AtomicU64::new(0),
        };
        Ok((Arc::new(log), flush))
    }

    /// Opens the file again, which has been renamed.
    pub(crate) fn reopen(&self) {
        self.queue.reopen();
    }

    /// Reports lines that were lost since the last call.
    pub(crate) fn report_lost(&self) {
        let counts = self.queue.counts();
        let (unwritten, full) = (counts.unwritten.load(Ordering::Relaxed), counts.full.load(Ordering::Relaxed));
        let lost = unwritten + full + self.above_rate.load(Ordering::Relaxed);
        let new = lost - self.reported.swap(lost, Ordering::Relaxed);
        if new > 0 {
            let reason = self
                .queue
                .fault()
                .unwrap_or_else(|| "more than --verdict-log-rate allows, or than can be written".into());
            tracing::warn!(lost = new, "lost {}: {reason}", Count(new, "line of the verdict log"));
        }
    }

    /// True if a further line may be logged in this second.
    fn has_room(&self) -> bool {
        let Some(rate) = self.settings.rate else { return true };
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if budget.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            *budget = Budget { since: Some(now), used: 0 };
        }
        budget.used += 1;
        budget.used <= rate
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
        if !self.has_room() {
            self.above_rate.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.queue.push(line(decision, SystemTime::now()).as_bytes());
    }
}

/// Returns the line of a verdict.
fn line(decision: &Decision<'_>, now: SystemTime) -> String {
    let verdict = Fields::of(decision, decision.verdict);
    let would = Fields::of(decision, decision.would);
    let is_other = (would.verdict, would.list, &would.prefix) != (verdict.verdict, verdict.list, &verdict.prefix);
    let line = Line {
        time: humantime::format_rfc3339_millis(now).to_string(),
        message: decision.rule.message(),
        address: decision.address,
        verdict,
        would: is_other.then_some(would),
        generation: decision.edition.generation,
        peer: decision.peer.address(),
        engine: decision.peer.engine_id(),
    };
    let mut text = serde_json::to_string(&line).expect("a line has no maps, whose keys could be no strings");
    text.push('\n');
    escaped_json(text.as_bytes()).unwrap_or(text)
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
            of("rate", &self.above_rate),
            of("queue", &counts.full),
            of("file", &counts.unwritten),
        ];
        families.counters("verdict_log_lines", help, all.into_iter())
    }
}
