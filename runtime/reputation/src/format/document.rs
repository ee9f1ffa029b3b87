//! Reads a document of JSON as a whole.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::net::Ipv6Addr;
use std::rc::Rc;

use serde::de::IgnoredAny;

use super::json::Walker;
use super::lines::MARK;
use super::{Entry, Format, LineError, Reading, with_keys};

/// True if a list that begins with these bytes has to be read as a whole, because its first line is not JSON on its own.
pub(super) fn is_document(start: &[u8], reading: &Reading) -> bool {
    if !matches!(reading.format, Format::Auto | Format::Json) || reading.column.is_some() {
        return false;
    }
    let text = start.strip_prefix(MARK.as_bytes()).unwrap_or(start).trim_ascii_start();
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
pub(super) fn read_document(
    input: impl BufRead,
    reading: &Reading,
    report: &mut impl FnMut(u64, Result<Entry, LineError>),
) -> io::Result<(String, u64)> {
    let line = Rc::new(Cell::new(1));
    let input = SkipMark { input, is_at_start: true };
    let input = Scanner { input, line: Rc::clone(&line), string_len: None, is_escaped: false };
    let walker = Walker::new(reading);
    walker.document(input, |parsed| report(line.get(), parsed.map_err(|fault| fault.at(1))))?;
    Ok((with_keys("a JSON document", &walker.keys()), walker.below_min()))
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
            if self.input.fill_buf()?.starts_with(MARK.as_bytes()) {
                self.input.consume(MARK.len());
            }
        }
        self.input.read(into)
    }
}
