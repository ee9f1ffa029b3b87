//! Finds out how a list is laid out, from its first lines.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use super::columns::{Columns, Separator, without_comment};
use super::lines::without_mark;
use super::{Column, Format, Reading};
use crate::prefix::{HostBits, Item};

/// The number of lines that decide.
pub(super) const SAMPLE_LINES: usize = 256;

/// The number of comments in which the names of columns are searched.
const COMMENTS_MAX: usize = 8;

/// The number of columns in which an address is searched.
const COLUMNS_MAX: usize = 64;

/// The layout of a list whose lines are read one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// An address, prefix or range per line.
    Lines,
    /// A name, a colon and a range per line, as in PeerGuardian's lists. The name may contain colons and commas.
    NamedRanges,
    /// Columns.
    Table(Table),
    /// A JSON object per line.
    JsonLines,
}

/// A layout with columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) separator: Separator,
    pub(super) place: Place,
    /// The number of the line that is the header, unless it is a comment.
    pub(super) header: Option<u64>,
    /// The column of the threshold, from 0.
    pub(super) min: Option<usize>,
}

/// The columns that have addresses, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// An item in one column.
    One(usize),
    /// The first address of a range in this column, and the last one in the next.
    Range(usize),
    /// The address of a network in this column, and its netmask or prefix length in the next.
    Mask(usize),
    /// An item in every column.
    All,
}

/// The first lines of a list.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// Lines that are neither blank nor comments, with their numbers.
    pub(super) lines: Vec<(u64, String)>,
    /// The last comments before the first of them, without their `#`. One of them may be the header.
    pub(super) comments: VecDeque<String>,
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
        if reading.min.is_none() {
            let is_first = lines().next().is_some_and(is_item);
            let fits = lines().filter(|line| is_item(line)).count();
            let half = sample.lines.len().div_ceil(2);
            if let Some(table) = Table::of_many(sample, reading)? {
                return Ok(Self::Table(table));
            }
            if reading.format == Format::Auto && (is_first && fits >= half || fits * 10 >= sample.lines.len() * 9) {
                return Ok(Self::Lines);
            }
        }
        let count = |fits: fn(&str) -> bool| lines().filter(|line| fits(line)).count();
        let has_lines = reading.format == Format::Auto && reading.min.is_none();
        let whole = Candidate { layout: Ok(Self::Lines), fits: if has_lines { count(is_item) } else { 0 } };
        let named = Candidate { layout: Ok(Self::NamedRanges), fits: count(|line| named_range(line).is_some()) };
        let separators = Separator::ALL
            .into_iter()
            .filter(|separator| reading.format == Format::Auto || *separator != Separator::Blanks);
        let tables = separators.map(|separator| Table::found(sample, reading, separator));
        let candidates = [named].into_iter().chain(tables);
        // Of equal ones the first counts.
        let best = candidates.fold(whole, |best, other| if other.fits > best.fits { other } else { best });
        if best.fits == 0 && reading.min.is_some() {
            return Err(no_numbers());
        }
        best.layout
    }
}

impl Table {
    /// Returns the table of the separator whose column, which was named or numbered, has the most items.
    fn with_column(sample: &Sample, reading: &Reading, column: &Column) -> io::Result<Self> {
        let (mut best, mut wrong): (Option<(usize, Self)>, _) = (None, None);
        let mut names: Vec<String> = Vec::new();
        for separator in Separator::ALL {
            let mut columns = Columns::new(separator);
            let (at, header) = match column {
                Column::Number(number) => (number.saturating_sub(1), None),
                Column::Name(name) => {
                    let Some((at, header, all)) = named_column(sample, &mut columns, name) else { continue };
                    if names.len() < all.len() {
                        names = all;
                    }
                    let Some(at) = at else { continue };
                    (at, header)
                }
            };
            let rows = Rows::of(sample, &mut columns);
            let fits = rows.items(at);
            let header = header.or_else(|| match column {
                Column::Number(_) => rows.header(at),
                Column::Name(_) => None,
            });
            if best.as_ref().is_none_or(|(most, _)| fits > *most) {
                match Self::at(separator, Place::One(at), header, reading, sample, &rows) {
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
    fn of_many(sample: &Sample, reading: &Reading) -> io::Result<Option<Self>> {
        for separator in Separator::ALL {
            let rows = Rows::of(sample, &mut Columns::new(separator));
            if let Some(at) = rows.range() {
                let header = rows.header(at);
                return Self::at(separator, Place::Range(at), header, reading, sample, &rows).map(Some);
            }
            if let Some(at) = rows.mask() {
                let header = rows.header(at);
                return Self::at(separator, Place::Mask(at), header, reading, sample, &rows).map(Some);
            }
            if rows.has_items_alone() {
                return Self::at(separator, Place::All, None, reading, sample, &rows).map(Some);
            }
        }
        Ok(None)
    }

    /// Returns the table of a separator, with the column in which most lines have an item.
    fn found(sample: &Sample, reading: &Reading, separator: Separator) -> Candidate {
        let rows = Rows::of(sample, &mut Columns::new(separator));
        let candidate = |place, at, fits| match Self::at(separator, place, rows.header(at), reading, sample, &rows) {
            Ok(table) => Candidate { layout: Ok(Layout::Table(table)), fits },
            Err(error) => Candidate { layout: Err(error), fits: 0 },
        };
        if let Some(at) = rows.range() {
            return candidate(Place::Range(at), at, rows.items(at));
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

    fn at(
        separator: Separator,
        place: Place,
        header: Option<u64>,
        reading: &Reading,
        sample: &Sample,
        rows: &Rows,
    ) -> io::Result<Self> {
        let min = match &reading.min {
            None => None,
            Some(min) => Some(match &min.column {
                Some(Column::Number(number)) => number.saturating_sub(1),
                Some(Column::Name(name)) => match named_column(sample, &mut Columns::new(separator), name) {
                    Some((Some(at), ..)) => at,
                    Some((None, _, names)) => return Err(missing(name, &names)),
                    None => return Err(missing(name, &[])),
                },
                None => rows.first_number_after(place).ok_or_else(no_numbers)?,
            }),
        };
        Ok(Self { separator, place, header, min })
    }
}

/// The cells of the first lines.
struct Rows(Vec<(u64, Vec<String>)>);

impl Rows {
    fn of(sample: &Sample, columns: &mut Columns) -> Self {
        let mut row = |line: &str| {
            columns.split(without_mark(line).trim_matches([' ', '\r', '\n']));
            columns.texts().map(str::to_owned).collect()
        };
        Self(sample.lines.iter().map(|(number, line)| (*number, row(line))).collect())
    }

    fn cells(&self, column: usize) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().map(move |(_, row)| row.get(column).map(String::as_str))
    }

    fn width(&self) -> usize {
        self.0.iter().map(|(_, row)| row.len()).max().unwrap_or(0)
    }

    /// Returns the number of lines that have an item in this column.
    fn items(&self, column: usize) -> usize {
        self.cells(column).flatten().filter(|cell| item(cell).is_some()).count()
    }

    /// Returns the number of the first line if it names the columns: it has as many as the next one, and its text in the column of
    /// addresses has neither `.` nor `:`, as every address has.
    fn header(&self, column: usize) -> Option<u64> {
        let (number, first) = self.0.first()?;
        let has_letter = |text: &String| text.bytes().any(|byte| byte.is_ascii_alphabetic());
        let is_name = |text: &String| !text.contains(['.', ':']) && has_letter(text);
        let is_name = first.len() > 1 && first.get(column).is_some_and(is_name);
        let is_alike = self.0.get(1).is_none_or(|(_, next)| next.len() == first.len());
        (is_name && is_alike).then_some(*number)
    }

    /// Returns the first of two neighbouring columns that have the first and the last address of a range in nearly every line, and
    /// no other column with addresses.
    fn range(&self) -> Option<usize> {
        let rows = &self.0[usize::from(self.header(0).is_some())..];
        let address = |text: &String| text.trim().parse::<IpAddr>().ok();
        let ends = |row: &[String]| {
            let cells: Vec<_> = (0..row.len()).filter(|at| item(&row[*at]).is_some()).collect();
            let [first, second] = cells[..] else { return None };
            let (from, to) = (address(&row[first])?, address(&row[second])?);
            let is_near = second == first + 1 && from <= to && size(from, to)? <= RANGE_MAX;
            is_near.then_some((first, from, to))
        };
        let ranges: Vec<_> = rows.iter().filter_map(|(_, row)| ends(row)).collect();
        let &(at, ..) = ranges.first()?;
        let is_alone = rows.iter().all(|(_, row)| row.len() == 2);
        // With little else to go by, ranges have to begin and end at the edges of networks, or be short.
        let is_sure =
            |&(_, from, to): &(usize, IpAddr, IpAddr)| is_at_edges(from, to) || size(from, to) <= Some(RANGE_SHORT);
        let needs_edges = is_alone || ranges.len() < 5;
        let fits = ranges.iter().filter(|range| range.0 == at && (!needs_edges || is_sure(range))).count();
        (fits * 20 >= rows.len() * 19).then_some(at)
    }

    /// Returns the first of two neighbouring columns that have a network, and its netmask or prefix length, in nearly every line.
    fn mask(&self) -> Option<usize> {
        let rows = &self.0[usize::from(self.header(0).is_some())..];
        let is_network = |row: &[String], at: usize| {
            let (Some(address), Some(mask)) = (row.get(at), row.get(at + 1)) else { return false };
            let is_mask = mask.parse::<Ipv4Addr>().is_ok_and(|mask| mask.to_bits() >= 0xff00_0000);
            let is_len = mask.parse::<u8>().is_ok_and(|len| len >= 8);
            // A count beside an address would be a length with host bits.
            (is_mask || is_len) && Item::parse(&format!("{address}/{mask}"), HostBits::Reject).is_ok()
        };
        let width = self.width().min(COLUMNS_MAX).saturating_sub(1);
        let fits = |at: &usize| rows.iter().filter(|(_, row)| is_network(row, *at)).count() * 20 >= rows.len() * 19;
        (0..width).find(|at| !rows.is_empty() && fits(at))
    }

    /// True if a line begins with a word of ipset, iptables, nginx or the like.
    fn begins_with_verb(&self) -> bool {
        self.0
            .iter()
            .any(|(_, row)| row.first().is_some_and(|word| VERBS.contains(&word.to_ascii_lowercase().as_str())))
    }

    /// True if nearly every line has items alone, and some of them several.
    fn has_items_alone(&self) -> bool {
        let is_alone = |row: &&(u64, Vec<String>)| {
            row.1.iter().all(|cell| cell.is_empty() || item(cell).is_some())
                && row.1.iter().any(|cell| !cell.is_empty())
        };
        let alone = self.0.iter().filter(is_alone);
        let several = alone.clone().any(|(_, row)| row.iter().filter(|cell| !cell.is_empty()).count() > 1);
        several && alone.count() * 10 >= self.0.len() * 9
    }

    /// True if this column contains, in every line, the items of the others.
    fn covers(&self, column: usize, others: &[usize]) -> bool {
        self.0.iter().all(|(_, row)| {
            let cell = |column: usize| row.get(column).and_then(|cell| item(cell));
            let Some(whole) = cell(column) else { return others.iter().all(|other| cell(*other).is_none()) };
            others.iter().filter_map(|other| cell(*other)).all(|part| whole.contains(part))
        })
    }

    /// Returns the first column of numbers after the addresses, or before them.
    fn first_number_after(&self, place: Place) -> Option<usize> {
        let start = match place {
            Place::One(at) => at + 1,
            Place::Range(at) | Place::Mask(at) => at + 2,
            Place::All => return None,
        };
        let is_of_numbers = |column: &usize| {
            let numbers = self.cells(*column).flatten().filter(|cell| cell.parse::<f64>().is_ok()).count();
            numbers > 0 && numbers + 1 >= self.0.len()
        };
        (start..self.width()).chain(0..start).find(is_of_numbers)
    }
}

/// Returns a column by its name, the line of the header unless it is a comment, and all names.
fn named_column(
    sample: &Sample,
    columns: &mut Columns,
    name: &str,
) -> Option<(Option<usize>, Option<u64>, Vec<String>)> {
    let of_line = |columns: &mut Columns, text: &str| {
        columns.split(text);
        let names: Vec<_> = columns.texts().map(str::to_owned).collect();
        let at = names.iter().position(|text| text == name);
        (at.or_else(|| names.iter().position(|text| text.eq_ignore_ascii_case(name))), names)
    };
    for comment in sample.comments.iter().rev() {
        if let (Some(at), names) = of_line(columns, comment) {
            return Some((Some(at), None, names));
        }
    }
    let (number, first) = sample.lines.first()?;
    let (at, names) = of_line(columns, without_mark(first));
    // For an error, the names are those of the comment if it looks like a header.
    let comments = sample.comments.iter().rev().map(|comment| of_line(columns, comment).1);
    let comment = comments.into_iter().find(|comment| at.is_none() && comment.len() == names.len());
    let names = comment.unwrap_or(names);
    Some((at, Some(*number), names))
}

/// Returns the range after the last colon that has one before it.
pub(super) fn named_range(line: &str) -> Option<Item> {
    let (_, range) = line.trim().rsplit_once(':')?;
    let (from, to) = range.split_once('-')?;
    Item::parse(&format!("{}-{}", from.trim(), to.trim()), HostBits::Reject).ok()
}

/// Words with which lines about an address begin.
const VERBS: [&str; 10] = ["add", "deny", "-a", "-i", "block", "drop", "reject", "require", "route", "allow"];

/// The largest range that is recognised in two columns: a /8 of IPv4, or as many networks of 64 bits.
const RANGE_MAX: u128 = 1 << 24;

/// The range that is short enough to be one without ending at the edge of a network.
const RANGE_SHORT: u128 = 1 << 8;

/// Returns the number of addresses of IPv4, or of networks of 64 bits, between two addresses of one family.
fn size(from: IpAddr, to: IpAddr) -> Option<u128> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(u128::from(to.to_bits().checked_sub(from.to_bits())?)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(to.to_bits().checked_sub(from.to_bits())? >> 64),
        _ => None,
    }
}

/// True if a range has one address, or begins and ends at the edge of a network.
fn is_at_edges(from: IpAddr, to: IpAddr) -> bool {
    let last = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets()[3] & 1,
        IpAddr::V6(v6) => v6.octets()[15] & 1,
    };
    from == to || last(from) == 0 && last(to) == 1
}

/// True if the whole line is an item, except for a comment at its end.
fn is_item(line: &str) -> bool {
    item(without_comment(without_mark(line))).is_some()
}

/// Returns the item of a cell, with host bits or not.
fn item(text: &str) -> Option<Item> {
    Item::parse(text, HostBits::Accept).ok()
}

impl Sample {
    /// Adds a comment: the last one before the first line may be the header.
    pub(super) fn add_comment(&mut self, line: &str) {
        let comment = without_mark(line).trim().trim_start_matches(['#', ';', '/']).trim();
        if self.lines.is_empty() && !comment.is_empty() {
            if self.comments.len() == COMMENTS_MAX {
                self.comments.pop_front();
            }
            self.comments.push_back(comment.to_owned());
        }
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

fn no_numbers() -> io::Error {
    invalid("there is no column of numbers for min".into())
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
            Self::JsonLines => f.write_str("JSON lines"),
            Self::Table(Table { separator, place, min, .. }) => {
                f.write_str(separator.name())?;
                match place {
                    Place::One(at) => write!(f, ", address in column {}", at + 1)?,
                    Place::Range(at) => write!(f, ", range in columns {} and {}", at + 1, at + 2)?,
                    Place::Mask(at) => write!(f, ", network and netmask in columns {} and {}", at + 1, at + 2)?,
                    Place::All => f.write_str(", an address in every column")?,
                }
                match min {
                    Some(at) => write!(f, ", threshold on column {}", at + 1),
                    None => Ok(()),
                }
            }
        }
    }
}
