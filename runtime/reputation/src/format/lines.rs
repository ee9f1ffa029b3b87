//! Splits a list into lines, whatever bytes it has.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use super::{LINE_LEN_MAX, LineFault};

/// Reads the lines of a list.
pub(super) struct Lines<R> {
    input: R,
    buf: Vec<u8>,
    /// The number of the last line, from 1.
    number: u64,
}

/// A line that is not blank. Bytes that are not UTF-8 are replaced: they matter only where an address is expected, and are no
/// address there.
pub(super) enum Line<'l> {
    /// A comment, or its beginning.
    Comment(Cow<'l, str>),
    /// Something else.
    Text(Cow<'l, str>),
    /// It is too long.
    Bad(LineFault),
}

impl<R: BufRead> Lines<R> {
    pub(super) const fn new(input: R) -> Self {
        Self { input, buf: Vec::new(), number: 0 }
    }

    /// Returns the next line that is not blank, with its number.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        let is_whole = loop {
            self.buf.clear();
            self.number += 1;
            let limit = LINE_LEN_MAX as u64 + 1;
            let len = self.input.by_ref().take(limit).read_until(b'\n', &mut self.buf)?;
            if len == 0 {
                return Ok(None);
            }
            let is_whole = self.buf.last() == Some(&b'\n') || self.buf.len() <= LINE_LEN_MAX;
            if !is_whole {
                self.input.skip_until(b'\n')?;
            }
            if !self.buf.trim_ascii().is_empty() {
                break is_whole;
            }
        };
        let start = self.buf.strip_prefix(MARK.as_bytes()).unwrap_or(&self.buf).trim_ascii_start();
        let is_comment = matches!(start, [b'#' | b';', ..] | [b'/', b'/', ..]);
        let text = String::from_utf8_lossy(&self.buf);
        let line = match (is_comment, is_whole) {
            (true, _) => Line::Comment(text),
            (false, true) => Line::Text(text),
            (false, false) => Line::Bad(LineFault::TooLong),
        };
        Ok(Some((self.number, line)))
    }
}

/// The byte order mark that some editors write before the first line.
pub(super) const MARK: &str = "\u{feff}";

/// Returns a line without a byte order mark.
pub(super) fn without_mark(line: &str) -> &str {
    line.strip_prefix(MARK).unwrap_or(line)
}
