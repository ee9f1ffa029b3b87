//! How a handler is to answer: written into the messages themselves, as the argument `plan`.
//!
//! So what the handler does depends on what the core read, what the checker expects on what it read itself, and a byte
//! read wrong by either shows.

use crate::script::Nanos;

/// The plan of a handler for a NOTIFY: an action and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The action.
    pub answer: Answer,
    /// How long after the NOTIFY was handed out; 0 in place. In whole microseconds.
    pub after: Nanos,
}

/// An action of a handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Sets a score and a checksum for each message.
    #[default]
    Score,
    /// Answers without actions.
    Empty,
    /// Sets more than fits into a frame.
    Big,
    /// Sets a variable of every type.
    Types,
    /// Removes a variable.
    Unset,
    /// Fails, and answers nothing.
    Drop,
    /// Fails amid its answer.
    Half,
    /// Goes on for ever.
    Never,
}

impl Answer {
    /// All of them, each with its word.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Score, "score"),
        (Self::Empty, "empty"),
        (Self::Big, "big"),
        (Self::Types, "types"),
        (Self::Unset, "unset"),
        (Self::Drop, "drop"),
        (Self::Half, "half"),
        (Self::Never, "never"),
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

const MICRO: Nanos = 1000;

impl Plan {
    /// The plan as the integer that the argument carries.
    pub const fn to_wire(self) -> i64 {
        (self.after / MICRO * 8) as i64 + self.answer as i64
    }

    /// The plan of an integer; of any.
    pub const fn from_wire(wire: i64) -> Self {
        let wire = wire as u64;
        // At most an hour: a number damaged on its way is no reason to wait for centuries.
        let micros = (wire / 8) % 3_600_000_000;
        Self { answer: Answer::ALL[(wire % 8) as usize].0, after: micros * MICRO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_survive_the_wire() {
        for (answer, _) in Answer::ALL {
            for after in [0, 1000, 3_000_000, 3_599_999_999_000] {
                let plan = Plan { answer, after };
                assert_eq!(Plan::from_wire(plan.to_wire()), plan);
            }
        }
        for any in [i64::MIN, -1, i64::MAX] {
            let plan = Plan::from_wire(any);
            assert_eq!(Plan::from_wire(plan.to_wire()), plan);
        }
    }
}
