//! The lookup table: which list decides about which address.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::scores::SCORE_MAX;

/// An address as a number, the first byte on top: `u32` for IPv4, `u128` for IPv6.
pub trait Bits: Copy + Ord + Debug {
    /// The number of bits: 32 or 128.
    const LEN: u8;
    /// The part of an address [after](Self::behind) its first 16 bits.
    type Behind: Copy + Ord + Debug;
    /// 0.0.0.0 or `::`.
    const FIRST: Self;

    /// Returns the address with all bits after the first `len` cleared.
    fn network(self, len: u8) -> Self;

    /// Returns the address with all bits after the first `len` set.
    fn broadcast(self, len: u8) -> Self;

    /// Returns the next address, if this is not the last one.
    fn next(self) -> Option<Self>;

    /// Returns the number of zero bits at its end.
    fn trailing_zeros(self) -> u8;

    /// Returns its first 16 bits.
    fn block(self) -> usize;

    /// Returns the part after its first 16 bits, which orders addresses with the same first bits.
    fn behind(self) -> Self::Behind;

    /// Returns the `count` bits after the first 16, at most 16.
    fn bits_behind(self, count: u8) -> usize;

    /// Returns it as an address.
    fn to_ip(self) -> IpAddr;
}

/// The methods that are the same for both families.
macro_rules! bits {
    () => {
        fn network(self, len: u8) -> Self {
            self & !Self::MAX.checked_shr(len.into()).unwrap_or(0)
        }

        fn broadcast(self, len: u8) -> Self {
            self | Self::MAX.checked_shr(len.into()).unwrap_or(0)
        }

        fn next(self) -> Option<Self> {
            self.checked_add(1)
        }

        fn trailing_zeros(self) -> u8 {
            self.trailing_zeros() as u8
        }
    };
}

impl Bits for u32 {
    const LEN: u8 = 32;
    type Behind = u16;
    const FIRST: Self = 0;

    bits!();

    #[inline]
    fn block(self) -> usize {
        (self >> 16) as usize
    }

    #[inline]
    fn behind(self) -> u16 {
        self as u16
    }

    #[inline]
    fn bits_behind(self, count: u8) -> usize {
        usize::from(self.behind()) >> (16 - count)
    }

    fn to_ip(self) -> IpAddr {
        Ipv4Addr::from_bits(self).into()
    }
}

impl Bits for u128 {
    const LEN: u8 = 128;
    type Behind = Self;
    const FIRST: Self = 0;

    bits!();

    #[inline]
    fn block(self) -> usize {
        (self >> 112) as usize
    }

    #[inline]
    fn behind(self) -> Self {
        self
    }

    #[inline]
    fn bits_behind(self, count: u8) -> usize {
        ((self >> 96) as usize & 0xffff) >> (16 - count)
    }

    fn to_ip(self) -> IpAddr {
        Ipv6Addr::from_bits(self).into()
    }
}

/// A prefix of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry<A> {
    /// Its first address; the bits after the first `len` are zero.
    pub start: A,
    /// Its length in bits.
    pub len: u8,
    /// Its score, 0 to 100.
    pub score: u8,
    /// The number of its list.
    pub list: u16,
}

/// The list that decides about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    list: u16,
    len: u8,
    score: u8,
}

impl Hit {
    /// Returns the number of the list.
    pub const fn list(self) -> u16 {
        self.list
    }

    /// Returns the length of its prefix that contains the address, in bits.
    pub const fn prefix_len(self) -> u8 {
        self.len
    }

    /// Returns the score of that prefix, 0 to 100.
    pub const fn score(self) -> u8 {
        self.score
    }
}

/// Maps every address to the list that decides, and to the most specific prefix in it. It is built once and does not
/// change.
///
/// The prefixes of all lists, which may contain each other, are cut into ranges that do not overlap, at most two per
/// prefix. A lookup searches the few ranges that begin in the same bucket. It is fast because it reads little memory: a
/// million prefixes of IPv4 take 8 MB, 4 bytes per range (18 for IPv6), of which a lookup reads two or three cache
/// lines.
///
/// Addresses cluster: all of IPv6 is in some hundred blocks of 16 bits. So a block in which no range begins is one
/// bucket, and a block in which some do is cut into as many buckets as its ranges need:
///
/// ```text
/// blocks    0000 .. 2001 2002 .. 2a00 ..      by the first 16 bits
///             |       |\___________ |\______
/// buckets   [ . ..  [ . . . . ] . [ . . . . ] by the bits behind them: where each begins in
/// ranges    0, 2001:4:: , 2001:4:8000:: , ..  where each starts
///           0, 1,         2,              ..  and what counts from there, as a number
/// answers   none, list 3 by a /32, ..         of what can count
/// ```
#[derive(Debug)]
pub struct Table<A: Bits> {
    /// The ranges in ascending order; the first starts at 0.
    ranges: Box<[Range<A::Behind>]>,
    /// Each list with each prefix length and score that it has, after "nothing".
    answers: Box<[Option<Hit>]>,
    buckets: Box<[u32]>,
    /// The first bucket of each block, and the end.
    blocks: Box<[u32]>,
    /// The number of bits that tell the buckets of a block apart. Without any, as for IPv4 in most cases, blocks are
    /// buckets, which saves one read of memory that is likely not in a cache.
    bits: u8,
}

/// A range. Its start and its answer are in one cache line, next to those of the following range.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(2))]
struct Range<B> {
    /// Its first address, without the bits that its bucket implies.
    start: B,
    /// An index into `answers`.
    hit: u16,
}

/// The number of answers that a table can have: combinations of a list, a prefix length and a score.
pub const ANSWERS_MAX: usize = u16::MAX as usize - 1;

/// The number of lists with one score each that a table can distinguish, whatever prefix lengths they have.
pub const LISTS_MAX: u16 = ANSWERS_MAX as u16 / LENS;

/// The number of prefix lengths.
const LENS: u16 = u128::LEN as u16 + 1;

/// The number of scores.
const SCORES: usize = SCORE_MAX as usize + 1;

/// The number of blocks.
const BLOCKS: usize = 1 << 16;

/// The number of ranges per bucket, where it is possible.
const RANGES_WANTED: usize = 8;

impl<A: Bits> Table<A> {
    /// Builds a table of `entries`. Of the prefixes that contain an address one with the lowest `rank` decides; of those with
    /// the same rank the most specific one; of equal ones that of the first list.
    ///
    /// # Panics
    /// If the number of a list is [`LISTS_MAX`] or above, a score is above 100, or there are more than [`ANSWERS_MAX`] different
    /// answers.
    pub fn new(mut entries: Vec<Entry<A>>, rank: impl Fn(Hit) -> u16) -> Self {
        // A prefix inside another follows it; of equal ones the first list is last, and in that the lowest score.
        entries.sort_unstable_by(|a, b| (a.start, a.len, b.list, b.score).cmp(&(b.start, b.len, a.list, a.score)));
        let mut ranges = Ranges::with_capacity(2 * entries.len() + 1);
        // The prefixes that contain the current address: the last address of each, and the answer within it.
        let mut around: Vec<(A, Hit)> = Vec::new();
        for Entry { start, len, score, list } in entries {
            ranges.leave(&mut around, |last| last < start);
            assert!(list < LISTS_MAX, "list {list} of {LISTS_MAX}");
            let inner = Hit { list, len, score };
            let hit = match around.last() {
                Some((_, outer)) if rank(*outer) < rank(inner) => *outer,
                _ => inner,
            };
            ranges.begin(start, Some(hit));
            around.push((start.broadcast(len), hit));
        }
        ranges.leave(&mut around, |_| true);
        ranges.finish()
    }

    /// Returns the list that decides about `address`.
    #[inline]
    pub fn get(&self, address: A) -> Option<Hit> {
        let mut bucket = address.block();
        if self.bits > 0 {
            let (first, behind) = (self.blocks[bucket], self.blocks[bucket + 1]);
            bucket = first as usize + if behind - first > 1 { address.bits_behind(self.bits) } else { 0 };
        }
        let (from, to) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        let behind = address.behind();
        // A start is copied before it is compared, because it may not be aligned.
        let below = self.ranges[from..to].partition_point(|range| { range.start } <= behind);
        self.answers[usize::from(self.ranges[from + below - 1].hit)]
    }

    /// Returns the number of ranges.
    pub const fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Returns the heap memory that it holds, in bytes.
    pub const fn memory(&self) -> usize {
        size_of_val(&*self.ranges)
            + size_of_val(&*self.answers)
            + size_of_val(&*self.buckets)
            + size_of_val(&*self.blocks)
    }
}

impl<A: Bits> Default for Table<A> {
    fn default() -> Self {
        Self::new(Vec::new(), |_| 0)
    }
}

/// A table under construction.
struct Ranges<A> {
    starts: Vec<A>,
    hits: Vec<u16>,
    answers: Vec<Option<Hit>>,
    /// The index of each answer, by list, length and score; 0 if it has none yet.
    numbers: Vec<u16>,
}

impl<A: Bits> Ranges<A> {
    fn with_capacity(ranges: usize) -> Self {
        let (starts, hits) = (Vec::with_capacity(ranges), Vec::with_capacity(ranges));
        let mut new = Self { starts, hits, answers: vec![None], numbers: Vec::new() };
        new.begin(A::FIRST, None);
        new
    }

    /// Begins a range at `start` in which `hit` decides. A range that began at the same address is empty, and is replaced.
    fn begin(&mut self, start: A, hit: Option<Hit>) {
        let hit = hit.map_or(0, |hit| self.number(hit));
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.hits.pop();
        }
        if self.hits.last() != Some(&hit) {
            self.starts.push(start);
            self.hits.push(hit);
        }
    }

    fn number(&mut self, hit: Hit) -> u16 {
        let kind = usize::from(hit.list) * usize::from(LENS) + usize::from(hit.len);
        assert!(usize::from(hit.score) < SCORES, "the score is {}", hit.score);
        let at = kind * SCORES + usize::from(hit.score);
        if at >= self.numbers.len() {
            self.numbers.resize(at + 1, 0);
        }
        if self.numbers[at] == 0 {
            assert!(self.answers.len() <= ANSWERS_MAX, "there are more than {ANSWERS_MAX} answers");
            self.numbers[at] = self.answers.len() as u16;
            self.answers.push(Some(hit));
        }
        self.numbers[at]
    }

    /// Closes the prefixes whose last address `is_over`, the innermost first.
    fn leave(&mut self, around: &mut Vec<(A, Hit)>, is_over: impl Fn(A) -> bool) {
        while let Some((last, _)) = around.pop_if(|(last, _)| is_over(*last)) {
            if let Some(next) = last.next() {
                self.begin(next, around.last().map(|(_, hit)| *hit));
            }
        }
    }

    fn finish(self) -> Table<A> {
        let Self { starts, hits, answers, .. } = self;
        let in_use = starts.chunk_by(|a, b| a.block() == b.block());
        let bits = (starts.len() / RANGES_WANTED / in_use.count()).checked_ilog2().unwrap_or(0).min(16) as u8;
        let mut blocks = Vec::with_capacity(BLOCKS + 1);
        let mut buckets = Vec::new();
        let mut at = 0;
        for block in 0..BLOCKS {
            blocks.push(buckets.len() as u32);
            let begins_here = |at: usize| starts.get(at).is_some_and(|start| start.block() == block);
            let count = if begins_here(at) { 1 << bits } else { 1 };
            for bucket in 0..count {
                buckets.push(at as u32);
                while begins_here(at) && (count == 1 || starts[at].bits_behind(bits) == bucket) {
                    at += 1;
                }
            }
        }
        blocks.push(buckets.len() as u32);
        buckets.push(at as u32);
        Table {
            ranges: starts.iter().zip(hits).map(|(start, hit)| Range { start: start.behind(), hit }).collect(),
            answers: answers.into(),
            buckets: buckets.into(),
            blocks: blocks.into(),
            bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prefix: &str, list: u16) -> Entry<u32> {
        let (address, len) = prefix.split_once('/').unwrap();
        Entry { start: address.parse::<Ipv4Addr>().unwrap().to_bits(), len: len.parse().unwrap(), score: 0, list }
    }

    fn get(table: &Table<u32>, address: &str) -> Option<(u16, u8)> {
        table.get(address.parse::<Ipv4Addr>().unwrap().to_bits()).map(|hit| (hit.list(), hit.prefix_len()))
    }

    #[test]
    fn the_lowest_rank_counts_then_the_most_specific_prefix_then_the_first_list() {
        let entries = vec![
            entry("10.0.0.0/8", 0),
            entry("10.1.0.0/16", 1),
            entry("10.1.2.0/24", 2),
            entry("10.1.2.0/24", 1),
            entry("10.1.2.3/32", 3),
        ];
        let table = Table::new(entries, |hit| [5, 5, 5, 9][usize::from(hit.list())]);
        assert_eq!(get(&table, "9.255.255.255"), None);
        assert_eq!(get(&table, "10.0.0.0"), Some((0, 8)));
        assert_eq!(get(&table, "10.1.0.0"), Some((1, 16)));
        assert_eq!(get(&table, "10.1.2.0"), Some((1, 24)), "list 1 is before list 2");
        assert_eq!(get(&table, "10.1.2.3"), Some((1, 24)), "list 3 ranks behind");
        assert_eq!(get(&table, "10.1.3.0"), Some((1, 16)));
        assert_eq!(get(&table, "10.255.255.255"), Some((0, 8)));
        assert_eq!(get(&table, "11.0.0.0"), None);
    }

    #[test]
    fn a_list_may_have_several_scores() {
        let scored = |prefix, list, score| Entry { score, ..entry(prefix, list) };
        let entries = vec![
            scored("10.0.0.0/8", 0, 30),
            scored("10.1.0.0/16", 0, 50),
            scored("10.2.0.0/16", 0, 7),
            scored("10.2.0.0/16", 0, 9),
            scored("10.3.0.0/16", 1, 30),
        ];
        let table = Table::new(entries, |hit| hit.score().into());
        let get = |address: &str| {
            let hit = table.get(address.parse::<Ipv4Addr>().unwrap().to_bits()).unwrap();
            (hit.list(), hit.prefix_len(), hit.score())
        };
        assert_eq!(get("10.1.0.1"), (0, 8, 30), "the lowest score decides");
        assert_eq!(get("10.2.0.1"), (0, 16, 7), "of the same prefix, too");
        assert_eq!(get("10.3.0.1"), (1, 16, 30), "among equal scores the most specific prefix decides");
    }

    #[test]
    fn both_ends_of_the_address_space() {
        let table =
            Table::new(vec![entry("0.0.0.0/0", 0), entry("255.255.255.255/32", 1), entry("0.0.0.0/32", 2)], |_| 0);
        assert_eq!(get(&table, "0.0.0.0"), Some((2, 32)));
        assert_eq!(get(&table, "0.0.0.1"), Some((0, 0)));
        assert_eq!(get(&table, "255.255.255.254"), Some((0, 0)));
        assert_eq!(get(&table, "255.255.255.255"), Some((1, 32)));
        assert_eq!(get(&Table::default(), "1.2.3.4"), None);
    }

    #[test]
    fn neighbours_with_the_same_answer_are_one_range() {
        let halves = vec![entry("10.0.0.0/9", 0), entry("10.128.0.0/9", 0)];
        assert_eq!(Table::new(halves, |_| 0).ranges(), 3, "before, in and behind");
    }

    #[test]
    fn tables_of_every_size() {
        for count in [1_u32, 2, 7, 8, 63, 64, 600, 4096] {
            for step in [256 << 1, 1 << 16, 1 << 20] {
                let entry = |n: u32| Entry { start: n.wrapping_mul(step), len: 24, score: 0, list: (n % 7) as u16 };
                let table = Table::new((0..count).map(entry).collect(), |_| 0);
                for n in 0..count.min(u32::MAX / step) {
                    assert_eq!(
                        table.get(n * step + 255).map(Hit::list),
                        Some((n % 7) as u16),
                        "{n} of {count} by {step}"
                    );
                    assert_eq!(table.get(n * step + 256), None);
                }
            }
        }
    }

    #[test]
    fn crowded_blocks_of_ipv6_are_cut_into_buckets() {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().to_bits();
        let crowd = (0..50_000_u128).map(|n| Entry {
            start: address("2a00::") + (n << 97),
            len: 48,
            score: 0,
            list: (n % 7) as u16,
        });
        let far =
            ["::", "2001:db8::", "ffff:ffff::"].map(|text| Entry { start: address(text), len: 32, score: 0, list: 9 });
        let table = Table::new(crowd.chain(far).collect(), |_| 0);
        assert!(table.bits > 8, "{} bits", table.bits);
        for n in 0..50_000 {
            assert_eq!(table.get(address("2a00::1") + (n << 97)).map(Hit::list), Some((n % 7) as u16));
            assert_eq!(table.get(address("2a00:0:1::") + (n << 97)), None);
        }
        for (text, list) in
            [("::1", Some(9)), ("2001:db8::1", Some(9)), ("2001:db9::", None), ("29ff::", None), ("2b00::", None)]
        {
            assert_eq!(table.get(address(text)).map(Hit::list), list, "{text}");
        }
        assert_eq!((table.get(u128::MAX).map(Hit::list), table.get(address("ffff:fffe::"))), (Some(9), None));
    }
}
