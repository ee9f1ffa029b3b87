//! Random scores.

use std::net::IpAddr;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The highest score: the client is trusted.
pub const SCORE_MAX: u32 = 100;

/// Random scores, 0..=[`SCORE_MAX`], all equally likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// A new one each time, as in HAProxy's example agent.
    Fresh,
    /// A function of this seed and the address alone: a client keeps its score on every worker, after a restart, and on
    /// every agent of a fleet with the same seed.
    Seeded(u64),
}

impl Scores {
    /// Returns the score of a client, whose address is [canonical](crate::canonical).
    #[inline]
    pub fn score(self, address: IpAddr) -> u32 {
        match self {
            Self::Fresh => below(rand::rng().next_u64()),
            Self::Seeded(seed) => below(ChaCha8Rng::from_seed(key(seed, address)).next_u64()),
        }
    }
}

/// Returns ChaCha's key for one address: a label, so that no other use of the same seed gives the same numbers, the
/// seed, and the address as IPv6.
fn key(seed: u64, address: IpAddr) -> [u8; 32] {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut key = [0; 32];
    key[..8].copy_from_slice(b"ip-score");
    key[8..16].copy_from_slice(&seed.to_le_bytes());
    key[16..].copy_from_slice(&address.octets());
    key
}

/// Scales 64 random bits down to a score. This does not use `rand`, whose arithmetic has changed between
/// versions: another change would give every client another score.
fn below(random: u64) -> u32 {
    ((u128::from(random) * u128::from(SCORE_MAX + 1)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeded(seed: u64, address: &str) -> u32 {
        Scores::Seeded(seed).score(address.parse().unwrap())
    }

    /// A change of these values changes every score of every fleet, which is a breaking change.
    #[test]
    fn seeded_scores_stay_for_ever() {
        let scores = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|address| seeded(42, address));
        assert_eq!(scores, [30, 62, 32]);
    }

    #[test]
    fn the_seed_and_the_address_both_count() {
        let scores = |seed| (0..=255).map(|n| seeded(seed, &format!("10.0.0.{n}"))).collect::<Vec<_>>();
        assert_eq!(scores(1), scores(1));
        assert_ne!(scores(1), scores(2));
        assert!(scores(1).iter().any(|score| *score != scores(1)[0]));
    }

    #[test]
    fn every_score_occurs_about_as_often() {
        for scores in [Scores::Fresh, Scores::Seeded(7)] {
            let mut counts = [0; SCORE_MAX as usize + 1];
            for n in 0..101_000_u32 {
                counts[scores.score(IpAddr::from(n.to_be_bytes())) as usize] += 1;
            }
            // 1000 each on average, with a standard deviation of 32.
            assert!(counts.iter().all(|count| (800..1200).contains(count)), "{scores:?}: {counts:?}");
        }
    }

    #[test]
    fn both_ends_of_the_range_are_reached() {
        assert_eq!((below(0), below(u64::MAX)), (0, SCORE_MAX));
    }
}
