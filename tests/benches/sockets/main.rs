//! Measures `spoa` on real sockets: `cargo bench -p spoa-tests --bench sockets`, which takes a few minutes.
//!
//! Times cannot be compared between machines, and hardly between runs on the same machine. Throughput is therefore
//! reported as a ratio to the *floor*, a program that does less than any agent and checks nothing. Both are measured
//! alternately, and the result is the median of the ratios, with the lowest and the highest. If the client is slower
//! than the server, as with the floor at 8 × 64, ratios are too close to one, and the server's processor time per ACK
//! is more meaningful.
//!
//! The server has one processor, and the client has another. On one processor `spoa` runs one worker, whatever the
//! value of `-n`. To measure several workers, clients would need more processors than the workers have.

mod alternatives;
mod bans;
mod figures;
mod floor;
#[path = "../../haproxy/haproxy.rs"]
#[expect(dead_code, reason = "shared with the trials with real HAProxy, which use more of it")]
mod haproxy;
mod http;
mod idle;
#[path = "../../haproxy/log.rs"]
#[expect(dead_code, reason = "shared with the trials with real HAProxy, which use more of it")]
mod log;
mod meanwhile;
mod peer;
mod pipeline;
#[path = "../prefixes.rs"]
mod prefixes;
mod processors;
mod reload;
mod scrape;
mod server;
mod storm;
mod verdicts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use figures::{Ratio, grouped};
use server::{Network, Rival, Server, Spoa};
use spoa_tests::process;

/// Measures `spoa` on real sockets and compares it with the floor.
#[derive(Debug, Parser)]
struct Options {
    /// Measurements to run [default: all]
    #[arg(value_enum)]
    what: Vec<Measurement>,
    /// Number of turns per server
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Seconds per turn
    #[arg(long, default_value_t = 1.0)]
    secs: f64,
    /// Measure throughput with this pattern alone, such as 8x64
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// Compare with this other build of `spoa`, instead of with the floor: throughput and processor time per pattern of load
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,
    /// Serve as this rival, on a free port that is printed
    #[arg(long, hide = true)]
    be: Option<Rival>,
    /// The path of the unix socket to serve on
    #[arg(long, hide = true, requires = "be")]
    path: Option<PathBuf>,
    /// Ignored: cargo passes it to all benches
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// ACKs per second
    Throughput,
    /// Memory and cost of idle connections
    Idle,
    /// Many connections that are opened at once
    Storm,
    /// Throughput while lists are reloaded
    Reload,
    /// Throughput while metrics are scraped
    Scrape,
    /// Throughput while verdicts are logged, or kept for the status page
    Verdicts,
    /// Start, memory and throughput with a million bans
    Bans,
    /// Requests per second of HAProxy
    Haproxy,
    /// An ACL file, an agent and a stick table in HAProxy
    Alternatives,
}

/// A pattern of load: a number of connections with a number of NOTIFYs in flight on each, or clients that open a
/// connection per event.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    Pipeline { connections: usize, in_flight: usize },
    Churn { clients: usize },
}

const PATTERNS: [Pattern; 6] = [
    Pattern::pipeline(1, 1),
    Pattern::pipeline(8, 1),
    Pattern::pipeline(8, 16),
    Pattern::pipeline(8, 64),
    Pattern::pipeline(64, 16),
    Pattern::Churn { clients: 4 },
];

/// The patterns that are also measured over unix sockets.
const UNIX_PATTERNS: [Pattern; 3] = [Pattern::pipeline(1, 1), Pattern::pipeline(8, 1), Pattern::pipeline(8, 64)];

/// The results of a load.
#[derive(Clone, Copy, Debug)]
struct Load {
    acks_per_sec: f64,
    p99: Duration,
    /// The server's processor time per ACK.
    cpu: Duration,
}

fn main() {
    let options = Options::parse();
    if let Some(rival) = options.be {
        rival.serve(options.path.as_deref());
    }
    // Each of ten thousand idle connections needs a file descriptor.
    process::raise_file_limit();
    processors::pin_client();
    let wanted = |what| options.what.is_empty() || options.what.contains(&what);
    let (turns, time) = (options.turns, Duration::from_secs_f64(options.secs));
    if let Some(before) = options.before {
        return compare(&before, &patterns(options.pattern.as_deref(), &PATTERNS), turns, time);
    }
    if wanted(Measurement::Throughput) {
        throughput(options.pattern.as_deref(), turns, time);
    }
    if wanted(Measurement::Idle) {
        idle::measure(turns, time);
    }
    if wanted(Measurement::Storm) {
        storm::measure(turns);
    }
    if wanted(Measurement::Reload) {
        reload::measure(turns, time);
    }
    if wanted(Measurement::Scrape) {
        scrape::measure(turns, time);
    }
    if wanted(Measurement::Verdicts) {
        verdicts::measure(turns, time);
    }
    if wanted(Measurement::Bans) {
        bans::measure(turns, time);
    }
    if wanted(Measurement::Haproxy) {
        http::measure(turns, time);
    }
    if wanted(Measurement::Alternatives) {
        alternatives::measure(turns, time);
    }
}

/// Returns the patterns with this name, or all.
fn patterns(name: Option<&str>, all: &[Pattern]) -> Vec<Pattern> {
    let is_wanted = |pattern: &&Pattern| name.is_none_or(|name| pattern.name() == name.replace('x', " × "));
    all.iter().filter(is_wanted).copied().collect()
}

fn throughput(pattern: Option<&str>, turns: usize, time: Duration) {
    println!(
        "| connections × in flight | floor, ACKs/s | `spoa`, ratio to the floor | `spop`, ratio to the floor | floor \
         | `spoa` | `spop` |"
    );
    println!("|---|---|---|---|---|---|---|");
    for pattern in patterns(pattern, &PATTERNS) {
        throughput_row(pattern, Network::Tcp, turns, time);
    }
    for pattern in patterns(pattern, &UNIX_PATTERNS) {
        throughput_row(pattern, Network::Unix, turns, time);
    }
    println!("\nThe last three columns: the server's processor time per ACK, and the 99th percentile of the latency.");
    let server = Spoa::start(&["-n", "1"]);
    Pattern::pipeline(64, 16).load(&server, time);
    println!(
        "\nPeak memory of `spoa -n 1` at 64 × 16: {:.1} MiB.\n",
        process::memory_peak(server.pid()) as f64 / 1_048_576.0
    );
}

fn throughput_row(pattern: Pattern, network: Network, turns: usize, time: Duration) {
    let (mut floors, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..turns {
        floors.push(pattern.load(&Rival::Floor.start(network), time));
        ours.push(pattern.load(&Spoa::start_on(network, &["-n", "1"]), time));
        theirs.push(pattern.load(&Rival::Spop.start(network), time));
    }
    let rates = |loads: &[Load]| loads.iter().map(|load| load.acks_per_sec).collect::<Vec<_>>();
    let times = |loads: &[Load]| {
        let cpu = figures::median(loads.iter().map(|load| load.cpu.as_secs_f64() * 1e9));
        let p99 = figures::median(loads.iter().map(|load| load.p99.as_secs_f64() * 1e6));
        format!("{} ns, {} µs", grouped(cpu), grouped(p99))
    };
    let suffix = if network == Network::Unix { ", unix sockets" } else { "" };
    println!(
        "| {}{suffix} | {} | {} | {} | {} | {} | {} |",
        pattern.name(),
        grouped(figures::median(rates(&floors))),
        Ratio::of(&rates(&ours), &rates(&floors)),
        Ratio::of(&rates(&theirs), &rates(&floors)),
        times(&floors),
        times(&ours),
        times(&theirs),
    );
}

/// Compares `spoa` with another build of it, turn by turn.
fn compare(before: &Path, patterns: &[Pattern], turns: usize, time: Duration) {
    println!("| connections × in flight | ACKs/s, after to before | processor time per ACK, after to before |");
    println!("|---|---|---|");
    for pattern in patterns {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for turn in 0..turns {
            let run = |loads: &mut Vec<Load>, server: Spoa| loads.push(pattern.load(&server, time));
            // Each comes first in every other turn.
            if turn.is_multiple_of(2) {
                run(&mut old, Spoa::start_other(before, &["-n", "1"]));
                run(&mut new, Spoa::start(&["-n", "1"]));
            } else {
                run(&mut new, Spoa::start(&["-n", "1"]));
                run(&mut old, Spoa::start_other(before, &["-n", "1"]));
            }
        }
        let of = |figure: fn(&Load) -> f64| {
            let series = |loads: &[Load]| loads.iter().map(figure).collect::<Vec<_>>();
            Ratio::of(&series(&new), &series(&old))
        };
        let (rate, cpu) = (of(|load| load.acks_per_sec), of(|load| load.cpu.as_secs_f64()));
        println!("| {} | {rate} | {cpu} |", pattern.name());
    }
}

impl Pattern {
    const fn pipeline(connections: usize, in_flight: usize) -> Self {
        Self::Pipeline { connections, in_flight }
    }

    fn name(self) -> String {
        match self {
            Self::Pipeline { connections, in_flight } => format!("{connections} × {in_flight}"),
            Self::Churn { clients } => format!("one per event, {clients} at once"),
        }
    }

    fn load(self, server: &impl Server, time: Duration) -> Load {
        match self {
            Self::Pipeline { connections, in_flight } => pipeline::load(server, connections, in_flight, time),
            Self::Churn { clients } => pipeline::churn(server, clients, time),
        }
    }
}
