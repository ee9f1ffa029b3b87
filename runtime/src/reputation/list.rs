//! A list: how it is configured, and what its file said when it was read.

use std::fs::Metadata;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::format::{self, Format, FormatError, LineError};
use super::lists::embedded;
use super::prefix::{Item, Prefix};
use super::scores::SCORE_MAX;
use super::table::{Entry, LISTS_MAX};

/// A list, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListConfig {
    /// What it is called, in answers and logs.
    pub name: String,
    /// The file, compressed with gzip or not.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
    /// The score of its addresses, 0 to [`SCORE_MAX`].
    pub score: u32,
    /// What kind of addresses it has, in answers; may be empty.
    pub category: String,
    /// Its addresses are let in whatever other lists say.
    pub allow: bool,
    /// A bad line in it is an error: it is not used, or stays as it was.
    pub strict: bool,
    /// How many of a hundred prefixes it may lose from one time to the next, if that is not the same for all. With 100 it may
    /// be empty too.
    pub max_shrink: Option<u8>,
}

impl ListConfig {
    /// Whether it counts before another: the lower the more.
    pub(super) fn rank(&self) -> u16 {
        if self.allow { 0 } else { 1 + self.score.min(SCORE_MAX) as u16 }
    }

    /// True if it reads the same file in the same way.
    fn reads_as(&self, other: &Self) -> bool {
        self.path == other.path && self.format == other.format
    }
}

/// `NAME=PATH[,score=N][,category=TEXT][,allow][,strict][,format=F][,column=C]`. The score is 0 unless said, 100 with
/// `allow`; the format `lines`, `json` or `csv`, or told by the file; the column of CSV a number from 1, or a name in its
/// first line.
impl FromStr for ListConfig {
    type Err = ListConfigError;

    fn from_str(text: &str) -> Result<Self, ListConfigError> {
        let (name, rest) = text.split_once('=').ok_or(ListConfigError::NoName)?;
        let mut parts = rest.split(',');
        let path = parts.next().unwrap_or_default();
        if name.is_empty() || path.is_empty() {
            return Err(ListConfigError::NoName);
        }
        let (mut score, mut category) = (None, String::new());
        let (mut allow, mut strict, mut format, mut column) = (false, false, None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("score", value)) => score = Some(value.parse().map_err(|_| ListConfigError::Score)?),
                Some(("category", value)) => category = value.into(),
                Some(("format", value)) => format = Some(value.parse()?),
                Some(("column", value)) => column = Some(value.parse()?),
                None if part == "allow" => allow = true,
                None if part == "strict" => strict = true,
                _ => return Err(ListConfigError::Unknown(part.into())),
            }
        }
        let (score, format) = (ListConfig::score_of(score, allow)?, Format::of(format, column)?);
        Ok(Self { name: name.into(), path: path.into(), format, score, category, allow, strict, max_shrink: None })
    }
}

impl ListConfig {
    /// The score of a list that may have been given one: 0 unless it was, 100 with `allow`.
    ///
    /// # Errors
    /// It is above [`SCORE_MAX`].
    pub const fn score_of(given: Option<u32>, allow: bool) -> Result<u32, ListConfigError> {
        match given {
            Some(score) if score > SCORE_MAX => Err(ListConfigError::Score),
            Some(score) => Ok(score),
            None if allow => Ok(SCORE_MAX),
            None => Ok(0),
        }
    }
}

/// Why a text describes no list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListConfigError {
    /// It does not begin with `NAME=PATH`.
    #[error(
        "it takes NAME=PATH and then, each behind a comma, score=N, category=TEXT, allow, strict, format=F or column=C"
    )]
    NoName,
    /// The score is no number or above 100.
    #[error("a score is a number from 0 to {SCORE_MAX}")]
    Score,
    /// The format or column is none.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Something else behind a comma.
    #[error("\"{0}\" is none of score=N, category=TEXT, allow, strict, format=F and column=C")]
    Unknown(String),
}

/// Why lists cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be opened or read.
    #[error("list {name}: cannot read {}: {error}", path.display())]
    Io {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Nothing in a file is an address: that is no list, or one that was cut off.
    #[error("list {name}: there is no address in {}", path.display())]
    Empty {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// A list that is strict has bad lines.
    #[error("list {name}: {count} bad lines, the first is line {line} of {}: {error}", path.display())]
    BadLines {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// How many.
        count: u64,
        /// The number of the first.
        line: u64,
        /// What is wrong with it.
        error: LineError,
    },
    /// A list lost more than is taken for a change: it may have been cut off.
    #[error(
        "list {name}: {now} prefixes in {}, of {before}: that is more than {max} % fewer (to take it: max-shrink, or a restart)",
        path.display()
    )]
    Shrunk {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// How many prefixes it had.
        before: u64,
        /// How many it would have.
        now: u64,
        /// How many of a hundred it may lose.
        max: u8,
    },
    /// All lists together have too many prefixes: something is not what it should be.
    #[error("list {name}: with {} there are more than {PREFIXES_MAX} prefixes in all", path.display())]
    TooManyPrefixes {
        /// The list that passed the limit.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// Two lists with one name: answers could not tell them apart.
    #[error("two lists are called {0}")]
    SameName(String),
    /// More lists than there are numbers for.
    #[error("more than {LISTS_MAX} lists")]
    TooMany,
}

/// How many prefixes all lists may have. It bounds the memory that loading takes, to about 45 bytes for each of IPv4 and 160
/// for each of IPv6, whatever a file unpacks to or its ranges are cut into.
pub const PREFIXES_MAX: usize = 16_000_000;

/// How many bad lines are kept to be told.
const BAD_KEPT: usize = 5;

/// A list that was loaded. Clones share what its file said.
#[derive(Clone, Debug)]
pub struct List {
    config: ListConfig,
    content: Arc<Content>,
}

/// What a file said.
#[derive(Debug, Default)]
struct Content {
    v4: Vec<Kept<u32>>,
    v6: Vec<Kept<u128>>,
    bad_lines: u64,
    /// The first of them, with their numbers.
    bad: Vec<(u64, LineError)>,
    stamp: Option<Stamp>,
}

/// A prefix, in as few bytes as there are: lists are kept beside the table that is made of them, so that one which cannot be
/// loaded anew stays while others change.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed)]
struct Kept<A> {
    start: A,
    len: u8,
}

/// Which state of a file it is: another one as soon as the file is written to or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

impl Stamp {
    /// That of a file.
    pub(super) fn of(file: &Metadata) -> Self {
        let modified = (file.mtime(), file.mtime_nsec());
        Self { device: file.dev(), inode: file.ino(), len: file.len(), modified }
    }

    /// That of the file which is there now, if there is one.
    pub(super) fn at(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|file| Self::of(&file))
    }
}

impl List {
    /// Reads its file. Bad lines are counted, and an error only if it is strict.
    ///
    /// # Errors
    /// The file cannot be read, has no address in it, bad lines though it is strict, or more than [`PREFIXES_MAX`] prefixes.
    pub fn load(config: ListConfig) -> Result<Self, LoadError> {
        Self::load_within(config, PREFIXES_MAX)
    }

    /// The same with at most `room` prefixes.
    pub(super) fn load_within(config: ListConfig, room: usize) -> Result<Self, LoadError> {
        let (name, path) = (config.name.clone(), config.path.clone());
        let content = match Content::read(&config, room) {
            Ok(content) => content,
            Err(error) => return Err(LoadError::Io { name, path, error }),
        };
        if content.prefixes() > room {
            return Err(LoadError::TooManyPrefixes { name, path });
        }
        if content.prefixes() == 0 && config.max_shrink != Some(100) {
            return Err(LoadError::Empty { name, path });
        }
        if let Some((line, error)) = content.bad.first().filter(|_| config.strict) {
            return Err(LoadError::BadLines {
                name,
                path,
                count: content.bad_lines,
                line: *line,
                error: error.clone(),
            });
        }
        Ok(Self { config, content: Arc::new(content) })
    }

    /// This, unless it has lost more than `max` of a hundred prefixes that it had.
    pub(super) fn unless_shrunk_from(self, old: &Self, max: u8) -> Result<Self, LoadError> {
        let max = self.config.max_shrink.unwrap_or(max).min(100);
        let (before, now) = (old.prefixes(), self.prefixes());
        if u128::from(now) * 100 < u128::from(before) * u128::from(100 - max) {
            let (name, path) = (self.config.name, self.config.path);
            return Err(LoadError::Shrunk { name, path, before, now, max });
        }
        Ok(self)
    }

    /// The same with another configuration, if that reads the file as this one did.
    pub(super) fn configured(&self, config: &ListConfig) -> Option<Self> {
        let content = Arc::clone(&self.content);
        config.reads_as(&self.config).then(|| Self { config: config.clone(), content })
    }

    /// How it is configured.
    pub const fn config(&self) -> &ListConfig {
        &self.config
    }

    /// How many prefixes it has: a range counts as those it was cut into.
    pub fn prefixes(&self) -> u64 {
        self.content.prefixes() as u64
    }

    /// How many lines said nothing of an address.
    pub fn bad_lines(&self) -> u64 {
        self.content.bad_lines
    }

    /// The first of these, with their numbers.
    pub fn bad(&self) -> impl Iterator<Item = (u64, &LineError)> {
        self.content.bad.iter().map(|(number, error)| (*number, error))
    }

    /// When its file was last written to, as the file system had it when the list was loaded.
    pub fn written(&self) -> SystemTime {
        let (seconds, nanos) = self.content.stamp.map_or((0, 0), |stamp| stamp.modified);
        let since = Duration::new(seconds.max(0).unsigned_abs(), nanos.clamp(0, 999_999_999) as u32);
        SystemTime::UNIX_EPOCH + since
    }

    /// The state its file was in when it was read.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.content.stamp
    }

    /// Its prefixes, as those of list `number`.
    pub(super) fn entries(&self, number: u16, v4: &mut Vec<Entry<u32>>, v6: &mut Vec<Entry<u128>>) {
        v4.extend(self.content.v4.iter().map(|kept| Entry { start: kept.start, len: kept.len, list: number }));
        v6.extend(self.content.v6.iter().map(|kept| Entry { start: kept.start, len: kept.len, list: number }));
    }

    /// How many of these there are, of IPv4 and of IPv6.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.content.v4.len(), self.content.v6.len())
    }

    /// Heap memory that its prefixes take, in bytes.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.content.v4) + size_of_val(&*self.content.v6)
    }

    /// The lines of its file that an address is in, with what is there, as the file is now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn lines_with(&self, address: IpAddr) -> io::Result<Vec<(u64, Prefix)>> {
        let (ways, mut lines) = ([address.to_canonical(), embedded(address)], Vec::new());
        let (file, _) = format::open(&self.config.path)?;
        format::read(file, &self.config.format, |line, said| {
            let Ok(item) = said else { return };
            item.prefixes(|prefix| {
                if ways.iter().any(|way| Prefix::of(*way, prefix.bits()) == prefix) {
                    lines.push((line, prefix));
                }
            });
        })?;
        Ok(lines)
    }
}

impl Content {
    /// Reads a file; keeps little more than `room` prefixes of it.
    fn read(config: &ListConfig, room: usize) -> io::Result<Self> {
        let (file, metadata) = format::open(&config.path)?;
        let mut content = Self { stamp: Some(Stamp::of(&metadata)), ..Self::default() };
        format::read(file, &config.format, |line, said| match said {
            Ok(item) if content.prefixes() <= room => content.add(item),
            Ok(_) => {}
            Err(error) => {
                content.bad_lines += 1;
                if content.bad.len() < BAD_KEPT {
                    content.bad.push((line, error));
                }
            }
        })?;
        content.v4.shrink_to_fit();
        content.v6.shrink_to_fit();
        Ok(content)
    }

    fn add(&mut self, item: Item) {
        item.prefixes(|prefix| {
            let len = prefix.bits();
            match prefix.address() {
                IpAddr::V4(start) => self.v4.push(Kept { start: start.to_bits(), len }),
                IpAddr::V6(start) => self.v6.push(Kept { start: start.to_bits(), len }),
            }
        });
    }

    const fn prefixes(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}
