//! Changes of bans on standard input.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use spoa_bans::{Action, Address, Record};

/// The longest line, in bytes.
const LINE_MAX: usize = 8 << 10;

/// A line of standard input: a change, or the reason why it is none.
pub(super) type Line = Result<Record<'static>, String>;

/// Reads the lines that are there, at most `max`, and waits for one if there is none. Returns an empty vector at the end. Lines are
/// numbered from 1 by `number`. `change` makes a change of an address. If `removes` is set, a record stands for the ban to remove.
///
/// # Errors
/// Standard input cannot be read.
pub(super) fn read(
    input: &mut io::BufReader<impl Read>,
    number: &mut u64,
    max: usize,
    change: impl Fn(Address) -> Record<'static>,
    removes: bool,
) -> io::Result<Vec<Line>> {
    let (mut lines, mut bytes) = (Vec::new(), Vec::new());
    // A program that writes line by line must not wait until there are many.
    while lines.is_empty() || (lines.len() < max && input.buffer().contains(&b'\n')) {
        bytes.clear();
        if input.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        *number += 1;
        if bytes.len() == LINE_MAX && !bytes.ends_with(b"\n") {
            input.skip_until(b'\n')?;
            lines.push(Err(format!("standard input, line {number}: longer than {} KiB", LINE_MAX >> 10)));
            continue;
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let wrong = |error: String| format!("standard input, line {number}: {error}");
        lines.push(parse(text, &change, removes).map_err(wrong));
    }
    Ok(lines)
}

fn parse(text: &str, change: impl Fn(Address) -> Record<'static>, removes: bool) -> Result<Record<'static>, String> {
    if text.starts_with('{') {
        let record = serde_json::from_str::<Record<'_>>(text).map_err(|error| error.to_string())?.into_owned();
        return Ok(if removes { removal(record) } else { record });
    }
    let address = text.parse().map_err(|error| format!("\"{}\": {error}", text.escape_debug()))?;
    Ok(change(address))
}

/// Returns the change that removes what another one adds.
fn removal(record: Record<'static>) -> Record<'static> {
    let (list, origin) = (record.list, record.origin.or(Some(Cow::Borrowed(""))));
    Record { list, origin, ..Record::new(Action::Remove, record.address.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_records_are_read() {
        let long = " ".repeat(LINE_MAX) + "192.0.2.4\n";
        let text = "192.0.2.1\n\n# a comment\n{\"action\":\"remove\",\"address\":\"192.0.2.2\"}\n192.0.2.3/24\n{}\n";
        let text = format!("{text}{long}2001:db8::1");
        let (mut input, mut number) = (io::BufReader::new(text.as_bytes()), 0);
        let change = |Address(prefix)| Record::new(Action::Ban, prefix);
        let mut all = Vec::new();
        loop {
            let lines = read(&mut input, &mut number, 2, change, false).expect("it can be read");
            if lines.is_empty() {
                break;
            }
            assert!(lines.len() <= 2);
            all.extend(lines);
        }
        let shown: Vec<_> = all
            .into_iter()
            .map(|line| match line {
                Ok(record) => format!("{:?} {}", record.action, record.address.0),
                Err(error) => error.split(": ").next().unwrap_or_default().to_owned(),
            })
            .collect();
        let wanted = [
            "Ban 192.0.2.1",
            "Remove 192.0.2.2",
            "standard input, line 5",
            "standard input, line 6",
            "standard input, line 7",
            "Ban 2001:db8::1",
        ];
        assert_eq!(shown, wanted);
    }
}
