//! The verdict on an address, and the match that decided it.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

use crate::list::List;
use crate::prefix::Prefix;

/// The verdict of lists on an address.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'l> {
    /// It is in an `allow` list.
    Allow(Match<'l>),
    /// It is in another list.
    Listed(Match<'l>),
    /// It is in no list.
    Unknown,
}

/// The match that decided a verdict.
#[derive(Clone, Copy, Debug)]
pub struct Match<'l> {
    pub(super) list: &'l List,
    pub(super) address: IpAddr,
    pub(super) len: u8,
    pub(super) score: u8,
    /// The number of the list.
    pub(super) number: u16,
}

impl<'l> Match<'l> {
    /// Returns the list that decided.
    pub const fn list(self) -> &'l List {
        self.list
    }

    /// Returns the prefix that decided: of those of that list with the same score the most specific one.
    pub fn prefix(self) -> Prefix {
        Prefix::of(self.address, self.len)
    }

    /// Returns the score of that prefix.
    pub const fn score(self) -> u32 {
        self.score as u32
    }

    pub(super) fn rank(self) -> u16 {
        self.list.config().rank(self.score())
    }

    /// Returns a key that orders matches of one address as the lookup tables do: the first one decides.
    pub(super) fn order(self) -> (u16, Reverse<u8>, u16) {
        (self.rank(), Reverse(self.len), self.number)
    }
}

impl<'l> Verdict<'l> {
    #[inline]
    pub(super) fn of(found: Option<Match<'l>>) -> Self {
        match found {
            None => Self::Unknown,
            Some(matched) if matched.list.config().allow => Self::Allow(matched),
            Some(matched) => Self::Listed(matched),
        }
    }

    /// Returns the match that decided, if there is one.
    pub const fn matched(self) -> Option<Match<'l>> {
        match self {
            Self::Allow(matched) | Self::Listed(matched) => Some(matched),
            Self::Unknown => None,
        }
    }

    /// The names of all verdicts, the worst first.
    pub(crate) const NAMES: [&'static str; 3] = ["listed", "unknown", "allow"];

    /// Returns the index of its name in [`NAMES`](Self::NAMES).
    #[inline]
    pub(crate) const fn kind(self) -> usize {
        match self {
            Self::Listed(_) => 0,
            Self::Unknown => 1,
            Self::Allow(_) => 2,
        }
    }

    /// Returns `allow`, `listed` or `unknown`.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.kind()]
    }

    /// True if the same prefix of the same list decided both verdicts of one generation of the lists, or none did.
    pub fn is_decided_as(self, other: Verdict<'_>) -> bool {
        let decided = |verdict: Verdict<'_>| verdict.matched().map(|matched| (matched.number, matched.prefix()));
        decided(self) == decided(other)
    }

    /// Returns the score of the prefix that decided, if there is one.
    pub fn score(self) -> Option<u32> {
        self.matched().map(Match::score)
    }
}

/// Writes its [name](Verdict::name).
impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
