//! The reasons why a list cannot be used.

use std::io;
use std::path::PathBuf;

use super::PREFIXES_MAX;
use crate::format::LineError;
use crate::policy::PolicyError;
use crate::prefix::Prefix;
use crate::table::{ANSWERS_MAX, LISTS_MAX};
use spoa_runtime::text::Count;

/// The first bad line of a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the first is line {line}, column {}: {error} (read as {layout})", error.column)]
pub struct FirstBad {
    /// Its number.
    pub line: u64,
    /// The fault in it.
    pub error: LineError,
    /// The layout that was detected.
    pub layout: String,
}

/// The reason why lists cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be opened or read, or exceeds a limit.
    #[error("list {name}: cannot read {}: {error}", path.display())]
    Io {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The layout of a file cannot be used as it is, or its options do not fit it.
    #[error("list {name}: {} cannot be read as a list: {error}", path.display())]
    Format {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file is empty, or has comments alone: it may have been cut off.
    #[error(
        "list {name}: there is no address in {} (read as {layout}; a list with max-shrink=100 may be empty)",
        path.display()
    )]
    Empty {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The layout that was detected.
        layout: String,
    },
    /// The file has bad lines and no address: it is another file, an error page for example.
    #[error("list {name}: there is no address in {}, but {}; {first}", path.display(), Count(*count, "bad line"))]
    NoAddress {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The number of bad lines.
        count: u64,
        /// The first bad line.
        first: Box<FirstBad>,
    },
    /// More lines are bad than may be: the format may have changed.
    #[error(
        "list {name}: {count} of {total} lines of {} are bad, which is more than {max} % (to accept it, raise max-bad); {first}",
        path.display()
    )]
    TooManyBadLines {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The number of bad lines.
        count: u64,
        /// The number of entries and bad lines.
        total: u64,
        /// The percentage that may be bad.
        max: u8,
        /// The first bad line.
        first: Box<FirstBad>,
    },
    /// A prefix covers more addresses than one may.
    #[error(
        "list {name}: {prefix} in {} covers {percent:.0} % of all public addresses, which is more than {max} % (if it is meant, set \
         max-cover=100 for this list)",
        path.display()
    )]
    TooWide {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The prefix.
        prefix: Prefix,
        /// The percentage of the globally routable addresses that it covers.
        percent: f64,
        /// The percentage that a prefix may cover.
        max: f64,
    },
    /// All prefixes of a list cover more addresses than they may.
    #[error(
        "list {name}: {} covers {percent:.0} % of all public {family} addresses, which is more than {max} % (to accept it, raise \
         max-cover)",
        path.display()
    )]
    CoversTooMuch {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The family.
        family: &'static str,
        /// The percentage of the globally routable addresses that it covers.
        percent: f64,
        /// The percentage that it may cover.
        max: u8,
    },
    /// A list grew by more than it may: it may be another file.
    #[error(
        "list {name}: {} has {now} prefixes instead of {before}, which is more than {max} % more (to accept it, raise max-growth or \
         restart)",
        path.display()
    )]
    Grown {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The number of prefixes before.
        before: u64,
        /// The number of prefixes in the file now.
        now: u64,
        /// By how many percent it may grow.
        max: u32,
    },
    /// A strict list has bad lines.
    #[error("list {name}: {} in {}; {first}", Count(*count, "bad line"), path.display())]
    BadLines {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The number of bad lines.
        count: u64,
        /// The first bad line.
        first: Box<FirstBad>,
    },
    /// A list shrank by more than it may: it may have been cut off.
    #[error(
        "list {name}: {} has {now} prefixes instead of {before}, which is more than {max} % fewer (to accept it, raise max-shrink \
         or restart)",
        path.display()
    )]
    Shrunk {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The number of prefixes before.
        before: u64,
        /// The number of prefixes in the file now.
        now: u64,
        /// By how many percent it may shrink.
        max: u8,
    },
    /// All lists together have too many prefixes.
    #[error("list {name}: with {} all lists together have more than {PREFIXES_MAX} prefixes", path.display())]
    TooManyPrefixes {
        /// The list that exceeded the limit.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// The lists have too many different scores.
    #[error(
        "list {name}: with {} all lists together have more than {ANSWERS_MAX} different combinations of a list, a prefix length and \
         a score; use score-column for fewer lists",
        path.display()
    )]
    TooManyScores {
        /// The list that exceeded the limit.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// Two lists have the same name, so answers could not tell them apart.
    #[error("two lists are called {0}")]
    SameName(String),
    /// There are too many lists.
    #[error("more than {LISTS_MAX} lists")]
    TooMany,
    /// A policy cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// The occasion on which a list that could not be loaded is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// When its file changes.
    Changed,
    /// Also when another list is loaded: there may be room then.
    Room,
    /// At each check of the files, because the fault is not in the content of the file.
    Always,
}

/// The reasons for which a list is refused, as in metrics.
pub(crate) const REASONS: [&str; 8] =
    ["unreadable", "format", "no_address", "bad_lines", "cover", "growth", "shrinkage", "limit"];

impl LoadError {
    /// Returns the reason in [`REASONS`].
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Io { .. } => "unreadable",
            Self::Format { .. } => "format",
            Self::Empty { .. } | Self::NoAddress { .. } => "no_address",
            Self::TooManyBadLines { .. } | Self::BadLines { .. } => "bad_lines",
            Self::TooWide { .. } | Self::CoversTooMuch { .. } => "cover",
            Self::Grown { .. } => "growth",
            Self::Shrunk { .. } => "shrinkage",
            Self::TooManyPrefixes { .. }
            | Self::TooManyScores { .. }
            | Self::SameName(_)
            | Self::TooMany
            | Self::Policy(_) => "limit",
        }
    }

    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Io { error, .. } if error.raw_os_error().is_some() => Retry::Always,
            Self::TooManyPrefixes { .. } | Self::TooManyScores { .. } => Retry::Room,
            _ => Retry::Changed,
        }
    }
}
