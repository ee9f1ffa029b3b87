//! Splits a line into columns.

use super::LINE_LEN_MAX;

/// The longest text of a line, in bytes: each byte that is not UTF-8 is replaced by three.
const TEXT_LEN_MAX: usize = 3 * LINE_LEN_MAX;

/// The text between two columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separator {
    Comma,
    Tab,
    Semicolon,
    Pipe,
    /// Any number of blanks. A `#` or `;` begins a comment.
    Blanks,
}

impl Separator {
    /// All separators. Of several that fit equally well, the first one counts.
    pub(super) const ALL: [Self; 5] = [Self::Comma, Self::Tab, Self::Semicolon, Self::Pipe, Self::Blanks];

    /// Returns the name for reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Comma => "comma-separated",
            Self::Tab => "tab-separated",
            Self::Semicolon => "semicolon-separated",
            Self::Pipe => "separated by |",
            Self::Blanks => "separated by blanks",
        }
    }

    const fn byte(self) -> Option<u8> {
        match self {
            Self::Comma => Some(b','),
            Self::Tab => Some(b'\t'),
            Self::Semicolon => Some(b';'),
            Self::Pipe => Some(b'|'),
            Self::Blanks => None,
        }
    }
}

/// A line, split into columns. An address has no line break in it, so lines are split one by one: an open quote spoils only its
/// own line.
pub(super) struct Columns {
    separator: Separator,
    reader: csv_core::Reader,
    bytes: Vec<u8>,
    /// The end of each column in `bytes`; the first `count` belong to the line.
    ends: Vec<usize>,
    count: usize,
}

impl Columns {
    pub(super) fn new(separator: Separator) -> Self {
        let delimiter = separator.byte().unwrap_or(b',');
        let reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        Self { separator, reader, bytes: vec![0; TEXT_LEN_MAX], ends: vec![0; TEXT_LEN_MAX + 1], count: 0 }
    }

    /// Splits a line of at most [`LINE_LEN_MAX`] bytes.
    pub(super) fn split(&mut self, line: &str) {
        if self.separator == Separator::Blanks {
            return self.split_at_blanks(line);
        }
        let Self { reader, bytes, ends, .. } = self;
        reader.reset();
        let (_, _, written, count) = reader.read_record(line.as_bytes(), bytes, ends);
        // The last column ends with the input.
        let (_, _, _, last) = reader.read_record(&[], &mut bytes[written..], &mut ends[count..]);
        self.count = count + last;
    }

    fn split_at_blanks(&mut self, line: &str) {
        let text = without_comment(line);
        self.count = 0;
        let mut at = 0;
        for word in text.split_ascii_whitespace() {
            self.bytes[at..at + word.len()].copy_from_slice(word.as_bytes());
            at += word.len();
            self.ends[self.count] = at;
            self.count += 1;
        }
    }

    /// Returns the text of a column of the last line, without blanks and quotes around it.
    pub(super) fn text(&self, column: usize) -> Option<&str> {
        let ends = &self.ends[..self.count];
        let from = if column == 0 { 0 } else { *ends.get(column - 1)? };
        let text = str::from_utf8(self.bytes.get(from..*ends.get(column)?)?).ok()?;
        let text = text.trim().trim_matches('"').trim();
        // Statements of nginx end with a semicolon.
        Some(if self.separator == Separator::Blanks { text.trim_end_matches([';', ',']) } else { text })
    }

    /// Returns the texts of all columns.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        (0..self.count).filter_map(|column| self.text(column))
    }
}

/// Returns a line without the comment at its end.
pub(super) fn without_comment(line: &str) -> &str {
    let end = line.bytes().position(|byte| matches!(byte, b'#' | b';'));
    end.map_or(line, |end| &line[..end]).trim()
}
