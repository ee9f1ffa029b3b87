//! The set of all bans, by prefix and by end. Time is an argument.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;

use spoa_reputation::Prefix;

use crate::ban::{Ban, Key};

/// The bans.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    all: BTreeMap<Key, Ban>,
    /// The ends in milliseconds since the system started, the first on top. An entry counts only if its ban still has this end.
    ends: BinaryHeap<Reverse<(u64, Key)>>,
}

impl Bans {
    /// Returns the bans after all of these changes, in order; `None` removes a ban. It is several times faster than one by one.
    pub(crate) fn of(mut changes: Vec<(Key, Option<Ban>)>) -> Self {
        // Of several changes of one ban the last one counts, and the order is kept.
        changes.sort_by_key(|(key, _)| *key);
        changes.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        let all: BTreeMap<_, _> = changes.into_iter().filter_map(|(key, ban)| Some((key, ban?))).collect();
        let ends = all.iter().filter_map(|(key, ban)| Some(Reverse((ban.end?.boot, *key)))).collect();
        Self { all, ends }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Ban> {
        self.all.get(&key)
    }

    /// Adds a ban. Returns the one that it replaces.
    pub(crate) fn insert(&mut self, key: Key, ban: Ban) -> Option<Ban> {
        if let Some(end) = ban.end {
            if self.ends.len() > 2 * self.all.len() + 1000 {
                self.remove_old_ends();
            }
            self.ends.push(Reverse((end.boot, key)));
        }
        self.all.insert(key, ban)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Ban> {
        self.all.remove(&key)
    }

    /// Returns the bans of exactly this prefix.
    pub(crate) fn on(&self, prefix: Prefix) -> impl Iterator<Item = (Key, &Ban)> {
        let all = self.after(None, Some(prefix));
        all.take_while(move |(key, _)| key.prefix == prefix)
    }

    /// Returns the bans after `key`, or from the first one of `prefix` on, in order.
    pub(crate) fn after(&self, key: Option<Key>, prefix: Option<Prefix>) -> impl Iterator<Item = (Key, &Ban)> {
        let from = match (key, prefix) {
            (Some(key), _) => Bound::Excluded(key),
            (None, Some(prefix)) => Bound::Included(Key::first_of(prefix)),
            (None, None) => Bound::Unbounded,
        };
        self.all.range((from, Bound::Unbounded)).map(|(key, ban)| (*key, ban))
    }

    /// Returns the time of the next end, in milliseconds since the system started. It may be one of a ban that was replaced.
    pub(crate) fn next_end(&self) -> Option<u64> {
        self.ends.peek().map(|Reverse((end, _))| *end)
    }

    /// Removes one ban that has ended at `boot`, if there is one.
    pub(crate) fn pop_ended(&mut self, boot: u64) -> Option<(Key, Ban)> {
        while let Some(Reverse((end, key))) = self.ends.peek().copied().filter(|Reverse((end, _))| *end <= boot) {
            self.ends.pop();
            if self.has_end(key, end) {
                return self.all.remove(&key).map(|ban| (key, ban));
            }
        }
        None
    }

    fn has_end(&self, key: Key, end: u64) -> bool {
        self.all.get(&key).and_then(|ban| ban.end).is_some_and(|of_ban| of_ban.boot == end)
    }

    /// Removes the ends of bans that were removed or replaced, so that their number is bounded by that of bans.
    fn remove_old_ends(&mut self) {
        let ends = std::mem::take(&mut self.ends);
        self.ends = ends.into_iter().filter(|Reverse((end, key))| self.has_end(*key, *end)).collect();
    }
}
