//! Reads a document of JSON as a whole.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::net::Ipv6Addr;
use std::rc::Rc;

use serde::de::IgnoredAny;

use super::json::Walker;
use super::lines::MARK;
use super::{Entry, Format, LineError, Outcome, Reading, with_keys};

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
    mut input: impl BufRead,
    reading: &Reading,
    report: &mut impl FnMut(u64, Result<Entry, LineError>),
) -> io::Result<Outcome> {
    let line = Rc::new(Cell::new(1));
    if input.fill_buf()?.starts_with(MARK.as_bytes()) {
        input.consume(MARK.len());
    }
    let input = Scanner { input, line: Rc::clone(&line), string_len: None, is_escaped: false };
    let walker = Walker::new(reading);
    walker.document(input, |parsed| report(line.get(), parsed.map_err(|fault| fault.at(1))))?;
    let layout = with_keys("a JSON document", &walker.keys());
    Ok(Outcome { layout, below_min: walker.below_min(), other_lines: 0 })
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
        match self.string_len {
            None if byte == b'"' => self.string_len = Some(0),
            None if byte == b'\n' => self.line.set(self.line.get() + 1),
            None => {}
            Some(_) if byte == b'"' && !self.is_escaped => self.string_len = None,
            Some(len) => {
                self.is_escaped = byte == b'\\' && !self.is_escaped;
                self.string_len = Some(len + 1);
                return len < STRING_LEN_MAX;
            }
        }
        true
    }
}

impl<R: BufRead> Read for Scanner<R> {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // The parser reads byte by byte.
        let chunk = self.input.fill_buf()?;
        let len = match (&mut *into, chunk) {
            ([first, ..], [byte, ..]) => {
                *first = *byte;
                1
            }
            _ => 0,
        };
        self.input.consume(len);
        if into[..len].iter().all(|byte| self.scan(*byte)) {
            return Ok(len);
        }
        let text = format!("it has a string of more than {STRING_LEN_MAX} bytes");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}
