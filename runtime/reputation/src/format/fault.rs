//! Faults in the lines of a list.

use crate::prefix::ItemError;
use crate::scores::SCORE_MAX;

/// The reason why a line is bad, and the place in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct LineError {
    /// The byte of the line where the fault begins, from 1.
    pub column: usize,
    /// The fault.
    pub fault: LineFault,
}

/// A fault in a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// The text is not an address, prefix or range; see [`ItemError`].
    #[error("\"{}\" is {error}", text.escape_debug())]
    Item {
        /// The beginning of the text.
        text: String,
        /// The fault.
        error: ItemError,
    },
    /// The line is longer than [`LINE_LEN_MAX`].
    #[error("a line of more than {LINE_LEN_MAX} bytes")]
    TooLong,
    /// The line is not JSON.
    #[error("not a line of JSON: {}", .0.escape_debug())]
    Json(String),
    /// An object has no address.
    #[error("no address under a key such as \"cidr\", \"prefix\" or \"ip\" (key=NAME chooses another one)")]
    NoAddress,
    /// An object has several addresses.
    #[error("addresses under several keys: choose one with key=NAME")]
    SeveralKeys,
    /// A decision about something else than an address.
    #[error("its scope is neither an address nor a range")]
    Scope,
    /// A line has too few columns: it has no column of this number, from 1.
    #[error("the line has no column {0}")]
    NoColumn(usize),
    /// The text in the column of the threshold or score is not a number.
    #[error("\"{}\" is not a number", .0.escape_debug())]
    NotANumber(String),
    /// The key of the threshold or score is missing where the address is.
    #[error("there is no number under the key \"{}\" beside the address", .0.escape_debug())]
    NoNumber(String),
    /// The threshold of a JSON list has no key.
    #[error("min needs a key for JSON: min=KEY:NUMBER")]
    NoMinKey,
    /// A number is not a score.
    #[error("{0} is not a score from 0 to {SCORE_MAX}")]
    NotAScore(String),
    /// A line has an address outside the column of addresses.
    #[error("several addresses on one line (column=N chooses one)")]
    Several,
    /// A line of a record has an address after a word that stands for something else.
    #[error("an address after a word that is not one of the usual words before addresses")]
    OtherWord,
    /// One end of a range is not an address.
    #[error("one end of the range is not an address")]
    HalfRange,
    /// A line has a carriage return in it.
    #[error("a carriage return inside the line")]
    CarriageReturn,
    /// An exception in a list, which this agent cannot take.
    #[error("an exception: put it into a list with allow")]
    Exception,
}

impl LineFault {
    pub(super) const fn at(self, column: usize) -> LineError {
        LineError { column, fault: self }
    }
}

/// The longest line that is read, in bytes. Comments may be longer.
pub const LINE_LEN_MAX: usize = 4096;

/// The number of characters of a text that are shown.
pub(super) const SHOWN_MAX: usize = 60;
