//! How fast `spoa` is on real sockets: `cargo bench -p spoa-tests --bench sockets`, a few minutes.
//!
//! Times mean nothing across machines, and little across minutes of one. So throughput is told as a ratio to the *floor*, a
//! program that does less than any agent and checks nothing, measured in turns with it: the median of several turns, with
//! the lowest and the highest. Where the client is the slower side, as it is of the floor at 8 × 64, ratios are too near to
//! one; the processor time that the server takes for an ACK tells more. The server has one processor, the client another. On one processor there is one
//! worker, whatever `-n` says; what several workers come to would need more processors for clients than for them.

mod churn;
mod figures;
mod floor;
#[path = "../../haproxy/haproxy.rs"]
#[expect(dead_code, reason = "shared with the trials of real HAProxy, which use more of it")]
mod haproxy;
mod http;
mod idle;
#[path = "../../haproxy/log.rs"]
#[expect(dead_code, reason = "shared with the trials of real HAProxy, which use more of it")]
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

use std::time::Duration;

use clap::{Parser, ValueEnum};

use figures::{Ratio, grouped};
use server::{Rival, Server, Spoa};
use spoa_tests::process;

/// Measures `spoa` on real sockets, against the floor.
#[derive(Debug, Parser)]
struct Options {
    /// What to measure [default: all]
    #[arg(value_enum)]
    what: Vec<What>,
    /// How often to take turns
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 1.0)]
    secs: f64,
    /// Be what it is compared with, on a free port that is printed
    #[arg(long, hide = true)]
    be: Option<Rival>,
    /// Cargo says so
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// ACKs a second
    Throughput,
    /// Connections that have nothing to do
    Idle,
    /// Connections that all come at once
    Storm,
    /// Lists that are loaded meanwhile
    Reload,
    /// Metrics that are asked for meanwhile
    Scrape,
    /// Requests a second of HAProxy
    Haproxy,
}

/// How clients ask: connections, and NOTIFYs in flight on each; or a connection an event, so many at once.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    Pipeline { connections: usize, in_flight: usize },
    Churn { clients: usize },
}

const PATTERNS: [Pattern; 6] = [
    Pattern::Pipeline { connections: 1, in_flight: 1 },
    Pattern::Pipeline { connections: 8, in_flight: 1 },
    Pattern::Pipeline { connections: 8, in_flight: 16 },
    Pattern::Pipeline { connections: 8, in_flight: 64 },
    Pattern::Pipeline { connections: 64, in_flight: 16 },
    Pattern::Churn { clients: 4 },
];

/// What a load came to.
#[derive(Clone, Copy, Debug)]
struct Load {
    acks_per_sec: f64,
    p99: Duration,
    /// The server's processor time for an ACK.
    cpu: Duration,
}

fn main() {
    let options = Options::parse();
    if let Some(rival) = options.be {
        rival.serve();
    }
    // Ten thousand connections are as many files.
    process::raise_file_limit();
    processors::be_the_client();
    let wanted = |what| options.what.is_empty() || options.what.contains(&what);
    let (turns, time) = (options.turns, Duration::from_secs_f64(options.secs));
    if wanted(What::Throughput) {
        throughput(turns, time);
    }
    if wanted(What::Idle) {
        idle::measure(turns, time);
    }
    if wanted(What::Storm) {
        storm::measure(turns);
    }
    if wanted(What::Reload) {
        reload::measure(turns, time);
    }
    if wanted(What::Scrape) {
        scrape::measure(turns, time);
    }
    if wanted(What::Haproxy) {
        http::measure(turns, time);
    }
}

fn throughput(turns: usize, time: Duration) {
    println!("| connections × in flight | floor, ACKs/s | `spoa` of it | `spop` of it | floor | `spoa` | `spop` |");
    println!("|---|---|---|---|---|---|---|");
    for pattern in PATTERNS {
        let (mut floors, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..turns {
            floors.push(pattern.load(&Rival::Floor.start(), time));
            ours.push(pattern.load(&Spoa::start(&["-n", "1"]), time));
            theirs.push(pattern.load(&Rival::Spop.start(), time));
        }
        let rates = |loads: &[Load]| loads.iter().map(|load| load.acks_per_sec).collect::<Vec<_>>();
        let times = |loads: &[Load]| {
            let cpu = figures::median(loads.iter().map(|load| load.cpu.as_secs_f64() * 1e9));
            let p99 = figures::median(loads.iter().map(|load| load.p99.as_secs_f64() * 1e6));
            format!("{} ns, {} µs", grouped(cpu), grouped(p99))
        };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            pattern.name(),
            grouped(figures::median(rates(&floors))),
            Ratio::of(&rates(&ours), &rates(&floors)),
            Ratio::of(&rates(&theirs), &rates(&floors)),
            times(&floors),
            times(&ours),
            times(&theirs),
        );
    }
    println!("\nThe last three columns: the server's processor time for an ACK, and the p99.");
    let server = Spoa::start(&["-n", "1"]);
    Pattern::Pipeline { connections: 64, in_flight: 16 }.load(&server, time);
    println!(
        "\nMost memory that `spoa -n 1` held under 64 × 16: {:.1} MiB.\n",
        process::memory_peak(server.pid()) as f64 / 1_048_576.0
    );
}

impl Pattern {
    fn name(self) -> String {
        match self {
            Self::Pipeline { connections, in_flight } => format!("{connections} × {in_flight}"),
            Self::Churn { clients } => format!("one an event, {clients} at once"),
        }
    }

    fn load(self, server: &impl Server, time: Duration) -> Load {
        match self {
            Self::Pipeline { connections, in_flight } => pipeline::load(server, connections, in_flight, time),
            Self::Churn { clients } => churn::load(server, clients, time),
        }
    }
}
