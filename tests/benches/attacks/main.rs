//! Attacks an agent over real sockets, beside a polite connection: `cargo bench -p spoa-tests --bench attacks`, which takes about a
//! minute.
//!
//! The agent has one worker on one processor, and a handler that answers after 50 ms or immediately. The attackers run on the
//! other processor at the lowest priority. Each attack prints what it cost: latency of the polite connection, its answers, resident
//! memory, and how long dead connections stay. Two attacks are repeated with each installed HAProxy in place of the polite
//! connection.

mod attacker;
#[path = "../../haproxy/haproxy.rs"]
#[expect(dead_code, reason = "shared with the trials with real HAProxy, which use more of it")]
mod haproxy;
#[path = "../../haproxy/log.rs"]
#[expect(dead_code, reason = "shared with the trials with real HAProxy, which use more of it")]
mod log;
mod polite;
#[path = "../sockets/processors.rs"]
#[expect(dead_code, reason = "shared with the benches of sockets, which use more of it")]
mod processors;
mod requests;
mod server;

use std::time::{Duration, Instant};

use clap::Parser;

use attacker::Attackers;
use haproxy::Install;
use polite::Polite;
use requests::Proxy;
use server::{Answers, Server};
use spoa_tests::bytes::{Value, message};
use spoa_tests::frames::{Hello, notify};
use spoa_tests::process;

/// Attacks an agent over real sockets, and prints what it costs others.
#[derive(Debug, Parser)]
struct Options {
    /// Serve with answers of this kind, on a free port that is printed
    #[arg(long, hide = true)]
    be: Option<Answers>,
    /// Ignored: cargo passes it to all benches
    #[arg(long, hide = true)]
    bench: bool,
}

/// The limit of bytes of the agent, the default of one worker.
const BYTES_MAX: u64 = 64 << 20;

/// The time of an attack in which the polite connection is measured.
const TIME: Duration = Duration::from_secs(3);

fn main() {
    let options = Options::parse();
    if let Some(answers) = options.be {
        answers.serve();
    }
    process::raise_file_limit();
    processors::pin_client();
    flood();
    fragments();
    queued();
    held_back();
    deferred();
    resets();
    for install in Install::all() {
        behind_haproxy(&install);
    }
}

/// Returns a NOTIFY that is taken, and three large ones that fill the receive buffer.
fn fills_buffer() -> Vec<u8> {
    let large = notify(1, 1, &[message("m", &[("x", Value::text(&"x".repeat(12_000)))])]);
    [notify(1, 1, &[]), large.repeat(3)].concat()
}

/// 64 connections send NOTIFYs without a pause and read their answers.
fn flood() {
    let server = Server::start(Answers::Immediate);
    let mut polite = Polite::connect(server.addr());
    println!("nobody else: {}", polite.measure(TIME));
    let batch: Vec<u8> = (0..64).flat_map(|n| notify(2 * n + 1, 1, &[])).collect();
    let attackers = Attackers::connect(server.addr(), 64, &Hello::mux(), &batch);
    println!("64 connections flood: {}", attackers.beside(|| polite.measure(TIME)));
}

/// Two connections send NOTIFYs of 900 kB in fragments, which they abort, without a pause; then many hold such a NOTIFY.
fn fragments() {
    let server = Server::start(Answers::Immediate);
    let mut polite = Polite::connect(server.addr());
    let fragment = attacker::fragments(15_000, 60);
    let attackers = Attackers::connect(server.addr(), 2, &Hello::of("pipelining,fragmentation"), &fragment);
    println!("2 connections pour fragments: {}", attackers.beside(|| polite.measure(TIME)));
    let before = server.memory();
    let attackers = Attackers::connect(
        server.addr(),
        200,
        &Hello::of("pipelining,fragmentation"),
        &attacker::open_fragments(15_000, 60),
    );
    let result = attackers.beside(|| polite.measure(TIME));
    println!("200 connections hold 900 kB of fragments each: {result}; {}", server.memory_report(before));
    drop(attackers);
    server.wait_for_connections(1);
    println!("    after they have left: {}", server.memory_report(before));
}

/// Thousands of connections are queued for a permit, each with a full receive buffer.
fn queued() {
    let server = Server::start(Answers::Later);
    let before = server.memory();
    let attackers = Attackers::connect(server.addr(), 6_000, &Hello::mux(), &fills_buffer());
    let (answered, tried) = attackers.beside(|| polite::in_two_pieces(server.addr(), TIME));
    println!(
        "6000 queued connections hold 36 kB each: {answered} of {tried} connections whose frames arrive in two pieces answered; {}",
        server.memory_report(before)
    );
}

/// Thousands of connections that did not agree on pipelining send more than one NOTIFY, so that their buffers are full.
fn held_back() {
    let server = Server::start(Answers::Later);
    let before = server.memory();
    let hello = Hello::of("");
    let attackers = Attackers::connect(server.addr(), 6_000, &hello, &fills_buffer());
    let (answered, tried) = attackers.beside(|| polite::in_two_pieces(server.addr(), TIME));
    println!(
        "6000 connections above their own limit hold 36 kB each: {answered} of {tried} answered; {}",
        server.memory_report(before)
    );
}

/// A peer with thousands of connections has all permits; a connection of another peer is beside it.
fn deferred() {
    let server = Server::start(Answers::Later);
    let mut polite = Polite::connect_from([127, 0, 0, 2], server.addr());
    println!("answers take 50 ms, nobody else: {}", polite.measure(TIME));
    let attackers = Attackers::connect(server.addr(), 3_000, &Hello::mux(), &notify(1, 1, &[]));
    println!("3000 connections of one peer want answers: {}", attackers.beside(|| polite.measure(TIME)));
}

/// Connections with full buffers are reset all at once.
fn resets() {
    let server = Server::start(Answers::Later);
    let polite = Polite::connect(server.addr());
    let attackers = Attackers::connect(server.addr(), 1_000, &Hello::mux(), &fills_buffer());
    attackers.beside(|| std::thread::sleep(Duration::from_millis(500)));
    let start = Instant::now();
    attackers.reset();
    server.wait_for_connections(1);
    println!("1000 connections are reset: gone after {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    drop(polite);
}

/// HAProxy asks about each request while others pour fragments, then while others want answers that take long.
fn behind_haproxy(install: &Install) {
    let server = Server::start(Answers::Immediate);
    let proxy = Proxy::start(install, server.addr());
    let fragments = attacker::fragments(15_000, 60);
    let attackers = Attackers::connect(server.addr(), 2, &Hello::of("pipelining,fragmentation"), &fragments);
    let answered = attackers.beside(|| proxy.measure(TIME));
    println!("HAProxy {} beside 2 connections that pour fragments: {answered}", install.full);
    let server = Server::start(Answers::Later);
    let proxy = Proxy::start(install, server.addr());
    let attackers = Attackers::connect(server.addr(), 3_000, &Hello::mux(), &notify(1, 1, &[]));
    let answered = attackers.beside(|| proxy.measure(TIME));
    println!("HAProxy {} beside 3000 connections that want answers: {answered}", install.full);
}
