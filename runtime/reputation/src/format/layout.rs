//! Finds out how a list is laid out, from its first lines.

mod sample;
mod table;

use std::fmt;
use std::io;

use super::columns::{Separator, without_comment};
use super::lines::without_mark;
use super::records::are_records;
use super::{Format, Reading, integer_range};
use crate::prefix::{HostBits, Item};

pub(super) use sample::{Sample, is_at_edges};
pub(super) use table::{Place, Table};

/// The number of lines that decide.
pub(super) const SAMPLE_LINES: usize = 256;

/// The layout of a list whose lines are read one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// An address, prefix or range per line.
    Lines,
    /// A name, a colon and a range per line, as in PeerGuardian's lists. The name may contain colons and commas.
    NamedRanges,
    /// Records, whose lines begin with a word each.
    Records,
    /// Columns.
    Table(Table),
    /// A JSON object per line.
    JsonLines,
}

/// A layout, or the reason why it cannot be used, with the number of lines that fit.
struct Candidate {
    layout: io::Result<Layout>,
    fits: usize,
}

impl Layout {
    /// Finds the layout of a list that begins with these lines.
    ///
    /// # Errors
    /// There is no column of the name that was given, or addresses are in several columns.
    pub(super) fn find(sample: &Sample, reading: &Reading) -> io::Result<Self> {
        let is_json = sample.lines.first().is_some_and(|(_, first)| without_mark(first).trim_start().starts_with('{'));
        match reading.format {
            Format::Json => return Ok(Self::JsonLines),
            Format::Auto if is_json && reading.column.is_none() => return Ok(Self::JsonLines),
            Format::Lines => return Ok(Self::Lines),
            Format::Ranges => return Ok(Self::NamedRanges),
            Format::Auto | Format::Csv => {}
        }
        if sample.lines.is_empty() {
            return Ok(Self::Lines);
        }
        if let Some(column) = &reading.column {
            return Table::with_column(sample, reading, column).map(Self::Table);
        }
        let lines = || sample.lines.iter().map(|(_, line)| line.as_str());
        let has_lines = reading.format == Format::Auto && !reading.needs_numbers();
        let items = if has_lines { lines().filter(|line| is_item(line)).count() } else { 0 };
        if !reading.needs_numbers() {
            if let Some(table) = Table::of_many(sample, reading)? {
                return Ok(Self::Table(table));
            }
            let is_first = lines().next().is_some_and(is_item);
            let half = sample.lines.len().div_ceil(2);
            if has_lines && are_records(lines()) {
                return Ok(Self::Records);
            }
            if has_lines && (is_first && items >= half || items * 10 >= sample.lines.len() * 9) {
                return Ok(Self::Lines);
            }
        }
        let whole = Candidate { layout: Ok(Self::Lines), fits: items };
        let named = lines().filter(|line| named_range(line).is_some()).count();
        let named = Candidate { layout: Ok(Self::NamedRanges), fits: if has_lines { named } else { 0 } };
        let separators = Separator::ALL
            .into_iter()
            .filter(|separator| reading.format == Format::Auto || *separator != Separator::Blanks);
        let tables = separators.map(|separator| Table::found(sample, reading, separator));
        let candidates = [named].into_iter().chain(tables);
        // Of equal ones the first that can be used counts.
        let order = |candidate: &Candidate| (candidate.fits, candidate.layout.is_ok());
        let best = candidates.fold(whole, |best, other| if order(&other) > order(&best) { other } else { best });
        if best.fits == 0 && reading.needs_numbers() {
            return Err(no_numbers());
        }
        best.layout
    }
}

/// Returns the range after the last colon that has one before it.
pub(super) fn named_range(line: &str) -> Option<Item> {
    let (_, range) = line.trim().rsplit_once(':')?;
    let (from, to) = range.split_once('-')?;
    Item::parse(&format!("{}-{}", from.trim(), to.trim()), HostBits::Reject).ok()
}

/// True if the whole line is an item, except for a comment at its end.
fn is_item(line: &str) -> bool {
    item(without_comment(without_mark(line))).is_some()
}

/// Returns the item of a cell, with host bits or not.
fn item(text: &str) -> Option<Item> {
    Item::parse(text, HostBits::Accept).ok()
}

fn no_numbers() -> io::Error {
    invalid("there is no column of numbers beside the addresses".into())
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Describes the layout for reports, such as `tab-separated, address in column 1`.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines => f.write_str("one address per line"),
            Self::NamedRanges => f.write_str("names with ranges"),
            Self::Records => f.write_str("records"),
            Self::JsonLines => f.write_str("JSON lines"),
            Self::Table(Table { separator, place, min, score, .. }) => {
                f.write_str(separator.name())?;
                match place {
                    Place::One(at) => write!(f, ", address in column {}", at + 1)?,
                    Place::Range(at) => write!(f, ", range in columns {} and {}", at + 1, at + 2)?,
                    Place::Mask(at) => write!(f, ", network and netmask in columns {} and {}", at + 1, at + 2)?,
                    Place::Integers(at) => write!(f, ", range of integers in columns {} and {}", at + 1, at + 2)?,
                    Place::All => f.write_str(", an address in every column")?,
                }
                for (name, column) in [("threshold on", min), ("score in", score)] {
                    if let Some(at) = column {
                        write!(f, ", {name} column {}", at + 1)?;
                    }
                }
                Ok(())
            }
        }
    }
}
