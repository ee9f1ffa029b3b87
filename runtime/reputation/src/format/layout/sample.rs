//! The first lines of a list, and the contents of their columns.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use super::{Place, integer_range, item};
use crate::format::columns::Columns;
use crate::format::lines::without_mark;
use crate::prefix::{HostBits, Item};

/// The number of comments in which the names of columns are searched.
const COMMENTS_MAX: usize = 8;

/// The number of columns in which an address is searched.
pub(super) const COLUMNS_MAX: usize = 64;

/// The first lines of a list.
#[derive(Debug, Default)]
pub(in crate::format) struct Sample {
    /// Lines that are neither blank nor comments, with their numbers.
    pub(in crate::format) lines: Vec<(u64, String)>,
    /// The last comments before the first of them, without their `#`. One of them may be the header.
    comments: VecDeque<String>,
}

impl Sample {
    /// Adds a comment: the last one before the first line may be the header.
    pub(in crate::format) fn add_comment(&mut self, line: &str) {
        let comment = without_mark(line).trim().trim_start_matches(['#', ';', '/']).trim();
        if self.lines.is_empty() && !comment.is_empty() {
            if self.comments.len() == COMMENTS_MAX {
                self.comments.pop_front();
            }
            self.comments.push_back(comment.to_owned());
        }
    }
}

/// A column that was searched by its name.
pub(super) struct Named {
    /// The column, from 0, if there is one of this name.
    pub(super) at: Option<usize>,
    /// True if the first line has the names, false if a comment has them.
    pub(super) is_first_line: bool,
    /// All names.
    pub(super) names: Vec<String>,
}

impl Sample {
    /// Searches a column by its name in the last comments, then in the first line. Case does not count, unless two names
    /// differ in nothing else.
    pub(super) fn named_column(&self, columns: &mut Columns, name: &str) -> Named {
        let mut of_line = |text: &str| {
            columns.split(text);
            let names: Vec<_> = columns.texts().map(str::to_owned).collect();
            let at = names.iter().position(|text| text == name);
            (at.or_else(|| names.iter().position(|text| text.eq_ignore_ascii_case(name))), names)
        };
        let comments: Vec<_> = self.comments.iter().rev().map(|comment| of_line(comment)).collect();
        if let Some((at, names)) = comments.iter().find(|(at, _)| at.is_some()) {
            return Named { at: *at, is_first_line: false, names: names.clone() };
        }
        let Some((_, first)) = self.lines.first() else {
            return Named { at: None, is_first_line: false, names: Vec::new() };
        };
        let (at, names) = of_line(without_mark(first));
        // For an error, the names are those of the comment if it looks like a header.
        let comment = comments.into_iter().find(|(_, comment)| at.is_none() && comment.len() == names.len());
        Named { at, is_first_line: true, names: comment.map_or(names, |(_, names)| names) }
    }
}

/// The cells of the first lines.
pub(super) struct Rows(Vec<Vec<String>>);

impl Rows {
    pub(super) fn of(sample: &Sample, columns: &mut Columns) -> Self {
        let mut row = |line: &str| {
            columns.split(without_mark(line).trim_matches([' ', '\r', '\n']));
            columns.texts().map(str::to_owned).collect()
        };
        Self(sample.lines.iter().map(|(_, line)| row(line)).collect())
    }

    pub(super) fn cells(&self, column: usize) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().map(move |row| row.get(column).map(String::as_str))
    }

    pub(super) fn width(&self) -> usize {
        self.0.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Returns the number of lines that have an item in this column.
    pub(super) fn items(&self, column: usize) -> usize {
        self.cells(column).flatten().filter(|cell| item(cell).is_some()).count()
    }

    /// True if the first line names the columns: it has as many as the next one, and its text in the column of addresses has
    /// neither `.` nor `:`, as every address has.
    pub(super) fn has_header(&self, column: usize) -> bool {
        let Some(first) = self.0.first() else { return false };
        let has_letter = |text: &String| text.bytes().any(|byte| byte.is_ascii_alphabetic());
        let is_name = |text: &String| !text.contains(['.', ':']) && has_letter(text);
        let is_name = first.len() > 1 && first.get(column).is_some_and(is_name);
        is_name && self.0.get(1).is_none_or(|next| next.len() == first.len())
    }

    /// Returns the first of two neighbouring columns that have the first and the last address of a range in nearly every line, and
    /// no other column with addresses.
    fn range(&self) -> Option<usize> {
        let rows = self.entries();
        let address = |text: &String| text.trim().parse::<IpAddr>().ok();
        let ends = |row: &[String]| {
            let cells: Vec<_> = (0..row.len()).filter(|at| item(&row[*at]).is_some()).collect();
            let [first, second] = cells[..] else { return None };
            let (from, to) = (address(&row[first])?, address(&row[second])?);
            let is_near = size(from, to)? <= RANGE_MAX || is_of_networks(from, to);
            (second == first + 1 && from <= to && is_near).then_some((first, from, to))
        };
        let ranges: Vec<_> = rows.iter().filter_map(|row| ends(row)).collect();
        let &(at, ..) = ranges.first()?;
        let is_alone = rows.iter().all(|row| row.len() == 2);
        // With little else to go by, ranges have to begin and end at the edges of networks, or be short.
        let is_sure =
            |&(_, from, to): &(usize, IpAddr, IpAddr)| is_at_edges(from, to) || size(from, to) <= Some(RANGE_SHORT);
        let needs_edges = is_alone || ranges.len() < 5;
        let fits = ranges.iter().filter(|range| range.0 == at && (!needs_edges || is_sure(range))).count();
        is_nearly_all(fits, rows).then_some(at)
    }

    /// Returns the lines without the header.
    fn entries(&self) -> &[Vec<String>] {
        &self.0[usize::from(self.has_header(0))..]
    }

    /// Returns the first of two neighbouring columns that have the first and the last address of a range as integers.
    ///
    /// Sizes, times and ids are pairs of numbers too. So the ranges have to be in order without overlaps, to begin and end at the
    /// edges of networks, and to be wider than one address and above 1.0.0.0 for the most part. No cell may have an address.
    fn integer_range(&self) -> Option<usize> {
        let rows = self.entries();
        let has_address = |row: &Vec<String>| row.iter().any(|cell| resembles_address(cell));
        if rows.len() < 5 || rows.iter().any(has_address) {
            return None;
        }
        let width = self.width().min(COLUMNS_MAX).saturating_sub(1);
        (0..width).find(|&at| {
            let range = |row: &Vec<String>| integer_range(row.get(at)?, row.get(at + 1)?);
            let ranges: Vec<_> = rows.iter().filter_map(range).filter(|(from, to)| is_at_edges(*from, *to)).collect();
            let is_wide = ranges.iter().filter(|(from, to)| from < to).count() * 2 >= ranges.len();
            let is_large = |(_, to): &&(IpAddr, IpAddr)| *to >= IpAddr::from([1, 0, 0, 0]);
            is_nearly_all(ranges.len(), rows)
                && ranges.windows(2).all(|pair| pair[0].1 < pair[1].0)
                && is_wide
                && ranges.iter().filter(is_large).count() * 10 >= ranges.len() * 8
        })
    }

    /// Returns the columns of a range or of a network and its netmask, and the first of the two.
    pub(super) fn pair(&self) -> Option<(Place, usize)> {
        let range = || self.range().map(|at| (Place::Range(at), at));
        let mask = || self.mask().map(|at| (Place::Mask(at), at));
        let integers = || self.integer_range().map(|at| (Place::Integers(at), at));
        range().or_else(mask).or_else(integers)
    }

    /// Returns the first of two neighbouring columns that have a network, and its netmask or prefix length, in nearly every line.
    fn mask(&self) -> Option<usize> {
        let rows = self.entries();
        let is_network = |row: &[String], at: usize| {
            let (Some(address), Some(mask)) = (row.get(at), row.get(at + 1)) else { return false };
            let is_mask = mask.parse::<Ipv4Addr>().is_ok_and(|mask| mask.to_bits() >= 0xff00_0000);
            let is_len = mask.parse::<u8>().is_ok_and(|len| len >= 8);
            // A count beside an address would be a length with host bits.
            (is_mask || is_len) && Item::parse(&format!("{address}/{mask}"), HostBits::Reject).is_ok()
        };
        let width = self.width().min(COLUMNS_MAX).saturating_sub(1);
        let fits = |at: &usize| is_nearly_all(rows.iter().filter(|row| is_network(row, *at)).count(), rows);
        (0..width).find(|at| !rows.is_empty() && fits(at))
    }

    /// True if a line begins with a word of ipset, iptables, nginx or the like.
    pub(super) fn begins_with_verb(&self) -> bool {
        self.0.iter().any(|row| row.first().is_some_and(|word| VERBS.contains(&word.to_ascii_lowercase().as_str())))
    }

    /// True if nearly every line has items alone, and some of them several.
    pub(super) fn has_items_alone(&self) -> bool {
        let is_alone = |row: &&Vec<String>| {
            row.iter().all(|cell| cell.is_empty() || item(cell).is_some()) && row.iter().any(|cell| !cell.is_empty())
        };
        let alone = self.0.iter().filter(is_alone);
        let several = alone.clone().any(|row| row.iter().filter(|cell| !cell.is_empty()).count() > 1);
        several && alone.count() * 10 >= self.0.len() * 9
    }

    /// True if this column contains, in every line, the items of the others.
    pub(super) fn covers(&self, column: usize, others: &[usize]) -> bool {
        self.0.iter().all(|row| {
            let cell = |column: usize| row.get(column).and_then(|cell| item(cell));
            let Some(whole) = cell(column) else { return others.iter().all(|other| cell(*other).is_none()) };
            others.iter().filter_map(|other| cell(*other)).all(|part| whole.contains(part))
        })
    }

    /// Returns the first column of numbers after the addresses, or before them.
    pub(super) fn first_number_after(&self, place: Place) -> Option<usize> {
        let start = match place {
            Place::One(at) => at + 1,
            Place::Range(at) | Place::Mask(at) | Place::Integers(at) => at + 2,
            Place::All => return None,
        };
        let is_of_numbers = |column: &usize| {
            let numbers = self.cells(*column).flatten().filter(|cell| cell.parse::<f64>().is_ok()).count();
            numbers > 0 && numbers + 1 >= self.0.len()
        };
        (start..self.width()).chain(0..start).find(is_of_numbers)
    }
}

/// Words with which lines about an address begin.
const VERBS: [&str; 10] = ["add", "deny", "-a", "-i", "block", "drop", "reject", "require", "route", "allow"];

/// The largest range that is recognised in two columns: a /8 of IPv4, or as many networks of 64 bits.
const RANGE_MAX: u128 = 1 << 24;

/// The range that is short enough to be one without ending at the edge of a network.
const RANGE_SHORT: u128 = 1 << 8;

/// True if `count` is at least 95 % of the lines.
const fn is_nearly_all(count: usize, rows: &[Vec<String>]) -> bool {
    count * 20 >= rows.len() * 19
}

/// True if a text has an IPv4 address in it, or is an item.
fn resembles_address(text: &str) -> bool {
    let mut parts = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    parts.any(|part| part.parse::<Ipv4Addr>().is_ok()) || item(text).is_some()
}

/// Returns the number of addresses of IPv4, or of networks of 64 bits, between two addresses of one family.
fn size(from: IpAddr, to: IpAddr) -> Option<u128> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(u128::from(to.to_bits().checked_sub(from.to_bits())?)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(to.to_bits().checked_sub(from.to_bits())? >> 64),
        _ => None,
    }
}

/// True if a range of IPv6 consists of networks of 64 bits.
fn is_of_networks(from: IpAddr, to: IpAddr) -> bool {
    match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => from.to_bits() as u64 == 0 && to.to_bits() as u64 == u64::MAX,
        _ => false,
    }
}

/// True if a range has one address, or begins and ends at the edge of a network.
pub(in crate::format) fn is_at_edges(from: IpAddr, to: IpAddr) -> bool {
    let last = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets()[3] & 1,
        IpAddr::V6(v6) => v6.octets()[15] & 1,
    };
    from == to || last(from) == 0 && last(to) == 1
}
