//! The coverage of one run or many: the state × input matrix and the marks.

mod marks;
mod observer;

use std::fmt;

use spoa_core::table::{Input, StateName, Step, step};

pub use marks::Mark;
pub use observer::Observer;

const STATES: usize = StateName::ALL.len();
const INPUTS: usize = Input::ALL.len();

/// One thing that has to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// An input meets a state.
    Cell(StateName, Input),
    /// A mark is reached.
    Mark(Mark),
}

impl Goal {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let cells = all_cells().filter(|&(state, input)| is_reachable(state, input));
        cells.map(|(state, input)| Self::Cell(state, input)).chain(Mark::ALL.map(Self::Mark))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cell(state, input) => write!(f, "{input:?} in {state:?}"),
            Self::Mark(mark) => f.write_str(mark.words()),
        }
    }
}

/// How often each thing happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    cells: [[u64; INPUTS]; STATES],
    marks: [u64; Mark::ALL.len()],
}

impl Default for Coverage {
    fn default() -> Self {
        Self { cells: [[0; INPUTS]; STATES], marks: [0; Mark::ALL.len()] }
    }
}

impl Coverage {
    /// An input met a state.
    pub fn cell(&mut self, state: StateName, input: Input) {
        self.cells[state as usize][input as usize] += 1;
    }

    /// Something happened that has to.
    pub fn reach(&mut self, mark: Mark) {
        self.marks[mark as usize] += 1;
    }

    /// Adds what another run made happen.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.cells.as_flattened_mut().iter_mut().zip(other.cells.as_flattened()) {
            *mine += theirs;
        }
        for (mine, theirs) in self.marks.iter_mut().zip(other.marks) {
            *mine += theirs;
        }
    }

    /// How often `input` met `state`.
    pub const fn hits(&self, state: StateName, input: Input) -> u64 {
        self.cells[state as usize][input as usize]
    }

    /// How often a mark was reached.
    pub const fn mark(&self, mark: Mark) -> u64 {
        self.marks[mark as usize]
    }

    /// True if it happened.
    pub const fn has(&self, goal: Goal) -> bool {
        match goal {
            Goal::Cell(state, input) => self.hits(state, input) > 0,
            Goal::Mark(mark) => self.mark(mark) > 0,
        }
    }

    /// The cells hit, and how many can be.
    pub fn cells(&self) -> (usize, usize) {
        let reachable = all_cells().filter(|&(state, input)| is_reachable(state, input));
        let hit = reachable.clone().filter(|&(state, input)| self.hits(state, input) > 0).count();
        (hit, reachable.count())
    }

    /// A goal that a run of many seeds had to reach and did not, in words.
    pub fn missing(&self, marks_min: u64) -> Vec<String> {
        let cells = all_cells()
            .filter(|&(state, input)| is_reachable(state, input) && self.hits(state, input) == 0)
            .map(|(state, input)| format!("{input:?} in {state:?} never happened"));
        let impossible = all_cells()
            .filter(|&(state, input)| !is_reachable(state, input) && self.hits(state, input) > 0)
            .map(|(state, input)| format!("{input:?} in {state:?} happened, and cannot"));
        let marks = Mark::ALL
            .into_iter()
            .filter(|&mark| self.mark(mark) < marks_min)
            .map(|mark| format!("{}: {} times, below {marks_min}", mark.words(), self.mark(mark)));
        cells.chain(impossible).chain(marks).collect()
    }
}

fn all_cells() -> impl Iterator<Item = (StateName, Input)> + Clone {
    StateName::ALL.into_iter().flat_map(|state| Input::ALL.map(|input| (state, input)))
}

/// A connection that is closed is not asked any more; everything else can happen.
fn is_reachable(state: StateName, input: Input) -> bool {
    state != StateName::Closed || step(state, input) != Step::Ignore
}
