//! The effect of reloading lists on latency and throughput.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::meanwhile::Comparison;
use crate::pipeline;
use crate::prefixes::{LISTS, write_lists};
use crate::server::Spoa;

/// Number of prefixes in all lists together.
const PREFIXES: usize = 1_200_000;

pub(crate) fn measure(turns: usize, time: Duration) {
    let folder = std::env::temp_dir().join(format!("spoa-bench-reload-{}", std::process::id()));
    write_lists(&folder, PREFIXES);
    let lists = (0..LISTS).map(|list| format!("{list}={},score={}", folder.join(list.to_string()).display(), list * 5));
    let options: Vec<_> = lists.flat_map(|list| ["--list".to_owned(), list]).collect();
    let options: Vec<_> = ["-n", "1", "--no-watch"].into_iter().chain(options.iter().map(String::as_str)).collect();
    let server = Spoa::start(&options);
    let load = || pipeline::load(&server, 8, 1, time);
    let mut reloads = 0;
    let comparison = Comparison::measure(turns, load, || {
        server.agent().signal(Signal::HUP);
        reloads += 1;
        server.agent().wait_for_lines("SIGHUP: generation", reloads);
    });
    fs::remove_dir_all(&folder).expect("the folder can be deleted");
    println!(
        "8 × 1 with lists of {PREFIXES} prefixes, which are reloaded {reloads} times meanwhile on the same \
         processor: {}",
        comparison.summary()
    );
}
