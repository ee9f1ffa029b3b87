//! The formats of lists, and a reader that takes any bytes.
//!
//! | a list has | it is read as |
//! |---|---|
//! | an address, prefix or range per line; `#`, `;` and `//` begin comments | lines |
//! | columns between commas, tabs, semicolons, `|` or blanks, quoted or not, with a header or not, also a commented one | the column in which nearly every line has an address, or the one that was chosen |
//! | the first and the last address of ranges in neighbouring columns, also as integers, or networks and their netmasks | ranges, or prefixes |
//! | records, each of whose lines begins with a word: Tor's exit-addresses, objects of registries | the address after `ExitAddress`, `route:` and the like |
//! | several addresses on a line and nothing else | each of them |
//! | a name, a colon and a range per line (PeerGuardian) | ranges |
//! | `add NAME 192.0.2.1` (ipset), `deny 192.0.2.1;` (nginx), `-A INPUT -s 192.0.2.1 -j DROP` | columns between blanks |
//! | a JSON object per line, or a JSON document of any shape | the strings under keys such as `ip`, `cidr` and `prefix`, or the one that was chosen |
//!
//! Files are unpacked with gzip, and converted from UTF-16. The first lines decide; later lines that do not fit are bad lines. Every
//! line that is not blank is an entry, a comment, a header or a bad line, is below a threshold, or is counted as one that needs no address.

mod columns;
mod document;
mod fault;
mod json;
mod layout;
mod lines;
mod open;
mod reading;
mod records;
mod rows;

use std::fmt;
use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use fault::{LINE_LEN_MAX, LineError, LineFault};
pub use open::{CPU_TIME_MAX, SIZE_MAX, open};
pub use reading::{Column, Format, FormatError, Min, Reading};

use crate::prefix::{Item, ItemError, Prefix};
use document::{is_document, read_document};
use fault::SHOWN_MAX;
use rows::read_lines;
use spoa_runtime::text::Count;

/// An entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its address, prefix or range.
    pub item: Item,
    /// Its own score, 0 to 100, if the list has a score column.
    pub score: Option<u8>,
}

/// An entry, or the fault that is in its place.
type Parsed = Result<Entry, LineFault>;

/// A list that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detected {
    /// The layout, such as `tab-separated, address in column 1`.
    pub layout: String,
    /// The number of entries: addresses, prefixes and ranges.
    pub entries: u64,
    /// The number of bad lines.
    pub bad_lines: u64,
    /// The number of lines below the threshold.
    pub below_min: u64,
    /// The number of lines that have no address and need none: other lines of records, `create` of ipset.
    pub other_lines: u64,
    /// The lowest and the highest score of its entries, if it has a score column.
    pub scores: Option<(u8, u8)>,
}

/// Writes `tab-separated, address in column 1, 2 entries, 0 bad lines`.
impl fmt::Display for Detected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layout, entries, bad_lines, below_min, other_lines, scores } = self;
        write!(f, "{layout}, {}, {}", Count(*entries, "entry"), Count(*bad_lines, "bad line"))?;
        if *below_min > 0 {
            write!(f, ", {} below min", Count(*below_min, "line"))?;
        }
        if *other_lines > 0 {
            write!(f, ", {}", Count(*other_lines, "other line"))?;
        }
        match scores {
            Some((lowest, highest)) => write!(f, ", scores from {lowest} to {highest}"),
            None => Ok(()),
        }
    }
}

/// Reads `input` to its end, and calls `report` for each entry and bad line with the number of its line, from 1.
///
/// # Errors
/// The input cannot be read, has no column of the name that was given, has addresses in several columns, or is a broken document
/// of JSON.
pub fn read(
    mut input: impl BufRead,
    reading: &Reading,
    mut report: impl FnMut(u64, Result<Entry, LineError>),
) -> io::Result<Detected> {
    let mut detected = Detected::default();
    let mut count = |number: u64, parsed: Result<Entry, LineError>| {
        *if parsed.is_ok() { &mut detected.entries } else { &mut detected.bad_lines } += 1;
        if let Ok(Entry { score: Some(score), .. }) = parsed {
            let (lowest, highest) = detected.scores.unwrap_or((score, score));
            detected.scores = Some((lowest.min(score), highest.max(score)));
        }
        report(number, parsed);
    };
    let Outcome { layout, below_min, other_lines } = if is_document(input.fill_buf()?, reading) {
        read_document(input, reading, &mut count)?
    } else {
        read_lines(input, reading, &mut count)?
    };
    Ok(Detected { layout, below_min, other_lines, ..detected })
}

/// The layout of a list, and the lines that are neither entries nor bad lines.
struct Outcome {
    layout: String,
    below_min: u64,
    other_lines: u64,
}

/// Returns the name of a layout with the keys of its addresses.
fn with_keys(name: &str, keys: &[String]) -> String {
    if keys.is_empty() {
        name.to_owned()
    } else {
        format!("{name}, address under {}", keys.join(" and ").escape_debug())
    }
}

/// The number of keys that a report names.
const KEYS_SHOWN: usize = 8;

/// Reads an item, or returns the fault for a report.
fn item(text: &str, reading: &Reading) -> Result<Item, LineFault> {
    parse(text, reading).map_err(|error| not(text, error))
}

/// Reads an item. Most texts beside addresses are none, so this copies nothing for a report.
fn parse(text: &str, reading: &Reading) -> Result<Item, ItemError> {
    let item = Item::parse(text, reading.host_bits)?;
    Ok(match (item, reading.ipv6_host) {
        (Item::Prefix(prefix), Some(len)) if prefix.address().is_ipv6() && prefix.bits() == 128 => {
            Item::Prefix(Prefix::of(prefix.address(), len))
        }
        _ => item,
    })
}

/// Reads the two ends of a range as numbers: of IPv4 if the last one has up to 32 bits, of IPv6 beyond.
fn integer_range(from: &str, to: &str) -> Option<(IpAddr, IpAddr)> {
    let number =
        |text: &str| Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<u128>().ok();
    let (from, to) = (number(from)?, number(to)?);
    Some(match (u32::try_from(from), u32::try_from(to)) {
        (Ok(from), Ok(to)) => (Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into()),
        _ => (Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into()),
    })
}

fn not(text: &str, error: ItemError) -> LineFault {
    LineFault::Item { text: shown(text), error }
}

/// Returns the beginning of a text, for reports.
fn beginning(text: &str) -> &str {
    text.char_indices().nth(SHOWN_MAX).map_or(text, |(end, _)| &text[..end])
}

/// Returns a copy of the beginning of a text.
fn shown(text: &str) -> String {
    beginning(text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::io::Read;
    use std::time::Duration;

    use super::open::Bounded;
    use super::*;

    #[test]
    fn faults_have_the_column_where_they_begin() {
        let columns = |text: &[u8], format: &Reading| {
            let mut columns = Vec::new();
            read(text, format, |line, parsed| columns.extend(parsed.err().map(|bad| (line, bad.column)))).unwrap();
            columns
        };
        assert_eq!(columns("  no # x\n\u{feff}no\n1.2.3.4\n".as_bytes(), &Reading::default()), [(1, 3), (2, 4)]);
        assert_eq!(columns(b"1.2.3.4\n1.2\xff", &Reading::default()), [(2, 1)]);
        assert_eq!(columns(b"{\"cidr\":\"no\"}\n {\"cidr\":}", &Reading::default()), [(1, 10), (2, 10)]);
        assert_eq!(columns(b"x,1.2.3.4\nx, \"no\"\nx", &column("2")), [(2, 5), (3, 2)]);
    }

    fn column(text: &str) -> Reading {
        Reading { column: Some(text.parse().unwrap()), ..Reading::default() }
    }

    /// Returns the prefixes of a list, and its bad lines with their numbers.
    fn read_all(text: &[u8], format: &Reading) -> (Vec<String>, Vec<(u64, String)>) {
        let (mut prefixes, mut bad) = (Vec::new(), Vec::new());
        read(text, format, |number, parsed| match parsed {
            Ok(entry) => entry.item.prefixes(|prefix| prefixes.push(prefix.to_string())),
            Err(error) => bad.push((number, error.to_string())),
        })
        .unwrap();
        (prefixes, bad)
    }

    #[test]
    fn lines_of_firehol_and_spamhaus() {
        let text = "\u{feff}# FireHOL\r\n#\r\n\r\n1.10.16.0/20\r\n1.2.3.4\n; Spamhaus DROP\n5.134.128.0/19 ; SBL270738\n\
                    \t2001:db8::/32 # a note\n10.0.0.1-10.0.0.2\nno address\n1.2.3.4/33\n1.2.3.4 5.6.7.8";
        let (prefixes, bad) = read_all(text.as_bytes(), &Reading::default());
        assert_eq!(prefixes, ["1.10.16.0/20", "1.2.3.4", "5.134.128.0/19", "2001:db8::/32", "10.0.0.1", "10.0.0.2"]);
        let wanted = [
            (10, "\"no address\" is not an address".into()),
            (11, "\"1.2.3.4/33\" is not a prefix length from 0 to 32".into()),
            (12, "\"1.2.3.4 5.6.7.8\" is not an address".into()),
        ];
        assert_eq!(bad, wanted);
    }

    #[test]
    fn lines_of_json() {
        let text = br#"{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}
{"sblid":"SBL1","cidr":"2001:db8::\/32"}
{"type":"metadata","timestamp":1763999000,"size":2}
{"asn":213371}
{"cidr":"nowhere"}
{"cidr":
{"ip":"192.0.2.1","n":[1,{"x":null}]}
{"ip":"192.0.2.1","type":4,"network":"192.0.2.0/24"}"#;
        let (prefixes, bad) = read_all(text, &Reading::default());
        assert_eq!(prefixes, ["1.10.16.0/20", "2001:db8::/32", "192.0.2.1", "192.0.2.0/24"]);
        assert_eq!(bad.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [4, 5, 6]);
    }

    #[test]
    fn columns_by_number_and_name() {
        let text = b"first_seen, \"dst_ip\" ,port\n\"2026-01-01, noon\",192.0.2.1,443\n# comment\nx, \"192.0.2.0/25\",1\nx\nx,y\n";
        for name in ["2", "dst_ip", "DST_IP"] {
            let (prefixes, bad) = read_all(text, &column(name));
            assert_eq!(prefixes, ["192.0.2.1", "192.0.2.0/25"]);
            assert_eq!(bad, [(5, "the line has no column 2".into()), (6, "\"y\" is not an address".into())]);
        }
        let missing = read(&text[..], &column("ip"), |_, _| {}).unwrap_err();
        assert_eq!(missing.to_string(), "there is no column \"ip\": the columns are first_seen, dst_ip, port");
        let (prefixes, bad) = read_all(b"ip,score\n192.0.2.1,7\n", &Reading::default());
        assert_eq!((prefixes.len(), bad.len()), (1, 0), "a header is not a bad line");
        let (prefixes, bad) = read_all(b"192.0.2,score\n192.0.2.1,7\n", &Reading::default());
        assert_eq!((prefixes.len(), bad.len()), (1, 1), "a bad line is not a header");
    }

    #[test]
    fn what_is_no_text_costs_its_line_alone() {
        let long = [b'1'; LINE_LEN_MAX + 1];
        let text =
            [&b"192.0.2.1\n\xff\xfe\n"[..], &long, b"\n192.0.2.2\n", &long[..LINE_LEN_MAX], b"\n192.0.2.3"].concat();
        let (prefixes, bad) = read_all(&text, &Reading::default());
        assert_eq!(prefixes, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(bad.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3, 5]);
        assert_eq!(bad[1].1, "a line of more than 4096 bytes");
    }

    #[test]
    fn size_and_time_have_limits() {
        let endless = || io::repeat(b'#').take(2_000);
        let too_large = Bounded { bytes_left: 1_000, ..Bounded::new(endless()) };
        let error = read(BufReader::new(too_large), &Reading::default(), |_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 1073741824 bytes");
        let too_slow = Bounded { cpu_end: Duration::ZERO, ..Bounded::new(endless()) };
        let error = read(BufReader::new(too_slow), &Reading::default(), |_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "reading it took more than 30 s of processor time");
        let exact = Bounded { bytes_left: 9, ..Bounded::new(&b"192.0.2.1"[..]) };
        assert!(read(BufReader::new(exact), &Reading::default(), |_, _| {}).is_ok());
    }

    #[test]
    fn only_regular_files_are_opened() {
        let error = open(&std::env::temp_dir()).err().unwrap();
        assert_eq!(error.to_string(), "it is not a regular file");
    }

    #[test]
    fn comments_and_nothing() {
        for text in ["", "\n\n", "# only\n; comments", "\u{feff}"] {
            assert_eq!(read_all(text.as_bytes(), &Reading::default()), (Vec::new(), Vec::new()), "{text:?}");
        }
    }
}
