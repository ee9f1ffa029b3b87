//! The formats of lists, and a reader that takes any bytes.
//!
//! | a list has | it is read as |
//! |---|---|
//! | an address, prefix or range per line; `#`, `;` and `//` begin comments | lines |
//! | columns between commas, tabs, semicolons, `|` or blanks, quoted or not, with a header or not, also a commented one | the column in which nearly every line has an address, or the one that was chosen |
//! | the first and the last address of ranges in neighbouring columns, or networks and their netmasks | ranges, or prefixes |
//! | several addresses on a line and nothing else | each of them |
//! | a name, a colon and a range per line (PeerGuardian) | ranges |
//! | `add NAME 192.0.2.1` (ipset), `deny 192.0.2.1;` (nginx), `-A INPUT -s 192.0.2.1 -j DROP` | columns between blanks |
//! | a JSON object per line, or a JSON document of any shape | the strings under keys such as `ip`, `cidr` and `prefix`, or the one that was chosen |
//!
//! Files are unpacked with gzip, and converted from UTF-16. The first lines decide; later lines that do not fit are bad lines. Every
//! line that is not blank is an entry, a comment, a header or a bad line, or is below a threshold.

mod columns;
mod json;
mod layout;
mod lines;
mod open;

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::net::Ipv6Addr;
use std::rc::Rc;
use std::str::FromStr;

use serde::de::IgnoredAny;

pub use open::{CPU_TIME_MAX, SIZE_MAX, open};

use crate::prefix::{HostBits, Item, ItemError, Prefix};
use columns::{Columns, Separator, without_comment};
use json::Walker;
use layout::{Layout, Place, SAMPLE_LINES, Sample, Table, named_range};
use lines::{Line, Lines, without_mark};
use spoa_runtime::text::Count;

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
    column: Option<Column>,
    /// The smallest number that counts. It is finite.
    value: f64,
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
    /// The prefix length is not a number from 1 to 128.
    #[error("ipv6-host is a prefix length from 1 to 128")]
    Ipv6Host,
    /// Something else than `accept` or `reject`.
    #[error("host-bits is accept or reject")]
    HostBits,
}

impl Reading {
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
        let has_no_key = self.min.as_ref().is_some_and(|min| !matches!(min.column, Some(Column::Name(_))));
        match self.format {
            Format::Lines | Format::Ranges if self.min.is_some() => return Err(FormatError::MinWithoutColumn),
            Format::Json if has_no_key => return Err(FormatError::MinWithoutColumn),
            _ => {}
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
    /// A line has too few columns.
    #[error("the line has no such column")]
    NoColumn,
    /// The threshold's column is not a number.
    #[error("\"{}\" is not a number for the threshold", .0.escape_debug())]
    NotANumber(String),
    /// A line has an address outside the column of addresses.
    #[error("several addresses on one line (column=N chooses one)")]
    Several,
    /// A line has a carriage return in it.
    #[error("a carriage return inside the line")]
    CarriageReturn,
    /// An exception in a list, which this agent cannot take.
    #[error("an exception: put it into a list with allow")]
    Exception,
}

impl LineFault {
    const fn at(self, column: usize) -> LineError {
        LineError { column, fault: self }
    }
}

/// The longest line that is read, in bytes. Comments may be longer.
pub const LINE_LEN_MAX: usize = 4096;

/// The number of characters of a text that are shown.
const SHOWN_MAX: usize = 60;

/// A list that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detected {
    /// The layout, such as `tab-separated, address in column 1`.
    pub layout: String,
    /// The number of entries: addresses, prefixes and ranges.
    pub entries: u64,
    /// The number of bad lines.
    pub bad_lines: u64,
    /// The number of lines below the threshold.
    pub below_min: u64,
}

/// Writes `tab-separated, address in column 1, 2 entries, 0 bad lines`.
impl fmt::Display for Detected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layout, entries, bad_lines, below_min } = self;
        let entries = if *entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
        write!(f, "{layout}, {entries}, {}", Count(*bad_lines, "bad line"))?;
        if *below_min > 0 { write!(f, ", {} below min", Count(*below_min, "line")) } else { Ok(()) }
    }
}

/// Reads `input` to its end, and calls `tell` for each entry and bad line with the number of its line, from 1.
///
/// # Errors
/// The input cannot be read, has no column of the name that was given, has addresses in several columns, or is a broken document
/// of JSON.
pub fn read(
    mut input: impl BufRead,
    reading: &Reading,
    mut tell: impl FnMut(u64, Result<Item, LineError>),
) -> io::Result<Detected> {
    let mut detected = Detected::default();
    let mut count = |number: u64, said: Result<Item, LineError>| {
        *if said.is_ok() { &mut detected.entries } else { &mut detected.bad_lines } += 1;
        tell(number, said);
    };
    let (layout, below_min) = if is_document(input.fill_buf()?, reading) {
        read_document(input, reading, &mut count)?
    } else {
        read_lines(input, reading, &mut count)?
    };
    Ok(Detected { layout, below_min, ..detected })
}

/// True if a list that begins with these bytes has to be read as a whole, because its first line is not JSON on its own.
fn is_document(start: &[u8], reading: &Reading) -> bool {
    if !matches!(reading.format, Format::Auto | Format::Json) || reading.column.is_some() {
        return false;
    }
    let text = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start).trim_ascii_start();
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.first() {
        Some(b'{') => line.len() >= text.trim_ascii_end().len() || serde_json::from_slice::<IgnoredAny>(line).is_err(),
        // Not an IPv6 address with a port.
        Some(b'[') => {
            let bare = line[1..].split(|byte| *byte == b']').next().unwrap_or_default();
            str::from_utf8(bare).is_ok_and(|bare| bare.parse::<Ipv6Addr>().is_err())
        }
        _ => false,
    }
}

/// Reads a document of JSON. Returns the layout, and the number of objects below the threshold.
fn read_document(
    input: impl BufRead,
    reading: &Reading,
    count: &mut impl FnMut(u64, Result<Item, LineError>),
) -> io::Result<(String, u64)> {
    let line = Rc::new(Cell::new(1));
    let input = SkipMark { input, is_at_start: true };
    let input = Scanner { input, line: Rc::clone(&line), string_len: None, is_escaped: false };
    let walker = Walker::new(reading, |said: Result<Item, LineFault>| {
        count(line.get(), said.map_err(|fault| fault.at(1)));
    });
    walker.document(input)?;
    Ok((with_keys("a JSON document", &walker.keys()), walker.below_min()))
}

/// Returns the name of a layout with the keys of its addresses.
fn with_keys(name: &str, keys: &[String]) -> String {
    if keys.is_empty() {
        name.to_owned()
    } else {
        format!("{name}, address under {}", keys.join(" and ").escape_debug())
    }
}

/// The longest string of a JSON document, in bytes: the parser keeps a whole string in memory.
const STRING_LEN_MAX: usize = 1 << 16;

/// Counts the lines of a JSON document, and ends it at a string that is too long. The parser reads byte by byte.
struct Scanner<R> {
    input: R,
    line: Rc<Cell<u64>>,
    /// The length so far of the string that is being read.
    string_len: Option<usize>,
    is_escaped: bool,
}

impl<R> Scanner<R> {
    /// Looks at the next byte. Returns false if a string is too long.
    fn scan(&mut self, byte: u8) -> bool {
        if byte == b'\n' {
            self.line.set(self.line.get() + 1);
        }
        self.string_len = match (self.string_len, byte) {
            (None, b'"') => Some(0),
            (None, _) => None,
            (Some(_), b'"') if !self.is_escaped => None,
            (Some(len), _) => Some(len + 1),
        };
        self.is_escaped = byte == b'\\' && !self.is_escaped && self.string_len.is_some();
        self.string_len.is_none_or(|len| len <= STRING_LEN_MAX)
    }
}

impl<R: Read> Read for Scanner<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(into)?;
        if into[..len].iter().all(|byte| self.scan(*byte)) {
            return Ok(len);
        }
        let text = format!("it has a string of more than {STRING_LEN_MAX} bytes");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

/// Skips a byte order mark.
struct SkipMark<R> {
    input: R,
    is_at_start: bool,
}

impl<R: BufRead> Read for SkipMark<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.is_at_start {
            self.is_at_start = false;
            if self.input.fill_buf()?.starts_with("\u{feff}".as_bytes()) {
                self.input.consume(3);
            }
        }
        self.input.read(into)
    }
}

/// Reads line by line. Returns the layout, and the number of lines below the threshold.
fn read_lines(
    input: impl BufRead,
    reading: &Reading,
    count: &mut impl FnMut(u64, Result<Item, LineError>),
) -> io::Result<(String, u64)> {
    let (mut lines, mut sample, mut early) = (Lines::new(input), Sample::default(), Vec::new());
    while sample.lines.len() < SAMPLE_LINES && early.len() < SAMPLE_LINES {
        let Some((number, line)) = lines.next()? else { break };
        match line {
            Line::Comment(line) => sample.add_comment(&line),
            Line::Text(line) => sample.lines.push((number, line.into_owned())),
            Line::Bad(fault) => early.push((number, fault)),
        }
    }
    let first = sample.lines.first().map(|(_, line)| line.as_str());
    let mut reader = LineReader::new(Layout::find(&sample, reading)?, reading, first);
    let mut early = early.into_iter().peekable();
    for (number, line) in &sample.lines {
        while let Some((bad, fault)) = early.next_if(|(bad, _)| bad < number) {
            count(bad, Err(fault.at(1)));
        }
        reader.line(*number, line, count);
    }
    early.for_each(|(bad, fault)| count(bad, Err(fault.at(1))));
    while let Some((number, line)) = lines.next()? {
        match line {
            Line::Comment(_) => {}
            Line::Text(line) => reader.line(number, &line, count),
            Line::Bad(fault) => count(number, Err(fault.at(1))),
        }
    }
    Ok((reader.name(), reader.below_min))
}

/// Reads the lines of a list whose layout is known.
struct LineReader<'r> {
    layout: Layout,
    reading: &'r Reading,
    columns: Option<Columns>,
    /// The keys of JSON under which entries were found.
    keys: Vec<String>,
    below_min: u64,
    /// Words of exceptions that the first line has too, which is no exception then.
    usual: Vec<&'static str>,
}

/// Words at the start of lines of ipset and iptables that have no address.
const DIRECTIVES: [&str; 6] = ["create", "flush", "destroy", "-N", "-F", "COMMIT"];

/// Words of lines that allow an address, or remove one: in ipset, nginx and iptables.
const EXCEPTIONS: [&str; 8] = ["nomatch", "allow", "permit", "del", "delete", "-D", "ACCEPT", "RETURN"];

impl<'r> LineReader<'r> {
    /// Returns the reader of a list that begins with this line.
    fn new(layout: Layout, reading: &'r Reading, first: Option<&str>) -> Self {
        let columns = match &layout {
            Layout::Table(table) => Some(Columns::new(table.separator)),
            Layout::Lines | Layout::NamedRanges | Layout::JsonLines => None,
        };
        let words = |word: &&&str| first.is_some_and(|line| line.split_ascii_whitespace().any(|other| other == **word));
        let usual = EXCEPTIONS.iter().filter(words).copied().collect();
        Self { layout, reading, columns, keys: Vec::new(), below_min: 0, usual }
    }

    fn name(&self) -> String {
        with_keys(&self.layout.to_string(), &self.keys)
    }

    /// Reads a line that is neither blank nor a comment.
    fn line(&mut self, number: u64, line: &str, count: &mut impl FnMut(u64, Result<Item, LineError>)) {
        // A tab at an end is that of an empty column.
        let text = without_mark(line).trim_matches([' ', '\r', '\n']);
        if text.contains('\r') {
            return count(number, Err(LineFault::CarriageReturn.at(1 + text.find('\r').unwrap_or_default())));
        }
        // The place of the fault is searched only if there is one.
        let place = |part: &str| 1 + line.find(part).unwrap_or_default();
        match &self.layout {
            Layout::Lines => {
                let entry = without_comment(text);
                match item(entry, self.reading) {
                    _ if entry.is_empty() => {}
                    Ok(_) if hides_item(text, self.reading) => count(number, Err(LineFault::Several.at(1))),
                    said => count(number, said.map_err(|fault| fault.at(place(entry)))),
                }
            }
            Layout::NamedRanges => {
                let range = named_range(text).ok_or_else(|| not(text, ItemError::Address));
                count(number, range.map_err(|fault| fault.at(place(text))));
            }
            Layout::JsonLines => {
                let mut found = Vec::new();
                let walker = Walker::new(self.reading, |said: Result<Item, LineFault>| found.push(said));
                let read = walker.line(text);
                self.below_min += walker.below_min();
                for key in walker.keys() {
                    if !self.keys.contains(&key) && self.keys.len() < KEYS_SHOWN {
                        self.keys.push(key);
                    }
                }
                drop(walker);
                if let Err((what, column)) = read {
                    return count(number, Err(LineFault::Json(what).at(place(text) + column - 1)));
                }
                for said in found {
                    let at = |fault: LineFault| {
                        let column = match &fault {
                            LineFault::Item { text: part, .. } => place(part),
                            _ => place(text),
                        };
                        fault.at(column)
                    };
                    count(number, said.map_err(at));
                }
            }
            Layout::Table(table) => {
                if table.header == Some(number) {
                    return;
                }
                let columns = self.columns.as_mut().expect("a table has columns");
                columns.split(text);
                if table.separator == Separator::Blanks {
                    if columns.text(0).is_some_and(|first| DIRECTIVES.contains(&first)) {
                        return;
                    }
                    let is_exception = |text: &str| EXCEPTIONS.contains(&text) && !self.usual.contains(&text);
                    if columns.texts().any(is_exception) {
                        return count(number, Err(LineFault::Exception.at(1)));
                    }
                    if hides_item(text, self.reading) {
                        return count(number, Err(LineFault::Several.at(1)));
                    }
                }
                match row(table, columns, self.reading) {
                    Ok(None) => self.below_min += 1,
                    Ok(Some(items)) => items.into_iter().for_each(|item| {
                        count(number, item.map_err(|(fault, part)| fault.at(part.map_or(1, |part| place(&part)))));
                    }),
                    Err((fault, part)) => {
                        let at = part.map_or(text.len() + 1, |part| place(&part));
                        count(number, Err(fault.at(at)));
                    }
                }
            }
        }
    }
}

/// The number of keys that a report names.
const KEYS_SHOWN: usize = 8;

/// A fault, and the text that has it.
type Fault = (LineFault, Option<String>);

/// Returns the entries of a row; `None` if it is below the threshold.
fn row(table: &Table, columns: &Columns, reading: &Reading) -> Result<Option<Vec<Result<Item, Fault>>>, Fault> {
    let cell = |at: usize| columns.text(at).ok_or((LineFault::NoColumn, None));
    if let (Some(at), Some(min)) = (table.min, &reading.min) {
        let text = cell(at)?;
        match text.parse::<f64>() {
            Ok(number) if number < min.value => return Ok(None),
            Ok(_) => {}
            Err(_) => return Err((LineFault::NotANumber(shown(text)), Some(text.to_owned()))),
        }
    }
    let one = |text: &str| item(text, reading).map_err(|fault| (fault, Some(text.to_owned())));
    Ok(Some(match table.place {
        Place::One(at) => {
            let entry = one(cell(at)?);
            // The operator may have chosen one of several.
            if let Ok(whole) = &entry
                && reading.column.is_none()
            {
                let others = columns.texts().filter(|text| text.contains(['.', ':']));
                let is_apart = |text: &str| item(text, reading).is_ok_and(|other| !whole.contains(other));
                if let Some(other) = others.into_iter().find(|text| is_apart(text)) {
                    return Err((LineFault::Several, Some(other.to_owned())));
                }
            }
            vec![entry]
        }
        Place::Range(at) => {
            let (from, to) = (cell(at)?, cell(at + 1)?);
            vec![one(&format!("{from}-{to}")).map_err(|(fault, _)| (fault, Some(from.to_owned())))]
        }
        Place::Mask(at) => {
            let (network, mask) = (cell(at)?, cell(at + 1)?);
            vec![one(&format!("{network}/{mask}")).map_err(|(fault, _)| (fault, Some(network.to_owned())))]
        }
        Place::All if columns.texts().all(str::is_empty) => return Err((LineFault::NoColumn, None)),
        Place::All => columns.texts().filter(|text| !text.is_empty()).map(one).collect(),
    }))
}

/// True if what would be the comment after a semicolon has an address in it.
fn hides_item(text: &str, reading: &Reading) -> bool {
    let comment = text.split('#').next().unwrap_or_default().split_once(';').map_or("", |(_, comment)| comment);
    comment.split([';', ' ', '\t', ',']).any(|word| word.contains(['.', ':']) && item(word, reading).is_ok())
}

/// Reads an entry.
fn item(text: &str, reading: &Reading) -> Result<Item, LineFault> {
    let item = Item::parse(text, reading.host_bits).map_err(|error| not(text, error))?;
    Ok(match (item, reading.ipv6_host) {
        (Item::Prefix(prefix), Some(len)) if prefix.address().is_ipv6() && prefix.bits() == 128 => {
            Item::Prefix(Prefix::of(prefix.address(), len))
        }
        _ => item,
    })
}

fn not(text: &str, error: ItemError) -> LineFault {
    LineFault::Item { text: shown(text), error }
}

/// Returns the beginning of a text.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::time::Duration;

    use super::open::Bounded;
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_column() {
        let columns = |text: &[u8], format: &Reading| {
            let mut columns = Vec::new();
            let tell = |line, said: Result<Item, LineError>| columns.extend(said.err().map(|bad| (line, bad.column)));
            read(text, format, tell).unwrap();
            columns
        };
        assert_eq!(columns("  no # x\n\u{feff}no\n1.2.3.4\n".as_bytes(), &Reading::default()), [(1, 3), (2, 4)]);
        assert_eq!(columns(b"1.2.3.4\n1.2\xff", &Reading::default()), [(2, 1)]);
        assert_eq!(columns(b"{\"cidr\":\"no\"}\n {\"cidr\":}", &Reading::default()), [(1, 10), (2, 10)]);
        assert_eq!(columns(b"x,1.2.3.4\nx, \"no\"\nx", &column("2")), [(2, 5), (3, 2)]);
    }

    fn column(text: &str) -> Reading {
        Reading { column: Some(text.parse().unwrap()), ..Reading::default() }
    }

    /// Returns the prefixes of a list, and its bad lines with their numbers.
    fn read_all(text: &[u8], format: &Reading) -> (Vec<String>, Vec<(u64, String)>) {
        let (mut prefixes, mut bad) = (Vec::new(), Vec::new());
        read(text, format, |number, said| match said {
            Ok(item) => item.prefixes(|prefix| prefixes.push(prefix.to_string())),
            Err(error) => bad.push((number, error.to_string())),
        })
        .unwrap();
        (prefixes, bad)
    }

    #[test]
    fn lines_of_firehol_and_spamhaus() {
        let text = "\u{feff}# FireHOL\r\n#\r\n\r\n1.10.16.0/20\r\n1.2.3.4\n; Spamhaus DROP\n5.134.128.0/19 ; SBL270738\n\
                    \t2001:db8::/32 # a note\n10.0.0.1-10.0.0.2\nno address\n1.2.3.4/33\n1.2.3.4 5.6.7.8";
        let (prefixes, bad) = read_all(text.as_bytes(), &Reading::default());
        assert_eq!(prefixes, ["1.10.16.0/20", "1.2.3.4", "5.134.128.0/19", "2001:db8::/32", "10.0.0.1", "10.0.0.2"]);
        let wanted = [
            (10, "\"no address\" is not an address".into()),
            (11, "\"1.2.3.4/33\" is not a prefix length from 0 to 32".into()),
            (12, "\"1.2.3.4 5.6.7.8\" is not an address".into()),
        ];
        assert_eq!(bad, wanted);
    }

    #[test]
    fn lines_of_json() {
        let text = br#"{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}
{"sblid":"SBL1","cidr":"2001:db8::\/32"}
{"type":"metadata","timestamp":1763999000,"size":2}
{"asn":213371}
{"cidr":"nowhere"}
{"cidr":
{"ip":"192.0.2.1","n":[1,{"x":null}]}
{"ip":"192.0.2.1","type":4,"network":"192.0.2.0/24"}"#;
        let (prefixes, bad) = read_all(text, &Reading::default());
        assert_eq!(prefixes, ["1.10.16.0/20", "2001:db8::/32", "192.0.2.1", "192.0.2.0/24"]);
        assert_eq!(bad.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [4, 5, 6]);
    }

    #[test]
    fn columns_by_number_and_name() {
        let text = b"first_seen, \"dst_ip\" ,port\n\"2026-01-01, noon\",192.0.2.1,443\n# comment\nx, \"192.0.2.0/25\",1\nx\nx,y\n";
        for name in ["2", "dst_ip", "DST_IP"] {
            let (prefixes, bad) = read_all(text, &column(name));
            assert_eq!(prefixes, ["192.0.2.1", "192.0.2.0/25"]);
            assert_eq!(bad, [(5, "the line has no such column".into()), (6, "\"y\" is not an address".into())]);
        }
        let missing = read(&text[..], &column("ip"), |_, _| {}).unwrap_err();
        assert_eq!(missing.to_string(), "there is no column \"ip\": the columns are first_seen, dst_ip, port");
        let (prefixes, bad) = read_all(b"ip,score\n192.0.2.1,7\n", &Reading::default());
        assert_eq!((prefixes.len(), bad.len()), (1, 0), "a header is no bad line");
        let (prefixes, bad) = read_all(b"192.0.2,score\n192.0.2.1,7\n", &Reading::default());
        assert_eq!((prefixes.len(), bad.len()), (1, 1), "nor is a bad line a header");
    }

    #[test]
    fn what_is_no_text_costs_its_line_alone() {
        let long = [b'1'; LINE_LEN_MAX + 1];
        let text =
            [&b"192.0.2.1\n\xff\xfe\n"[..], &long, b"\n192.0.2.2\n", &long[..LINE_LEN_MAX], b"\n192.0.2.3"].concat();
        let (prefixes, bad) = read_all(&text, &Reading::default());
        assert_eq!(prefixes, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(bad.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3, 5]);
        assert_eq!(bad[1].1, "a line of more than 4096 bytes");
    }

    #[test]
    fn size_and_time_have_limits() {
        let endless = || io::repeat(b'#').take(2_000);
        let too_large = Bounded { bytes_left: 1_000, ..Bounded::new(endless()) };
        let error = read(BufReader::new(too_large), &Reading::default(), |_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 1073741824 bytes");
        let too_slow = Bounded { cpu_end: Duration::ZERO, ..Bounded::new(endless()) };
        let error = read(BufReader::new(too_slow), &Reading::default(), |_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "reading it took more than 30 s of processor time");
        let exact = Bounded { bytes_left: 9, ..Bounded::new(&b"192.0.2.1"[..]) };
        assert!(read(BufReader::new(exact), &Reading::default(), |_, _| {}).is_ok());
    }

    #[test]
    fn only_regular_files_are_opened() {
        let error = open(&std::env::temp_dir()).err().unwrap();
        assert_eq!(error.to_string(), "it is not a regular file");
    }

    #[test]
    fn comments_and_nothing() {
        for text in ["", "\n\n", "# only\n; comments", "\u{feff}"] {
            assert_eq!(read_all(text.as_bytes(), &Reading::default()), (Vec::new(), Vec::new()), "{text:?}");
        }
    }
}
