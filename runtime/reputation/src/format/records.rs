//! Lists of records, each of whose lines begins with a word: Tor's exit-addresses, and the objects of registries (RPSL).

use super::{LineFault, Reading, item, parse};
use crate::prefix::Item;

/// The words before an address, a prefix, or a range `A - B`.
const ADDRESS_WORDS: [&str; 6] = ["ExitAddress", "route:", "route6:", "inetnum:", "inet6num:", "CIDR:"];

/// The other words of Tor's records. In registries, words end with a colon.
const TOR_WORDS: [&str; 3] = ["ExitNode", "Published", "LastStatus"];

/// True if these are lines of records, one of which has an address.
pub(super) fn are_records<'l>(mut lines: impl Iterator<Item = &'l str> + Clone) -> bool {
    // Further lines of a value begin with a blank or +, remarks of a registry with %.
    let belongs_to_record = |line: &&str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        line.starts_with([' ', '\t', '+', '%'])
            || first.ends_with(':')
            || TOR_WORDS.contains(&first)
            || is_address_word(first)
    };
    let has_address = |line: &str| matches!(record_line(line, &Reading::default()), Ok(Some(_)));
    let (count, fits) = (lines.clone().count(), lines.clone().filter(belongs_to_record).count());
    fits * 20 >= count * 19 && lines.any(has_address)
}

fn is_address_word(word: &str) -> bool {
    ADDRESS_WORDS.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Returns the entry of a line; `None` if it has no address.
///
/// # Errors
/// It has no address although its word stands before one, or it has one although its word does not.
pub(super) fn record_line(line: &str, reading: &Reading) -> Result<Option<Item>, LineFault> {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    let entry = match (is_address_word(first), words.next().unwrap_or_default()) {
        (false, second) => {
            let has_item = [second].into_iter().chain(words).any(|word| parse(word, reading).is_ok());
            return if has_item { Err(LineFault::OtherWord) } else { Ok(None) };
        }
        (true, from) => {
            let mut rest = words.clone();
            match (rest.next(), rest.next()) {
                (Some("-"), Some(to)) => {
                    words = rest;
                    item(&format!("{from}-{to}"), reading)?
                }
                _ => item(from, reading)?,
            }
        }
    };
    // A date or a remark may follow.
    if words.any(|word| parse(word, reading).is_ok_and(|other| !entry.contains(other))) {
        return Err(LineFault::Several);
    }
    Ok(Some(entry))
}
