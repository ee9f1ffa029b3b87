//! The way in which a list is read: its format, and the options that change what is read.

use std::str::FromStr;

use super::LineFault;
use crate::prefix::HostBits;
use crate::scores::SCORE_MAX;

/// The way in which a list is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The format.
    pub format: Format,
    /// The column that has the address; `None` finds it.
    pub column: Option<Column>,
    /// The JSON key that has the address; `None` finds it.
    pub key: Option<String>,
    /// The threshold below which lines are skipped.
    pub min: Option<Min>,
    /// The column, or the key of JSON, that has the score of each address; without it all have the score of the list.
    pub score: Option<Column>,
    /// True if the numbers in the score column grow with badness, so that a score is 100 minus its number.
    pub invert_score: bool,
    /// The treatment of host bits.
    pub host_bits: HostBits,
    /// The prefix length to which single IPv6 addresses are widened, 1 to 128: a client may have a network of 64 bits.
    pub ipv6_host: Option<u8>,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Found by the first lines.
    #[default]
    Auto,
    /// An address, prefix or range per line.
    Lines,
    /// JSON: an object per line, or a document.
    Json,
    /// Columns between commas, tabs, semicolons or `|`.
    Csv,
    /// A name, a colon and a range per line.
    Ranges,
}

/// A column of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// By number; the first is 1. A first line that has neither `.` nor `:` in it, as every address has, is a header.
    Number(usize),
    /// By its name in the header, which is the first line, or a comment before it. Case does not count.
    Name(String),
}

/// A threshold: lines with a smaller number in a column are skipped.
#[derive(Clone, Debug, PartialEq)]
pub struct Min {
    /// The column, or the key of JSON; `None` is the first column of numbers after the address.
    pub(super) column: Option<Column>,
    /// The smallest number that counts. It is finite.
    pub(super) value: f64,
}

impl Eq for Min {}

/// The reason why a text is not a format, column or threshold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No format has this name.
    #[error("a format is lines, json, csv or ranges")]
    Format,
    /// The column is empty, or a number below 1.
    #[error("a column is a number from 1, or a name in the first line")]
    Column,
    /// A column was given for a format that has none.
    #[error("only csv has columns")]
    NoColumns,
    /// A key was given for a format that has none.
    #[error("only json has keys")]
    NoKeys,
    /// The threshold is not a number.
    #[error("min is a number, or COLUMN:NUMBER")]
    Min,
    /// A threshold was given for a format that has no columns.
    #[error("min is for columns, or for json with KEY:NUMBER")]
    MinWithoutColumn,
    /// A score column was given for a format that has no columns.
    #[error("score-column is for columns, or for json with a key")]
    ScoreWithoutColumn,
    /// Scores are to be inverted, but there is no score column.
    #[error("invert-score needs a score-column")]
    InvertWithoutColumn,
    /// The prefix length is not a number from 1 to 128.
    #[error("ipv6-host is a prefix length from 1 to 128")]
    Ipv6Host,
    /// Something else than `accept` or `reject`.
    #[error("host-bits is accept or reject")]
    HostBits,
}

impl Reading {
    /// True if a number beside each address is needed.
    pub(super) const fn needs_numbers(&self) -> bool {
        self.min.is_some() || self.score.is_some()
    }

    /// Returns the score that a number stands for, rounded.
    ///
    /// # Errors
    /// It is not from 0 to 100.
    pub(super) fn score_of(&self, number: f64) -> Result<u8, LineFault> {
        if !(0.0..=f64::from(SCORE_MAX)).contains(&number) {
            return Err(LineFault::NotAScore(number.to_string()));
        }
        let score = number.round() as u8;
        Ok(if self.invert_score { SCORE_MAX as u8 - score } else { score })
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// A column or key is of another format.
    pub fn check(&self) -> Result<(), FormatError> {
        if self.column.is_some() && !matches!(self.format, Format::Auto | Format::Csv) {
            return Err(FormatError::NoColumns);
        }
        if self.key.is_some() && (!matches!(self.format, Format::Auto | Format::Json) || self.column.is_some()) {
            return Err(FormatError::NoKeys);
        }
        let is_readable = |column: Option<&Column>| match self.format {
            Format::Lines | Format::Ranges => false,
            Format::Json => matches!(column, Some(Column::Name(_))),
            Format::Auto | Format::Csv => true,
        };
        if self.min.as_ref().is_some_and(|min| !is_readable(min.column.as_ref())) {
            return Err(FormatError::MinWithoutColumn);
        }
        if self.score.as_ref().is_some_and(|column| !is_readable(Some(column))) {
            return Err(FormatError::ScoreWithoutColumn);
        }
        if self.invert_score && self.score.is_none() {
            return Err(FormatError::InvertWithoutColumn);
        }
        if self.ipv6_host.is_some_and(|len| !(1..=128).contains(&len)) {
            return Err(FormatError::Ipv6Host);
        }
        Ok(())
    }
}

/// Reads `lines`, `json`, `csv` or `ranges`.
impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "lines" => Ok(Self::Lines),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "ranges" => Ok(Self::Ranges),
            _ => Err(FormatError::Format),
        }
    }
}

/// Reads a number from 1, or a name.
impl FromStr for Column {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text.parse() {
            Ok(0) => Err(FormatError::Column),
            Ok(number) => Ok(Self::Number(number)),
            Err(_) if text.is_empty() => Err(FormatError::Column),
            Err(_) => Ok(Self::Name(text.into())),
        }
    }
}

/// Reads `5`, or `2:5` and `score:5` with a column.
impl FromStr for Min {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let (column, value) = match text.rsplit_once(':') {
            Some((column, value)) => (Some(column.parse()?), value),
            None => (None, text),
        };
        let value: f64 = value.parse().map_err(|_| FormatError::Min)?;
        if value.is_finite() { Ok(Self { column, value }) } else { Err(FormatError::Min) }
    }
}

/// Reads `accept` or `reject`.
impl FromStr for HostBits {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "accept" => Ok(Self::Accept),
            "reject" => Ok(Self::Reject),
            _ => Err(FormatError::HostBits),
        }
    }
}
