//! The effect of metrics scrapes on latency and throughput.

use std::thread;
use std::time::Duration;

use spoa_tests::admin::Admin;

use crate::meanwhile::Comparison;
use crate::pipeline;
use crate::server::Spoa;

/// Time between two scrapes. A Prometheus server waits about a hundred times longer.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn measure(turns: usize, time: Duration) {
    let server = Spoa::start(&["-n", "1", "--admin", "127.0.0.1:0"]);
    let admin = Admin::of(server.agent());
    let load = || pipeline::load(&server, 8, 16, time);
    let mut scrapes = 0;
    let comparison = Comparison::measure(turns, load, || {
        admin.get("/metrics");
        scrapes += 1;
        thread::sleep(PAUSE);
    });
    println!("8 × 16 with {scrapes} scrapes of metrics meanwhile on the same processor: {}", comparison.summary());
}
