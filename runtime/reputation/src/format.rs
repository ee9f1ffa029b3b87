//! The formats of lists, and a reader that takes any bytes, line by line.

use std::fs::Metadata;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::str::{self, FromStr};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::file_access::RegularFile;
use crate::prefix::{Item, ItemError};

/// The format of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Detected by the first line that is neither blank nor a comment: JSON if it begins with `{`, CSV with the address
    /// in the first column if it has a comma, else lines.
    #[default]
    Auto,
    /// An address, prefix or range per line; comments begin with `#` or `;`. FireHOL's `.netset` and `.ipset`, and the
    /// text of Spamhaus DROP.
    Lines,
    /// A JSON object per line, with the address in `cidr`, `prefix`, `network`, `range` or `ip`: Spamhaus DROP. Lines
    /// with a `type` but no address (metadata) are skipped.
    JsonLines,
    /// Columns separated by commas.
    Csv(Column),
}

/// The column of a CSV file that has the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// By number; the first is 1. A first line that has neither `.` nor `:` in it, as every address has, is a header.
    Number(usize),
    /// By its name in the header, which is the first line.
    Name(String),
}

/// The reason why a text is not a format or column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No format has this name.
    #[error("a format is lines, json or csv")]
    Format,
    /// The column is empty, or a number below 1.
    #[error("a column is a number from 1, or a name in the first line")]
    Column,
    /// A column was given for a format that has none.
    #[error("only csv has columns")]
    NoColumns,
}

impl Format {
    /// Returns the format that a format and a column, each if it is given, make together: with a column it is CSV.
    ///
    /// # Errors
    /// The column is of another format.
    pub fn of(format: Option<Self>, column: Option<Column>) -> Result<Self, FormatError> {
        match (format, column) {
            (format, None) => Ok(format.unwrap_or_default()),
            (None | Some(Self::Auto | Self::Csv(_)), Some(column)) => Ok(Self::Csv(column)),
            (Some(Self::Lines | Self::JsonLines), Some(_)) => Err(FormatError::NoColumns),
        }
    }
}

/// Reads `lines`, `json`, or `csv` with the address in the first column.
impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "lines" => Ok(Self::Lines),
            "json" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv(Column::Number(1))),
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
    #[error("\"{text}\" is {error}")]
    Item {
        /// The beginning of the text.
        text: String,
        /// The fault.
        error: ItemError,
    },
    /// The line is longer than [`LINE_LEN_MAX`].
    #[error("a line of more than {LINE_LEN_MAX} bytes")]
    TooLong,
    /// The line has bytes that are not UTF-8.
    #[error("not UTF-8 text")]
    NotText,
    /// The line is not JSON, or has something other than a string where an address should be.
    #[error("not a line of JSON with an address: {0}")]
    Json(String),
    /// A line of JSON has no address.
    #[error("no address under \"cidr\", \"prefix\", \"network\", \"range\" or \"ip\"")]
    NoAddress,
    /// A line of CSV has too few columns.
    #[error("the line has no such column")]
    NoColumn,
}

impl LineFault {
    const fn at(self, column: usize) -> LineError {
        LineError { column, fault: self }
    }
}

/// The longest line that is read, in bytes.
pub const LINE_LEN_MAX: usize = 4096;

/// The size of a list, unpacked, in bytes. The addresses that all lists together may have take less, but some kilobytes of
/// gzip, or a sparse file, may be gigabytes of nothing.
pub const SIZE_MAX: u64 = 1 << 30;

/// The processor time that reading one list may take. A file of the largest size that has an address in each line takes a
/// third of it; one without a single address, which is a bad line each, would take minutes.
pub const CPU_TIME_MAX: Duration = Duration::from_secs(30);

/// Reads a list, unpacked, up to the limits.
struct Bounded<R> {
    file: R,
    /// The bytes that it may still have.
    bytes_left: u64,
    /// The processor time of this thread at which reading stops.
    cpu_end: Duration,
}

impl<R> Bounded<R> {
    fn new(file: R) -> Self {
        Self { file, bytes_left: SIZE_MAX, cpu_end: cpu_time() + CPU_TIME_MAX }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if cpu_time() > self.cpu_end {
            return Err(exceeded(format!("reading it took more than {} s of processor time", CPU_TIME_MAX.as_secs())));
        }
        let len = self.file.read(into)?;
        self.bytes_left = self.bytes_left.checked_sub(len as u64).ok_or_else(too_large)?;
        Ok(len)
    }
}

fn exceeded(limit: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, limit)
}

fn too_large() -> io::Error {
    exceeded(format!("it is larger than {SIZE_MAX} bytes"))
}

/// Returns the processor time that this thread has used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Opens a list, compressed with gzip or not.
///
/// # Errors
/// The same as those of [`RegularFile::open`]; or the file cannot be read. The returned reader fails beyond [`SIZE_MAX`] and
/// [`CPU_TIME_MAX`].
pub fn open(path: &Path) -> io::Result<(Box<dyn BufRead>, Metadata)> {
    const BUFFER: usize = 1 << 16;
    let (file, metadata) = RegularFile::open(path)?;
    let mut file = BufReader::with_capacity(BUFFER, file);
    Ok(if file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        // The compressed bytes too: empty members unpack to nothing, and may be many.
        let packed = BufReader::with_capacity(BUFFER, Bounded::new(file));
        (Box::new(BufReader::with_capacity(BUFFER, Bounded::new(MultiGzDecoder::new(packed)))), metadata)
    } else if metadata.len() > SIZE_MAX {
        return Err(too_large());
    } else {
        (Box::new(BufReader::with_capacity(BUFFER, Bounded::new(file))), metadata)
    })
}

/// Reads `input` to its end, and calls `tell` for each line that is neither blank nor a comment, with its number, from
/// 1, and its content.
///
/// # Errors
/// The input cannot be read, or has no column of the name that was given.
pub fn read(
    mut input: impl BufRead,
    format: &Format,
    mut tell: impl FnMut(u64, Result<Item, LineError>),
) -> io::Result<()> {
    let mut reader: Option<LineReader> = None;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let Some(is_whole) = read_line(&mut input, &mut line)? else { break };
        if !is_whole {
            tell(number, Err(LineFault::TooLong.at(1)));
            continue;
        }
        let line = match str::from_utf8(&line) {
            Ok(line) => line,
            Err(error) => {
                tell(number, Err(LineFault::NotText.at(error.valid_up_to() + 1)));
                continue;
            }
        };
        // Some editors write a byte order mark before the first line.
        let text = line.trim_start_matches('\u{feff}').trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let reader = match &mut reader {
            Some(reader) => reader,
            none => match LineReader::begin(format, text)? {
                (begun, true) => {
                    *none = Some(begun);
                    continue;
                }
                (begun, false) => none.insert(begun),
            },
        };
        if let Some(said) = reader.line(text) {
            let before = line.find(text).unwrap_or_default();
            tell(number, said.map_err(|error| LineError { column: error.column + before, ..error }));
        }
    }
    Ok(())
}

/// Appends the next line to `line`, without its end; returns false if it was longer than [`LINE_LEN_MAX`], and `None`
/// at the end of the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let len = input.by_ref().take(LINE_LEN_MAX as u64 + 1).read_until(b'\n', line)?;
    if len == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') || line.len() <= LINE_LEN_MAX {
        return Ok(Some(true));
    }
    input.skip_until(b'\n')?;
    Ok(Some(false))
}

/// Reads the lines of a file whose format is known.
enum LineReader {
    Lines,
    JsonLines,
    Csv(Box<Columns>),
}

impl LineReader {
    /// Returns the reader for a file that begins with this line, and true if the line is a header.
    fn begin(format: &Format, first: &str) -> io::Result<(Self, bool)> {
        Ok(match format {
            Format::Auto if first.starts_with('{') => (Self::JsonLines, false),
            Format::Auto if first.split(['#', ';']).next().is_some_and(|text| text.contains(',')) => {
                Self::numbered(0, first)
            }
            Format::Auto | Format::Lines => (Self::Lines, false),
            Format::JsonLines => (Self::JsonLines, false),
            Format::Csv(Column::Number(number)) => Self::numbered(number.saturating_sub(1), first),
            Format::Csv(Column::Name(name)) => {
                let mut columns = Columns::new(0);
                columns.split(first);
                let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("there is no column \"{name}\""));
                let wanted = (0..columns.count)
                    .find(|&column| columns.text(column) == Some(name.as_str()))
                    .ok_or_else(missing)?;
                columns.wanted = wanted;
                (Self::Csv(Box::new(columns)), true)
            }
        })
    }

    /// Returns the reader of a column, from 0, and true if the first line is a header.
    fn numbered(column: usize, first: &str) -> (Self, bool) {
        let mut columns = Columns::new(column);
        columns.split(first);
        // A text that is neither an address nor a header is a bad line.
        let is_header = columns.text(column).is_some_and(|text| !text.contains(['.', ':']));
        (Self::Csv(Box::new(columns)), is_header)
    }

    /// Reads a line; returns `None` for one that has no address on purpose.
    fn line(&mut self, text: &str) -> Option<Result<Item, LineError>> {
        match self {
            Self::Lines => {
                let text = text.split(['#', ';']).next().unwrap_or_default().trim();
                Some(item(text).map_err(|fault| fault.at(1)))
            }
            Self::JsonLines => json(text),
            Self::Csv(columns) => {
                columns.split(text);
                let Some(wanted) = columns.text(columns.wanted) else {
                    return Some(Err(LineFault::NoColumn.at(text.len() + 1)));
                };
                // A column with doubled quotes is not found in the line; then the fault is at its beginning.
                Some(item(wanted).map_err(|fault| fault.at(1 + text.find(wanted).unwrap_or_default())))
            }
        }
    }
}

fn item(text: &str) -> Result<Item, LineFault> {
    text.parse().map_err(|error| LineFault::Item { text: text.chars().take(60).collect(), error })
}

/// The keys under which JSON lists have addresses, the first one counts. Other keys are skipped.
#[derive(Deserialize)]
struct JsonLine {
    cidr: Option<String>,
    prefix: Option<String>,
    network: Option<String>,
    range: Option<String>,
    ip: Option<String>,
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
}

fn json(text: &str) -> Option<Result<Item, LineError>> {
    let JsonLine { cidr, prefix, network, range, ip, kind } = match serde_json::from_str(text) {
        Ok(line) => line,
        Err(error) => {
            // The error would say that it is in line 1.
            let text = error.to_string();
            let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
            return Some(Err(LineFault::Json(what.into()).at(error.column().max(1))));
        }
    };
    match cidr.or(prefix).or(network).or(range).or(ip) {
        Some(address) => {
            let address = address.trim();
            Some(item(address).map_err(|fault| fault.at(1 + text.find(address).unwrap_or_default())))
        }
        None if kind.is_some() => None,
        None => Some(Err(LineFault::NoAddress.at(1))),
    }
}

/// A line of CSV, split into columns. An address has no line break in it, so lines are read one by one: an open quote
/// spoils only its own line.
struct Columns {
    reader: csv_core::Reader,
    /// The column that has the address, from 0.
    wanted: usize,
    bytes: Vec<u8>,
    /// The end of each column in `bytes`; the first `count` belong to the line.
    ends: Vec<usize>,
    count: usize,
}

impl Columns {
    fn new(wanted: usize) -> Self {
        let (bytes, ends) = (vec![0; LINE_LEN_MAX], vec![0; LINE_LEN_MAX + 1]);
        Self { reader: csv_core::Reader::new(), wanted, bytes, ends, count: 0 }
    }

    /// Splits a line of at most [`LINE_LEN_MAX`] bytes.
    fn split(&mut self, line: &str) {
        let Self { reader, bytes, ends, .. } = self;
        reader.reset();
        let (_, _, written, count) = reader.read_record(line.as_bytes(), bytes, ends);
        // The last column ends with the input.
        let (_, _, _, last) = reader.read_record(&[], &mut bytes[written..], &mut ends[count..]);
        self.count = count + last;
    }

    /// Returns the text of a column of the last line, without blanks and quotes around it.
    fn text(&self, column: usize) -> Option<&str> {
        let ends = &self.ends[..self.count];
        let from = if column == 0 { 0 } else { *ends.get(column - 1)? };
        let text = str::from_utf8(self.bytes.get(from..*ends.get(column)?)?).ok()?;
        Some(text.trim().trim_matches('"').trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_column() {
        let columns = |text: &[u8], format: &Format| {
            let mut columns = Vec::new();
            let tell = |line, said: Result<Item, LineError>| columns.extend(said.err().map(|bad| (line, bad.column)));
            read(text, format, tell).unwrap();
            columns
        };
        assert_eq!(columns("  no # x\n\u{feff}no\n1.2.3.4\n".as_bytes(), &Format::Auto), [(1, 3), (2, 4)]);
        assert_eq!(columns(b"1.2.3.4\n1.2\xff", &Format::Auto), [(2, 4)]);
        assert_eq!(columns(b"{\"cidr\":\"no\"}\n {\"cidr\":}", &Format::Auto), [(1, 10), (2, 10)]);
        assert_eq!(columns(b"x,1.2.3.4\nx, \"no\"\nx", &Format::Csv(Column::Number(2))), [(2, 5), (3, 2)]);
    }

    /// Returns the prefixes of a list, and its bad lines with their numbers.
    fn read_all(text: &[u8], format: &Format) -> (Vec<String>, Vec<(u64, String)>) {
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
        let (prefixes, bad) = read_all(text.as_bytes(), &Format::Auto);
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
        let (prefixes, bad) = read_all(text, &Format::Auto);
        assert_eq!(prefixes, ["1.10.16.0/20", "2001:db8::/32", "192.0.2.1", "192.0.2.0/24"]);
        assert_eq!(bad.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [4, 5, 6]);
    }

    #[test]
    fn columns_by_number_and_name() {
        let text = b"first_seen, \"dst_ip\" ,port\n\"2026-01-01, noon\",192.0.2.1,443\n# comment\nx, \"192.0.2.0/25\",1\nx\nx,y\n";
        for column in [Column::Number(2), Column::Name("dst_ip".into())] {
            let (prefixes, bad) = read_all(text, &Format::Csv(column));
            assert_eq!(prefixes, ["192.0.2.1", "192.0.2.0/25"]);
            assert_eq!(bad, [(5, "the line has no such column".into()), (6, "\"y\" is not an address".into())]);
        }
        let missing = read(&text[..], &Format::Csv(Column::Name("ip".into())), |_, _| {}).unwrap_err();
        assert_eq!(missing.to_string(), "there is no column \"ip\"");
        let (prefixes, bad) = read_all(b"ip,score\n192.0.2.1,7\n", &Format::Auto);
        assert_eq!((prefixes.len(), bad.len()), (1, 0), "a header is no bad line");
        let (prefixes, bad) = read_all(b"192.0.2,score\n192.0.2.1,7\n", &Format::Auto);
        assert_eq!((prefixes.len(), bad.len()), (1, 1), "nor is a bad line a header");
    }

    #[test]
    fn what_is_no_text_costs_its_line_alone() {
        let long = [b'1'; LINE_LEN_MAX + 1];
        let text =
            [&b"192.0.2.1\n\xff\xfe\n"[..], &long, b"\n192.0.2.2\n", &long[..LINE_LEN_MAX], b"\n192.0.2.3"].concat();
        let (prefixes, bad) = read_all(&text, &Format::Auto);
        assert_eq!(prefixes, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(bad.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3, 5]);
        assert_eq!(bad[1].1, "a line of more than 4096 bytes");
    }

    #[test]
    fn size_and_time_have_limits() {
        let endless = || io::repeat(b'#').take(2_000);
        let too_large = Bounded { bytes_left: 1_000, ..Bounded::new(endless()) };
        let error = read(BufReader::new(too_large), &Format::Auto, |_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 1073741824 bytes");
        let too_slow = Bounded { cpu_end: Duration::ZERO, ..Bounded::new(endless()) };
        let error = read(BufReader::new(too_slow), &Format::Auto, |_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "reading it took more than 30 s of processor time");
        let exact = Bounded { bytes_left: 9, ..Bounded::new(&b"192.0.2.1"[..]) };
        assert!(read(BufReader::new(exact), &Format::Auto, |_, _| {}).is_ok());
    }

    #[test]
    fn only_regular_files_are_opened() {
        let error = open(&std::env::temp_dir()).err().unwrap();
        assert_eq!(error.to_string(), "it is not a regular file");
    }

    #[test]
    fn comments_and_nothing() {
        for text in ["", "\n\n", "# only\n; comments", "\u{feff}"] {
            assert_eq!(read_all(text.as_bytes(), &Format::Auto), (Vec::new(), Vec::new()), "{text:?}");
        }
    }
}
