//! The effect of logging all verdicts, and of keeping some for the status page, on latency and throughput.

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
        ("status page", [&options[..], &["--admin", "127.0.0.1:0"]].concat()),
        ("all verdicts logged, at the default rate", [&options[..], &log[..4]].concat()),
        ("all verdicts logged, a line for each", [&options[..], &log].concat()),
    ] {
        for (connections, in_flight) in [(1, 1), (8, 16)] {
            let load = |options: &[&str]| {
                let server = Spoa::start(options);
                pipeline::load(&server, connections, in_flight, time)
            };
            let comparison = Comparison::of_two(turns, || load(&options), || load(&options_with));
            println!("{connections} × {in_flight}, {name}: {}", comparison.summary());
        }
    }
}
