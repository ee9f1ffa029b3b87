//! Counts bans and their changes, for metrics.

use std::collections::BTreeMap;
use std::fmt;

use spoa_reputation::{BanIndex, ListId};
use spoa_runtime::Families;

use crate::ban::Key;
use crate::texts::{OriginId, Origins};

/// The counts, by list and by the label of the origin.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<(ListId, OriginId), Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    current: u64,
    added: u64,
    removed: u64,
    expired: u64,
}

impl Counts {
    fn of(&mut self, key: Key) -> &mut Count {
        self.0.entry((key.list, key.origin.label())).or_default()
    }

    /// Counts a ban that was loaded from the journal.
    pub(crate) fn loaded(&mut self, key: Key) {
        self.of(key).current += 1;
    }

    /// Counts a ban that was added, or that replaces another one.
    pub(crate) fn added(&mut self, key: Key, is_new: bool) {
        let count = self.of(key);
        count.current += u64::from(is_new);
        count.added += 1;
    }

    /// Counts a ban that was removed.
    pub(crate) fn removed(&mut self, key: Key) {
        let count = self.of(key);
        count.current -= 1;
        count.removed += 1;
    }

    /// Counts a ban whose time is over.
    pub(crate) fn expired(&mut self, key: Key) {
        let count = self.of(key);
        count.current -= 1;
        count.expired += 1;
    }

    /// Returns the number of bans in effect of each list that has any.
    pub(crate) fn lists(&self) -> BTreeMap<ListId, u64> {
        let mut lists = BTreeMap::new();
        for ((list, _), count) in self.0.iter().filter(|(_, count)| count.current > 0) {
            *lists.entry(*list).or_default() += count.current;
        }
        lists
    }

    pub(crate) fn write(&self, origins: &Origins, index: &BanIndex, families: &mut Families<'_>) -> fmt::Result {
        let each = |value: fn(&Count) -> u64| {
            self.0.iter().map(move |((list, label), count)| {
                let labels = [("list", index.list_name(*list)), ("origin", origins.name(*label).to_owned())];
                (labels, value(count))
            })
        };
        let current = each(|count| count.current).map(|(labels, count)| (labels, count as f64));
        families.gauges(
            "bans",
            "Bans in effect, by list and origin; those of allow lists are entries that allow.",
            None,
            current,
        )?;
        families.counters(
            "bans_added",
            "Bans that were added or replaced, by list and origin.",
            each(|count| count.added),
        )?;
        families.counters(
            "bans_removed",
            "Bans that were removed before their end, by list and origin.",
            each(|count| count.removed),
        )?;
        families.counters("bans_expired", "Bans whose time was over, by list and origin.", each(|count| count.expired))
    }
}
