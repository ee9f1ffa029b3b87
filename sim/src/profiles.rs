//! Chooses the kind of the next runs, so that rare marks are reached more often.

use crate::coverage::{Coverage, Mark};
use crate::generate::Profile;

/// The runs of each profile so far.
#[derive(Debug, Default)]
pub struct Choice {
    runs: [(u64, Coverage); Profile::ALL.len()],
}

impl Choice {
    /// Takes note of runs of a profile.
    pub fn add(&mut self, profile: Profile, seeds: u64, coverage: &Coverage) {
        let (all, sum) = &mut self.runs[profile as usize];
        *all += seeds;
        sum.add(coverage);
    }

    /// Returns the number of seeds of a profile so far.
    pub const fn seeds(&self, profile: Profile) -> u64 {
        self.runs[profile as usize].0
    }

    /// Returns the profile for the next runs: one without runs, or the one whose runs have added most to marks that are rare.
    pub fn next(&self) -> Profile {
        let fresh = Profile::ALL.into_iter().find(|profile| self.seeds(*profile) == 0);
        let worth = |profile: &Profile| {
            let (seeds, coverage) = &self.runs[*profile as usize];
            let shares = Mark::ALL.into_iter().map(|mark| {
                let all: u64 = self.runs.iter().map(|(_, coverage)| coverage.mark(mark)).sum();
                coverage.mark(mark) as f64 / all.max(1) as f64
            });
            shares.sum::<f64>() / *seeds as f64
        };
        let best = || Profile::ALL.into_iter().max_by(|one, other| worth(one).total_cmp(&worth(other)));
        fresh.or_else(best).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_reaches_rare_marks_is_chosen() {
        let mut choice = Choice::default();
        for profile in Profile::ALL {
            assert_eq!(choice.next(), profile, "each is tried first");
            let mut coverage = Coverage::default();
            (0..100).for_each(|_| coverage.reach(Mark::Notify));
            if profile == Profile::Applet {
                coverage.reach(Mark::Crowd);
            }
            choice.add(profile, 10, &coverage);
        }
        assert_eq!(choice.next(), Profile::Applet);
        let mut others = Coverage::default();
        (0..1000).for_each(|_| others.reach(Mark::Crowd));
        choice.add(Profile::Mux, 10, &others);
        assert_eq!(choice.next(), Profile::Mux, "the mark is not rare any more");
    }
}
