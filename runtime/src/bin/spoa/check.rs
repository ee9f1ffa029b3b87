//! `spoa check` and `spoa validate`: what lists say of an address, and why; and what is wrong with them.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use spoa_runtime::reputation::lists::{Lists, embedded};
use spoa_runtime::reputation::{List, ListConfig, LoadError, PREFIXES_MAX};

use crate::cli::ListArgs;
use crate::{Failure, tell};

/// Tells what lists say of addresses.
///
/// # Errors
/// There are no lists, or one cannot be used.
pub(crate) fn check(args: &ListArgs, addresses: &[IpAddr]) -> Result<(), Failure> {
    let options = args.options().map_err(Failure::Usage)?;
    if !options.is_by_lists() {
        return Err(Failure::Usage("check takes a --list, or a --config with a [[list]]".into()));
    }
    let config = options.reputation();
    let lists = Lists::load(&config.lists)?;
    for address in addresses {
        tell(explain(&lists, config.default_score, *address)?);
    }
    Ok(())
}

/// Tells what is wrong with lists and the file that they are in.
///
/// # Errors
/// Anything is, or there are neither.
pub(crate) fn validate(args: &ListArgs) -> Result<(), Failure> {
    let options = args.options().map_err(Failure::Usage)?;
    match args.file() {
        Some(path) if options.is_by_lists() => tell(format!("{} is in order\n", path.display())),
        Some(path) => {
            tell(format!("{} is in order; there is no list in it, so scores are random\n", path.display()));
        }
        None if options.is_by_lists() => {}
        None => return Err(Failure::Usage("validate takes a --list, or a --config".into())),
    }
    let (mut faults, mut prefixes) = (0, 0);
    for list in options.reputation().lists {
        // Of one that is strict all bad lines are told as well.
        let list = List::load(ListConfig { strict: false, ..list });
        prefixes += list.as_ref().map_or(0, List::prefixes);
        let (text, bad) = report(&list);
        tell(text);
        faults += bad;
    }
    if prefixes > PREFIXES_MAX as u64 {
        tell(format!("{prefixes} prefixes in all are more than {PREFIXES_MAX}\n"));
        faults += 1;
    }
    match faults {
        0 => Ok(()),
        1 => Err("1 fault".into()),
        more => Err(format!("{more} faults").into()),
    }
}

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
    if let Some(matched) = verdict.matched() {
        line(&mut text, format_args!("  because of {} in {}", matched.prefix(), matched.list().config().name));
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

/// What is wrong with a list, as far as it was kept, and how many faults that are:
///
/// ```text
/// list worse: 1 prefixes, 7 bad lines
///   lists/worse.netset:2:1: "nonsense" is not an address
///   and 6 more
/// ```
fn report(list: &Result<List, LoadError>) -> (String, u64) {
    let mut text = String::new();
    let list = match list {
        Ok(list) => list,
        Err(error) => {
            line(&mut text, format_args!("{error}"));
            return (text, 1);
        }
    };
    let (name, path) = (&list.config().name, list.config().path.display());
    let bad = match list.bad_lines() {
        0 => String::new(),
        count => format!(", {count} bad lines"),
    };
    line(&mut text, format_args!("list {name}: {} prefixes{bad}", list.prefixes()));
    let mut more = list.bad_lines();
    for (number, error) in list.bad() {
        line(&mut text, format_args!("  {path}:{number}:{}: {error}", error.column));
        more -= 1;
    }
    if more > 0 {
        line(&mut text, format_args!("  and {more} more"));
    }
    (text, list.bad_lines())
}

fn line(text: &mut String, line: fmt::Arguments<'_>) {
    text.push_str(&line.to_string());
    text.push('\n');
}

/// What is worth knowing of a list that was loaded.
pub(crate) fn summary(list: &List) -> String {
    let (name, prefixes, age) = (&list.config().name, list.prefixes(), age(list.written(), SystemTime::now()));
    let mut text = format!("list {name}: {prefixes} prefixes, written {age} ago");
    if let Some((number, error)) = list.bad().next() {
        let (count, path) = (list.bad_lines(), list.config().path.display());
        text += &format!(", {count} bad lines, the first is {path}:{number}:{}: {error}", error.column);
    }
    text
}

/// How long ago something was, to its largest unit.
fn age(then: SystemTime, now: SystemTime) -> String {
    // A clock that was set back is no reason to fail.
    let seconds = now.duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
