//! A HAProxy that was reloaded opens all of its connections at once.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use spoa_tests::bytes::AGENT_HELLO;
use spoa_tests::frames::Hello;

use crate::figures::median;
use crate::server::{Rival, Server, Spoa};

const CONNECTIONS: usize = 5_000;

/// How long none of them may be answered.
const SILENCE_MAX: Duration = Duration::from_secs(5);

pub(crate) fn measure(turns: usize) {
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        floors.push(storm(&Rival::Floor.start()).as_secs_f64() * 1e3);
        ours.push(storm(&Spoa::start(&["-n", "1"])).as_secs_f64() * 1e3);
    }
    println!(
        "{CONNECTIONS} connections opened at once, each with a HELLO: all answered, none reset, in {:.0} ms (the floor in {:.0}).\n",
        median(ours),
        median(floors),
    );
}

/// How long it takes until each has its AGENT-HELLO.
fn storm(server: &impl Server) -> Duration {
    let (mut poll, mut events) = (Poll::new().expect("a poll"), Events::with_capacity(1024));
    let (addr, hello) = (server.addr().parse().expect("an address"), Hello::mux().encode());
    let start = Instant::now();
    let mut waiting: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let mut socket = TcpStream::connect(addr).expect("a socket");
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut socket, Token(number), interest).expect("it is a socket");
            Waiting { socket, is_asked: false, is_answered: false }
        })
        .collect();
    let mut answered = 0;
    while answered < CONNECTIONS {
        poll.poll(&mut events, Some(SILENCE_MAX)).expect("it waits");
        assert!(!events.is_empty(), "{answered} of {CONNECTIONS} were answered, no more for {SILENCE_MAX:?}");
        for event in &events {
            answered += usize::from(waiting[event.token().0].goes_on(event.is_writable(), &hello));
        }
    }
    start.elapsed()
}

struct Waiting {
    socket: TcpStream,
    is_asked: bool,
    is_answered: bool,
}

impl Waiting {
    /// Sends the HELLO once the socket is connected; true when the answer has come.
    fn goes_on(&mut self, is_writable: bool, hello: &[u8]) -> bool {
        if is_writable && !self.is_asked {
            self.socket.write_all(hello).expect("the agent takes it");
            self.is_asked = true;
        }
        let mut frame = [0; 256];
        if self.is_answered || !matches!(self.socket.read(&mut frame), Ok(5..)) {
            assert!(self.socket.take_error().is_ok_and(|error| error.is_none()), "reset");
            return false;
        }
        assert_eq!(frame[4], AGENT_HELLO);
        self.is_answered = true;
        true
    }
}
