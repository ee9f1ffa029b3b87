//! Requests per second of real HAProxy, with one NOTIFY per request.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::figures::{Ratio, grouped, median};
use crate::haproxy::{Install, Setup};
use crate::processors::start_server;
use crate::server::{Network, Rival, Server, Spoa};

/// Number of clients, each of which sends one request after the other on one connection.
const CLIENTS: usize = 16;

/// The longest time to wait for a response.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The request that all clients send.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

/// The end of every response: the end of its headers and the body.
const BODY: &[u8] = b"\r\n\r\nok";

pub(crate) fn measure(turns: usize, time: Duration) {
    let installs = Install::all();
    if installs.is_empty() {
        println!("No HAProxy is installed; tests/haproxy/install installs it.");
        return;
    }
    println!(
        "| HAProxy, one thread, {CLIENTS} clients | requests/s with the floor | with `spoa -n 1`, ratio to the floor \
         | with `spoa -n 1` over a unix socket, ratio to `spoa` over TCP |"
    );
    println!("|---|---|---|---|");
    for install in installs {
        let (mut floors, mut ours, mut unix) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..turns {
            floors.push(requests_per_sec(&install, &Rival::Floor.start(Network::Tcp), time));
            ours.push(requests_per_sec(&install, &Spoa::start(&["-n", "1"]), time));
            unix.push(requests_per_sec(&install, &Spoa::start_on(Network::Unix, &["-n", "1"]), time));
        }
        let floor = grouped(median(floors.iter().copied()));
        println!("| {} | {floor} | {} | {} |", install.full, Ratio::of(&ours, &floors), Ratio::of(&unix, &ours));
    }
    println!();
}

/// Measures requests per second. HAProxy, which has the most work, has one processor; the agent and the clients share
/// the other.
fn requests_per_sec(install: &Install, agent: &impl Server, time: Duration) -> f64 {
    agent.share_client_processor();
    let mut setup = Setup::with_message(&agent.haproxy_addr(), "on-frontend-http-request", "src");
    setup.messages = setup.messages.replace("spoe-message m", "spoe-message check-client-ip");
    setup.agent = "messages check-client-ip\n    option dontlog-normal".into();
    setup.global = "    nbthread 1".into();
    let haproxy = start_server(|| setup.header("x-score", "%[var(sess.t.ip_score)]").start(install));
    load(haproxy.addr, time, |response| {
        response.split("x-score: ").nth(1).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// Waits for the response to one request.
pub(crate) fn first_response(addr: SocketAddr) {
    load(addr, Duration::ZERO, |_| true);
}

struct Client {
    socket: TcpStream,
    received: Vec<u8>,
}

/// Sends requests for this time, but at least until the first response. Returns the number of responses per second, which
/// have to be good according to `is_good`.
pub(crate) fn load(addr: SocketAddr, time: Duration, is_good: impl Fn(&str) -> bool) -> f64 {
    let (mut poll, mut events) =
        (Poll::new().expect("an epoll instance can be created"), Events::with_capacity(CLIENTS));
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let socket = std::net::TcpStream::connect(addr).expect("HAProxy listens");
            socket.set_nodelay(true).and_then(|()| socket.set_nonblocking(true)).expect("the socket has these options");
            let mut socket = TcpStream::from_std(socket);
            poll.registry()
                .register(&mut socket, Token(number), Interest::READABLE)
                .expect("the socket can be registered");
            socket.write_all(REQUEST).expect("the request fits into the socket");
            Client { socket, received: Vec::new() }
        })
        .collect();
    let (start, mut responses) = (Instant::now(), 0);
    while responses == 0 || start.elapsed() < time {
        poll.poll(&mut events, Some(SILENCE_MAX)).expect("epoll works");
        assert!(!events.is_empty(), "no response within {SILENCE_MAX:?}");
        for event in &events {
            responses += usize::from(clients[event.token().0].receive(&is_good));
        }
    }
    responses as f64 / start.elapsed().as_secs_f64()
}

impl Client {
    /// Reads once. Returns true if the response is complete; then the next request has been sent.
    fn receive(&mut self, is_good: impl Fn(&str) -> bool) -> bool {
        let mut bytes = [0; 4096];
        match self.socket.read(&mut bytes) {
            Ok(0) => panic!("HAProxy closed a connection"),
            Ok(len) => self.received.extend_from_slice(&bytes[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("cannot read a response: {error}"),
        }
        if !self.received.ends_with(BODY) {
            return false;
        }
        let response = String::from_utf8_lossy(&self.received);
        assert!(response.starts_with("HTTP/1.1 200") && is_good(&response), "unexpected response: {response}");
        self.received.clear();
        self.socket.write_all(REQUEST).expect("the request fits into the socket");
        true
    }
}
