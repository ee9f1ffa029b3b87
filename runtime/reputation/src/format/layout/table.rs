//! Finds the columns that have the addresses, and the numbers beside them.

use std::io;

use super::sample::{COLUMNS_MAX, Named, Rows};
use super::{Candidate, Layout, Sample, invalid, no_numbers};
use crate::format::columns::{Columns, Separator};
use crate::format::{Column, Reading};

/// A layout with columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::format) struct Table {
    pub(in crate::format) separator: Separator,
    pub(in crate::format) place: Place,
    /// True if the first line is the header.
    pub(in crate::format) has_header: bool,
    /// The column of the threshold, from 0.
    pub(in crate::format) min: Option<usize>,
    /// The column of the scores, from 0.
    pub(in crate::format) score: Option<usize>,
}

/// The columns that have addresses, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::format) enum Place {
    /// An item in one column.
    One(usize),
    /// The first address of a range in this column, and the last one in the next.
    Range(usize),
    /// The address of a network in this column, and its netmask or prefix length in the next.
    Mask(usize),
    /// The first address of a range in this column, and the last one in the next, as integers.
    Integers(usize),
    /// An item in every column.
    All,
}

/// The first lines, split by one separator.
struct Split<'s> {
    sample: &'s Sample,
    reading: &'s Reading,
    separator: Separator,
    rows: Rows,
}

impl Table {
    /// Returns the table of the separator whose column, which was named or numbered, has the most items.
    pub(super) fn with_column(sample: &Sample, reading: &Reading, column: &Column) -> io::Result<Self> {
        let (mut best, mut wrong): (Option<(usize, Self)>, _) = (None, None);
        let mut names: Vec<String> = Vec::new();
        for separator in Separator::ALL {
            let split = Split::new(sample, reading, separator);
            let (at, has_header) = match column {
                Column::Number(number) => {
                    let at = number.saturating_sub(1);
                    (at, split.rows.has_header(at))
                }
                Column::Name(name) => {
                    let named = split.named_column(name);
                    if names.len() < named.names.len() {
                        names = named.names;
                    }
                    let Some(at) = named.at else { continue };
                    (at, named.is_first_line)
                }
            };
            let fits = split.rows.items(at);
            if best.as_ref().is_none_or(|(most, _)| fits > *most) {
                match split.table(Place::One(at), has_header) {
                    Ok(table) => best = Some((fits, table)),
                    Err(error) => wrong = wrong.or(Some(error)),
                }
            }
        }
        match (best, wrong, column) {
            (Some((_, table)), ..) => Ok(table),
            (None, Some(wrong), _) => Err(wrong),
            (None, None, Column::Name(name)) => Err(missing(name, &names)),
            (None, None, Column::Number(_)) => unreachable!("every separator has a table or a fault"),
        }
    }

    /// Returns a table with more than one address per line: a range in two columns, or an address in each.
    pub(super) fn of_many(sample: &Sample, reading: &Reading) -> io::Result<Option<Self>> {
        for separator in Separator::ALL {
            let split = Split::new(sample, reading, separator);
            if let Some((place, at)) = split.rows.pair() {
                return split.table(place, split.rows.has_header(at)).map(Some);
            }
            if split.rows.has_items_alone() {
                return split.table(Place::All, false).map(Some);
            }
        }
        Ok(None)
    }

    /// Returns the table of a separator, with the column in which most lines have an item.
    pub(super) fn found(sample: &Sample, reading: &Reading, separator: Separator) -> Candidate {
        let split = Split::new(sample, reading, separator);
        let rows = &split.rows;
        let candidate =
            |place, at, fits| Candidate { layout: split.table(place, rows.has_header(at)).map(Layout::Table), fits };
        if let Some((place, at)) = rows.pair() {
            return candidate(place, at, sample.lines.len());
        }
        let counts: Vec<_> = (0..rows.width().min(COLUMNS_MAX)).map(|column| rows.items(column)).collect();
        let most = counts.iter().copied().max().unwrap_or(0);
        let full: Vec<_> = (0..counts.len()).filter(|&column| counts[column] * 10 >= most * 9 && most > 0).collect();
        let at = match full[..] {
            [] => 0,
            [only] => only,
            // One of the columns may have the whole of what the others have parts of.
            [..] => match full.iter().find(|&&column| rows.covers(column, &full)) {
                Some(&covering) => covering,
                None => return Candidate { layout: Err(ambiguous(&full)), fits: most },
            },
        };
        // A sentence with an address in it, an error message for example, is no list.
        let is_sentence = separator == Separator::Blanks && at > 0 && most < 2 && !rows.begins_with_verb();
        candidate(Place::One(at), at, if is_sentence { 0 } else { most })
    }
}

impl<'s> Split<'s> {
    fn new(sample: &'s Sample, reading: &'s Reading, separator: Separator) -> Self {
        Self { sample, reading, separator, rows: Rows::of(sample, &mut Columns::new(separator)) }
    }

    fn named_column(&self, name: &str) -> Named {
        self.sample.named_column(&mut Columns::new(self.separator), name)
    }

    /// Returns the table with its addresses in `place`, and with the columns of numbers that are needed beside them.
    ///
    /// # Errors
    /// There is no such column of numbers.
    fn table(&self, place: Place, mut has_header: bool) -> io::Result<Table> {
        let mut numbers = |column: Option<&Column>| match column {
            Some(Column::Number(number)) => Ok(number.saturating_sub(1)),
            Some(Column::Name(name)) => {
                let named = self.named_column(name);
                has_header |= named.at.is_some() && named.is_first_line;
                named.at.ok_or_else(|| missing(name, &named.names))
            }
            None => self.rows.first_number_after(place).ok_or_else(no_numbers),
        };
        let min = self.reading.min.as_ref().map(|min| numbers(min.column.as_ref())).transpose()?;
        let score = self.reading.score.as_ref().map(|column| numbers(Some(column))).transpose()?;
        Ok(Table { separator: self.separator, place, has_header, min, score })
    }
}

fn missing(name: &str, names: &[String]) -> io::Error {
    let known =
        if names.is_empty() { "there is no header".into() } else { format!("the columns are {}", names.join(", ")) };
    invalid(format!("there is no column \"{name}\": {known}"))
}

fn ambiguous(columns: &[usize]) -> io::Error {
    let names: Vec<_> = columns.iter().map(|column| (column + 1).to_string()).collect();
    invalid(format!("addresses are in columns {}: choose one with column=N", names.join(" and ")))
}
