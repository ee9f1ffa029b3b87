//! The prefixes of a list, in little memory.

use crate::prefix::Prefix;
use crate::table::{Bits, Entry};

/// The prefixes of one family, in the order of the file. They are kept beside the lookup table that is built from them, so that
/// the table can be rebuilt when only some lists were reloaded.
#[derive(Debug)]
pub(super) struct Prefixes<A: Copy> {
    pub(super) kept: Vec<Kept<A>>,
    /// The score of each prefix; empty if all have that of the list.
    scores: Vec<u8>,
    /// The number of different combinations of a length and a score, each of which is an answer of the lookup table.
    pub(super) answers: usize,
}

/// A prefix in as few bytes as possible.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed)]
pub(super) struct Kept<A> {
    pub(super) start: A,
    pub(super) len: u8,
}

impl<A: Copy> Default for Prefixes<A> {
    fn default() -> Self {
        Self { kept: Vec::new(), scores: Vec::new(), answers: 0 }
    }
}

impl<A: Bits> Prefixes<A> {
    /// Adds a prefix. Either all have a score or none has.
    pub(super) fn add(&mut self, start: A, len: u8, score: Option<u8>) {
        self.kept.push(Kept { start, len });
        self.scores.extend(score);
    }

    /// Counts the answers and releases unused memory, once all prefixes are there.
    pub(super) fn finish(&mut self) {
        let mut seen = vec![false; (usize::from(A::LEN) + 1) << 8];
        for (at, kept) in self.kept.iter().enumerate() {
            let score = self.scores.get(at).copied().unwrap_or(0);
            seen[usize::from(kept.len) << 8 | usize::from(score)] = true;
        }
        self.answers = seen.into_iter().filter(|seen| *seen).count();
        self.kept.shrink_to_fit();
        self.scores.shrink_to_fit();
    }

    /// Returns the prefixes as those of list `number`, with their own scores or with that of the list.
    pub(super) fn entries(&self, number: u16, score: u8) -> impl Iterator<Item = Entry<A>> {
        self.kept.iter().enumerate().map(move |(at, kept)| {
            let score = self.scores.get(at).copied().unwrap_or(score);
            Entry { start: kept.start, len: kept.len, score, list: number }
        })
    }

    /// Returns the prefixes that contain an address, with their own scores or with that of the list.
    pub(super) fn containing(&self, address: A, score: u8) -> Vec<(Prefix, u32)> {
        let entries = self.entries(0, score).filter(|entry| entry.start == address.network(entry.len));
        entries.map(|entry| (Prefix::of(entry.start.to_ip(), entry.len), entry.score.into())).collect()
    }

    /// Returns the heap memory that it holds, in bytes.
    pub(super) const fn memory(&self) -> usize {
        size_of_val(self.kept.as_slice()) + self.scores.len()
    }
}
