//! `spoa validate`: the faults of lists and of the configuration.

use std::fmt;
use std::path::Path;

use spoa_reputation::{List, ListConfig, LoadError};
use spoa_runtime::text::{Count, Escaped};

use crate::access::Reader;
use crate::cli::ListArgs;
use crate::{Failure, print, print_line};

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
    let mut lists = Vec::new();
    for config in options.reputation().lists {
        let Some(path) = &config.path else { continue };
        let (mut text, unreadable) = (String::new(), reader.as_ref().and_then(|reader| reader.cannot_read(path)));
        if let Some(wrong) = unreadable {
            line(&mut text, format_args!("list {}: {wrong}", config.name));
            faults += 1;
        }
        // All bad lines are shown, not just the first.
        let list = List::load(ListConfig { strict: false, max_bad: Some(100), ..config.clone() });
        let (report, bad) = report(&config, path, &list);
        lists.extend(list);
        print(text + &report)?;
        faults += bad;
    }
    if let Err(error) = List::check_together(&lists) {
        print_line(&error.to_string())?;
        faults += 1;
    }
    match faults {
        0 => Ok(()),
        faults => Err(Count(faults, "fault").to_string().into()),
    }
}

/// Returns the faults of a list, the first of them in full, and their number:
///
/// ```text
/// list worse: 1 prefix, 7 bad lines
///   read as one address per line, 1 entry, 7 bad lines
///   lists/worse.netset:2:1: "nonsense" is not an address
///   and 6 more
/// ```
fn report(config: &ListConfig, path: &Path, list: &Result<List, LoadError>) -> (String, u64) {
    let mut text = String::new();
    let list = match list {
        Ok(list) => list,
        Err(error) if config.optional && !path.exists() => {
            line(&mut text, format_args!("{error}; the list is optional, and empty until the file is there"));
            return (text, 0);
        }
        Err(error) => {
            line(&mut text, format_args!("{error}"));
            return (text, 1);
        }
    };
    let (name, path) = (&config.name, path.display());
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
