//! Compares the formats of list files: the processor time to load the same prefixes from each.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rustix::process::getpid;
use spoa_reputation::{List, ListConfig};
use spoa_tests::process;

use crate::{mebibytes, prefixes};

/// A format: its name, the options of its list, the text before and after the entries, and the text of an entry.
struct Format {
    name: &'static str,
    options: &'static str,
    before: &'static str,
    after: &'static str,
    entry: fn(Ipv4Addr, u8) -> String,
}

/// The formats. Each entry has its prefix and, where published lists have that, other columns.
const FORMATS: [Format; 11] = [
    Format {
        name: "an address or prefix per line",
        options: "",
        before: "",
        after: "",
        entry: |address, len| format!("{address}/{len}\n"),
    },
    Format {
        name: "columns between commas, quoted",
        options: "",
        before: "\"first seen\",\"ip\",\"port\"\n",
        after: "",
        entry: |address, len| format!("\"2026-01-01 00:00:00\",\"{address}/{len}\",\"443\"\n"),
    },
    Format { name: "columns between tabs", options: "", before: "", after: "", entry: with_tabs },
    Format {
        name: "columns between tabs, with `score-column`",
        options: ",score-column=2",
        before: "",
        after: "",
        entry: with_tabs,
    },
    Format {
        name: "ranges in two columns",
        options: "",
        before: "",
        after: "",
        entry: |address, len| format!("{address}\t{}\t{len}\tUS\n", last(address, len)),
    },
    Format {
        name: "a name and a range per line",
        options: "",
        before: "",
        after: "",
        entry: |address, len| format!("Some network:{address}-{}\n", last(address, len)),
    },
    Format {
        name: "`ipset save`",
        options: "",
        before: "create bl hash:net\n",
        after: "",
        entry: |address, len| format!("add bl {address}/{len}\n"),
    },
    Format {
        name: "nginx",
        options: "",
        before: "",
        after: "",
        entry: |address, len| format!("deny {address}/{len};\n"),
    },
    Format {
        name: "JSON lines",
        options: "",
        before: "",
        after: "",
        entry: |address, len| format!("{{\"cidr\":\"{address}/{len}\",\"sblid\":\"SBL256894\",\"rir\":\"apnic\"}}\n"),
    },
    Format {
        name: "a JSON document of objects",
        options: "",
        before: "{\"prefixes\":[\n",
        after: "{}]}\n",
        entry: |address, len| {
            format!("{{\"ip_prefix\":\"{address}/{len}\",\"region\":\"us-east-1\",\"service\":\"EC2\"}},\n")
        },
    },
    Format {
        name: "a JSON document with an array",
        options: "",
        before: "{\"list\":[\n",
        after: "\"192.0.2.1\"]}\n",
        entry: |address, len| format!("\"{address}/{len}\",\n"),
    },
];

/// Returns an entry with a number and a note, between tabs.
fn with_tabs(address: Ipv4Addr, len: u8) -> String {
    format!("{address}/{len}\t12\tnote\n")
}

/// Returns the last address of a prefix.
fn last(address: Ipv4Addr, len: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() | u32::MAX.checked_shr(len.into()).unwrap_or(0))
}

/// Prints the processor time that loading this number of prefixes takes in each format, the shortest of `turns`.
pub(crate) fn compare(count: usize, turns: usize) {
    println!("\n| {count} IPv4 prefixes as | size of the file | processor time to load |");
    println!("|---|---|---|");
    let path = std::env::temp_dir().join(format!("spoa-bench-formats-{}", std::process::id()));
    for format in FORMATS {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut text = format.before.to_owned();
        for _ in 0..count {
            let (start, len) = prefixes::v4(&mut random);
            let _ = text.write_str(&(format.entry)(Ipv4Addr::from_bits(start), len));
        }
        text += format.after;
        fs::write(&path, &text).expect("the file can be written");
        let config: ListConfig =
            format!("list={},max-cover=100{}", path.display(), format.options).parse().expect("the options are valid");
        let times = (0..turns.max(1)).map(|_| {
            let before = process::cpu_time(getpid());
            let list = List::load(config.clone()).expect("the list can be loaded");
            let time = process::cpu_time(getpid()) - before;
            let detected = list.detected();
            assert!(detected.entries as usize >= count && detected.bad_lines <= 1, "{}: {detected}", format.name);
            time
        });
        let time = times.min().unwrap_or_default();
        println!("| {} | {} | {:.2} s |", format.name, mebibytes(text.len() as u64), time.as_secs_f64());
    }
    fs::remove_file(&path).expect("the file can be removed");
}
