//! Bans among the lists: those of an address that count, and the one that decides.

use std::hash::Hash;
use std::net::IpAddr;

use super::{Lists, Match, Selection};
use crate::bans::{BanEntry, BanIndex, Family};
use crate::embedded::embedded;
use crate::list::{List, ListConfig};
use crate::prefix::Prefix;
use crate::table::Bits;

/// The lists whose bans count, by [`ListId`](crate::ListId).
#[derive(Debug)]
pub(super) struct BanLists(Box<[Option<BanList>]>);

/// A list whose bans count.
#[derive(Clone, Copy, Debug)]
struct BanList {
    /// The number of the list.
    number: u16,
    is_shadow: bool,
}

impl BanLists {
    /// Returns those of the lists that `is_in` selects.
    pub(super) fn of(lists: &[List], bans: &BanIndex, is_in: impl Fn(&ListConfig) -> bool) -> Self {
        let mut all = Vec::new();
        for (list, number) in lists.iter().zip(0..) {
            let at = bans.list(&list.config().name).index();
            all.resize(all.len().max(at + 1), None);
            all[at] = is_in(list.config()).then_some(BanList { number, is_shadow: list.config().shadow });
        }
        Self(all.into())
    }

    /// Returns the list of a ban; `None` if it does not count.
    fn list_of(&self, ban: BanEntry) -> Option<BanList> {
        self.0.get(ban.list.index()).copied().flatten()
    }
}

impl Lists {
    /// Returns the prefixes that contain an address and are banned by configured lists, each with its list.
    pub fn bans_on(&self, address: IpAddr) -> Vec<(&List, Prefix)> {
        let mut ways = vec![address.to_canonical(), embedded(address)];
        ways.dedup();
        let mut found = Vec::<(u16, Prefix)>::new();
        for way in ways {
            let add = |len, ban: BanEntry| {
                let Some(BanList { number, .. }) = self.selections[0].ban_lists.list_of(ban) else { return };
                let ban = (number, Prefix::of(way, len));
                if !found.contains(&ban) {
                    found.push(ban);
                }
            };
            match way {
                IpAddr::V4(v4) => self.bans.v4().each(v4.to_bits(), add),
                IpAddr::V6(v6) => self.bans.v6().each(v6.to_bits(), add),
            }
        }
        found.into_iter().map(|(number, prefix)| (&self.lists[usize::from(number)], prefix)).collect()
    }
}

impl<'l> Selection<'l> {
    /// Returns the one of `matched` and the bans on an address that decides.
    #[inline]
    pub(super) fn or_banned<A: Bits + Hash>(
        self,
        bans: &Family<A>,
        address: A,
        shadow: bool,
        matched: Option<Match<'l>>,
    ) -> Option<Match<'l>> {
        // The usual case costs one read of memory.
        if bans.is_empty() {
            matched
        } else {
            matched.into_iter().chain(self.banned(bans, address, shadow)).min_by_key(|matched| matched.order())
        }
    }

    /// Returns the ban on an address that decides among the bans of lists that are in shadow mode or not.
    #[inline(never)]
    fn banned<A: Bits + Hash>(self, bans: &Family<A>, address: A, shadow: bool) -> Option<Match<'l>> {
        let mut first: Option<Match<'l>> = None;
        bans.each(address, |len, ban| {
            let of_list = self.selected.ban_lists.list_of(ban);
            let Some(BanList { number, .. }) = of_list.filter(|list| list.is_shadow == shadow) else { return };
            let list = &self.lists[usize::from(number)];
            let score = ban.score.unwrap_or_else(|| list.score());
            let ban = Match { list, address: address.to_ip(), len, score, number };
            // Of bans of one prefix the lowest score counts, also in a list that allows, where scores do not rank.
            if first.is_none_or(|first| (ban.order(), ban.score) < (first.order(), first.score)) {
                first = Some(ban);
            }
        });
        first
    }
}
