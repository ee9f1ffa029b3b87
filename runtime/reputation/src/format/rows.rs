//! Reads a list line by line, once its layout is known from its first lines.

use std::io::{self, BufRead};
use std::mem;

use super::columns::{Columns, Separator, without_comment};
use super::json::Walker;
use super::layout::{Layout, Place, SAMPLE_LINES, Sample, Table, named_range};
use super::lines::{Line, Lines, without_mark};
use super::records::record_line;
use super::{Entry, LineError, LineFault, Outcome, Parsed, Reading, integer_range, item, not, parse, shown, with_keys};
use crate::prefix::{Item, ItemError};

/// Reads line by line. Returns the layout, and the numbers of other lines.
pub(super) fn read_lines(
    input: impl BufRead,
    reading: &Reading,
    report: &mut impl FnMut(u64, Result<Entry, LineError>),
) -> io::Result<Outcome> {
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
            report(bad, Err(fault.at(1)));
        }
        reader.line(line, &mut |parsed| report(*number, parsed));
    }
    early.for_each(|(bad, fault)| report(bad, Err(fault.at(1))));
    while let Some((number, line)) = lines.next()? {
        match line {
            Line::Comment(_) => {}
            Line::Text(line) => reader.line(&line, &mut |parsed| report(number, parsed)),
            Line::Bad(fault) => report(number, Err(fault.at(1))),
        }
    }
    let below_min = reader.below_min + reader.json.below_min();
    Ok(Outcome { layout: reader.name(), below_min, other_lines: reader.other_lines })
}

/// Reads the lines of a list whose layout is known.
struct LineReader<'r> {
    layout: Layout,
    reading: &'r Reading,
    columns: Option<Columns>,
    json: Walker<'r>,
    /// The entries and faults of a line of JSON, which count only if all of it is JSON.
    of_line: Vec<Parsed>,
    below_min: u64,
    /// Lines without an address that need none.
    other_lines: u64,
    /// The header has not been read yet.
    has_header: bool,
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
        let (columns, has_header) = match &layout {
            Layout::Table(table) => (Some(Columns::new(table.separator)), table.has_header),
            Layout::Lines | Layout::NamedRanges | Layout::Records | Layout::JsonLines => (None, false),
        };
        let words = |word: &&&str| first.is_some_and(|line| line.split_ascii_whitespace().any(|other| other == **word));
        let usual = EXCEPTIONS.iter().filter(words).copied().collect();
        let (json, of_line) = (Walker::new(reading), Vec::new());
        Self { layout, reading, columns, json, of_line, below_min: 0, other_lines: 0, has_header, usual }
    }

    fn name(&self) -> String {
        with_keys(&self.layout.to_string(), &self.json.keys())
    }

    /// Reads a line that is neither blank nor a comment.
    fn line(&mut self, line: &str, report: &mut impl FnMut(Result<Entry, LineError>)) {
        if mem::take(&mut self.has_header) {
            return;
        }
        // A tab at an end is that of an empty column.
        let text = without_mark(line).trim_matches([' ', '\r', '\n']);
        if let Some(at) = text.bytes().position(|byte| byte == b'\r') {
            return report(Err(LineFault::CarriageReturn.at(1 + at)));
        }
        // The place of a fault is searched only if there is one.
        let place = |part: &str| 1 + line.find(part).unwrap_or_default();
        match &self.layout {
            Layout::Lines => {
                let entry = without_comment(text);
                match item(entry, self.reading) {
                    _ if entry.is_empty() => {}
                    Ok(_) if hides_item(text, self.reading) => report(Err(LineFault::Several.at(1))),
                    parsed => report(parsed.map(unscored).map_err(|fault| fault.at(place(entry)))),
                }
            }
            Layout::NamedRanges => {
                let range = named_range(text).ok_or_else(|| not(text, ItemError::Address));
                report(range.map(unscored).map_err(|fault| fault.at(place(text))));
            }
            Layout::Records => match record_line(text, self.reading) {
                Ok(None) => self.other_lines += 1,
                Ok(Some(item)) => report(Ok(unscored(item))),
                Err(fault) => report(Err(fault.at(place(text)))),
            },
            Layout::JsonLines => self.json_line(text, place, report),
            Layout::Table(_) => self.table_line(text, place, report),
        }
    }

    /// Reads a line of JSON. `place` returns the column of a part of the line.
    fn json_line(
        &mut self,
        text: &str,
        place: impl Fn(&str) -> usize,
        report: &mut impl FnMut(Result<Entry, LineError>),
    ) {
        let read = self.json.line(text, |parsed| self.of_line.push(parsed));
        let parsed = self.of_line.drain(..);
        if let Err((what, column)) = read {
            return report(Err(LineFault::Json(what).at(place(text) + column - 1)));
        }
        for parsed in parsed {
            report(parsed.map_err(|fault| {
                let column = match &fault {
                    LineFault::Item { text: part, .. } => place(part),
                    _ => place(text),
                };
                fault.at(column)
            }));
        }
    }

    /// Reads a line with columns. `place` returns the column of a part of the line.
    fn table_line(
        &mut self,
        text: &str,
        place: impl Fn(&str) -> usize,
        report: &mut impl FnMut(Result<Entry, LineError>),
    ) {
        let (Layout::Table(table), Some(columns)) = (&self.layout, &mut self.columns) else { return };
        columns.split(text);
        if table.separator == Separator::Blanks {
            let is_directive = columns.text(0).is_some_and(|first| DIRECTIVES.contains(&first));
            if is_directive && !columns.texts().any(|text| parse(text, self.reading).is_ok()) {
                self.other_lines += 1;
                return;
            }
            let is_exception = |text: &str| EXCEPTIONS.contains(&text) && !self.usual.contains(&text);
            if columns.texts().any(is_exception) {
                return report(Err(LineFault::Exception.at(1)));
            }
            if hides_item(text, self.reading) {
                return report(Err(LineFault::Several.at(1)));
            }
        }
        match row(table, columns, self.reading) {
            Ok(None) => self.below_min += 1,
            Ok(Some(entries)) => entries.into_iter().for_each(|entry| {
                report(entry.map_err(|(fault, part)| fault.at(part.map_or(1, |part| place(&part)))));
            }),
            Err((fault, part)) => {
                let at = part.map_or(text.len() + 1, |part| place(&part));
                report(Err(fault.at(at)));
            }
        }
    }
}

/// Returns an entry that has the score of its list.
const fn unscored(item: Item) -> Entry {
    Entry { item, score: None }
}

/// A fault, and the text that has it.
type Fault = (LineFault, Option<String>);

/// Returns the entries of a row; `None` if it is below the threshold.
fn row(table: &Table, columns: &Columns, reading: &Reading) -> Result<Option<Vec<Result<Entry, Fault>>>, Fault> {
    let cell = |at: usize| columns.text(at).ok_or((LineFault::NoColumn(at + 1), None));
    let number = |at: usize| {
        let text = cell(at)?;
        text.parse::<f64>().map_err(|_| (LineFault::NotANumber(shown(text)), Some(text.to_owned())))
    };
    if let (Some(at), Some(min)) = (table.min, &reading.min)
        && number(at)? < min.value
    {
        return Ok(None);
    }
    let score = match table.score {
        Some(at) => {
            let fault = |fault| (fault, columns.text(at).map(str::to_owned));
            Some(reading.score_of(number(at)?).map_err(fault)?)
        }
        None => None,
    };
    let entry = |text: &str, at: &str| match item(text, reading) {
        Ok(item) => Ok(Entry { item, score }),
        Err(fault) => Err((fault, Some(at.to_owned()))),
    };
    Ok(Some(match table.place {
        Place::One(at) => {
            let text = cell(at)?;
            let entry = entry(text, text);
            // The operator may have chosen one of several.
            if let Ok(Entry { item: whole, .. }) = &entry
                && reading.column.is_none()
            {
                let others = columns.texts().filter(|text| text.contains(['.', ':']));
                let is_apart = |text: &str| parse(text, reading).is_ok_and(|other| !whole.contains(other));
                if let Some(other) = others.into_iter().find(|text| is_apart(text)) {
                    return Err((LineFault::Several, Some(other.to_owned())));
                }
            }
            vec![entry]
        }
        Place::Range(at) => vec![entry(&format!("{}-{}", cell(at)?, cell(at + 1)?), cell(at)?)],
        Place::Mask(at) => vec![entry(&format!("{}/{}", cell(at)?, cell(at + 1)?), cell(at)?)],
        Place::Integers(at) => {
            let (from, to) = (cell(at)?, cell(at + 1)?);
            let range =
                integer_range(from, to).ok_or(ItemError::Address).and_then(|(from, to)| Item::between(from, to));
            let fault = |error| (not(&format!("{from}-{to}"), error), Some(from.to_owned()));
            vec![range.map(|item| Entry { item, score }).map_err(fault)]
        }
        Place::All if columns.texts().all(str::is_empty) => return Err((LineFault::NoColumn(1), None)),
        Place::All => columns.texts().filter(|text| !text.is_empty()).map(|text| entry(text, text)).collect(),
    }))
}

/// True if what would be the comment after a semicolon has an address in it.
fn hides_item(text: &str, reading: &Reading) -> bool {
    if !text.as_bytes().contains(&b';') {
        return false;
    }
    let comment = text.split('#').next().unwrap_or_default().split_once(';').map_or("", |(_, comment)| comment);
    comment.split([';', ' ', '\t', ',']).any(|word| word.contains(['.', ':']) && parse(word, reading).is_ok())
}
