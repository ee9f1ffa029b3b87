//! Conversations taken from real HAProxy, as text: one line an event.
//!
//! ```text
//! spop-recording 1
//! # seconds, connection, what
//! 0.000000 1 open
//! 0.000121 1 > 0000004e01000000010000...
//! 0.000310 1 < 0000004065000000010000...
//! 0.000402 1 > rst
//! ```
//!
//! `>` comes from HAProxy, `<` from the agent. Bytes stand as they were cut, a line for each read; `fin` and `rst` are
//! ends of a direction and of the connection. Times never go back. Empty lines and those that begin with `#` say
//! nothing.

use std::fmt::{self, Write as _};

use crate::time::{SECOND, Time};

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `>`
    Haproxy,
    /// `<`
    Agent,
}

/// What was done.
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
    /// In the order of time.
    pub steps: Vec<Step>,
}

/// Why a text is no recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line at fault, from 1.
    pub line: usize,
    /// What is wrong with it.
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
        let mut recording = Self::default();
        for (line, text) in lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
            let (at, link, what) = parse_step(text).map_err(|reason| ParseError { line, reason })?;
            if recording.steps.last().is_some_and(|last| last.at > at) {
                return Err(ParseError { line, reason: "this is before the line above" });
            }
            recording.steps.push(Step { line, at, link, what });
        }
        Ok(recording)
    }

    /// Adds a step; its line is the one that writing will give it.
    pub fn push(&mut self, at: Time, link: u32, what: What) {
        let line = self.steps.len() + 2;
        self.steps.push(Step { line, at, link, what });
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
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
                    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
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

fn parse_step(text: &str) -> Result<(Time, u32, What), &'static str> {
    let mut words = text.split_ascii_whitespace();
    let mut word = || words.next();
    let at = word().and_then(parse_time).ok_or("it begins with a time such as 0.000121")?;
    let link = word().and_then(|word| word.parse().ok()).ok_or("the connection is a number")?;
    let side = match word() {
        Some("open") => None,
        Some(">") => Some(Side::Haproxy),
        Some("<") => Some(Side::Agent),
        _ => return Err("after the connection comes open, > or <"),
    };
    let what = match side {
        None => What::Open,
        Some(side) => match word() {
            Some("fin") => What::Fin(side),
            Some("rst") => What::Reset(side),
            Some(hex) => What::Bytes(side, parse_hex(hex).ok_or("bytes are an even number of hexadecimal digits")?),
            None => return Err("after the direction come bytes, fin or rst"),
        },
    };
    if words.next().is_some() { Err("there is more on the line than belongs there") } else { Ok((at, link, what)) }
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
        assert_eq!((recording.steps[2].at, recording.steps[2].line), (310_250, 4));
    }

    #[test]
    fn remarks_and_short_times() {
        let text = "spop-recording 1\n\n# x\n  2 7 open\n2.5 7 > ABCD\n";
        let recording = Recording::parse(text).unwrap();
        assert_eq!((recording.steps[1].at, recording.steps[1].line), (2_500_000_000, 5));
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
            ("spop-recording 1\n0 1 > fin now\n", 2),
            ("spop-recording 1\n1 1 open\n0 2 open\n", 3),
        ] {
            assert_eq!(Recording::parse(text).unwrap_err().line, line, "{text:?}");
        }
        let error = Recording::parse("spop-recording 1\n0 1 > abc\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: bytes are an even number of hexadecimal digits");
    }
}
