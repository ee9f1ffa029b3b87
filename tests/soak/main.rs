//! Runs `spoa` under mixed load for a long time: `cargo test --release -p spoa-tests --test soak -- --secs 600`.
//!
//! Clients open and close connections in many ways, lists are replaced by valid and by broken ones, and metrics are
//! scraped. Every NOTIFY must get its ACK unless its client aborts the connection. At the end no connection and no file
//! descriptor may be left, and memory must not have grown.

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

/// Runs the agent under mixed load.
#[derive(Parser)]
struct Options {
    /// Duration of the load, in seconds
    #[arg(long, default_value_t = 60)]
    secs: u64,
    /// Seed of the random actions of the clients
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ignored: options that `cargo test` passes to all tests
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _other: Vec<String>,
}

/// Number of clients that run at the same time.
const CLIENTS: u64 = 8;

/// Tolerated growth of memory in bytes, for arenas of the allocator and single pages.
const MEMORY_SLACK: u64 = 4 << 20;

/// Counters that all threads share.
#[derive(Default)]
struct Counters {
    is_over: AtomicBool,
    connections: AtomicU64,
    notifies: AtomicU64,
    acks: AtomicU64,
    /// NOTIFYs on connections that the client aborted before it had the ACKs.
    aborted: AtomicU64,
    list_changes: AtomicU64,
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
    let counters = Counters::default();
    let descriptors = descriptors(&agent);
    let mut memory = Vec::new();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (counters, addr) = (&counters, agent.addr());
            let random = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(client));
            scope.spawn(move || {
                // A client that panics stops all others, so that the scope can propagate the panic.
                let _stop = StopOnDrop(counters);
                run_client(addr, counters, random);
            });
        }
        scope.spawn(|| change_lists(&folder, &agent, &counters));
        let end = Instant::now() + Duration::from_secs(secs);
        while Instant::now() < end && !counters.is_over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(250));
            memory.push(process::memory(agent.pid()));
            admin.get("/metrics");
        }
        counters.is_over.store(true, Ordering::Relaxed);
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (notifies, acks, aborted) = (count(&counters.notifies), count(&counters.acks), count(&counters.aborted));
    // The first sixth of the time, at most a minute, does not count: buffers still grow to the size that they need.
    let warm_up = memory.len().min(240 * 6) / 6;
    let (early, late) = (max(&memory[warm_up..memory.len() / 2]), max(&memory[memory.len() / 2..]));
    println!(
        "{secs} s, seed {seed}: {} connections, {notifies} NOTIFYs, {acks} ACKs, {aborted} NOTIFYs on connections that \
         clients aborted, {} changes of lists; peak resident memory {:.1} MiB in the first half, {:.1} MiB in \
         the second",
        count(&counters.connections),
        count(&counters.list_changes),
        mebibytes(early),
        mebibytes(late),
    );
    assert_eq!(notifies, acks + aborted, "every NOTIFY is answered unless the client aborts its connection");
    assert!(
        late <= early + MEMORY_SLACK,
        "memory grows, in KiB: {:?}",
        memory.iter().map(|at| at >> 10).collect::<Vec<_>>()
    );
    wait_for("all connections to be closed", || admin.sample("spoa_connections") < 1.0);
    wait_for("all file descriptors to be closed", || self::descriptors(&agent) <= descriptors);
    agent.terminate();
    let mut agent = agent;
    assert!(agent.wait().success());
    ExitCode::SUCCESS
}

/// Stops all threads when dropped.
struct StopOnDrop<'c>(&'c Counters);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// Opens one connection after the other, and uses and closes each in a random way.
fn run_client(addr: &str, counters: &Counters, mut random: ChaCha8Rng) {
    while !counters.is_over.load(Ordering::Relaxed) {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        match random.random_range(0..20) {
            0 => {
                let mut check = Client::fresh(addr);
                check.send(&Hello::health_check().encode());
                check.frame();
                check.reset();
                continue;
            }
            1 => {
                // Sends nothing, or bytes that are no HELLO.
                let mut stranger = Client::fresh(addr);
                let bytes: Vec<u8> = (0..random.random_range(0..64)).map(|_| random.next_u32() as u8).collect();
                let _ = stranger.try_send(&bytes);
                stranger.reset();
                continue;
            }
            _ => {}
        }
        let mut client = Client::with_hello(addr, &Hello::applet());
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
            counters.notifies.fetch_add(burst, Ordering::Relaxed);
            if random.random_range(0..100) == 0 {
                // The client aborts the connection and does not wait for its ACKs.
                counters.aborted.fetch_add(burst, Ordering::Relaxed);
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
                counters.acks.fetch_add(1, Ordering::Relaxed);
            }
        }
        match random.random_range(0..4) {
            0 => {
                let _ = client.try_send(&disconnect(0));
                let _ = client.read_to_end();
            }
            1 => client.reset(),
            2 => {
                // Closes the connection in the middle of a frame.
                let _ = client.try_send(&notify(1, 1, &[])[..5]);
            }
            _ => {}
        }
    }
}

/// Returns the content of version `number` of a list.
fn list(number: u64) -> Vec<u8> {
    (0..2_000_u64).map(|n| format!("192.0.{}.{}\n", (n + number) % 256, n % 251)).collect::<String>().into_bytes()
}

/// Replaces a list again and again, by valid and by broken versions, and sometimes sends SIGHUP.
fn change_lists(folder: &Folder, agent: &Agent, counters: &Counters) {
    for number in 1.. {
        if counters.is_over.load(Ordering::Relaxed) {
            return;
        }
        match number % 8 {
            0 => folder.write("list", b"<html>404</html>\n"),
            1 => fs::write(folder.path("list"), list(number)).expect("the file can be written"),
            2 => agent.signal(Signal::HUP),
            _ => folder.write("list", &list(number)),
        }
        counters.list_changes.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(200));
    }
}

/// Returns the number of open file descriptors of the agent.
fn descriptors(agent: &Agent) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.pid().as_raw_nonzero())).expect("the agent runs").count()
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "waited {LIMIT:?} for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn max(memory: &[u64]) -> u64 {
    memory.iter().copied().max().unwrap_or_default()
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
