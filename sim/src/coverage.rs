//! The coverage of one or more runs: the cells of the state table that were reached, and the marks.

mod marks;
mod observer;

use std::fmt;

use spoa_core::table::{Input, StateName, Step, Timer, step, timer_step};

pub use marks::Mark;
pub use observer::Observer;

const STATES: usize = StateName::ALL.len();
const CAUSES: usize = Cause::ALL.len();
const MARKS: usize = Mark::ALL.len();

/// The number of things that runs may reach: cells, marks, and pairs of marks in one run.
pub const FEATURES: usize = STATES * CAUSES + MARKS * MARKS;

/// A cause of a step, and so a column of the state tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An input.
    Input(Input),
    /// A timer that is due.
    Timer(Timer),
}

impl Cause {
    /// All causes: the inputs, then the timers.
    pub const ALL: [Self; Input::ALL.len() + Timer::ALL.len()] = {
        let mut all = [Self::Input(Input::Hello); Input::ALL.len() + Timer::ALL.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = match at.checked_sub(Input::ALL.len()) {
                None => Self::Input(Input::ALL[at]),
                Some(at) => Self::Timer(Timer::ALL[at]),
            };
            at += 1;
        }
        all
    };

    const fn index(self) -> usize {
        match self {
            Self::Input(input) => input as usize,
            Self::Timer(timer) => Input::ALL.len() + timer as usize,
        }
    }
}

/// Writes `Hello`, or `Hello timer`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(input) => write!(f, "{input:?}"),
            Self::Timer(timer) => write!(f, "{timer:?} timer"),
        }
    }
}

/// Something that runs have to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A cell of the state tables: an input or a timer in a state.
    Cell(StateName, Cause),
    /// A mark.
    Mark(Mark),
}

impl Goal {
    /// Returns all goals.
    pub fn all() -> impl Iterator<Item = Self> {
        let cells = all_cells().filter(|&(state, cause)| is_reachable(state, cause));
        cells.map(|(state, cause)| Self::Cell(state, cause)).chain(Mark::ALL.map(Self::Mark))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cell(state, cause) => write!(f, "{cause} in {state:?}"),
            Self::Mark(mark) => f.write_str(mark.words()),
        }
    }
}

/// The number of times that each cell and mark was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    cells: [[u64; CAUSES]; STATES],
    marks: [u64; Mark::ALL.len()],
}

impl Default for Coverage {
    fn default() -> Self {
        Self { cells: [[0; CAUSES]; STATES], marks: [0; Mark::ALL.len()] }
    }
}

impl Coverage {
    /// Counts an input in a state.
    pub fn cell(&mut self, state: StateName, input: Input) {
        self.cells[state as usize][Cause::Input(input).index()] += 1;
    }

    /// Counts a timer that is due in a state.
    pub fn timer(&mut self, state: StateName, timer: Timer) {
        self.cells[state as usize][Cause::Timer(timer).index()] += 1;
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

    /// Returns the number of times that `cause` led to a step in `state`.
    pub const fn hits(&self, state: StateName, cause: Cause) -> u64 {
        self.cells[state as usize][cause.index()]
    }

    /// Returns the number of times that a mark was reached.
    pub const fn mark(&self, mark: Mark) -> u64 {
        self.marks[mark as usize]
    }

    /// Returns what was reached, as numbers below [`FEATURES`]: cells, marks, and pairs of marks.
    pub fn features(&self) -> Vec<usize> {
        let cells = self.cells.as_flattened().iter().enumerate().filter(|(_, hits)| **hits > 0).map(|(cell, _)| cell);
        let marks: Vec<_> = (0..MARKS).filter(|&mark| self.marks[mark] > 0).collect();
        let pairs = marks.iter().flat_map(|&one| marks.iter().map(move |&other| (one, other)));
        // A pair with itself is the mark alone.
        let pairs = pairs.filter(|(one, other)| one <= other).map(|(one, other)| STATES * CAUSES + one * MARKS + other);
        cells.chain(pairs).collect()
    }

    /// True if the goal was reached.
    pub const fn has(&self, goal: Goal) -> bool {
        match goal {
            Goal::Cell(state, cause) => self.hits(state, cause) > 0,
            Goal::Mark(mark) => self.mark(mark) > 0,
        }
    }

    /// Returns the number of cells that were reached, and the number of cells that can be reached.
    pub fn cells(&self) -> (usize, usize) {
        let reachable = all_cells().filter(|&(state, cause)| is_reachable(state, cause));
        let hit = reachable.clone().filter(|&(state, cause)| self.hits(state, cause) > 0).count();
        (hit, reachable.count())
    }

    /// Describes each goal that many seeds should reach and did not, and each cell that was reached although that is
    /// impossible. Marks that are not rare have to be reached `marks_min` times.
    pub fn missing(&self, marks_min: u64) -> Vec<String> {
        let cells = all_cells()
            .filter(|&(state, cause)| is_reachable(state, cause) && self.hits(state, cause) == 0)
            .map(|(state, cause)| format!("{cause} in {state:?} was not reached"));
        let impossible = all_cells()
            .filter(|&(state, cause)| !is_reachable(state, cause) && self.hits(state, cause) > 0)
            .map(|(state, cause)| format!("{cause} in {state:?} was reached, which should be impossible"));
        let marks = Mark::ALL
            .into_iter()
            .filter(|&mark| mark.is_frequent() && self.mark(mark) < marks_min)
            .map(|mark| format!("{}: expected at least {marks_min}, got {}", mark.words(), self.mark(mark)));
        cells.chain(impossible).chain(marks).collect()
    }
}

fn all_cells() -> impl Iterator<Item = (StateName, Cause)> + Clone {
    StateName::ALL.into_iter().flat_map(|state| Cause::ALL.map(|cause| (state, cause)))
}

/// True for cells that can be reached. No input arrives in `Closed`, because the driver drops the connection, and a timer does
/// not run in a state that ignores it.
fn is_reachable(state: StateName, cause: Cause) -> bool {
    match cause {
        Cause::Input(input) => state != StateName::Closed || step(state, input) != Step::Ignore,
        Cause::Timer(timer) => timer_step(state, timer) != Step::Ignore,
    }
}
