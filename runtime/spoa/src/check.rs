//! `spoa check` and `spoa validate`: the verdict of lists on an address, and the faults of lists and configuration.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use spoa_reputation::embedded;
use spoa_reputation::lists::{Lists, Verdict};
use spoa_reputation::{Library, List, ListConfig, LoadError, PREFIXES_MAX};
use spoa_runtime::text::{Count, Escaped};

use crate::access::Reader;
use crate::cli::ListArgs;
use crate::{Failure, complain, print};

/// The output of `spoa check`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// A JSON object per address.
    pub(crate) json: bool,
    /// Fails if an address is listed.
    pub(crate) fail_if_listed: bool,
}

/// Shows the verdict of lists on addresses, or on those of standard input.
///
/// # Errors
/// There are no lists, one cannot be used, a line of standard input is no address, an address is listed and this is to be a
/// failure, or standard output cannot be written to.
pub(crate) fn check(args: &ListArgs, addresses: &[IpAddr], output: Output) -> Result<(), Failure> {
    let options = args.options()?;
    if !options.has_lists() {
        return Err(Failure::Usage("check needs a --list, or a --config with a [[list]]".into()));
    }
    let config = options.reputation();
    let default_score = config.default_score;
    let library = Library::open(config)?;
    for (_, error) in library.refused() {
        complain(&format_args!("{error}; the list is optional, and counts as empty"));
    }
    let edition = library.edition();
    let mut is_listed = false;
    let mut show = |address: IpAddr| {
        is_listed |= matches!(edition.lists.verdict(address), Verdict::Listed(_));
        print(if output.json {
            json(&edition.lists, default_score, address)?
        } else {
            explain(&edition.lists, default_score, address)?
        })
    };
    let mut wrong = 0;
    if addresses.is_empty() {
        for (line, number) in io::stdin().lines().zip(1_u64..) {
            let text = line?;
            let text = text.trim();
            match crate::cli::address(text) {
                _ if text.is_empty() || text.starts_with('#') => {}
                Ok(address) => show(address)?,
                Err(error) => {
                    complain(&format_args!("standard input, line {number}: \"{}\": {error}", text.escape_debug()));
                    wrong += 1;
                }
            }
        }
    } else {
        addresses.iter().try_for_each(|address| show(*address))?;
    }
    match wrong {
        0 if is_listed && output.fail_if_listed => Err(Failure::Listed),
        0 => Ok(()),
        wrong => Err(format!(
            "{} of standard input {} no address",
            Count(wrong, "line"),
            if wrong == 1 { "is" } else { "are" }
        )
        .into()),
    }
}

/// The verdict on an address, as JSON.
#[derive(Serialize)]
struct Report<'l> {
    address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    looked_up_as: Option<IpAddr>,
    verdict: &'static str,
    score: u32,
    list: Option<&'l str>,
    category: Option<&'l str>,
    prefix: Option<String>,
    matches: Vec<LineMatch<'l>>,
}

/// A line of a list that contains the address, as JSON.
#[derive(Serialize)]
struct LineMatch<'l> {
    list: &'l str,
    prefix: String,
    score: u32,
    allow: bool,
    line: u64,
    path: String,
}

/// Returns the verdict on `address`, and every line that contains it, as one line of JSON.
///
/// # Errors
/// A file cannot be read again.
fn json(lists: &Lists, default_score: u32, address: IpAddr) -> io::Result<String> {
    let verdict = lists.verdict(address);
    let mut matches = Vec::new();
    for list in lists.iter().filter(|list| list.written().is_some()) {
        let ListConfig { name, score, allow, path, .. } = list.config();
        for (line, prefix) in list.lines_with(address)? {
            let (prefix, path) = (prefix.to_string(), path.display().to_string());
            matches.push(LineMatch { list: name, prefix, score: *score, allow: *allow, line, path });
        }
    }
    let config = verdict.matched().map(|matched| matched.list().config());
    let report = Report {
        address,
        looked_up_as: Some(embedded(address)).filter(|other| *other != address),
        verdict: verdict.name(),
        score: verdict.score().unwrap_or(default_score),
        list: config.map(|config| config.name.as_str()),
        category: config.map(|config| config.category.as_str()),
        prefix: verdict.matched().map(|matched| matched.prefix().to_string()),
        matches,
    };
    Ok(serde_json::to_string(&report)? + "\n")
}

/// Shows the faults of lists and of the file that they are in.
///
/// # Errors
/// There are faults, there are neither lists nor a file, or standard output cannot be written to.
pub(crate) fn validate(args: &ListArgs, user: Option<&str>) -> Result<(), Failure> {
    let options = args.options()?;
    let (reader, mut text, mut faults) = (Reader::of(user)?, String::new(), 0);
    match args.file() {
        Some(path) => {
            let note = if options.has_lists() { "" } else { "; it has no list, so scores are random" };
            line(&mut text, format_args!("{} is valid{note}", path.display()));
            if let Some(wrong) = reader.as_ref().and_then(|reader| reader.cannot_read(path)) {
                line(&mut text, format_args!("  {wrong}"));
                faults += 1;
            }
        }
        None if options.has_lists() => {}
        None => return Err(Failure::Usage("validate needs a --list, or a --config".into())),
    }
    print(text)?;
    let mut prefixes = 0;
    for config in options.reputation().lists {
        let (mut text, unreadable) =
            (String::new(), reader.as_ref().and_then(|reader| reader.cannot_read(&config.path)));
        if let Some(wrong) = unreadable {
            line(&mut text, format_args!("list {}: {wrong}", config.name));
            faults += 1;
        }
        // All bad lines are shown, not just the first.
        let list = List::load(ListConfig { strict: false, max_bad: Some(100), ..config.clone() });
        prefixes += list.as_ref().map_or(0, List::prefixes);
        let (report, bad) = report(&config, &list);
        print(text + &report)?;
        faults += bad;
    }
    if prefixes > PREFIXES_MAX as u64 {
        print(format!("all lists together have {prefixes} prefixes, more than the limit of {PREFIXES_MAX}\n"))?;
        faults += 1;
    }
    match faults {
        0 => Ok(()),
        faults => Err(Count(faults, "fault").to_string().into()),
    }
}

/// Returns the verdict on `address`, and every line that contains it:
///
/// ```text
/// 192.0.2.7: listed, score 10
///   decided by 192.0.2.0/24 in worse
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
        line(&mut text, format_args!("  decided by {} in {}", matched.prefix(), matched.list().config().name));
    }
    for list in lists.iter().filter(|list| list.written().is_some()) {
        let config = list.config();
        for (number, prefix) in list.lines_with(address)? {
            let allow = if config.allow { ", allow" } else { "" };
            let (name, score, path) = (&config.name, config.score, config.path.display());
            line(&mut text, format_args!("  {name}: {prefix}, score {score}{allow}, line {number} of {path}"));
        }
    }
    Ok(text)
}

/// Returns the faults of a list, the first of them in full, and their number:
///
/// ```text
/// list worse: 1 prefix, 7 bad lines
///   read as one address per line, 1 entry, 7 bad lines
///   lists/worse.netset:2:1: "nonsense" is not an address
///   and 6 more
/// ```
fn report(config: &ListConfig, list: &Result<List, LoadError>) -> (String, u64) {
    let mut text = String::new();
    let list = match list {
        Ok(list) => list,
        Err(error) if config.optional && !config.path.exists() => {
            line(&mut text, format_args!("{error}; the list is optional, and empty until the file is there"));
            return (text, 0);
        }
        Err(error) => {
            line(&mut text, format_args!("{error}"));
            return (text, 1);
        }
    };
    let (name, path) = (&config.name, config.path.display());
    let bad = match list.bad_lines() {
        0 => String::new(),
        count => format!(", {}", Count(count, "bad line")),
    };
    line(&mut text, format_args!("list {name}: {}{bad}", Count(list.prefixes(), "prefix")));
    line(&mut text, format_args!("  read as {}", list.detected()));
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

/// Appends one line, escaped because it may contain text from a file.
fn line(text: &mut String, line: fmt::Arguments<'_>) {
    text.push_str(&Escaped(line).to_string());
    text.push('\n');
}

/// Returns the size, age and faults of a list in one line.
pub(crate) fn summary(list: &List) -> String {
    let (name, prefixes) = (&list.config().name, Count(list.prefixes(), "prefix"));
    let Some(written) = list.written() else { return format!("list {name}: not loaded yet") };
    let mut text = format!("list {name}: {prefixes}, written {} ago", age(written, SystemTime::now()));
    if let Some((number, error)) = list.bad().next() {
        let (count, path) = (Count(list.bad_lines(), "bad line"), list.config().path.display());
        text += &format!(", {count}, the first is {path}:{number}:{}: {error}", error.column);
    }
    text
}

/// Returns the time between two times in its largest unit.
fn age(then: SystemTime, now: SystemTime) -> String {
    // A clock may have been set back.
    let seconds = now.duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
