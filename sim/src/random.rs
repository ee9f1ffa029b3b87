//! Randomness for the generator: one ChaCha key a seed, one stream for each purpose, and arithmetic of our own.
//!
//! Another draw for one purpose moves nothing in the rest. Only `next_u64` is taken from the generator: how `rand` makes
//! ranges of it has changed between versions, and every seed would change its meaning.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The purpose of a stream of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Which faults and steps exist at all in this seed, and the agent's limits.
    Profile = 0,
    /// The events of HAProxy, and their times.
    Workload = 1,
    /// Where the bytes are cut.
    Cuts = 2,
    /// The faults.
    Faults = 3,
    /// How handlers answer.
    Handlers = 4,
}

/// The numbers of one seed for one purpose.
#[derive(Clone, Debug)]
pub struct Random {
    rng: ChaCha8Rng,
}

impl Random {
    /// The stream of `seed` for `purpose`.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(b"spop-sim");
        key[8..16].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(purpose as u64);
        Self { rng }
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number below `end`, all but equally likely (the bias is below `end` in 2^64).
    ///
    /// # Panics
    /// If `end` is 0.
    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `start` to `end`, both included.
    #[inline]
    pub fn between(&mut self, start: u64, end: u64) -> u64 {
        start + self.below(end - start + 1)
    }

    /// True `times` out of `of`.
    #[inline]
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// A number from `start` to `end` whose magnitude is what is drawn evenly: as many below 10 as from 10 to 100.
    pub fn magnitude(&mut self, start: u64, end: u64) -> u64 {
        let bits = |n: u64| u64::from(64 - n.leading_zeros());
        let width = self.between(bits(start), bits(end));
        let (low, high) = if width == 0 { (0, 0) } else { (1 << (width - 1), u64::MAX >> (64 - width)) };
        self.between(low.max(start), high.min(end))
    }

    /// The index of one of `weights`, each as likely as it weighs.
    ///
    /// # Panics
    /// If all are 0.
    #[inline]
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut at = self.below(weights.iter().map(|&weight| u64::from(weight)).sum());
        for (index, &weight) in weights.iter().enumerate() {
            match at.checked_sub(u64::from(weight)) {
                Some(rest) => at = rest,
                None => return index,
            }
        }
        unreachable!("the number drawn is below the sum of the weights")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If one of these changes, so does the meaning of every seed.
    #[test]
    fn the_numbers_of_a_seed_stay_for_ever() {
        let mut random = Random::new(4711, Purpose::Workload);
        let drawn = [random.bits(), random.below(1000), random.between(5, 7), random.magnitude(1, 1 << 20)];
        assert_eq!(drawn, [14_414_711_920_959_775_281, 80, 7, 2]);
    }

    #[test]
    fn purposes_do_not_touch_each_other() {
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
                assert!((start..=end).contains(&drawn), "{drawn} not in {start}..={end}");
            }
        }
    }

    #[test]
    fn weights_count() {
        let mut random = Random::new(1, Purpose::Profile);
        let mut counts = [0; 3];
        for _ in 0..4000 {
            counts[random.weighted(&[1, 0, 3])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((850..1150).contains(&counts[0]), "{counts:?}");
    }
}
