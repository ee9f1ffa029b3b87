//! What loading lists costs those who are answered meanwhile.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::figures::{Ratio, grouped, median};
use crate::prefixes::{LISTS, write_lists};
use crate::server::Spoa;
use crate::{Load, pipeline};

/// In all lists.
const PREFIXES: usize = 1_200_000;

pub(crate) fn measure(turns: usize, time: Duration) {
    let folder = std::env::temp_dir().join(format!("spoa-bench-reload-{}", std::process::id()));
    write_lists(&folder, PREFIXES);
    let lists = (0..LISTS).map(|list| format!("{list}={},score={}", folder.join(list.to_string()).display(), list * 5));
    let options: Vec<_> = lists.flat_map(|list| ["--list".to_owned(), list]).collect();
    let options: Vec<_> = ["-n", "1", "--no-watch"].into_iter().chain(options.iter().map(String::as_str)).collect();
    let server = Spoa::start(&options);
    let load = || pipeline::load_checked(&server, 8, 1, time, |payload| !payload.is_empty());
    let (mut alone, mut meanwhile, mut reloads) = (Vec::new(), Vec::new(), 0);
    for _ in 0..turns {
        alone.push(load());
        meanwhile.push(while_reloading(&server, &mut reloads, load));
    }
    fs::remove_dir_all(&folder).expect("it is ours");
    let p99 = |loads: &[Load]| loads.iter().map(|load| load.p99.as_secs_f64() * 1e6).collect::<Vec<_>>();
    let rates = |loads: &[Load]| loads.iter().map(|load| load.acks_per_sec).collect::<Vec<_>>();
    println!(
        "8 × 1 asking lists of {PREFIXES} prefixes, {reloads} times loaded anew meanwhile on the same processor: p99 {} µs, \
         {} µs without; of it {}. ACKs a second, of those without: {}.\n",
        grouped(median(p99(&meanwhile))),
        grouped(median(p99(&alone))),
        Ratio::of(&p99(&meanwhile), &p99(&alone)),
        Ratio::of(&rates(&meanwhile), &rates(&alone)),
    );
}

/// Loads the lists anew again and again as long as `load` lasts.
fn while_reloading(server: &Spoa, reloads: &mut usize, load: impl Fn() -> Load) -> Load {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                server.agent().signal(Signal::HUP);
                *reloads += 1;
                server.agent().wait_for_lines("SIGHUP: generation", *reloads);
            }
        });
        let load = load();
        is_over.store(true, Ordering::Relaxed);
        load
    })
}
