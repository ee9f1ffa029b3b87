//! What loading lists costs those who are answered meanwhile.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::meanwhile::Both;
use crate::pipeline;
use crate::prefixes::{LISTS, write_lists};
use crate::server::Spoa;

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
    let mut reloads = 0;
    let both = Both::measure(turns, load, || {
        server.agent().signal(Signal::HUP);
        reloads += 1;
        server.agent().wait_for_lines("SIGHUP: generation", reloads);
    });
    fs::remove_dir_all(&folder).expect("it is ours");
    println!(
        "8 × 1 asking lists of {PREFIXES} prefixes, {reloads} times loaded anew meanwhile on the same processor: {}",
        both.told()
    );
}
