//! Requests through real HAProxy, which asks the attacked agent about each.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::haproxy::{Haproxy, Install, Setup};

/// A HAProxy in front of the agent, which waits at most 200 ms for an answer.
pub(crate) struct Proxy {
    haproxy: Haproxy,
}

/// The number of requests, and of those for which the agent answered in time.
pub(crate) struct Answered {
    requests: usize,
    in_time: usize,
}

impl Proxy {
    /// Starts a HAProxy that connects to the agent at `addr` from its own address, so that it is another peer than the
    /// attackers.
    pub(crate) fn start(install: &Install, addr: &str) -> Self {
        let server = format!("{addr} source 127.0.0.2");
        let mut setup = Setup::with_message(&server, "on-frontend-http-request", "src");
        setup.agent = "messages m\n    timeout processing 200ms\n    option set-on-error error".into();
        let haproxy = setup.header("x-error", "%[var(txn.t.error)]").start(install);
        Self { haproxy }
    }

    /// Sends one request at a time for as long as `time`, a hundred per second at most.
    pub(crate) fn measure(&self, time: Duration) -> Answered {
        let mut socket = TcpStream::connect(self.haproxy.addr).expect("HAProxy listens");
        let (start, mut answered) = (Instant::now(), Answered { requests: 0, in_time: 0 });
        while start.elapsed() < time {
            let sent = Instant::now();
            answered.requests += 1;
            answered.in_time += usize::from(request(&mut socket));
            std::thread::sleep(Duration::from_millis(10).saturating_sub(sent.elapsed()));
        }
        answered
    }
}

/// Sends a request and reads the response. Returns true if the agent answered in time.
fn request(socket: &mut TcpStream) -> bool {
    socket.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n").expect("HAProxy reads");
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\nok") {
        let mut bytes = [0; 4096];
        let len = socket.read(&mut bytes).expect("HAProxy responds");
        assert!(len > 0, "HAProxy closed the connection");
        response.extend_from_slice(&bytes[..len]);
    }
    let response = String::from_utf8_lossy(&response);
    let error = response.split("x-error: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    error.is_none_or(str::is_empty)
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.in_time as f64 * 100.0 / self.requests as f64;
        write!(f, "{share:.1} % of {} requests answered within 200 ms", self.requests)
    }
}
