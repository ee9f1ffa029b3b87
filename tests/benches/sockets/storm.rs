//! Many connections that are opened at once, as by a HAProxy after a reload.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use spoa_tests::bytes::AGENT_HELLO;
use spoa_tests::frames::Hello;

use crate::figures::median;
use crate::server::{Network, Rival, Server, Spoa};

const CONNECTIONS: usize = 5_000;

/// The longest time to wait for the next AGENT-HELLO.
const SILENCE_MAX: Duration = Duration::from_secs(5);

pub(crate) fn measure(turns: usize) {
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        floors.push(storm(&Rival::Floor.start(Network::Tcp)).as_secs_f64() * 1e3);
        ours.push(storm(&Spoa::start(&["-n", "1"])).as_secs_f64() * 1e3);
    }
    println!(
        "{CONNECTIONS} connections opened at once, each with a HELLO: all answered and none reset in {:.0} ms (floor: \
         {:.0} ms).\n",
        median(ours),
        median(floors),
    );
}

/// Returns the time until all connections have their AGENT-HELLO.
fn storm(server: &impl Server) -> Duration {
    let (mut poll, mut events) = (Poll::new().expect("an epoll instance can be created"), Events::with_capacity(1024));
    let (addr, hello) = (server.addr().parse().expect("the address is valid"), Hello::mux().encode());
    let start = Instant::now();
    let mut pending: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let mut socket = TcpStream::connect(addr).expect("a socket can be created");
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut socket, Token(number), interest).expect("the socket can be registered");
            Pending { socket, is_hello_sent: false, is_answered: false }
        })
        .collect();
    let mut answered = 0;
    while answered < CONNECTIONS {
        poll.poll(&mut events, Some(SILENCE_MAX)).expect("epoll works");
        assert!(!events.is_empty(), "expected {CONNECTIONS} answers, got {answered} and then none for {SILENCE_MAX:?}");
        for event in &events {
            answered += usize::from(pending[event.token().0].advance(event.is_writable(), &hello));
        }
    }
    start.elapsed()
}

/// A connection and the progress of its handshake.
struct Pending {
    socket: TcpStream,
    is_hello_sent: bool,
    is_answered: bool,
}

impl Pending {
    /// Sends HELLO once the socket is connected. Returns true when AGENT-HELLO has arrived.
    fn advance(&mut self, is_writable: bool, hello: &[u8]) -> bool {
        if is_writable && !self.is_hello_sent {
            self.socket.write_all(hello).expect("HELLO fits into the socket");
            self.is_hello_sent = true;
        }
        let mut frame = [0; 256];
        if self.is_answered || !matches!(self.socket.read(&mut frame), Ok(5..)) {
            assert!(self.socket.take_error().is_ok_and(|error| error.is_none()), "the connection was reset");
            return false;
        }
        assert_eq!(frame[4], AGENT_HELLO);
        self.is_answered = true;
        true
    }
}
