//! A connection per event, as HAProxy since 3.1 opens them if it does not reuse connections: HELLO, NOTIFY, ACK and a
//! reset.

use std::thread;
use std::time::{Duration, Instant};

use spoa_tests::bytes::{ACK, Value};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, check_client_ip, notify};
use spoa_tests::process;

use crate::Load;
use crate::server::Server;

/// Runs this number of clients for this time.
pub(crate) fn load(server: &impl Server, clients: usize, time: Duration) -> Load {
    let (addr, cpu_before) = (server.addr(), process::cpu_time(server.pid()));
    let notify = notify(1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 33]))]);
    let start = Instant::now();
    let mut times = thread::scope(|scope| {
        let client = || {
            let mut times = Vec::new();
            while start.elapsed() < time {
                let started = Instant::now();
                let mut client = Client::with_hello(addr, &Hello::mux());
                client.send(&notify);
                let answer = client.frame();
                assert_eq!((answer.kind, answer.sid, answer.fid), (ACK, 1, 1));
                client.reset();
                times.push(started.elapsed());
            }
            times
        };
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("every NOTIFY is answered")).collect::<Vec<_>>()
    });
    let elapsed = start.elapsed();
    times.sort_unstable();
    Load {
        acks_per_sec: times.len() as f64 / elapsed.as_secs_f64(),
        p99: times[times.len() * 99 / 100],
        cpu: (process::cpu_time(server.pid()) - cpu_before).div_f64(times.len() as f64),
    }
}
