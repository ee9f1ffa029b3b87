//! Reads a list line by line, once its layout is known from its first lines.

use std::io::{self, BufRead};

use super::columns::{Columns, Separator, without_comment};
use super::json::Walker;
use super::layout::{Layout, Place, SAMPLE_LINES, Sample, Table, named_range};
use super::lines::{Line, Lines, without_mark};
use super::{KEYS_SHOWN, LineError, LineFault, Reading, item, not, shown, with_keys};
use crate::prefix::{Item, ItemError};

/// Reads line by line. Returns the layout, and the number of lines below the threshold.
pub(super) fn read_lines(
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
