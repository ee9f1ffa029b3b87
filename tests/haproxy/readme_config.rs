//! The README's own way: its configuration files as they are, the program `spoa` on its own port.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::agent::Spoa;
use crate::client::{Request, loopback};
use crate::haproxy::{Engine, Install, Process};
use crate::log::WAIT_MAX;

const HAPROXY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));
const AGENT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 12345));
/// In the configuration files: clients below it are rejected.
const LIMIT: u32 = 20;
/// Enough clients to have some on both sides of the limit, whatever the seed: all are above it once in 10^6 seeds.
const CLIENTS: u8 = 60;

/// The ports are fixed, so there is only one of these at a time.
static PORTS: Mutex<()> = Mutex::new(());

/// Clients are let in or rejected by their score, which depends on the seed and their address only.
pub(crate) fn run(install: &Install) {
    let _alone = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    for (addr, what) in [(HAPROXY, "haproxy.cfg"), (AGENT, "spoa")] {
        if let Err(error) = TcpListener::bind(addr) {
            panic!("{addr}, which {what} uses, is not free: {error}");
        }
    }
    let first = scores(install, 4711);
    assert_eq!(first, scores(install, 4711), "the same seed, all started anew");
    let other = scores(install, 4712);
    assert_ne!(first, other, "another seed");
    for scores in [first, other] {
        let rejected = scores.iter().filter(|score| **score < LIMIT).count();
        assert!((1..scores.len()).contains(&rejected), "{rejected} of {} were rejected", scores.len());
    }
}

/// Starts agent and HAProxy, and asks as [`CLIENTS`] clients, each twice.
fn scores(install: &Install, seed: u64) -> Vec<u32> {
    let spoa = Spoa::start(&["--seed", &seed.to_string()], 1);
    assert_eq!(spoa.addr(), AGENT.to_string());
    let name = match install.engine() {
        Engine::Applet => "haproxy-3.0.cfg",
        Engine::Mux => "haproxy.cfg",
    };
    let config = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/examples/haproxy")).join(name);
    let _haproxy = Process::start(Command::new(&install.program).arg("-db").arg("-f").arg(config));
    connect_until_up();

    let score = |n| {
        let score_of = || {
            let response = Request::get("/").from(loopback(n)).send(HAPROXY);
            let score: u32 = response.header("x-ip-score").parse().unwrap_or_else(|_| panic!("no score: {response:?}"));
            assert!(score <= 100, "{score}");
            assert_eq!(response.status, if score < LIMIT { 403 } else { 200 }, "a score of {score}");
            score
        };
        let score = score_of();
        assert_eq!(score_of(), score, "the same client again");
        score
    };
    let scores = (1..=CLIENTS).map(score).collect();
    assert!(spoa.stop().success());
    scores
}

/// The port is HAProxy's own here, so there is nothing else to tell that it listens.
fn connect_until_up() {
    let until = Instant::now() + WAIT_MAX;
    while TcpStream::connect(HAPROXY).is_err() {
        assert!(Instant::now() < until, "HAProxy does not come up");
        std::thread::sleep(Duration::from_millis(2));
    }
}
