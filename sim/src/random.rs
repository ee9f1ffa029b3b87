//! Random numbers for the generator of scripts: one ChaCha key per seed, and one stream per purpose.
//!
//! An additional draw for one purpose does not change the numbers for the others. Only `next_u64` of the crate is used.
//! Ranges are computed here, because versions of `rand` compute them differently, which would change every seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The purpose of a stream of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The kinds of steps and faults that exist in the seed, and the limits of the agent.
    Profile = 0,
    /// The steps, NOTIFYs and times.
    Workload = 1,
    /// The sizes of reads and writes.
    Cuts = 2,
    /// The faults.
    Faults = 3,
    /// The plans of the handler.
    Handlers = 4,
}

/// The stream of numbers of one seed for one purpose.
#[derive(Clone, Debug)]
pub struct Random {
    rng: ChaCha8Rng,
}

impl Random {
    /// Returns the stream of `seed` for `purpose`.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(b"spop-sim");
        key[8..16].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(purpose as u64);
        Self { rng }
    }

    /// Returns 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Returns a number below `end`. All numbers are almost equally likely: the bias is below `end` / 2^64.
    ///
    /// # Panics
    /// If `end` is 0.
    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "expected a range that is not empty");
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// Returns a number from `start` to `end`, including both.
    #[inline]
    pub fn between(&mut self, start: u64, end: u64) -> u64 {
        start + self.below(end - start + 1)
    }

    /// Returns true with the probability `times` / `of`.
    #[inline]
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// Returns one of `choices`.
    ///
    /// # Panics
    /// If `choices` is empty.
    #[inline]
    pub fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// Returns a number from `start` to `end`, including both. All lengths in bits are equally likely, so small numbers
    /// are more likely than large ones.
    pub fn magnitude(&mut self, start: u64, end: u64) -> u64 {
        let bits = |n: u64| u64::from(64 - n.leading_zeros());
        let width = self.between(bits(start), bits(end));
        let (low, high) = if width == 0 { (0, 0) } else { (1 << (width - 1), u64::MAX >> (64 - width)) };
        self.between(low.max(start), high.min(end))
    }

    /// Returns an index of `weights`. Its probability is proportional to its weight.
    ///
    /// # Panics
    /// If all weights are 0.
    #[inline]
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut at = self.below(weights.iter().map(|&weight| u64::from(weight)).sum());
        for (index, &weight) in weights.iter().enumerate() {
            match at.checked_sub(u64::from(weight)) {
                Some(rest) => at = rest,
                None => return index,
            }
        }
        unreachable!("a number below the sum of the weights was drawn")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If one of these numbers changes, every seed means another script.
    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut random = Random::new(4711, Purpose::Workload);
        let drawn = [random.bits(), random.below(1000), random.between(5, 7), random.magnitude(1, 1 << 20)];
        assert_eq!(drawn, [14_414_711_920_959_775_281, 80, 7, 2]);
    }

    #[test]
    fn draws_for_one_purpose_do_not_change_another() {
        let mut a = Random::new(1, Purpose::Cuts);
        let mut b = Random::new(1, Purpose::Faults);
        assert_ne!(a.bits(), b.bits());
        let mut again = Random::new(1, Purpose::Faults);
        again.bits();
        assert_eq!(b.bits(), again.bits());
    }

    #[test]
    fn magnitudes_stay_in_their_range() {
        let mut random = Random::new(1, Purpose::Profile);
        for (start, end) in [(0, 0), (0, 1), (3, 3), (5, 1000), (0, u64::MAX), (1 << 40, u64::MAX)] {
            for _ in 0..1000 {
                let drawn = random.magnitude(start, end);
                assert!((start..=end).contains(&drawn), "expected a number in {start}..={end}, got {drawn}");
            }
        }
    }

    #[test]
    fn the_probability_of_an_index_is_proportional_to_its_weight() {
        let mut random = Random::new(1, Purpose::Profile);
        let mut counts = [0; 3];
        for _ in 0..4000 {
            counts[random.weighted(&[1, 0, 3])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((850..1150).contains(&counts[0]), "{counts:?}");
    }
}
