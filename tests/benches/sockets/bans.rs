//! A million bans: the start of the agent, its memory, and the effect of changes on latency and throughput.

use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use spoa_bans::{Action, BanStore, Record, Settings, SystemClock};
use spoa_reputation::{Config, Library, ListConfig, Prefix};
use spoa_runtime::lower_priority;
use spoa_sim_kit::process;
use spoa_tests::admin::Admin;
use spoa_tests::folder::Folder;

use crate::figures::grouped;
use crate::meanwhile::Comparison;
use crate::pipeline;
use crate::server::{Server, Spoa};

/// The number of bans at the start.
const BANS: u32 = 1_000_000;
/// The number of starts that are measured.
const STARTS: usize = 5;
/// The changes per second, and the number of them in a request.
const PER_SECOND: u32 = 1000;
const BATCHES: [u32; 3] = [100, 10, 1];

/// Returns the address with a number: each number has another one, far from that of the next.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761))
}

pub(crate) fn measure(turns: usize, time: Duration) {
    let folder = Folder::with(&[]);
    let (path, admin) = (folder.path("bans"), format!("unix:{}", folder.path("admin").display()));
    write(&path);
    let bans = path.display().to_string();
    let options = ["-n", "1", "--bans-max", "4000000", "--admin", &admin, "--bans", &bans];
    let starts: Vec<_> = (0..STARTS).map(|_| start(&options)).collect();
    let size = path.metadata().map_or(0, |file| file.len()) >> 20;
    let mut times: Vec<_> = starts.iter().map(|(time, _)| time.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    println!(
        "Start with {} bans: {:.2} s of processor time ({:.2} to {:.2}), {:.0} MiB resident, a journal of {size} MiB.\n",
        grouped(f64::from(BANS)),
        times[STARTS / 2],
        times[0],
        times[STARTS - 1],
        starts[0].1
    );
    let server = Spoa::start(&options);
    let load = || pipeline::load(&server, 8, 16, time);
    let mut next = BANS;
    for batch in BATCHES {
        let admin = Admin::at(&admin);
        let (first, mut spent) = (next, Duration::ZERO);
        let comparison = Comparison::measure(turns, load, || {
            // It shares a processor with the clients that are measured, which must not wait for it.
            lower_priority(true);
            let start = Instant::now();
            add(&admin, next..next + batch);
            next += batch;
            thread::sleep((Duration::from_secs(1) * batch / PER_SECOND).saturating_sub(start.elapsed()));
            spent += start.elapsed();
        });
        let rate = grouped(f64::from(next - first) / spent.as_secs_f64());
        println!("8 × 16 while {rate} bans per second are added, {batch} per request: {}", comparison.summary());
    }
    drop(server);
    let none = folder.path("none").display().to_string();
    let without = ["-n", "1", "--admin", &admin, "--bans", &none];
    let load = |options: &[&str]| pipeline::load(&Spoa::start(options), 8, 16, time);
    let comparison = Comparison::of_two(turns, || load(&without), || load(&options));
    println!("8 × 16 with {} bans, compared with none: {}", grouped(f64::from(BANS)), comparison.summary());
}

/// Starts an agent and stops it. Returns the processor time, and the resident memory in MiB.
fn start(options: &[&str]) -> (Duration, f64) {
    let server = Spoa::start(options);
    let pid = server.pid().as_raw_nonzero().get() as u32;
    (process::cpu_time(pid).unwrap_or_default(), process::memory(pid).unwrap_or_default() as f64 / f64::from(1 << 20))
}

/// Writes a journal with [`BANS`] bans.
fn write(path: &Path) {
    let lists = vec![ListConfig { name: "bans".into(), ..ListConfig::default() }];
    let library = Library::open(Config { lists, ..Config::default() }).expect("a list without a file is valid");
    let settings = Settings { path: path.to_owned(), max: BANS as usize };
    let store = BanStore::open(&settings, library, Box::new(SystemClock)).expect("the journal can be created");
    for first in (0..BANS).step_by(1000) {
        let report = store.apply((first..first + 1000).map(|number| Record {
            seconds: Some(172_800.0),
            reason: "jail sshd".into(),
            origin: Some("fail2ban".into()),
            ..Record::new(Action::Ban, Prefix::of(address(number).into(), 32))
        }));
        assert_eq!(report.added, 1000, "{report:?}");
    }
}

/// Bans the addresses with these numbers.
fn add(admin: &Admin, numbers: std::ops::Range<u32>) {
    let count = numbers.len();
    let bans = numbers.map(|number| format!(r#"{{"action":"ban","address":"{}","for":3600}}"#, address(number)));
    let body = format!("[{}]", bans.collect::<Vec<_>>().join(","));
    let text = admin.exchange(&format!(
        "POST /bans HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n\
         {body}",
        body.len()
    ));
    assert!(text.contains(&format!("\"added\":{count}")), "{text}");
}
