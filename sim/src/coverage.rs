//! The coverage of one or more runs: the cells of the state table that were reached, and the marks.

mod marks;
mod observer;

use std::fmt;

use spoa_core::table::{Input, StateName, Step, step};

pub use marks::Mark;
pub use observer::Observer;

const STATES: usize = StateName::ALL.len();
const INPUTS: usize = Input::ALL.len();

/// Something that runs have to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A cell of the state table: an input in a state.
    Cell(StateName, Input),
    /// A mark.
    Mark(Mark),
}

impl Goal {
    /// Returns all goals.
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

/// The number of times that each cell and mark was reached.
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
    /// Counts an input in a state.
    pub fn cell(&mut self, state: StateName, input: Input) {
        self.cells[state as usize][input as usize] += 1;
    }

    /// Counts a mark.
    pub fn reach(&mut self, mark: Mark) {
        self.marks[mark as usize] += 1;
    }

    /// Adds the coverage of other runs.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.cells.as_flattened_mut().iter_mut().zip(other.cells.as_flattened()) {
            *mine += theirs;
        }
        for (mine, theirs) in self.marks.iter_mut().zip(other.marks) {
            *mine += theirs;
        }
    }

    /// Returns the number of times that `input` arrived in `state`.
    pub const fn hits(&self, state: StateName, input: Input) -> u64 {
        self.cells[state as usize][input as usize]
    }

    /// Returns the number of times that a mark was reached.
    pub const fn mark(&self, mark: Mark) -> u64 {
        self.marks[mark as usize]
    }

    /// True if the goal was reached.
    pub const fn has(&self, goal: Goal) -> bool {
        match goal {
            Goal::Cell(state, input) => self.hits(state, input) > 0,
            Goal::Mark(mark) => self.mark(mark) > 0,
        }
    }

    /// Returns the number of cells that were reached, and the number of cells that can be reached.
    pub fn cells(&self) -> (usize, usize) {
        let reachable = all_cells().filter(|&(state, input)| is_reachable(state, input));
        let hit = reachable.clone().filter(|&(state, input)| self.hits(state, input) > 0).count();
        (hit, reachable.count())
    }

    /// Describes each goal that many seeds should reach and did not, and each cell that was reached although that is
    /// impossible. Marks that are not rare have to be reached `marks_min` times.
    pub fn missing(&self, marks_min: u64) -> Vec<String> {
        let cells = all_cells()
            .filter(|&(state, input)| is_reachable(state, input) && self.hits(state, input) == 0)
            .map(|(state, input)| format!("{input:?} in {state:?} was not reached"));
        let impossible = all_cells()
            .filter(|&(state, input)| !is_reachable(state, input) && self.hits(state, input) > 0)
            .map(|(state, input)| format!("{input:?} in {state:?} was reached, which should be impossible"));
        let marks = Mark::ALL
            .into_iter()
            .filter(|&mark| mark.is_frequent() && self.mark(mark) < marks_min)
            .map(|mark| format!("{}: expected at least {marks_min}, got {}", mark.words(), self.mark(mark)));
        cells.chain(impossible).chain(marks).collect()
    }
}

fn all_cells() -> impl Iterator<Item = (StateName, Input)> + Clone {
    StateName::ALL.into_iter().flat_map(|state| Input::ALL.map(|input| (state, input)))
}

/// True for cells that can be reached. No input arrives in `Closed`, because the driver drops the connection.
fn is_reachable(state: StateName, input: Input) -> bool {
    state != StateName::Closed || step(state, input) != Step::Ignore
}
