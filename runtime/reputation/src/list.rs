//! A list: the content of its file, and the limits on that.

mod config;
mod content;
mod error;
mod prefixes;
mod stamp;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::embedded::embedded;
use crate::file_access::recorded;
use crate::format::{self, Detected, LineError};
use crate::prefix::Prefix;
use crate::scores::SCORE_MAX;
use crate::table::{ANSWERS_MAX, Entry};
use content::Content;

pub use config::{BAD_MAX, COVER_MAX, GROWTH_MAX, ListConfig, ListConfigError, PREFIX_COVER_MAX};
pub use error::{FirstBad, LoadError};
pub(crate) use error::{REASONS, Retry};
pub(crate) use stamp::Stamp;

/// The size, in prefixes, from which on [`Config::max_shrink`](crate::Config::max_shrink) applies. A list that is kept by
/// hand is smaller, and what is removed from it was removed on purpose.
pub const SHRINK_GUARD_MIN: u64 = 100;

/// The number of prefixes that all lists together may have. It bounds the memory that loading takes, about 45 bytes per IPv4
/// prefix and 160 per IPv6 prefix, even if a small file is unpacked or its ranges are split into many prefixes.
pub const PREFIXES_MAX: usize = 16_000_000;

/// The room for further lists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    prefixes: usize,
    /// The answers that the lookup table of each family may still have.
    v4_answers: usize,
    v6_answers: usize,
}

impl Room {
    /// The room if there are no lists.
    pub(crate) const ALL: Self = Self { prefixes: PREFIXES_MAX, v4_answers: ANSWERS_MAX, v6_answers: ANSWERS_MAX };

    /// Takes the room of a list.
    pub(crate) fn take(&mut self, list: &List) {
        let Content { v4, v6, .. } = &*list.content;
        self.prefixes = self.prefixes.saturating_sub(list.content.prefixes());
        self.v4_answers = self.v4_answers.saturating_sub(v4.answers);
        self.v6_answers = self.v6_answers.saturating_sub(v6.answers);
    }

    /// Returns the room of a list that was taken.
    pub(crate) fn give_back(&mut self, list: &List) {
        let Content { v4, v6, .. } = &*list.content;
        self.prefixes += list.content.prefixes();
        self.v4_answers += v4.answers;
        self.v6_answers += v6.answers;
    }

    /// Checks that there is room for the content of a list.
    fn check(&self, content: &Content, name: &str, path: &Path) -> Result<(), LoadError> {
        let (name, path) = (name.to_owned(), path.to_owned());
        if content.prefixes() > self.prefixes {
            return Err(LoadError::TooManyPrefixes { name, path });
        }
        if content.v4.answers > self.v4_answers || content.v6.answers > self.v6_answers {
            return Err(LoadError::TooManyScores { name, path });
        }
        Ok(())
    }
}

/// A loaded list. Clones share its content.
#[derive(Clone, Debug)]
pub struct List {
    config: ListConfig,
    content: Arc<Content>,
    /// Index of its counter in [`WorkerVerdicts`](crate::verdict_counts::WorkerVerdicts).
    pub(crate) counter: usize,
}

impl List {
    /// Reads the file of a list. Bad lines are counted, and are an error only if the list is strict.
    ///
    /// # Errors
    /// The file cannot be read, has no address in it, bad lines though it is strict, or more than [`PREFIXES_MAX`] prefixes.
    pub fn load(config: ListConfig) -> Result<Self, LoadError> {
        Self::load_within(config, Room::ALL)
    }

    /// Reads the file of a list as [`load`](Self::load) does, but fails if it exceeds `room`.
    pub(crate) fn load_within(config: ListConfig, room: Room) -> Result<Self, LoadError> {
        let (name, path) = (config.name.clone(), config.file().to_owned());
        let content = match Content::read(&config, room.prefixes) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(LoadError::Format { name, path, error });
            }
            Err(error) => return Err(LoadError::Io { name, path, error }),
        };
        room.check(&content, &name, &path)?;
        let is_empty = content.prefixes() == 0;
        match content.first_bad() {
            Some(first) if is_empty || config.strict => {
                let count = content.detected.bad_lines;
                Err(if is_empty {
                    LoadError::NoAddress { name, path, count, first }
                } else {
                    LoadError::BadLines { name, path, count, first }
                })
            }
            None if is_empty && config.max_shrink != Some(100) => {
                Err(LoadError::Empty { name, path, layout: content.detected.layout })
            }
            _ => {
                content.check_bad_lines(&config)?;
                content.check_cover(&config)?;
                Ok(Self { config, content: Arc::new(content), counter: 0 })
            }
        }
    }

    /// Checks that loaded lists have room beside each other.
    ///
    /// # Errors
    /// They have too many prefixes together, or too many different scores.
    pub fn check_together<'l>(lists: impl IntoIterator<Item = &'l Self>) -> Result<(), LoadError> {
        let mut room = Room::ALL;
        for list in lists {
            room.check(&list.content, &list.config.name, list.config.file())?;
            room.take(list);
        }
        Ok(())
    }

    /// Returns a list without content: for one that has no file, and for an optional one whose file cannot be used yet.
    pub(crate) fn absent(config: ListConfig) -> Self {
        Self { config, content: Arc::default(), counter: 0 }
    }

    /// Returns `self` unless it grew from `old` by more than its limit.
    pub(crate) fn unless_grown_from(self, old: &Self) -> Result<Self, LoadError> {
        let (before, now) = (old.prefixes(), self.prefixes());
        let max = match self.config.max_growth {
            Some(own) => own,
            None if before < SHRINK_GUARD_MIN => return Ok(self),
            None => GROWTH_MAX,
        };
        if before > 0 && u128::from(now) * 100 > u128::from(before) * (100 + u128::from(max)) {
            let (name, path) = (self.config.name.clone(), self.config.file().to_owned());
            return Err(LoadError::Grown { name, path, before, now, max });
        }
        Ok(self)
    }

    /// Returns `self` unless it shrank from `old` by more than its limit, or by more than `max` percent if it has none.
    pub(crate) fn unless_shrunk_from(self, old: &Self, max: u8) -> Result<Self, LoadError> {
        let (before, now) = (old.prefixes(), self.prefixes());
        let max = match self.config.max_shrink {
            Some(own) => own.min(100),
            None if before < SHRINK_GUARD_MIN => return Ok(self),
            None => max.min(100),
        };
        if u128::from(now) * 100 < u128::from(before) * u128::from(100 - max) {
            let (name, path) = (self.config.name.clone(), self.config.file().to_owned());
            return Err(LoadError::Shrunk { name, path, before, now, max });
        }
        Ok(self)
    }

    /// Returns the list with another configuration, if that reads the same file in the same way.
    pub(crate) fn configured(&self, config: &ListConfig) -> Option<Self> {
        let content = Arc::clone(&self.content);
        config.reads_as(&self.config).then(|| Self { config: config.clone(), content, counter: self.counter })
    }

    /// Returns its configuration.
    pub const fn config(&self) -> &ListConfig {
        &self.config
    }

    /// Returns the number of prefixes; a range counts as the prefixes that it was split into.
    pub fn prefixes(&self) -> u64 {
        self.content.prefixes() as u64
    }

    /// Returns the layout of its file, and the number of its entries and bad lines.
    pub fn detected(&self) -> &Detected {
        &self.content.detected
    }

    /// Returns the share of the globally routable addresses that it covers, of the family of which it covers more. Addresses in
    /// several of its prefixes count more than once.
    pub fn cover(&self) -> f64 {
        self.content.cover_bound
    }

    /// Returns the number of bad lines.
    pub fn bad_lines(&self) -> u64 {
        self.content.detected.bad_lines
    }

    /// Returns the first bad lines, with their numbers.
    pub fn bad(&self) -> impl Iterator<Item = (u64, &LineError)> {
        self.content.bad.iter().map(|(number, error)| (*number, error))
    }

    /// Returns when its file was last written to, as the file system had it when the list was loaded; `None` if it was not.
    pub fn written(&self) -> Option<SystemTime> {
        self.content.stamp.map(Stamp::modified)
    }

    /// Returns the time when a downloader last found the file to be the newest version: the modification time of
    /// `.NAME.checked`, which `spoa-lists` writes next to the file `NAME`. Returns `None` if there is no such file.
    pub fn checked(&self) -> Option<SystemTime> {
        let mut name = OsString::from(".");
        let file = self.config.path.as_deref()?;
        name.push(file.file_name()?);
        name.push(".checked");
        let path = file.with_file_name(name);
        recorded(&path, || path.metadata()).ok()?.modified().ok()
    }

    /// Returns the state that its file was in when it was read.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.content.stamp
    }

    /// Returns the score of its addresses that have none of their own.
    pub(crate) fn score(&self) -> u8 {
        self.config.score.min(SCORE_MAX) as u8
    }

    /// Appends its prefixes as those of list `number`.
    pub(crate) fn entries(&self, number: u16, v4: &mut Vec<Entry<u32>>, v6: &mut Vec<Entry<u128>>) {
        let score = self.score();
        v4.extend(self.content.v4.entries(number, score));
        v6.extend(self.content.v6.entries(number, score));
    }

    /// Returns the numbers of its IPv4 and IPv6 prefixes.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.content.v4.kept.len(), self.content.v6.kept.len())
    }

    /// Returns the heap memory of its prefixes, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.content.v4.memory() + self.content.v6.memory()
    }

    /// Returns its prefixes that contain `address`, each once, in the order of the file, with their scores. Looks at each prefix,
    /// which takes about a millisecond per million.
    pub fn prefixes_with(&self, address: IpAddr) -> Vec<(Prefix, u32)> {
        let score = self.score();
        let mut ways = vec![address.to_canonical(), embedded(address)];
        ways.dedup();
        let of = |way| match way {
            IpAddr::V4(way) => self.content.v4.containing(way.to_bits(), score),
            IpAddr::V6(way) => self.content.v6.containing(way.to_bits(), score),
        };
        let mut found: Vec<_> = ways.into_iter().flat_map(of).collect();
        // A hostile list has a prefix a million times.
        let mut seen = HashSet::new();
        found.retain(|prefix| seen.insert(*prefix));
        found
    }

    /// Returns the lines of its file, as it is now, whose prefix contains `address`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn lines_with(&self, address: IpAddr) -> io::Result<Vec<LineMatch>> {
        let (ways, mut found) = ([address.to_canonical(), embedded(address)], Vec::new());
        let (file, _) = format::open(self.config.file())?;
        format::read(file, &self.config.reading, |line, parsed| {
            let Ok(entry) = parsed else { return };
            let score = entry.score.map_or(self.config.score, u32::from);
            entry.item.prefixes(|prefix| {
                if ways.iter().any(|way| Prefix::of(*way, prefix.bits()) == prefix) {
                    found.push(LineMatch { line, prefix, score });
                }
            });
        })?;
        Ok(found)
    }
}

/// A line of a list whose prefix contains an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineMatch {
    /// The number of the line, from 1.
    pub line: u64,
    /// The prefix.
    pub prefix: Prefix,
    /// Its score.
    pub score: u32,
}
