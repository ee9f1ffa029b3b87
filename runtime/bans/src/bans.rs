//! The set of all bans, by prefix and by end. Time is an argument.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;

use spoa_reputation::{BanIndex, Prefix};

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
        // A vector of its own takes no memory, because this one is used again.
        let all: Vec<_> = changes.into_iter().filter_map(|(key, ban)| Some((key, ban?))).collect();
        let mut bans = Self { all: all.into_iter().collect(), ends: BinaryHeap::new() };
        bans.rebuild_ends();
        bans
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
                self.rebuild_ends();
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
        self.all.range(Key::first_of(prefix)..=Key::last_of(prefix)).map(|(key, ban)| (*key, ban))
    }

    /// Returns the bans after `key`, or all, in order.
    pub(crate) fn after(&self, key: Option<Key>) -> impl Iterator<Item = (Key, &Ban)> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.all.range((from, Bound::Unbounded)).map(|(key, ban)| (*key, ban))
    }

    /// Returns the time of the next end, in milliseconds since the system started. It may be one of a ban that was replaced.
    pub(crate) fn next_end(&self) -> Option<u64> {
        self.ends.peek().map(|Reverse((end, _))| *end)
    }

    /// Returns a ban that has ended at `boot`, if there is one. It is still to be [removed](Self::remove).
    pub(crate) fn next_ended(&mut self, boot: u64) -> Option<Key> {
        while let Some(Reverse((end, key))) = self.ends.peek().copied().filter(|Reverse((end, _))| *end <= boot) {
            self.ends.pop();
            if self.has_end(key, end) {
                return Some(key);
            }
        }
        None
    }

    /// Shows lookups all bans.
    pub(crate) fn show_all(&self, index: &BanIndex) {
        let mut rest = self.after(None).peekable();
        while let Some((key, ban)) = rest.next() {
            let is_same = |(other, _): &(Key, &Ban)| (other.prefix, other.list) == (key.prefix, key.list);
            let more = std::iter::from_fn(|| rest.next_if(is_same)).map(|(_, ban)| ban.score);
            index.set(key.prefix, key.list, [ban.score].into_iter().chain(more));
        }
    }

    fn has_end(&self, key: Key, end: u64) -> bool {
        self.all.get(&key).and_then(|ban| ban.end).is_some_and(|of_ban| of_ban.boot == end)
    }

    /// Removes the ends of bans that were removed or replaced, so that their number is bounded by that of bans.
    fn rebuild_ends(&mut self) {
        let ends: Vec<_> = self.all.iter().filter_map(|(key, ban)| Some(Reverse((ban.end?.boot, *key)))).collect();
        self.ends = ends.into();
    }
}

#[cfg(test)]
mod tests {
    use spoa_reputation::Item;

    use super::*;
    use crate::ban::End;
    use crate::record::{Action, Record, Timestamp};

    #[test]
    fn one_ban_that_is_replaced_again_and_again_has_few_ends() {
        let Ok(Item::Prefix(prefix)) = "192.0.2.1".parse() else { panic!("it is an address") };
        let (mut bans, key) = (Bans::default(), Key::first_of(prefix));
        let record = Record::new(Action::Ban, prefix);
        for round in 0..10_000 {
            // Most have the same end.
            let boot = 1_000_000 + round / 100;
            let end = Some(End { boot, until: Timestamp(boot) });
            bans.insert(key, Ban::new(&record, (Timestamp(0), Timestamp(0)), end, "".into()));
        }
        assert!(bans.ends.len() <= 1100, "{}", bans.ends.len());
        assert_eq!(bans.next_ended(1_000_098), None);
        assert_eq!(bans.next_ended(1_000_099), Some(key));
        bans.remove(key);
        assert_eq!(bans.next_ended(u64::MAX), None);
    }
}
