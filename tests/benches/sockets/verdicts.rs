//! The effect of logging all verdicts on latency and throughput.

use std::time::Duration;

use spoa_tests::folder::Folder;

use crate::meanwhile::Comparison;
use crate::pipeline;
use crate::server::Spoa;

pub(crate) fn measure(turns: usize, time: Duration) {
    let folder = Folder::with(&[("list", b"192.0.2.0/25\n")]);
    let (list, log) = (folder.list("list", ""), folder.path("verdicts.json").display().to_string());
    let options = ["-n", "1", "--list", &list];
    let log = ["--verdict-log", &log, "--verdict-log-which", "all", "--verdict-log-rate", "0"];
    for (name, options_with) in [
        ("with the usual rate of 1000 lines per second", [&options[..], &log[..4]].concat()),
        ("with a line per verdict", [&options[..], &log].concat()),
    ] {
        for (connections, in_flight) in [(1, 1), (8, 16)] {
            let load = |options: &[&str]| {
                let server = Spoa::start(options);
                pipeline::load_checked(&server, connections, in_flight, time, |payload| !payload.is_empty())
            };
            let comparison = Comparison::of_two(turns, || load(&options), || load(&options_with));
            println!("{connections} × {in_flight} with all verdicts logged, {name}: {}", comparison.summary());
        }
    }
}
