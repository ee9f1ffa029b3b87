//! The kinds of moves of a generator, and how frequent each is in a seed.

use crate::random::Random;

/// The frequency of a kind of move, relative to the others of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frequency {
    /// The same in all seeds.
    Always(u32),
    /// Absent in half of the seeds, otherwise 1 to 16.
    Usual,
    /// As usual, but at most this.
    AtMost(u32),
    /// As usual, but absent in seeds without faults.
    Fault,
    /// As usual, but at most this, and absent in seeds without faults.
    FaultAtMost(u32),
    /// A quarter of the usual, and absent in seeds without faults: it ends a connection, and rare states have to be
    /// reached before it ends.
    End,
}

impl Frequency {
    /// Draws the weight in a seed; `calm` means a seed without faults.
    pub(super) fn draw(self, random: &mut Random, calm: bool) -> u32 {
        let mut usual = || if random.chance(1, 2) { 1 << random.below(5) } else { 0 };
        let (weight, is_fault) = match self {
            Self::Always(weight) => (weight, false),
            Self::Usual => (usual(), false),
            Self::AtMost(most) => (usual().min(most), false),
            Self::Fault => (usual(), true),
            Self::FaultAtMost(most) => (usual().min(most), true),
            Self::End => (usual() / 4, true),
        };
        if calm && is_fault { 0 } else { weight }
    }
}

/// Defines an enum of moves from rows with the variant and its frequency.
///
/// Weights are drawn in the order of the rows. Another order changes the scripts of all seeds.
macro_rules! moves {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $frequency:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name {
            $($(#[$note])* $variant,)*
        }

        impl $name {
            /// All moves, with their frequency.
            pub(super) const ALL: &[(Self, $crate::generate::weights::Frequency)] = {
                #[allow(clippy::allow_attributes, unused_imports, reason = "rows name the frequencies that they use")]
                use $crate::generate::weights::Frequency::*;
                &[$((Self::$variant, $frequency),)*]
            };
        }
    };
}
pub(super) use moves;

/// The weights of the moves `M` in a seed.
#[derive(Clone, Debug)]
pub(super) struct Weights<M: 'static> {
    moves: &'static [(M, Frequency)],
    weights: Vec<u32>,
}

impl<M: Copy + PartialEq> Weights<M> {
    /// Draws the weight of each move; `calm` means a seed without faults.
    pub(super) fn draw(moves: &'static [(M, Frequency)], random: &mut Random, calm: bool) -> Self {
        Self { moves, weights: moves.iter().map(|(_, frequency)| frequency.draw(random, calm)).collect() }
    }

    /// Returns the weight of a move.
    pub(super) fn get(&self, of: M) -> u32 {
        self.moves.iter().zip(&self.weights).find(|((other, _), _)| *other == of).map_or(0, |(_, weight)| *weight)
    }

    /// Sets the weight of a move.
    pub(super) fn set(&mut self, of: M, weight: u32) {
        let at = self.moves.iter().position(|(other, _)| *other == of);
        self.weights[at.expect("every move has a weight")] = weight;
    }

    /// Draws a move.
    pub(super) fn pick(&self, random: &mut Random) -> M {
        self.moves[random.weighted(&self.weights)].0
    }
}
