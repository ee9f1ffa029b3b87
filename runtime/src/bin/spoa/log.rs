//! The log: on stderr, as text or JSON, of a level that may change.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// An object a line
    Json,
}

/// The least that is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// What it cannot do
    Error,
    /// And what should not be
    Warn,
    /// And what changes
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

/// Changes what is told.
pub(crate) struct Log {
    level: LevelFilter,
    is_toggled: AtomicBool,
    filter: Handle<LevelFilter, Registry>,
}

impl Log {
    /// Writes the log from now on.
    pub(crate) fn start(format: Format, level: Level) -> Self {
        let level = LevelFilter::from(level);
        let (layer, filter) = reload::Layer::new(level);
        let lines = fmt::layer()
            .with_writer(io::stderr)
            .with_target(false)
            // It would tell of a log that nobody reads any more on that same log, and panic over it.
            .log_internal_errors(false);
        let log = registry().with(layer);
        match format {
            Format::Text => log.with(lines.with_ansi(io::stderr().is_terminal())).init(),
            Format::Json => log.with(lines.json().flatten_event(true)).init(),
        }
        Self { level, is_toggled: AtomicBool::new(false), filter }
    }

    /// Tells each frame and connection too, or does not any more.
    pub(crate) fn toggle(&self) {
        let is_toggled = !self.is_toggled.fetch_xor(true, Ordering::Relaxed);
        let other = if self.level == LevelFilter::DEBUG { LevelFilter::INFO } else { LevelFilter::DEBUG };
        let level = if is_toggled { other } else { self.level };
        // It fails when there is no log any more.
        let _ = self.filter.modify(|filter| *filter = level);
        tracing::info!("SIGUSR1: the log level is {level}");
    }
}
