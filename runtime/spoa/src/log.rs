//! The log: text or JSON on standard error, with a level that can change.

mod fields;
mod writer;

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::ValueEnum;
use serde::Deserialize;
use spoa_runtime::text::Count;
use spoa_runtime::{Families, Source};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt as subscriber_fmt, registry};

use fields::TextFields;
use writer::{Dropped, Lines};
pub(crate) use writer::{Flush, escaped_json};

/// The format of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Text for people
    #[default]
    Text,
    /// A JSON object per line
    Json,
}

/// The level of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Failures
    Error,
    /// And what needs attention
    Warn,
    /// And changes of state
    #[default]
    Info,
    /// And each frame and connection
    Debug,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
        }
    }
}

/// A handle on the running log.
pub(crate) struct Log {
    level: LevelFilter,
    is_toggled: AtomicBool,
    filter: Handle<LevelFilter, Registry>,
    dropped: Dropped,
    /// The number of dropped lines that were reported.
    reported: AtomicU64,
}

impl Log {
    /// Starts the log. What is queued is written when [`Flush`] is dropped, as far as standard error is read.
    pub(crate) fn start(format: Format, level: Level) -> (Self, Flush) {
        let level = LevelFilter::from(level);
        let (filter, handle) = reload::Layer::new(level);
        let (lines, dropped, flush) = Lines::to_stderr(format == Format::Json);
        let layer = subscriber_fmt::layer()
            .with_writer(lines)
            .with_target(false)
            // Errors of the log would be reported with `eprintln!`, which panics if standard error is closed.
            .log_internal_errors(false);
        let log = registry().with(filter);
        match format {
            Format::Text => log.with(layer.with_ansi(io::stderr().is_terminal()).fmt_fields(TextFields)).init(),
            Format::Json => log.with(layer.json().flatten_event(true)).init(),
        }
        let (is_toggled, reported) = (AtomicBool::new(false), AtomicU64::new(0));
        (Self { level, is_toggled, filter: handle, dropped, reported }, flush)
    }

    /// Switches debug lines on, or off again.
    pub(crate) fn toggle(&self) {
        let is_toggled = !self.is_toggled.fetch_xor(true, Ordering::Relaxed);
        let other = if self.level == LevelFilter::DEBUG { LevelFilter::INFO } else { LevelFilter::DEBUG };
        let level = if is_toggled { other } else { self.level };
        // This fails only after the log has ended.
        let _ = self.filter.modify(|filter| *filter = level);
        tracing::info!(log_level = %level, "SIGUSR1: the log level is {level}");
    }

    /// Reports lines that were dropped since the last call.
    pub(crate) fn report_dropped(&self) {
        let dropped = self.dropped.count();
        let new = dropped - self.reported.swap(dropped, Ordering::Relaxed);
        if new > 0 {
            tracing::warn!(
                dropped = new,
                "dropped {}: standard error is read too slowly, or there were more than 4 MiB of debug lines in a second",
                Count(new, "log line")
            );
        }
    }

    /// Returns the number of dropped lines, for metrics.
    pub(crate) fn metrics(&self) -> Arc<dyn Source> {
        Arc::new(DroppedLines(self.dropped.clone()))
    }
}

#[derive(Debug)]
struct DroppedLines(Dropped);

impl Source for DroppedLines {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let help =
            "Log lines dropped because standard error was read too slowly, or because of the limit on debug lines.";
        families.counter("log_lines_dropped", help, self.0.count())
    }
}
