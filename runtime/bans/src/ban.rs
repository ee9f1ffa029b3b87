//! A ban as it is kept in memory.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use spoa_reputation::{ListId, Prefix};

use crate::record::{Action, Record, Timestamp};

/// Identifies a ban: there is one per prefix and list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) prefix: Prefix,
    pub(crate) list: ListId,
}

impl Key {
    /// Returns the first key that a ban of this prefix can have.
    pub(crate) const fn first_of(prefix: Prefix) -> Self {
        Self { prefix, list: ListId::FIRST }
    }
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    pub(crate) score: Option<u8>,
    /// True if it was added by [`Action::Allow`].
    pub(crate) is_allowed: bool,
    pub(crate) created: Timestamp,
    pub(crate) end: Option<End>,
    pub(crate) note: Arc<Note>,
}

/// The end of a ban, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// In milliseconds since the system started: this one counts.
    pub(crate) boot: u64,
    /// The same on the clock of the day when it was set, for people and after a restart of the system.
    pub(crate) until: Timestamp,
}

/// The texts of a ban. Bans with the same texts share them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Note {
    pub(crate) reason: String,
    pub(crate) origin: String,
    /// Index of the origin in the labels of metrics.
    pub(crate) label: usize,
}

impl Ban {
    /// Returns the change that adds it to the list `name`.
    pub(crate) fn record<'r>(&'r self, key: Key, name: &'r str) -> Record<'r> {
        Record {
            list: Some(Cow::Borrowed(name)),
            score: self.score,
            until: self.end.map(|end| end.until),
            created: Some(self.created),
            reason: Cow::Borrowed(&self.note.reason),
            origin: Cow::Borrowed(&self.note.origin),
            ..Record::new(if self.is_allowed { Action::Allow } else { Action::Ban }, key.prefix)
        }
    }

    /// True if replacing `other` by it changes nothing but the time when it was added.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let has_same_end = match (self.end, other.end) {
            // Both: the clock of the day may have been set in between. The two clocks are not read at exactly the same time.
            (Some(end), Some(other)) => end.until == other.until && end.boot.abs_diff(other.boot) < 1000,
            (end, other) => end.is_none() && other.is_none(),
        };
        self.score == other.score && self.is_allowed == other.is_allowed && self.note == other.note && has_same_end
    }
}

/// The texts in use.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    all: HashSet<Arc<Note>>,
    labels: Vec<String>,
    /// The texts that were shared last: most bans of a program have the same.
    last: Option<Arc<Note>>,
    /// The number of texts from which on unused ones are removed.
    purge_at: usize,
}

impl Notes {
    /// Returns the shared texts that are equal to these.
    pub(crate) fn share(&mut self, reason: &str, origin: &str) -> Arc<Note> {
        if let Some(last) = self.last.as_ref().filter(|last| last.reason == reason && last.origin == origin) {
            return Arc::clone(last);
        }
        let note = self.find(reason, origin);
        self.last = Some(Arc::clone(&note));
        note
    }

    fn find(&mut self, reason: &str, origin: &str) -> Arc<Note> {
        let note = Note { reason: reason.into(), origin: origin.into(), label: self.label(origin) };
        if let Some(known) = self.all.get(&note) {
            return Arc::clone(known);
        }
        if self.all.len() >= self.purge_at {
            self.all.retain(|note| Arc::strong_count(note) > 1);
            self.purge_at = (2 * self.all.len()).max(1000);
        }
        let note = Arc::new(note);
        self.all.insert(Arc::clone(&note));
        note
    }

    fn label(&mut self, origin: &str) -> usize {
        let known = self.labels.iter().position(|known| known == origin);
        known.unwrap_or_else(|| {
            if self.labels.len() < LABELS_MAX {
                self.labels.push(origin.into());
                return self.labels.len() - 1;
            }
            LABELS_MAX
        })
    }

    /// Returns the origin with this label in metrics.
    pub(crate) fn label_name(&self, label: usize) -> &str {
        self.labels.get(label).map_or("(more)", |origin| origin)
    }
}

/// The number of origins that metrics distinguish; further ones are counted together.
const LABELS_MAX: usize = 30;
