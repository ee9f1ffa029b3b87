//! What telling its metrics costs those who are answered meanwhile.

use std::thread;
use std::time::Duration;

use spoa_tests::admin::Admin;

use crate::meanwhile::Both;
use crate::pipeline;
use crate::server::Spoa;

/// Between two scrapes: a Prometheus takes a hundred times as long.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn measure(turns: usize, time: Duration) {
    let server = Spoa::start(&["-n", "1", "--admin", "127.0.0.1:0"]);
    let admin = Admin::of(server.agent());
    let load = || pipeline::load_checked(&server, 8, 16, time, |payload| !payload.is_empty());
    let mut scrapes = 0;
    let both = Both::measure(turns, load, || {
        admin.get("/metrics");
        scrapes += 1;
        thread::sleep(PAUSE);
    });
    println!("8 × 16, with its metrics asked for {scrapes} times on the same processor: {}", both.told());
}
