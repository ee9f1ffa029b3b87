//! The plan of the simulated handler, which is the argument `plan` of its messages.
//!
//! The handler executes the plan that the core decoded, and the checker expects the plan that it decoded itself. If one
//! of them decodes a byte wrongly, the answers differ.

use crate::time::Nanos;

/// The plan for a NOTIFY: the answer and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The answer.
    pub answer: Answer,
    /// The time from the NOTIFY to the answer, in whole microseconds. 0 means that the answer is immediate.
    pub delay: Nanos,
}

/// The answer of a handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Sets a score and a checksum for each message.
    #[default]
    Score,
    /// Sets nothing.
    Empty,
    /// Sets more variables than fit into a frame.
    Big,
    /// Sets a variable of each type.
    Types,
    /// Unsets a variable.
    Unset,
    /// Fails before it sets a variable.
    Drop,
    /// Fails after it has set a variable.
    Half,
    /// Never answers.
    Never,
    /// Sets a variable to the value of each argument.
    Echo,
}

impl Answer {
    /// All answers, with their words in scripts.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Score, "score"),
        (Self::Empty, "empty"),
        (Self::Big, "big"),
        (Self::Types, "types"),
        (Self::Unset, "unset"),
        (Self::Drop, "drop"),
        (Self::Half, "half"),
        (Self::Never, "never"),
        (Self::Echo, "echo"),
    ];

    /// Returns the word for it in scripts.
    pub const fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

const MICRO: Nanos = 1000;

/// The bit of the integer that means [`Answer::Echo`]. The three lowest bits mean the other answers, and the bits between
/// them and this one the delay.
const ECHO: u64 = 1 << 40;

impl Plan {
    /// Returns the plan as an integer, the value of the argument.
    pub const fn to_wire(self) -> i64 {
        let answer = match self.answer {
            Answer::Echo => ECHO as i64,
            answer => answer as i64,
        };
        (self.delay / MICRO * 8) as i64 + answer
    }

    /// Returns the plan of an integer. Every integer is a plan.
    pub const fn from_wire(wire: i64) -> Self {
        let wire = wire as u64;
        // The delay is less than an hour, so that a damaged integer does not make the run wait for centuries.
        let micros = (wire % ECHO / 8) % 3_600_000_000;
        let answer = if wire & ECHO == 0 { Answer::ALL[(wire % 8) as usize].0 } else { Answer::Echo };
        Self { answer, delay: micros * MICRO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_equals_the_plan_of_its_integer() {
        for (answer, _) in Answer::ALL {
            for delay in [0, 1000, 3_000_000, 3_599_999_999_000] {
                let plan = Plan { answer, delay };
                assert_eq!(Plan::from_wire(plan.to_wire()), plan);
            }
        }
        for any in [i64::MIN, -1, i64::MAX] {
            let plan = Plan::from_wire(any);
            assert_eq!(Plan::from_wire(plan.to_wire()), plan);
        }
    }
}
