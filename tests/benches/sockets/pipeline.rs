//! The loads of the conformance kit, on a server of the benches.

use std::time::Duration;

use spoa_sim_kit::conformance::Question;
use spoa_sim_kit::load::{self, Pattern};
use spoa_tests::bytes::Value;

use crate::Load;
use crate::server::Server;

/// Duration of the load before the measurement starts.
const WARM_UP: Duration = Duration::from_millis(300);

/// Keeps `in_flight` NOTIFYs in flight on each of `connections` for this time, and checks that every ACK has a score.
pub(crate) fn load(server: &impl Server, connections: usize, in_flight: usize, time: Duration) -> Load {
    run(server, Pattern::Pipeline { connections, in_flight, warm_up: WARM_UP }, time)
}

/// Runs this number of clients, each with a connection per event, for this time.
pub(crate) fn churn(server: &impl Server, clients: usize, time: Duration) -> Load {
    run(server, Pattern::Churn { clients }, time)
}

fn run(server: &impl Server, pattern: Pattern, time: Duration) -> Load {
    let question = Question { args: vec![(String::new(), Value::Ipv4([192, 0, 2, 33]))], ..Question::default() };
    let load = load::Load {
        address: server.addr().parse().expect("the server prints its address"),
        pid: Some(server.pid().as_raw_nonzero().get() as u32),
        pattern,
        time,
        question,
    };
    let figures = load.run().unwrap_or_else(|error| panic!("{}: {error}", server.addr()));
    Load {
        acks_per_sec: figures.acks_per_second,
        p99: Duration::from_micros(figures.p99_us),
        cpu: Duration::from_secs_f64(figures.cpu_us_per_ack.unwrap_or_default() / 1e6),
    }
}
