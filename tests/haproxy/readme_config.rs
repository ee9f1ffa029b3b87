//! The README's own way: its configuration files as they are, the program `spoa` on its own port.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spoa_tests::folder::Folder;

use crate::agent::Spoa;
use crate::client::{Request, loopback};
use crate::haproxy::{Engine, Install, Process};
use crate::log::WAIT_MAX;

pub(crate) const HAPROXY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));
const AGENT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 12345));
/// In the configuration files: clients below it are rejected.
const LIMIT: u32 = 20;
/// Enough clients to have some on both sides of the limit, whatever the seed: all are above it once in 10^6 seeds.
const CLIENTS: u8 = 60;

/// The ports are fixed, so there is only one of these at a time.
static PORTS: Mutex<()> = Mutex::new(());

/// The ports, which have to be free.
pub(crate) fn ports() -> MutexGuard<'static, ()> {
    let ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    for (addr, what) in [(HAPROXY, "haproxy.cfg"), (AGENT, "spoa")] {
        if let Err(error) = TcpListener::bind(addr) {
            panic!("{addr}, which {what} uses, is not free: {error}");
        }
    }
    ports
}

/// A file of the agent's.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime")).join(path)
}

/// The recipe with lists: clients are rejected, held up or marked, each is asked about once in ten seconds, and without the
/// agent all pass; or none, if the line that is commented out says so.
pub(crate) fn recipe(install: &Install) {
    let _alone = ports();
    let lists = Folder::with(&[("bad", b"127.0.0.2\n"), ("worse", b"127.0.0.3\n")]);
    let (config, bad) = (file("package/spoa.toml").display().to_string(), lists.list("bad", ",score=0"));
    let worse = lists.list("worse", ",score=15");
    let mut spoa = Spoa::start(&["-d", "--config", &config, "--list", &bad, "--list", &worse], 1);
    let haproxy = start(install, &file("examples/lists/haproxy.cfg"));
    let answer = |client: u8| {
        let response = Request::get("/").from(loopback(client)).send(HAPROXY);
        (response.status, ["x-ip-score", "x-ip-list"].map(|name| response.header(name).to_owned()))
    };
    let said = |score: &str, list: &str| [score.to_owned(), list.to_owned()];
    assert_eq!(answer(2), (403, said("0", "bad")));
    assert_eq!(answer(3), (429, said("15", "worse")));
    assert_eq!(answer(4), (200, said("50", "")));
    for _ in 0..5 {
        assert_eq!((answer(2), answer(4)), ((403, said("0", "")), (200, said("50", ""))), "not asked again");
    }
    spoa.process.lines.wait_count("-> NOTIFY", 3);
    assert_eq!(spoa.process.lines.count("-> NOTIFY"), 3, "{:#?}", spoa.process.lines.all());

    spoa.process.signal("KILL");
    spoa.process.wait();
    assert_eq!(answer(5), (200, said("", "")), "nothing is known, and the client passes");
    assert_eq!(answer(2), (403, said("0", "")), "what was known still is");
    drop(haproxy);

    let closed = Folder::with(&[("check-request.spoe.conf", &read("examples/lists/check-request.spoe.conf"))]);
    let text = String::from_utf8(read("examples/lists/haproxy.cfg")).expect("text");
    let line = "#   http-request deny deny_status 503 if";
    assert_eq!(text.matches(line).count(), 1);
    closed.write("haproxy.cfg", text.replace(line, "http-request deny deny_status 503 if").as_bytes());
    let _haproxy = start(install, &closed.path("haproxy.cfg"));
    assert_eq!(answer(5), (503, said("", "")));
}

pub(crate) fn read(path: &str) -> Vec<u8> {
    fs::read(file(path)).expect("it is there")
}

/// Clients are let in or rejected by their score, which depends on the seed and their address only.
pub(crate) fn run(install: &Install) {
    let _alone = ports();
    let first = scores(install, 4711);
    assert_eq!(first, scores(install, 4711), "the same seed, all started anew");
    let other = scores(install, 4712);
    assert_ne!(first, other, "another seed");
    for scores in [first, other] {
        let rejected = scores.iter().filter(|score| **score < LIMIT).count();
        assert!((1..scores.len()).contains(&rejected), "{rejected} of {} were rejected", scores.len());
    }
}

/// Returns the name of README's configuration for this HAProxy.
pub(crate) fn first_config(install: &Install) -> &'static str {
    match install.engine() {
        Engine::Applet => "haproxy-3.0.cfg",
        Engine::Mux => "haproxy.cfg",
    }
}

/// Starts agent and HAProxy, and asks as [`CLIENTS`] clients, each twice.
fn scores(install: &Install, seed: u64) -> Vec<u32> {
    let spoa = Spoa::start(&["--seed", &seed.to_string()], 1);
    assert_eq!(spoa.addr(), AGENT.to_string());
    let _haproxy = start(install, &file("examples/haproxy").join(first_config(install)));

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

/// HAProxy with one of these files.
pub(crate) fn start(install: &Install, config: &Path) -> Process {
    let haproxy = Process::start(Command::new(&install.program).arg("-db").arg("-f").arg(config));
    connect_until_up();
    haproxy
}

/// The port is HAProxy's own here, so there is nothing else to tell that it listens.
fn connect_until_up() {
    let until = Instant::now() + WAIT_MAX;
    while TcpStream::connect(HAPROXY).is_err() {
        assert!(Instant::now() < until, "HAProxy does not come up");
        std::thread::sleep(Duration::from_millis(2));
    }
}
