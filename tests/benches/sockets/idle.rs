//! Idle connections: the memory of each, and their effect on the throughput of others.

use std::time::Duration;

use spoa_tests::bytes::Value;
use spoa_tests::client::Client;
use spoa_tests::frames::{check_client_ip, notify};
use spoa_tests::process;

use crate::figures::Ratio;
use crate::pipeline;
use crate::server::{Server, Spoa};

/// Number of idle connections, as many as a fleet of HAProxys might keep open.
const IDLE: usize = 10_000;

pub(crate) fn measure(turns: usize, time: Duration) {
    let (crowded, alone) = (Spoa::start(&["-n", "1"]), Spoa::start(&["-n", "1"]));
    let notify = notify(1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 33]))]);
    let before = process::memory(crowded.pid());
    let mut idle: Vec<_> = (0..IDLE).map(|_| Client::ready(crowded.addr())).collect();
    for client in &mut idle {
        client.send(&notify);
        client.frame();
    }
    // When this connection has been served, the last one of the others has returned the buffers that it borrowed for
    // its turn.
    drop(Client::ready(crowded.addr()));
    let each = process::memory(crowded.pid()).saturating_sub(before) / IDLE as u64;
    println!("{IDLE} idle connections after one NOTIFY each: {each} bytes resident per connection.");
    let load = |server: &Spoa| pipeline::load(server, 8, 16, time).acks_per_sec;
    let (among, without): (Vec<_>, Vec<_>) = (0..turns).map(|_| (load(&crowded), load(&alone))).unzip();
    println!("Throughput at 8 × 16 beside them, ratio to 8 × 16 alone: {}.\n", Ratio::of(&among, &without));
}
