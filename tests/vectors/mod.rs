//! Test vectors that every codec reads: the agent's, the checker's and that of the models of HAProxy.
//!
//! A file has one vector per line: a value, " = ", and its encoding or text. Lines with `#` are comments.

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

/// Returns the varints: each number, `None` for an overflow, and its bytes.
pub(crate) fn varints() -> Vec<(Option<u64>, Vec<u8>)> {
    let number = |text: &str| (text != "overflow").then(|| text.parse().expect("a number, or overflow"));
    lines(include_str!("varints.txt")).map(|(text, bytes)| (number(text), hex(bytes))).collect()
}

/// Returns the values: type, value and bytes.
pub(crate) fn values() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    typed(include_str!("values.txt"))
}

/// Returns values with flags: type, value and bytes.
pub(crate) fn flags() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    typed(include_str!("flags.txt"))
}

/// Returns the status codes and their texts.
pub(crate) fn statuses() -> Vec<(u32, &'static str)> {
    let statuses = lines(include_str!("statuses.txt")).map(|(code, text)| (code.parse().expect("a code"), text));
    let statuses: Vec<_> = statuses.collect();
    assert!(statuses.iter().map(|(code, _)| *code).eq((0..=13).chain([99])), "the codes of SPOE.txt");
    statuses
}

/// Returns the bytes of pairs of hexadecimal digits; none for `-`.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|char| !matches!(char, ' ' | '-')).collect();
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two hexadecimal digits");
    (0..digits.len()).step_by(2).map(pair).collect()
}

fn typed(text: &'static str) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let split = |(name, bytes): (&'static str, _)| {
        let (kind, value) = name.split_once(' ').expect("a type and a value");
        (kind, value, hex(bytes))
    };
    lines(text).map(split).collect()
}

fn lines(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let vectors = text.lines().filter(|line| !line.starts_with('#'));
    vectors.map(|line| line.split_once(" = ").expect("a vector"))
}
