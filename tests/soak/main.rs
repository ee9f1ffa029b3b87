//! `spoa` under mixed load for a long time: `cargo test --release -p spoa-tests --test soak -- --secs 600`.
//!
//! Clients come and go in every way there is, lists change and break, metrics are scraped. Every NOTIFY that was sent on a
//! connection that lives gets its ACK; in the end no connection, no descriptor and no memory is left over.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;
use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, LIMIT};
use spoa_tests::bytes::{ACK, Value};
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::{Hello, check_client_ip, disconnect, notify};
use spoa_tests::process;

/// Soaks the agent.
#[derive(Parser)]
struct Options {
    /// How long
    #[arg(long, default_value_t = 60)]
    secs: u64,
    /// What clients do follows from this
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What `cargo test` says to all tests
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _other: Vec<String>,
}

const CLIENTS: u64 = 8;

/// What memory may vary by, in bytes: arenas of the allocator, a page here and there.
const MEMORY_SLACK: u64 = 4 << 20;

#[derive(Default)]
struct Figures {
    is_over: AtomicBool,
    connections: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
    /// Sent on connections that the client then broke off.
    abandoned: AtomicU64,
    lists: AtomicU64,
}

fn main() -> ExitCode {
    let Options { secs, seed, .. } = Options::parse();
    let folder = Folder::with(&[("list", &list(0)), ("other", b"198.51.100.0/24\n")]);
    let lists = [folder.list("list", ""), folder.list("other", ",score=30")];
    let agent = Agent::spawn(&[
        "-n",
        "2",
        "--admin",
        "127.0.0.1:0",
        "--list",
        &lists[0],
        "--list",
        &lists[1],
        "--hello-timeout",
        "1s",
        "--send-timeout",
        "1s",
        "--log-level",
        "info",
    ]);
    let admin = Admin::of(&agent);
    let figures = Figures::default();
    let descriptors = descriptors(&agent);
    let mut memory = Vec::new();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (figures, addr) = (&figures, agent.addr());
            let random = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(client));
            scope.spawn(move || {
                // A client that panics ends all; the scope tells of it.
                let _end = EndsAll(figures);
                visit(addr, figures, random);
            });
        }
        scope.spawn(|| change_lists(&folder, &agent, &figures));
        let end = Instant::now() + Duration::from_secs(secs);
        while Instant::now() < end && !figures.is_over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(250));
            memory.push(process::memory(agent.pid()));
            admin.get("/metrics");
        }
        figures.is_over.store(true, Ordering::Relaxed);
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (asked, answered, abandoned) = (count(&figures.asked), count(&figures.answered), count(&figures.abandoned));
    // The first sixth, at most a minute, is for buffers to grow to what they need.
    let warm = memory.len().min(240 * 6) / 6;
    let (early, late) = (most(&memory[warm..memory.len() / 2]), most(&memory[memory.len() / 2..]));
    println!(
        "{secs} s, seed {seed}: {} connections, {asked} NOTIFYs, {answered} ACKs, {abandoned} broken off by clients, lists \
         changed {} times; resident at most {:.1} MiB in the first half, {:.1} MiB in the second",
        count(&figures.connections),
        count(&figures.lists),
        mebibytes(early),
        mebibytes(late),
    );
    assert_eq!(asked, answered + abandoned, "every NOTIFY of a connection that lives is answered");
    assert!(late <= early + MEMORY_SLACK, "memory grows: {:?}", memory.iter().map(|at| at >> 10).collect::<Vec<_>>());
    wait_for("its connections to end", || admin.sample("spoa_connections") < 1.0);
    wait_for("its descriptors to be closed", || self::descriptors(&agent) <= descriptors);
    agent.terminate();
    let mut agent = agent;
    assert!(agent.wait().success());
    ExitCode::SUCCESS
}

struct EndsAll<'f>(&'f Figures);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// One connection after the other, each used and ended in some way.
fn visit(addr: &str, figures: &Figures, mut random: ChaCha8Rng) {
    while !figures.is_over.load(Ordering::Relaxed) {
        figures.connections.fetch_add(1, Ordering::Relaxed);
        match random.random_range(0..20) {
            0 => {
                let mut check = Client::fresh(addr);
                check.send(&Hello::health_check().encode());
                check.frame();
                check.reset();
                continue;
            }
            1 => {
                // Nothing, or something that is no HELLO.
                let mut stranger = Client::fresh(addr);
                let bytes: Vec<u8> = (0..random.random_range(0..64)).map(|_| random.next_u32() as u8).collect();
                let _ = stranger.try_send(&bytes);
                stranger.reset();
                continue;
            }
            _ => {}
        }
        let mut client = Client::greeted(addr, &Hello::applet());
        let mut sid = 0;
        for _ in 0..random.random_range(0..50) {
            let burst = random.random_range(1..=20);
            let mut waiting = BTreeSet::new();
            let mut bytes = Vec::new();
            for _ in 0..burst {
                sid += 1;
                waiting.insert(sid);
                let address = Value::Ipv4([192, 0, 2, random.next_u32() as u8]);
                bytes.extend(notify(sid, 1, &[check_client_ip(address)]));
            }
            client.send(&bytes);
            figures.asked.fetch_add(burst, Ordering::Relaxed);
            if random.random_range(0..100) == 0 {
                // Whoever breaks off has no right to an answer.
                figures.abandoned.fetch_add(burst, Ordering::Relaxed);
                waiting.clear();
                break;
            }
            if random.random_range(0..200) == 0 {
                thread::sleep(Duration::from_millis(random.random_range(1..500)));
            }
            while !waiting.is_empty() {
                let frame = client.frame();
                assert_eq!(frame.kind, ACK, "{frame:?}");
                assert!(waiting.remove(&frame.sid) && !frame.actions().is_empty(), "{frame:?}");
                figures.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        match random.random_range(0..4) {
            0 => {
                let _ = client.try_send(&disconnect(0));
                let _ = client.rest();
            }
            1 => client.reset(),
            2 => {
                // In the middle of a frame.
                let _ = client.try_send(&notify(1, 1, &[])[..5]);
            }
            _ => {}
        }
    }
}

fn list(number: u64) -> Vec<u8> {
    (0..2_000_u64).map(|n| format!("192.0.{}.{}\n", (n + number) % 256, n % 251)).collect::<String>().into_bytes()
}

/// Replaces a list again and again: by good ones, broken ones and none.
fn change_lists(folder: &Folder, agent: &Agent, figures: &Figures) {
    for number in 1.. {
        if figures.is_over.load(Ordering::Relaxed) {
            return;
        }
        match number % 8 {
            0 => folder.write("list", b"<html>404</html>\n"),
            1 => fs::write(folder.path("list"), list(number)).expect("it can be written"),
            2 => agent.signal(Signal::HUP),
            _ => folder.write("list", &list(number)),
        }
        figures.lists.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(200));
    }
}

fn descriptors(agent: &Agent) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.pid().as_raw_nonzero())).expect("it runs").count()
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "waited for {what} in vain");
        thread::sleep(Duration::from_millis(50));
    }
}

fn most(memory: &[u64]) -> u64 {
    memory.iter().copied().max().unwrap_or_default()
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
