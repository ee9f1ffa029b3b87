//! Alternatives for an operator with a list of a million prefixes: an ACL file in HAProxy, or an agent that is asked once per
//! request or, with a stick table, once per client.

use std::fs;
use std::time::{Duration, Instant};

use spoa_tests::process;

use crate::figures::{Ratio, grouped, median};
use crate::haproxy::{Dir, Haproxy, Install, Setup};
use crate::http;
use crate::prefixes::{LISTS, write_lists};
use crate::processors::start_server;
use crate::server::{Network, Server, Spoa};

/// Number of prefixes in the list.
const PREFIXES: usize = 1_000_000;

/// A way to refuse the clients in a list.
#[derive(Clone, Copy)]
enum Alternative {
    /// None: HAProxy without a list.
    Alone,
    /// An ACL file.
    File,
    /// The agent, asked for each request.
    Agent(Network),
    /// The agent over TCP, asked once per client.
    StickTable,
}

/// The rows of the table.
const ALTERNATIVES: [Alternative; 5] = [
    Alternative::Alone,
    Alternative::File,
    Alternative::Agent(Network::Tcp),
    Alternative::Agent(Network::Unix),
    Alternative::StickTable,
];

impl Alternative {
    const fn name(self) -> &'static str {
        match self {
            Self::Alone => "HAProxy alone, without any list",
            Self::File => "the list as an ACL file of HAProxy (`src -f`)",
            Self::Agent(Network::Tcp) => "`spoa`, asked once per request, over TCP",
            Self::Agent(Network::Unix) => "`spoa`, asked once per request, over a unix socket",
            Self::StickTable => "`spoa` over TCP, asked once in ten seconds per client (stick table)",
        }
    }
}

/// One measurement of an alternative.
struct Sample {
    requests_per_sec: f64,
    /// The time from the start of HAProxy to its first response, and the time until the agent listens.
    start: (Duration, Duration),
    /// The resident memory of HAProxy and of the agent, in bytes.
    memory: (u64, u64),
}

pub(crate) fn measure(turns: usize, time: Duration) {
    let Some(install) = Install::all().pop() else {
        println!("No HAProxy is installed; tests/haproxy/install installs it.");
        return;
    };
    let folder = Dir::new();
    let list = write_list(&folder);
    let mut samples: [Vec<Sample>; ALTERNATIVES.len()] = Default::default();
    for _ in 0..turns {
        for (alternative, samples) in ALTERNATIVES.iter().zip(&mut samples) {
            samples.push(sample(*alternative, &install, &list, time));
        }
    }
    println!("HAProxy {} with one thread, and a list of {} prefixes:\n", install.full, grouped(PREFIXES as f64));
    println!(
        "| | requests/s | ratio to HAProxy alone | start of HAProxy | start of the agent | memory of HAProxy, agent |"
    );
    println!("|---|---|---|---|---|---|");
    let rates = |samples: &[Sample]| samples.iter().map(|sample| sample.requests_per_sec).collect::<Vec<_>>();
    let alone = rates(&samples[0]);
    for (alternative, samples) in ALTERNATIVES.iter().zip(&samples) {
        let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure));
        let mebibytes = |bytes: f64| format!("{:.0} MiB", bytes / 1_048_576.0);
        println!(
            "| {} | {} | {} | {:.2} s | {:.2} s | {}, {} |",
            alternative.name(),
            grouped(median(rates(samples))),
            Ratio::of(&rates(samples), &alone),
            of(|sample| sample.start.0.as_secs_f64()),
            of(|sample| sample.start.1.as_secs_f64()),
            mebibytes(of(|sample| sample.memory.0 as f64)),
            mebibytes(of(|sample| sample.memory.1 as f64)),
        );
    }
    println!();
}

/// Writes the list to one file and returns its path.
fn write_list(folder: &Dir) -> String {
    let lists = folder.path.join("lists");
    write_lists(&lists, PREFIXES);
    let parts = (0..LISTS).map(|list| fs::read_to_string(lists.join(list.to_string())).expect("the list was written"));
    let path = folder.path.join("all");
    fs::write(&path, parts.collect::<String>()).expect("the file can be written");
    path.display().to_string()
}

fn sample(alternative: Alternative, install: &Install, list: &str, time: Duration) -> Sample {
    let start = Instant::now();
    let agent = match alternative {
        Alternative::Alone | Alternative::File => None,
        Alternative::Agent(network) => Some(agent(network, list)),
        Alternative::StickTable => Some(agent(Network::Tcp, list)),
    };
    let agent_start = agent.as_ref().map_or(Duration::ZERO, |_| start.elapsed());
    let mut setup = match &agent {
        None => Setup::default(),
        Some(agent) => asking(agent, matches!(alternative, Alternative::StickTable)),
    };
    if matches!(alternative, Alternative::File) {
        setup.frontend = format!("    http-request deny if {{ src -f {list} }}");
    }
    setup.global = "    nbthread 1".into();
    let start = Instant::now();
    let haproxy: Haproxy = start_server(|| setup.start(install));
    http::first_response(haproxy.addr);
    let haproxy_start = start.elapsed();
    Sample {
        requests_per_sec: http::load(haproxy.addr, time, |_| true),
        start: (haproxy_start, agent_start),
        memory: (
            process::memory(haproxy.process.pid()),
            agent.as_ref().map_or(0, |agent| process::memory(agent.pid())),
        ),
    }
}

/// Starts the agent with the list, on the processor of the clients.
fn agent(network: Network, list: &str) -> Spoa {
    let agent = Spoa::start_on(network, &["-n", "1", "--list", &format!("all={list},score=5")]);
    agent.share_client_processor();
    agent
}

/// Returns a setup that refuses clients by their score, as the recipes do.
fn asking(agent: &Spoa, has_table: bool) -> Setup {
    let mut setup = Setup::with_message(&agent.haproxy_addr(), "on-frontend-http-request", "ip=src");
    setup.messages = setup.messages.replace("spoe-message m", "spoe-message check-request");
    setup.agent = "messages check-request\n    option dontlog-normal".into();
    setup.frontend = "    http-request deny if { var(txn.t.ip_score) -m int lt 20 }".into();
    if has_table {
        let condition = "on-frontend-http-request if ! { src,table_gpt0(agents) gt 0 }";
        setup.messages = setup.messages.replace("on-frontend-http-request", condition);
        setup.backend = "    stick-table type ipv6 size 1m expire 10s store gpt0".into();
        setup.frontend = [
            "    http-request track-sc0 src table agents if { var(txn.t.ip_score) -m found }",
            "    http-request sc-set-gpt0(0) var(txn.t.ip_score),add(1) if { var(txn.t.ip_score) -m found }",
            "    http-request set-var(txn.score) src,table_gpt0(agents),sub(1) if { src,table_gpt0(agents) gt 0 }",
            "    http-request deny if { var(txn.score) -m int lt 20 }",
        ]
        .join("\n");
    }
    setup
}
