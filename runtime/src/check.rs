//! `spoa check` and `spoa validate`: what lists say of an address, and why; and what is wrong with them.

use std::fmt;
use std::io;
use std::net::IpAddr;

use spoa_runtime::reputation::lists::{Lists, Verdict, embedded};

/// What the lists say of `address`, and every line that it is in:
///
/// ```text
/// 192.0.2.7: listed, score 10
///   because of 192.0.2.0/24 in worse
///   worse: 192.0.2.0/24, score 10, line 12 of lists/worse.netset
///   bad: 192.0.0.0/16, score 30, line 3 of lists/bad.netset
/// ```
///
/// # Errors
/// A file cannot be read again.
pub(crate) fn explain(lists: &Lists, default_score: u32, address: IpAddr) -> io::Result<String> {
    let verdict = lists.verdict(address);
    let mut text = String::new();
    line(&mut text, format_args!("{address}: {verdict}, score {}", verdict.score().unwrap_or(default_score)));
    if embedded(address) != address {
        line(&mut text, format_args!("  looked up as {}", embedded(address)));
    }
    if let Verdict::Allow(list, prefix) | Verdict::Listed(list, prefix) = verdict {
        line(&mut text, format_args!("  because of {prefix} in {}", list.config().name));
    }
    for list in lists.iter() {
        let config = list.config();
        for (number, prefix) in list.lines_with(address)? {
            let allow = if config.allow { ", allow" } else { "" };
            let (name, score, path) = (&config.name, config.score, config.path.display());
            line(&mut text, format_args!("  {name}: {prefix}, score {score}{allow}, line {number} of {path}"));
        }
    }
    Ok(text)
}

/// The bad lines of lists, as far as they were kept:
///
/// ```text
/// list bad: 2 prefixes
/// list worse: 1 prefixes, 7 bad lines
///   line 2 of lists/worse.netset: "nonsense" is not an address
///   and 6 more
/// ```
pub(crate) fn report(lists: &Lists) -> String {
    let mut text = String::new();
    for list in lists.iter() {
        let (name, path) = (&list.config().name, list.config().path.display());
        let bad = match list.bad_lines() {
            0 => String::new(),
            count => format!(", {count} bad lines"),
        };
        line(&mut text, format_args!("list {name}: {} prefixes{bad}", list.prefixes()));
        let mut more = list.bad_lines();
        for (number, error) in list.bad() {
            line(&mut text, format_args!("  line {number} of {path}: {error}"));
            more -= 1;
        }
        if more > 0 {
            line(&mut text, format_args!("  and {more} more"));
        }
    }
    text
}

fn line(text: &mut String, line: fmt::Arguments<'_>) {
    text.push_str(&line.to_string());
    text.push('\n');
}

/// What is worth knowing of lists that were loaded.
pub(crate) fn summary(lists: &Lists) -> impl Iterator<Item = String> {
    lists.iter().map(|list| {
        let mut text = format!("list {}: {} prefixes", list.config().name, list.prefixes());
        if let Some((number, error)) = list.bad().next() {
            let path = list.config().path.display();
            text += &format!(", {} bad lines, the first is line {number} of {path}: {error}", list.bad_lines());
        }
        text
    })
}
