//! Bans: prefixes that are added to lists and removed from them while the agent serves, as lookups need them.
//!
//! A ban counts like a prefix in the file of its list: the same policies select it, and the same table decides (see
//! [`lists`](crate::lists)). It is separate from the [`Table`](crate::table::Table) of the files, because that is built once and
//! building it takes too long for a single prefix.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use papaya::HashMap;

use crate::prefix::Prefix;
use crate::table::Bits;

/// The bans in effect. Lookups never wait for a change: they see each ban from the moment that [`set`](Self::set) returns.
#[derive(Default)]
pub struct BanIndex {
    v4: Family<u32>,
    v6: Family<u128>,
    /// The names of lists, by [`ListId`].
    lists: Mutex<Vec<String>>,
}

/// Stands for the name of a list in a [`BanIndex`]; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListId(u16);

impl ListId {
    /// The first id.
    pub const FIRST: Self = Self(0);
    /// The last id.
    pub const LAST: Self = Self(u16::MAX);

    /// Returns it as an index: ids are assigned from 0 on.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A ban on a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BanEntry {
    pub(crate) list: ListId,
    /// The score; `None` for that of the list.
    pub(crate) score: Option<u8>,
}

/// The bans on one prefix: for each list, one of each score.
#[derive(Clone, Debug)]
enum Slot {
    One(BanEntry),
    More(Box<[BanEntry]>),
}

impl Slot {
    fn of(entries: Vec<BanEntry>) -> Option<Self> {
        match *entries {
            [] => None,
            [one] => Some(Self::One(one)),
            _ => Some(Self::More(entries.into())),
        }
    }

    fn entries(&self) -> &[BanEntry] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// The bans on prefixes of one address family.
pub(crate) struct Family<A> {
    /// By the first address and the length of the prefix.
    slots: HashMap<(A, u8), Slot, RandomState>,
    /// A bit for each prefix length that a ban has.
    lens: [AtomicU64; LEN_WORDS],
    /// The number of banned prefixes of each length. Changes hold this lock.
    counts: Mutex<Counts>,
}

/// The number of words for the prefix lengths 0 to 128.
const LEN_WORDS: usize = 3;

/// The number of banned prefixes of each length.
type Counts = BTreeMap<u8, usize>;

impl<A: Bits + Hash> Default for Family<A> {
    fn default() -> Self {
        Self { slots: HashMap::default(), lens: Default::default(), counts: Mutex::default() }
    }
}

impl<A: Bits + Hash> Family<A> {
    /// True if there are no bans.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.lens[..=usize::from(A::LEN / 64)].iter().all(|word| word.load(Ordering::Acquire) == 0)
    }

    /// Calls `found` with each ban on `address` and the length of its prefix.
    #[inline]
    pub(crate) fn each(&self, address: A, mut found: impl FnMut(u8, BanEntry)) {
        let slots = self.slots.pin();
        for (word, first) in self.lens.iter().zip((0_u8..).step_by(64)) {
            let mut lens = word.load(Ordering::Acquire);
            while lens != 0 {
                let len = first + lens.trailing_zeros() as u8;
                lens &= lens - 1;
                if let Some(slot) = slots.get(&(address.network(len), len)) {
                    slot.entries().iter().for_each(|entry| found(len, *entry));
                }
            }
        }
    }

    /// Replaces the bans of a list on a prefix by one for each of these scores.
    fn set(&self, start: A, len: u8, list: ListId, scores: impl Iterator<Item = Option<u8>>) {
        let (slots, key, mut counts) = (self.slots.pin(), (start, len), lock(&self.counts));
        let mut scores = scores.peekable();
        let first = scores.next();
        if let (Some(score), None) = (first, scores.peek())
            && slots.try_insert(key, Slot::One(BanEntry { list, score })).is_ok()
        {
            // The usual case costs one lookup instead of two.
            let count = counts.entry(len).or_default();
            *count += 1;
            return self.show(len, *count);
        }
        let old = slots.get(&key);
        let others = old.iter().flat_map(|slot| slot.entries()).filter(|entry| entry.list != list);
        let mut entries: Vec<_> = others.copied().collect();
        for score in first.into_iter().chain(scores) {
            let entry = BanEntry { list, score };
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        let count = counts.entry(len).or_default();
        *count -= usize::from(old.is_some());
        match Slot::of(entries) {
            Some(slot) => {
                slots.insert(key, slot);
                *count += 1;
            }
            None => _ = slots.remove(&key),
        }
        self.show(len, *count);
    }

    /// Lets lookups ask for prefixes of this length, of which there are `count`.
    fn show(&self, len: u8, count: usize) {
        let (word, bit) = (&self.lens[usize::from(len / 64)], 1 << (len % 64));
        if count > 0 {
            word.fetch_or(bit, Ordering::Release);
        } else {
            word.fetch_and(!bit, Ordering::Release);
        }
    }
}

impl BanIndex {
    /// Returns the id of a list by its name, which the configuration may have or not: bans on a list that is not configured have
    /// no effect until it is.
    ///
    /// # Panics
    /// If more than 65 536 names are used.
    pub fn list(&self, name: &str) -> ListId {
        let mut lists = lock(&self.lists);
        let known = lists.iter().position(|known| known == name);
        let at = known.unwrap_or_else(|| {
            lists.push(name.to_owned());
            lists.len() - 1
        });
        ListId(at.try_into().expect("there are few lists"))
    }

    /// Returns the id of a list by its name, if the name has one.
    pub fn find_list(&self, name: &str) -> Option<ListId> {
        let at = lock(&self.lists).iter().position(|known| known == name)?;
        u16::try_from(at).ok().map(ListId)
    }

    /// Returns the name of a list.
    pub fn list_name(&self, list: ListId) -> String {
        lock(&self.lists)[list.index()].clone()
    }

    /// Makes room for bans on these prefixes, which makes adding many of them faster.
    pub fn reserve(&self, prefixes: impl Iterator<Item = Prefix>) {
        let (v4, v6) = prefixes.fold((0, 0), |(v4, v6), prefix| match prefix.address() {
            IpAddr::V4(_) => (v4 + 1, v6),
            IpAddr::V6(_) => (v4, v6 + 1),
        });
        self.v4.slots.pin().reserve(v4);
        self.v6.slots.pin().reserve(v6);
    }

    /// Replaces the bans of a list on a prefix by bans with these scores, each 0 to 100, or `None` for the score of the list.
    /// Without scores, the list does not ban the prefix any more.
    pub fn set(&self, prefix: Prefix, list: ListId, scores: impl IntoIterator<Item = Option<u8>>) {
        let (len, scores) = (prefix.bits(), scores.into_iter());
        match prefix.address() {
            IpAddr::V4(start) => self.v4.set(start.to_bits(), len, list, scores),
            IpAddr::V6(start) => self.v6.set(start.to_bits(), len, list, scores),
        }
    }

    pub(crate) const fn v4(&self) -> &Family<u32> {
        &self.v4
    }

    pub(crate) const fn v6(&self) -> &Family<u128> {
        &self.v6
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for BanIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BanIndex")
            .field("v4", &self.v4.slots.len())
            .field("v6", &self.v6.slots.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Item;

    fn prefix(text: &str) -> Prefix {
        match text.parse() {
            Ok(Item::Prefix(prefix)) => prefix,
            other => panic!("{other:?}"),
        }
    }

    /// Returns the lengths, lists and scores of the bans on an address.
    fn found(index: &BanIndex, address: &str) -> Vec<(u8, u16, Option<u8>)> {
        let mut all = Vec::new();
        let mut add = |len, entry: BanEntry| all.push((len, entry.list.0, entry.score));
        match address.parse().expect("an address") {
            IpAddr::V4(v4) => index.v4.each(v4.to_bits(), &mut add),
            IpAddr::V6(v6) => index.v6.each(v6.to_bits(), &mut add),
        }
        all
    }

    #[test]
    fn bans_of_every_length_are_found_and_removed() {
        let index = BanIndex::default();
        let (bans, more) = (index.list("bans"), index.list("more"));
        assert_eq!((bans, more), (index.list("bans"), index.list("more")));
        assert!(index.v4.is_empty() && index.v6.is_empty());
        for (text, list, score) in [
            ("0.0.0.0/0", bans, None),
            ("192.0.2.0/24", bans, None),
            ("192.0.2.7", bans, Some(3)),
            ("192.0.2.7", more, None),
            ("::/0", bans, None),
            ("2001:db8::/64", bans, Some(1)),
            ("2001:db8::1", bans, None),
        ] {
            index.set(prefix(text), list, [score]);
        }
        assert_eq!(found(&index, "192.0.2.7"), [(0, 0, None), (24, 0, None), (32, 0, Some(3)), (32, 1, None)]);
        assert_eq!(found(&index, "192.0.2.8"), [(0, 0, None), (24, 0, None)]);
        assert_eq!(found(&index, "2001:db8::1"), [(0, 0, None), (64, 0, Some(1)), (128, 0, None)]);
        // Other scores replace those of this list, and equal ones are one ban.
        index.set(prefix("192.0.2.7"), bans, [Some(4), None, Some(4)]);
        assert_eq!(found(&index, "192.0.2.7")[2..], [(32, 1, None), (32, 0, Some(4)), (32, 0, None)]);
        index.set(prefix("192.0.2.7"), bans, []);
        index.set(prefix("192.0.2.7"), bans, []);
        index.set(prefix("0.0.0.0/0"), bans, []);
        assert_eq!(found(&index, "192.0.2.7"), [(24, 0, None), (32, 1, None)]);
        index.set(prefix("192.0.2.7"), more, []);
        index.set(prefix("192.0.2.0/24"), bans, []);
        assert!(index.v4.is_empty() && !index.v6.is_empty());
        for text in ["::/0", "2001:db8::/64", "2001:db8::1"] {
            index.set(prefix(text), bans, []);
        }
        assert!(index.v6.is_empty());
    }
}
