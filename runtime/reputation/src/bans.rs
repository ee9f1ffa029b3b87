//! Bans: prefixes that are added to lists and removed from them while the agent serves, as lookups need them.
//!
//! A ban counts like a prefix in the file of its list: the same policies select it, and the same table decides (see
//! [`lists`](crate::lists)). It is separate from the [`Table`](crate::table::Table) of the files, because that is built once and
//! building it takes too long for a single prefix.

use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use papaya::HashMap;

use crate::prefix::Prefix;
use crate::table::Bits;

/// The bans in effect. Lookups never wait for a change: they see each ban from the moment that [`insert`](Self::insert) returns.
#[derive(Default)]
pub struct BanIndex {
    v4: Family<u32>,
    v6: Family<u128>,
    writer: Mutex<Writer>,
}

/// The state that only changes need.
#[derive(Debug, Default)]
struct Writer {
    /// The names of lists, by [`ListId`].
    lists: Vec<String>,
    bans: usize,
    v4_lens: Lens,
    v6_lens: Lens,
}

/// The number of banned prefixes of each length.
type Lens = std::collections::BTreeMap<u8, usize>;

/// Stands for the name of a list in a [`BanIndex`]; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListId(u16);

impl ListId {
    /// The first id.
    pub const FIRST: Self = Self(0);

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

/// The bans on one prefix, at most one per list.
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
    slots: HashMap<(A, u8), Slot>,
    /// A bit for each prefix length that a ban has.
    lens: [AtomicU64; LEN_WORDS],
}

/// The number of words for the prefix lengths 0 to 128.
const LEN_WORDS: usize = 3;

impl<A: Bits + Hash> Default for Family<A> {
    fn default() -> Self {
        Self { slots: HashMap::new(), lens: Default::default() }
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

    /// Adds a ban on a prefix that has none. Returns false if it has one. Only one thread may call it at a time.
    fn add(&self, start: A, len: u8, lens: &mut Lens, entry: BanEntry) -> bool {
        let is_new = self.slots.pin().try_insert((start, len), Slot::One(entry)).is_ok();
        if is_new {
            let count = lens.entry(len).or_default();
            *count += 1;
            self.show(len, *count);
        }
        is_new
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

    /// Replaces the bans on a prefix. Only one thread may call it at a time.
    fn change(&self, start: A, len: u8, lens: &mut Lens, change: impl FnOnce(&mut Vec<BanEntry>)) {
        let slots = self.slots.pin();
        let key = (start, len);
        let mut entries = slots.get(&key).map(|slot| slot.entries().to_vec()).unwrap_or_default();
        let was_empty = entries.is_empty();
        change(&mut entries);
        let count = lens.entry(len).or_default();
        match Slot::of(entries) {
            Some(slot) => {
                slots.insert(key, slot);
                *count += usize::from(was_empty);
            }
            None => {
                slots.remove(&key);
                *count -= usize::from(!was_empty);
            }
        }
        self.show(len, *count);
    }
}

impl BanIndex {
    /// Returns the id of a list by its name, which the configuration may have or not: bans on a list that is not configured have
    /// no effect until it is.
    ///
    /// # Panics
    /// If more than 65 536 names are used.
    pub fn list(&self, name: &str) -> ListId {
        let mut writer = self.lock();
        let known = writer.lists.iter().position(|known| known == name);
        let at = known.unwrap_or_else(|| {
            writer.lists.push(name.to_owned());
            writer.lists.len() - 1
        });
        ListId(at.try_into().expect("there are few lists"))
    }

    /// Returns the id of a list by its name, if the name has one.
    pub fn find_list(&self, name: &str) -> Option<ListId> {
        let at = self.lock().lists.iter().position(|known| known == name)?;
        u16::try_from(at).ok().map(ListId)
    }

    /// Returns the name of a list.
    pub fn list_name(&self, list: ListId) -> String {
        self.lock().lists[list.index()].clone()
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

    /// Adds a ban, or replaces that of the same prefix and list. The score is 0 to 100, or `None` for that of the list.
    pub fn insert(&self, prefix: Prefix, list: ListId, score: Option<u8>) {
        self.add(&mut self.lock(), prefix, BanEntry { list, score });
    }

    /// Adds bans as [`insert`](Self::insert) does, which is faster for many.
    pub fn extend(&self, bans: impl Iterator<Item = (Prefix, ListId, Option<u8>)>) {
        let mut writer = self.lock();
        bans.for_each(|(prefix, list, score)| self.add(&mut writer, prefix, BanEntry { list, score }));
    }

    fn add(&self, writer: &mut Writer, prefix: Prefix, entry: BanEntry) {
        let Writer { bans, v4_lens, v6_lens, .. } = writer;
        let is_new = match prefix.address() {
            IpAddr::V4(start) => self.v4.add(start.to_bits(), prefix.bits(), v4_lens, entry),
            IpAddr::V6(start) => self.v6.add(start.to_bits(), prefix.bits(), v6_lens, entry),
        };
        if is_new {
            *bans += 1;
            return;
        }
        self.change(writer, prefix, |entries| match entries.iter_mut().find(|known| known.list == entry.list) {
            Some(known) => *known = entry,
            None => entries.push(entry),
        });
    }

    /// Removes the ban of this prefix and list, if there is one.
    pub fn remove(&self, prefix: Prefix, list: ListId) {
        self.change(&mut self.lock(), prefix, |entries| entries.retain(|entry| entry.list != list));
    }

    /// Returns the number of bans.
    pub fn len(&self) -> usize {
        self.lock().bans
    }

    /// True if there are no bans.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) const fn v4(&self) -> &Family<u32> {
        &self.v4
    }

    pub(crate) const fn v6(&self) -> &Family<u128> {
        &self.v6
    }

    fn change(&self, writer: &mut Writer, prefix: Prefix, change: impl FnOnce(&mut Vec<BanEntry>)) {
        let Writer { bans, v4_lens, v6_lens, .. } = writer;
        let change = |entries: &mut Vec<BanEntry>| {
            *bans -= entries.len();
            change(entries);
            *bans += entries.len();
        };
        match prefix.address() {
            IpAddr::V4(start) => self.v4.change(start.to_bits(), prefix.bits(), v4_lens, change),
            IpAddr::V6(start) => self.v6.change(start.to_bits(), prefix.bits(), v6_lens, change),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BanIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BanIndex").field("bans", &self.len()).finish_non_exhaustive()
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
            index.insert(prefix(text), list, score);
        }
        // The same again is no other ban.
        index.insert(prefix("192.0.2.7"), bans, Some(4));
        assert_eq!(index.len(), 7);
        assert_eq!(found(&index, "192.0.2.7"), [(0, 0, None), (24, 0, None), (32, 0, Some(4)), (32, 1, None)]);
        assert_eq!(found(&index, "192.0.2.8"), [(0, 0, None), (24, 0, None)]);
        assert_eq!(found(&index, "2001:db8::1"), [(0, 0, None), (64, 0, Some(1)), (128, 0, None)]);
        index.remove(prefix("192.0.2.7"), bans);
        index.remove(prefix("192.0.2.7"), bans);
        index.remove(prefix("0.0.0.0/0"), bans);
        assert_eq!(found(&index, "192.0.2.7"), [(24, 0, None), (32, 1, None)]);
        index.remove(prefix("192.0.2.7"), more);
        index.remove(prefix("192.0.2.0/24"), bans);
        assert!(index.v4.is_empty() && !index.v6.is_empty());
        assert_eq!(index.len(), 3);
    }
}
