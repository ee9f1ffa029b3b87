//! Conversations taken from real HAProxy, as text: one line an event.
//!
//! ```text
//! spop-recording 1
//! ! haproxy 3.2.26
//! # seconds, connection, what
//! 0.000000 1 open
//! 0.000121 1 > $1=0000004e0100000001000012"supported-versions"0803"2.0"...
//! 0.000310 1 < 0000004065000000010000...
//! 0.000402 1 > rst
//! 0.000450 2 open
//! 0.000470 2 > $1
//! ```
//!
//! `>` comes from HAProxy, `<` from the agent. Bytes are split as they arrived, one line per read; `fin` and `rst` are
//! ends of a direction and of the connection. Times never go back. Lines with `!`, above all others, say under which
//! [conditions](Recording::conditions) it was recorded. Empty lines and those that begin with `#` say nothing.
//!
//! Bytes are pairs of hexadecimal digits or text in double quotes; blanks between them are free. `61*500` after a blank
//! is the byte 500 times. What comes again is written once, as `$1=` and its bytes, and is `$1` from then on.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::time::{SECOND, Time};

/// The side that acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `>`
    Haproxy,
    /// `<`
    Agent,
}

/// The action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// HAProxy opened the connection.
    Open,
    /// Bytes of one read.
    Bytes(Side, Vec<u8>),
    /// No more bytes from this side.
    Fin(Side),
    /// This side tore the connection down.
    Reset(Side),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number in the text, from 1.
    pub line: usize,
    /// When, from the recording's own zero.
    pub at: Time,
    /// Which connection; any number that no other one has.
    pub link: u32,
    /// What.
    pub what: What,
}

/// A recorded conversation. [`Display`](fmt::Display) writes what [`parse`](Self::parse) reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Under which conditions: a name and a value each, which [`Variant::of`](crate::Variant::of) makes sense of.
    pub conditions: Vec<(String, String)>,
    /// In the order of time.
    pub steps: Vec<Step>,
}

/// Why a text is no recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line at fault, from 1.
    pub line: usize,
    /// The fault in it.
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
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        if lines.next().is_none_or(|(_, line)| line != HEADER) {
            return Err(ParseError { line: 1, reason: "a recording begins with \"spop-recording 1\"" });
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
                return Err("conditions come first");
            }
            let (name, value) = condition.trim().split_once(' ').ok_or("a condition has a name and a value")?;
            self.conditions.push((name.to_owned(), value.trim().to_owned()));
            return Ok(());
        }
        let (at, link, what) = parse_step(text, names)?;
        if self.steps.last().is_some_and(|last| last.at > at) {
            return Err("this is before the line above");
        }
        self.steps.push(Step { line, at, link, what });
        Ok(())
    }

    /// Adds a step; its line is the one that writing will give it.
    pub fn push(&mut self, at: Time, link: u32, what: What) {
        let line = self.conditions.len() + self.steps.len() + 2;
        self.steps.push(Step { line, at, link, what });
    }

    /// The value of a condition, the last one of that name.
    pub fn condition(&self, name: &str) -> Option<&str> {
        self.conditions.iter().rfind(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Keeps the first `count` connections alone.
    pub fn truncate(&mut self, count: usize) {
        let opened = self.steps.iter().filter(|step| step.what == What::Open).map(|step| step.link);
        let kept: Vec<_> = opened.take(count).collect();
        for step in std::mem::take(&mut self.steps).into_iter().filter(|step| kept.contains(&step.link)) {
            self.push(step.at, step.link, step.what);
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
            match &step.what {
                What::Open => f.write_str(" open")?,
                What::Fin(side) => write!(f, " {} fin", arrow(*side))?,
                What::Reset(side) => write!(f, " {} rst", arrow(*side))?,
                What::Bytes(side, bytes) => {
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

/// The abbreviations of bytes that occur more than once.
struct Names<'s>(BTreeMap<&'s [u8], Name>);

enum Name {
    /// They occur once.
    None,
    /// They occur again, and were not written yet.
    Due,
    Given(usize),
}

/// Shorter ones are not worth a name.
const NAMED_MIN: usize = 12;

impl<'s> Names<'s> {
    fn of(steps: &'s [Step]) -> Self {
        let mut names = BTreeMap::new();
        for step in steps {
            if let What::Bytes(_, bytes) = &step.what
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

/// As text what is worth its quotes, a byte and a count what goes on for long, the rest in hexadecimal digits.
fn write_bytes(f: &mut fmt::Formatter<'_>, mut bytes: &[u8]) -> fmt::Result {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'"';
    let same = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte == bytes[0]).count();
    while let Some(first) = bytes.first() {
        let repeats = same(bytes);
        let text = (0..bytes.len()).take_while(|&at| is_text(&bytes[at]) && same(&bytes[at..]) < RUN_MIN).count();
        let taken = if repeats >= RUN_MIN {
            // A blank on each side: the count is not to run into other digits, nor to count those before.
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

/// Fewer printable bytes stay digits.
const TEXT_MIN: usize = 4;
/// Fewer repetitions are written out.
const RUN_MIN: usize = 16;

type Parsed = (Time, u32, What);

fn parse_step<'t>(text: &'t str, names: &mut BTreeMap<&'t str, Vec<u8>>) -> Result<Parsed, &'static str> {
    let mut words = text.splitn(4, ' ').map(str::trim);
    let mut word = || words.next();
    let at = word().and_then(parse_time).ok_or("it begins with a time such as 0.000121")?;
    let link = word().and_then(|word| word.parse().ok()).ok_or("the connection is a number")?;
    let side = match word() {
        Some("open") => return if word().is_none() { Ok((at, link, What::Open)) } else { Err(TOO_MUCH) },
        Some(">") => Side::Haproxy,
        Some("<") => Side::Agent,
        _ => return Err("after the connection comes open, > or <"),
    };
    let what = match word() {
        Some("fin") => What::Fin(side),
        Some("rst") => What::Reset(side),
        Some(bytes) => What::Bytes(side, parse_named(bytes, names)?),
        None => return Err("after the direction come bytes, fin or rst"),
    };
    Ok((at, link, what))
}

const TOO_MUCH: &str = "there is more on the line than belongs there";

fn parse_named<'t>(text: &'t str, names: &mut BTreeMap<&'t str, Vec<u8>>) -> Result<Vec<u8>, &'static str> {
    let Some(named) = text.strip_prefix('$') else { return parse_bytes(text) };
    let Some((name, bytes)) = named.split_once('=') else {
        return names.get(named).cloned().ok_or("bytes of this name stand nowhere above");
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
            return if bytes.is_empty() { Err("there are no bytes") } else { Ok(bytes) };
        }
        if let Some(quoted) = text.strip_prefix('"') {
            let (quoted, rest) = quoted.split_once('"').ok_or("the quotes do not end")?;
            bytes.extend_from_slice(quoted.as_bytes());
            text = rest;
            continue;
        }
        let (part, rest) = text.split_at(text.find([' ', '"']).unwrap_or(text.len()));
        let (digits, count) = part.split_once('*').unwrap_or((part, "1"));
        let digits = parse_hex(digits).ok_or("bytes are an even number of hexadecimal digits")?;
        let count = count.parse::<u16>().map_err(|_| "a byte is repeated up to 65535 times")?;
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
    fn what_is_written_is_read() {
        let recording = Recording::parse(TEXT).unwrap();
        assert_eq!(recording.to_string(), TEXT);
        assert_eq!(recording.steps[1].what, What::Bytes(Side::Haproxy, vec![0, 255, 16]));
        assert_eq!((recording.steps[2].at, recording.steps[2].line), (310_250, 5));
        assert_eq!(recording.condition("haproxy"), Some("2.6.12"));
    }

    #[test]
    fn remarks_and_short_times() {
        let text = "spop-recording 1\n\n# x\n  2 7 open\n2.5 7 > ABCD\n";
        let recording = Recording::parse(text).unwrap();
        assert_eq!((recording.steps[1].at, recording.steps[1].line), (2_500_000_000, 5));
    }

    #[test]
    fn bytes_in_every_way() {
        let long = [&b"\x00\x01version, \"x\""[..], &[b'a'; 300], b"\xff2.0", &[0; 16]].concat();
        let mut recording = Recording::default();
        for at in 0..3 {
            recording.push(at, 1, What::Bytes(Side::Agent, long.clone()));
        }
        let text = recording.to_string();
        assert_eq!(Recording::parse(&text).unwrap(), recording, "{text}");
        assert!(text.ends_with("\n0.000000001 1 < $1\n0.000000002 1 < $1\n"), "{text}");
        assert!(text.contains("$1=0001\"version, \"227822 61*300 ff322e30 00*16 \n"), "{text}");
    }

    #[test]
    fn truncated_to_its_first_connections() {
        let mut recording = Recording::parse(TEXT).unwrap();
        recording.truncate(1);
        assert_eq!(recording.steps.len(), 5);
        assert_eq!(recording.steps[4].line, 7);
        assert!(recording.steps.iter().all(|step| step.link == 1));
    }

    #[test]
    fn errors_name_their_line() {
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
        assert_eq!(error.to_string(), "line 2: bytes are an even number of hexadecimal digits");
    }
}
