//! The configuration files that the README shows, unchanged, with `spoa` on its default port.

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
/// The score in the configuration files below which clients are rejected.
const LIMIT: u32 = 20;
/// Enough clients that some are below the limit and some above it: all are above it for one in 10^6 seeds.
const CLIENTS: u8 = 60;

/// Locked by each scenario that uses the fixed ports, so that only one of them runs at a time.
static PORTS: Mutex<()> = Mutex::new(());

/// Locks the fixed ports, and checks that no other program uses them.
pub(crate) fn lock_ports() -> MutexGuard<'static, ()> {
    let ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    for (addr, what) in [(HAPROXY, "haproxy.cfg"), (AGENT, "spoa")] {
        if let Err(error) = TcpListener::bind(addr) {
            panic!("{what} needs {addr}, which cannot be bound: {error}");
        }
    }
    ports
}

/// Returns the path of a file of the crate `spoa-runtime`.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime")).join(path)
}

/// Returns the options for the configuration file of the package, unchanged, whose socket and bans are in `folder` instead of in
/// folders of the system.
pub(crate) fn packaged(folder: &Folder) -> [String; 6] {
    let path = |name: &str| folder.path(name).display().to_string();
    let config = file("package/spoa.toml").display().to_string();
    ["--config".into(), config, "--admin".into(), format!("unix:{}", path("admin")), "--bans".into(), path("bans")]
}

/// The recipe with lists: HAProxy rejects, delays or marks clients by their score, and sends one NOTIFY per client in
/// ten seconds. Without the agent all clients pass, or none if the line for that is uncommented.
pub(crate) fn recipe(install: &Install) {
    let _ports = lock_ports();
    let lists = Folder::with(&[("bad", b"127.0.0.2\n"), ("worse", b"127.0.0.3\n")]);
    let (packaged, bad) = (packaged(&lists), lists.list("bad", ",score=0"));
    let worse = lists.list("worse", ",score=15");
    let options = [&packaged.each_ref().map(String::as_str)[..], &["-d", "--list", &bad, "--list", &worse]].concat();
    let mut spoa = Spoa::start(&options, 1);
    let haproxy = start(install, &file("examples/lists/haproxy.cfg"));
    let answer = |client: u8| {
        let response = Request::get("/").from(loopback(client)).send(HAPROXY);
        (response.status, ["x-ip-score", "x-ip-list"].map(|name| response.header(name).to_owned()))
    };
    let headers = |score: &str, list: &str| [score.to_owned(), list.to_owned()];
    assert_eq!(answer(2), (403, headers("0", "bad")));
    assert_eq!(answer(3), (429, headers("15", "worse")));
    assert_eq!(answer(4), (200, headers("50", "")));
    for _ in 0..5 {
        assert_eq!((answer(2), answer(4)), ((403, headers("0", "")), (200, headers("50", ""))), "no new event");
    }
    spoa.process.lines.wait_count("-> NOTIFY", 3);
    assert_eq!(spoa.process.lines.count("-> NOTIFY"), 3, "{:#?}", spoa.process.lines.all());

    spoa.process.signal("KILL");
    spoa.process.wait();
    assert_eq!(answer(5), (200, headers("", "")), "a new client passes without the agent");
    assert_eq!(answer(2), (403, headers("0", "")), "the score of a known client is still in use");
    drop(haproxy);

    let closed = Folder::with(&[("check-request.spoe.conf", &read("examples/lists/check-request.spoe.conf"))]);
    let text = String::from_utf8(read("examples/lists/haproxy.cfg")).expect("the file is UTF-8");
    let line = "#   http-request deny deny_status 503 unless";
    assert_eq!(text.matches(line).count(), 1);
    closed.write("haproxy.cfg", text.replace(line, "http-request deny deny_status 503 unless").as_bytes());
    let _haproxy = start(install, &closed.path("haproxy.cfg"));
    assert_eq!(answer(5), (503, headers("", "")));
}

/// Reads a file of the crate `spoa-runtime`.
pub(crate) fn read(path: &str) -> Vec<u8> {
    fs::read(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// HAProxy rejects or serves clients by their score, which depends only on the seed and on their address.
pub(crate) fn run(install: &Install) {
    let _ports = lock_ports();
    let first = scores(install, 4711);
    assert_eq!(first, scores(install, 4711), "the same seed, after a restart of `spoa` and HAProxy");
    let other = scores(install, 4712);
    assert_ne!(first, other, "another seed");
    for scores in [first, other] {
        let rejected = scores.iter().filter(|score| **score < LIMIT).count();
        assert!(
            (1..scores.len()).contains(&rejected),
            "expected some rejected clients and some others, got {rejected} of {} rejected",
            scores.len()
        );
    }
}

/// Returns the name of the README's configuration for this HAProxy.
pub(crate) fn first_config(install: &Install) -> &'static str {
    match install.engine() {
        Engine::Applet => "haproxy-3.0.cfg",
        Engine::Mux => "haproxy.cfg",
    }
}

/// Starts `spoa` and HAProxy, sends two requests from each of [`CLIENTS`] clients, and returns the scores.
fn scores(install: &Install, seed: u64) -> Vec<u32> {
    let spoa = Spoa::start(&["--seed", &seed.to_string()], 1);
    assert_eq!(spoa.addr(), AGENT.to_string());
    let _haproxy = start(install, &file("examples/haproxy").join(first_config(install)));

    let score = |n| {
        let score_of = || {
            let response = Request::get("/").from(loopback(n)).send(HAPROXY);
            let score: u32 =
                response.header("x-ip-score").parse().unwrap_or_else(|_| panic!("expected a score, got {response:?}"));
            assert!(score <= 100, "expected a score up to 100, got {score}");
            assert_eq!(response.status, if score < LIMIT { 403 } else { 200 }, "a score of {score}");
            score
        };
        let score = score_of();
        assert_eq!(score_of(), score, "the second request of client {n}");
        score
    };
    let scores = (1..=CLIENTS).map(score).collect();
    assert!(spoa.stop().success());
    scores
}

/// Starts HAProxy with one of these files and waits until it accepts connections.
pub(crate) fn start(install: &Install, config: &Path) -> Process {
    let haproxy = Process::start(Command::new(&install.program).arg("-db").arg("-f").arg(config));
    wait_until_up();
    haproxy
}

/// Waits until HAProxy accepts connections. It opens its port itself here, so connecting is the only way to notice.
fn wait_until_up() {
    let until = Instant::now() + WAIT_MAX;
    while TcpStream::connect(HAPROXY).is_err() {
        assert!(Instant::now() < until, "HAProxy did not start in {WAIT_MAX:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
