//! Reads and writes conversations with real HAProxy as text, with one line per event.
//!
//! ```text
//! spop-recording 1
//! ! haproxy 3.2.26
//! # seconds, connection, event
//! 0.000000 1 open
//! 0.000121 1 > $1=0000004e0100000001000012"supported-versions"0803"2.0"...
//! 0.000310 1 < 0000004065000000010000...
//! 0.000402 1 > rst
//! 0.000450 2 open
//! 0.000470 2 > $1
//! ```
//!
//! `>` marks events of HAProxy, `<` marks events of the agent. Each line with bytes holds the bytes of one read. `fin`
//! ends one direction of a connection, `rst` the whole connection. Times never decrease. Lines that start with `!`
//! precede all events and name the [conditions](Recording::conditions) of the recording. Empty lines and lines that
//! start with `#` are ignored.
//!
//! Bytes are pairs of hexadecimal digits, or text in double quotes, and may be separated by spaces. `61*500` after a
//! space is the byte 0x61, 500 times. Bytes that occur again are written once as `$1=` and the bytes, and afterwards as
//! `$1`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::time::{SECOND, Time};

/// The side that caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// HAProxy, written as `>`.
    Haproxy,
    /// The agent, written as `<`.
    Agent,
}

/// An event on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// HAProxy opened the connection.
    Open,
    /// Bytes of one read, sent by this side.
    Bytes(Side, Vec<u8>),
    /// This side has sent FIN.
    Fin(Side),
    /// This side has reset the connection.
    Reset(Side),
}

/// One event of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The number of its line, from 1.
    pub line: usize,
    /// The time since the start of the recording.
    pub at: Time,
    /// The number of the connection, which no other connection has.
    pub link: u32,
    /// The event.
    pub event: LinkEvent,
}

/// A recorded conversation. [`Display`](fmt::Display) writes the text that [`parse`](Self::parse) reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// The conditions of the recording, as names and values. [`Variant::of`](crate::Variant::of) interprets them.
    pub conditions: Vec<(String, String)>,
    /// The events, in the order of time.
    pub steps: Vec<Step>,
}

/// The reason why a text is not a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line with the error, from 1.
    pub line: usize,
    /// The error.
    pub reason: &'static str,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for ParseError {}

const HEADER: &str = "spop-recording 1";

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        if lines.next().is_none_or(|(_, line)| line != HEADER) {
            return Err(ParseError { line: 1, reason: "expected \"spop-recording 1\" in the first line" });
        }
        let (mut recording, mut names) = (Self::default(), BTreeMap::new());
        for (line, text) in lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
            recording.parse_line(line, text, &mut names).map_err(|reason| ParseError { line, reason })?;
        }
        Ok(recording)
    }

    fn parse_line<'t>(
        &mut self,
        line: usize,
        text: &'t str,
        names: &mut BTreeMap<&'t str, Vec<u8>>,
    ) -> Result<(), &'static str> {
        if let Some(condition) = text.strip_prefix('!') {
            if !self.steps.is_empty() {
                return Err("conditions have to precede all events");
            }
            let (name, value) = condition.trim().split_once(' ').ok_or("expected a name and a value after !")?;
            self.conditions.push((name.to_owned(), value.trim().to_owned()));
            return Ok(());
        }
        let (at, link, event) = parse_step(text, names)?;
        if self.steps.last().is_some_and(|last| last.at > at) {
            return Err("the time is before that of the previous event");
        }
        self.steps.push(Step { line, at, link, event });
        Ok(())
    }

    /// Adds a step. Its `line` is the line number in the text that [`Display`](fmt::Display) writes.
    pub fn push(&mut self, at: Time, link: u32, event: LinkEvent) {
        let line = self.conditions.len() + self.steps.len() + 2;
        self.steps.push(Step { line, at, link, event });
    }

    /// Returns the value of a condition: the last one if there are several of that name.
    pub fn condition(&self, name: &str) -> Option<&str> {
        self.conditions.iter().rfind(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Keeps only the first `count` connections.
    pub fn truncate(&mut self, count: usize) {
        let opened = self.steps.iter().filter(|step| step.event == LinkEvent::Open).map(|step| step.link);
        let first: Vec<_> = opened.take(count).collect();
        for step in std::mem::take(&mut self.steps).into_iter().filter(|step| first.contains(&step.link)) {
            self.push(step.at, step.link, step.event);
        }
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        for (name, value) in &self.conditions {
            writeln!(f, "! {name} {value}")?;
        }
        let mut names = Names::of(&self.steps);
        for step in &self.steps {
            let (seconds, nanos) = (step.at / SECOND, step.at % SECOND);
            if nanos % 1000 == 0 {
                write!(f, "{seconds}.{:06} {}", nanos / 1000, step.link)?;
            } else {
                write!(f, "{seconds}.{nanos:09} {}", step.link)?;
            }
            match &step.event {
                LinkEvent::Open => f.write_str(" open")?,
                LinkEvent::Fin(side) => write!(f, " {} fin", arrow(*side))?,
                LinkEvent::Reset(side) => write!(f, " {} rst", arrow(*side))?,
                LinkEvent::Bytes(side, bytes) => {
                    write!(f, " {} ", arrow(*side))?;
                    names.write(f, bytes)?;
                }
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

const fn arrow(side: Side) -> char {
    match side {
        Side::Haproxy => '>',
        Side::Agent => '<',
    }
}

/// The abbreviations of bytes that occur several times.
struct Names<'s>(BTreeMap<&'s [u8], Name>);

/// The abbreviation of one sequence of bytes.
enum Name {
    /// The bytes occur once and need none.
    None,
    /// The bytes occur several times, and are not written yet.
    Due,
    /// The bytes are written, with this number.
    Given(usize),
}

/// The fewest bytes that get an abbreviation.
const NAMED_MIN: usize = 12;

impl<'s> Names<'s> {
    fn of(steps: &'s [Step]) -> Self {
        let mut names = BTreeMap::new();
        for step in steps {
            if let LinkEvent::Bytes(_, bytes) = &step.event
                && bytes.len() >= NAMED_MIN
            {
                names.entry(&**bytes).and_modify(|name| *name = Name::Due).or_insert(Name::None);
            }
        }
        Self(names)
    }

    fn write(&mut self, f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
        let given = self.0.values().filter(|name| matches!(name, Name::Given(_))).count();
        match self.0.get_mut(bytes) {
            Some(Name::Given(number)) => return write!(f, "${number}"),
            Some(name @ Name::Due) => {
                *name = Name::Given(given + 1);
                write!(f, "${}=", given + 1)?;
            }
            Some(Name::None) | None => {}
        }
        write_bytes(f, bytes)
    }
}

/// Writes printable bytes as text, repeated bytes with a count, and all others as hexadecimal digits.
fn write_bytes(f: &mut fmt::Formatter<'_>, mut bytes: &[u8]) -> fmt::Result {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'"';
    let run_len = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte == bytes[0]).count();
    while let Some(first) = bytes.first() {
        let repeats = run_len(bytes);
        let text = (0..bytes.len()).take_while(|&at| is_text(&bytes[at]) && run_len(&bytes[at..]) < RUN_MIN).count();
        let taken = if repeats >= RUN_MIN {
            // The spaces separate the count from digits after it, and the repeated byte from digits before it.
            write!(f, " {first:02x}*{repeats} ")?;
            repeats
        } else if text >= TEXT_MIN {
            write!(f, "\"{}\"", str::from_utf8(&bytes[..text]).map_err(|_| fmt::Error)?)?;
            text
        } else {
            write!(f, "{first:02x}")?;
            1
        };
        bytes = &bytes[taken..];
    }
    Ok(())
}

/// The fewest printable bytes that are written as text.
const TEXT_MIN: usize = 4;
/// The fewest repetitions that are written with a count.
const RUN_MIN: usize = 16;

type Parsed = (Time, u32, LinkEvent);

fn parse_step<'t>(text: &'t str, names: &mut BTreeMap<&'t str, Vec<u8>>) -> Result<Parsed, &'static str> {
    let mut words = text.splitn(4, ' ').map(str::trim);
    let mut word = || words.next();
    let at = word().and_then(parse_time).ok_or("expected a time such as 0.000121 first")?;
    let link = word().and_then(|word| word.parse().ok()).ok_or("expected the number of a connection after the time")?;
    let side = match word() {
        Some("open") => return if word().is_none() { Ok((at, link, LinkEvent::Open)) } else { Err(TRAILING) },
        Some(">") => Side::Haproxy,
        Some("<") => Side::Agent,
        _ => return Err("expected open, > or < after the connection"),
    };
    let event = match word() {
        Some("fin") => LinkEvent::Fin(side),
        Some("rst") => LinkEvent::Reset(side),
        Some(bytes) => LinkEvent::Bytes(side, parse_named(bytes, names)?),
        None => return Err("expected bytes, fin or rst after the direction"),
    };
    Ok((at, link, event))
}

const TRAILING: &str = "expected nothing after open";

fn parse_named<'t>(text: &'t str, names: &mut BTreeMap<&'t str, Vec<u8>>) -> Result<Vec<u8>, &'static str> {
    let Some(named) = text.strip_prefix('$') else { return parse_bytes(text) };
    let Some((name, bytes)) = named.split_once('=') else {
        return names.get(named).cloned().ok_or("no line above defines bytes of this name");
    };
    let bytes = parse_bytes(bytes)?;
    names.insert(name, bytes.clone());
    Ok(bytes)
}

fn parse_bytes(mut text: &str) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return if bytes.is_empty() { Err("expected bytes") } else { Ok(bytes) };
        }
        if let Some(quoted) = text.strip_prefix('"') {
            let (quoted, rest) = quoted.split_once('"').ok_or("expected a closing quote")?;
            bytes.extend_from_slice(quoted.as_bytes());
            text = rest;
            continue;
        }
        let (part, rest) = text.split_at(text.find([' ', '"']).unwrap_or(text.len()));
        let (digits, count) = part.split_once('*').unwrap_or((part, "1"));
        let digits = parse_hex(digits).ok_or("expected an even number of hexadecimal digits")?;
        let count = count.parse::<u16>().map_err(|_| "expected a count from 0 to 65535 after *")?;
        (0..count).for_each(|_| bytes.extend_from_slice(&digits));
        text = rest;
    }
}

fn parse_time(word: &str) -> Option<Time> {
    let (seconds, fraction) = word.split_once('.').unwrap_or((word, ""));
    if fraction.len() > 9 || !(seconds.bytes().chain(fraction.bytes())).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0, |sum, digit| sum * 10 + Time::from(digit - b'0'));
    seconds.parse::<Time>().ok()?.checked_mul(SECOND)?.checked_add(nanos)
}

fn parse_hex(word: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = word.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "spop-recording 1\n\
        ! haproxy 2.6.12\n\
        0.000000 1 open\n\
        0.000121 1 > 00ff10\n\
        0.000310250 1 < ab\n\
        1.500000 2 open\n\
        1.500000 1 < fin\n\
        12.000000 1 > rst\n";

    #[test]
    fn a_written_recording_is_read() {
        let recording = Recording::parse(TEXT).unwrap();
        assert_eq!(recording.to_string(), TEXT);
        assert_eq!(recording.steps[1].event, LinkEvent::Bytes(Side::Haproxy, vec![0, 255, 16]));
        assert_eq!((recording.steps[2].at, recording.steps[2].line), (310_250, 5));
        assert_eq!(recording.condition("haproxy"), Some("2.6.12"));
    }

    #[test]
    fn comments_and_short_times_are_read() {
        let text = "spop-recording 1\n\n# x\n  2 7 open\n2.5 7 > ABCD\n";
        let recording = Recording::parse(text).unwrap();
        assert_eq!((recording.steps[1].at, recording.steps[1].line), (2_500_000_000, 5));
    }

    #[test]
    fn bytes_are_written_in_all_forms() {
        let long = [&b"\x00\x01version, \"x\""[..], &[b'a'; 300], b"\xff2.0", &[0; 16]].concat();
        let mut recording = Recording::default();
        for at in 0..3 {
            recording.push(at, 1, LinkEvent::Bytes(Side::Agent, long.clone()));
        }
        let text = recording.to_string();
        assert_eq!(Recording::parse(&text).unwrap(), recording, "{text}");
        assert!(text.ends_with("\n0.000000001 1 < $1\n0.000000002 1 < $1\n"), "{text}");
        assert!(text.contains("$1=0001\"version, \"227822 61*300 ff322e30 00*16 \n"), "{text}");
    }

    #[test]
    fn truncate_keeps_the_first_connections() {
        let mut recording = Recording::parse(TEXT).unwrap();
        recording.truncate(1);
        assert_eq!(recording.steps.len(), 5);
        assert_eq!(recording.steps[4].line, 7);
        assert!(recording.steps.iter().all(|step| step.link == 1));
    }

    #[test]
    fn an_error_has_the_line_that_caused_it() {
        for (text, line) in [
            ("", 1),
            ("spop-recording 2\n", 1),
            ("spop-recording 1\nx 1 open\n", 2),
            ("spop-recording 1\n0.0000000000 1 open\n", 2),
            ("spop-recording 1\n0 x open\n", 2),
            ("spop-recording 1\n\n0 1 close\n", 3),
            ("spop-recording 1\n0 1 >\n", 2),
            ("spop-recording 1\n0 1 > abc\n", 2),
            ("spop-recording 1\n0 1 > xx\n", 2),
            ("spop-recording 1\n0 1 open now\n", 2),
            ("spop-recording 1\n0 1 > \"abc\n", 2),
            ("spop-recording 1\n0 1 > 00*x\n", 2),
            ("spop-recording 1\n0 1 open\n0 1 > $1\n", 3),
            ("spop-recording 1\n! haproxy\n", 2),
            ("spop-recording 1\n0 1 open\n! haproxy 3.2\n", 3),
            ("spop-recording 1\n0 1 > fin now\n", 2),
            ("spop-recording 1\n1 1 open\n0 2 open\n", 3),
        ] {
            assert_eq!(Recording::parse(text).unwrap_err().line, line, "{text:?}");
        }
        let error = Recording::parse("spop-recording 1\n0 1 > abc\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: expected an even number of hexadecimal digits");
    }
}
