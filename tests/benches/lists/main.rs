//! Measures large lists of addresses: `cargo bench -p spoa-tests --bench lists`.
//!
//! For each number of [prefixes], a separate process loads them from files and prints the time and memory that this
//! takes. Then each format of files is loaded, and the data structure of the lists is compared with crates that could replace
//! it.

#[path = "../prefixes.rs"]
mod prefixes;

mod formats;
mod structures;

use std::fs;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::getpid;
use spoa_reputation::lists::Lists;
use spoa_reputation::table::Bits;
use spoa_reputation::{List, ListConfig};
use spoa_tests::process;

use prefixes::{LISTS, Listed, list, v6, write_lists};
use structures::Structure;

/// Number of prefixes for the comparisons of formats and of data structures.
const COMPARED: usize = 1_200_000;

/// Number of addresses to look up.
const LOOK_UPS: usize = 1_000_000;

#[derive(Parser)]
struct Options {
    /// Numbers of prefixes to measure, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [1_200, 12_000, 120_000, 1_200_000, 12_000_000])]
    prefixes: Vec<usize>,
    /// Load the lists in this folder and print the time and memory
    #[arg(long, hide = true)]
    load: Option<PathBuf>,
    /// Turns of the comparison of formats
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Measure this part alone
    #[arg(value_enum)]
    part: Option<Part>,
    /// Measure this data structure with the first number of prefixes
    #[arg(long, hide = true)]
    structure: Option<Structure>,
    /// Ignored: cargo passes it to all benches
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Scale,
    Formats,
    Structures,
}

fn main() {
    let options = Options::parse();
    if let Some(folder) = options.load {
        println!("{}", load(&folder));
        return;
    }
    if let Some(structure) = options.structure {
        println!("{}", structure.measure(options.prefixes[0]));
        return;
    }
    let has_part = |part| options.part.is_none_or(|only| only == part);
    if has_part(Part::Scale) {
        scale(&options.prefixes);
    }
    if has_part(Part::Formats) {
        formats::compare(COMPARED, options.turns);
    }
    if has_part(Part::Structures) {
        compare();
    }
}

/// Prints time and memory of loading and of lookups for each number of prefixes.
fn scale(prefixes: &[usize]) {
    println!(
        "| prefixes in {LISTS} lists | size of files | processor time to load | resident | peak | memory used by \
         lookups | lookup of a listed IPv4 address | of a random one | of a listed IPv6 address | of a random one |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for &prefixes in prefixes {
        let folder = std::env::temp_dir().join(format!("spoa-bench-lists-{}", std::process::id()));
        let size = write_lists(&folder, prefixes);
        let program = std::env::current_exe().expect("the path of this program is known");
        let child = Command::new(program).arg("--load").arg(&folder).output().expect("the program starts");
        fs::remove_dir_all(&folder).expect("the folder can be deleted");
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        println!("| {prefixes} | {} | {}", mebibytes(size), String::from_utf8_lossy(&child.stdout).trim_end());
    }
}

/// Prints time and memory of each data structure.
fn compare() {
    println!(
        "\n| {COMPARED} prefixes | processor time to build | memory | lookup of a listed IPv4 address | of a random one \
         | of a listed IPv6 address | of a random one |"
    );
    println!("|---|---|---|---|---|---|---|");
    for structure in Structure::value_variants() {
        let name = structure.to_possible_value().expect("the value has a name").get_name().to_owned();
        let mut command = Command::new(std::env::current_exe().expect("the path of this program is known"));
        command.args(["--structure", &name, "--prefixes", &COMPARED.to_string()]);
        let child = command.output().expect("the program starts");
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        println!("| `{name}` | {}", String::from_utf8_lossy(&child.stdout).trim_end());
    }
}

/// Loads the lists in a folder and looks up addresses. Returns the row of the table without its first columns.
fn load(folder: &Path) -> String {
    let option = |list: usize| format!("{list}={},score={}", folder.join(list.to_string()).display(), list * 5);
    let configs: Vec<ListConfig> = (0..LISTS).map(|list| option(list).parse().expect("the option is valid")).collect();
    let (own, before) = (getpid(), process::cpu_time(getpid()));
    let lists = Lists::load(&configs).expect("the lists are valid");
    let time = process::cpu_time(own) - before;
    let (resident, peak) = (process::memory(own), process::memory_peak(own));
    let each = lists.iter().map(List::prefixes).sum::<u64>() as usize / LISTS;
    let mut random = ChaCha8Rng::seed_from_u64(1 << 32);
    let (mut hits_v4, mut hits_v6) = (Vec::new(), Vec::new());
    for listed in (0..LISTS).flat_map(|number| list(number, each)) {
        match listed {
            Listed::V4(start, len) => hits_v4.push(start | random.next_u32() & !u32::MAX.network(len)),
            Listed::V6(start, len) => hits_v6.push(start | u128::from(random.next_u64()) & !u128::MAX.network(len)),
        }
    }
    hits_v4.shuffle(&mut random);
    hits_v6.shuffle(&mut random);
    hits_v4.truncate(LOOK_UPS);
    hits_v6.truncate(LOOK_UPS);
    let any_v4: Vec<_> = (0..LOOK_UPS).map(|_| random.next_u32()).collect();
    let any_v6: Vec<_> = (0..LOOK_UPS).map(|_| v6(&mut random).0 | 1).collect();
    let (score_v4, score_v6) = (
        |address| lists.all().verdict(Ipv4Addr::from_bits(address).into()).score(),
        |address| lists.all().verdict(Ipv6Addr::from_bits(address).into()).score(),
    );
    assert!(hits_v4.iter().all(|address| score_v4(*address).is_some()), "the addresses are in the lists");
    let again = |of: usize| LOOK_UPS.div_ceil(of.max(1));
    format!(
        "{:.2} s | {} | {} | {} | {} | {} | {} | {} |",
        time.as_secs_f64(),
        mebibytes(resident),
        mebibytes(peak),
        mebibytes(lists.memory() as u64),
        look_ups(&hits_v4, again(hits_v4.len()), score_v4),
        look_ups(&any_v4, 1, score_v4),
        look_ups(&hits_v6, again(hits_v6.len()), score_v6),
        look_ups(&any_v6, 1, score_v6),
    )
}

/// Returns the time of one lookup, measured over `again` rounds of all addresses.
fn look_ups<A: Copy, T>(addresses: &[A], again: usize, look_up: impl Fn(A) -> T) -> String {
    let start = Instant::now();
    for _ in 0..again {
        for address in addresses {
            black_box(look_up(*address));
        }
    }
    format!("{} ns", start.elapsed().as_nanos() as usize / (again * addresses.len().max(1)))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}
