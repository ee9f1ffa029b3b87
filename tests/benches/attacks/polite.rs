//! A connection that behaves as HAProxy does, whose answers are timed.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use spoa_tests::bytes::{ACK, AGENT_HELLO};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, notify};

/// A polite connection.
pub(crate) struct Polite(Client);

/// The latencies of its answers.
pub(crate) struct Latencies(Vec<Duration>);

/// The time within which an answer is useful to HAProxy.
const USEFUL: Duration = Duration::from_millis(200);

impl Polite {
    pub(crate) fn connect(addr: &str) -> Self {
        Self(Client::ready(addr))
    }

    /// Connects from this address.
    pub(crate) fn connect_from(source: [u8; 4], addr: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be created");
        let source = SocketAddr::from((Ipv4Addr::from(source), 0));
        socket.bind(&source.into()).expect("the address is of the loopback interface");
        let addr: SocketAddr = addr.parse().expect("the agent prints its address");
        socket.connect(&addr.into()).expect("the agent listens");
        let mut client = Client::of_tcp(TcpStream::from(socket)).expect("the socket has timeouts");
        client.send(&Hello::mux().encode());
        assert_eq!(client.frame().kind, AGENT_HELLO);
        Self(client)
    }

    /// Sends one NOTIFY at a time for as long as `time`, a hundred per second at most.
    pub(crate) fn measure(&mut self, time: Duration) -> Latencies {
        let (start, mut latencies) = (Instant::now(), Vec::new());
        for id in (1..).step_by(2) {
            let sent = Instant::now();
            if sent - start >= time {
                break;
            }
            self.0.send(&notify(id, 1, &[]));
            assert_eq!(self.0.frame().kind, ACK);
            latencies.push(sent.elapsed());
            std::thread::sleep(Duration::from_millis(10).saturating_sub(sent.elapsed()));
        }
        latencies.sort_unstable();
        Latencies(latencies)
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(all) = self;
        let at = |percent: usize| all[(all.len() * percent / 100).min(all.len() - 1)].as_secs_f64() * 1e3;
        let useful = all.iter().filter(|latency| **latency <= USEFUL).count() as f64 * 100.0 / all.len() as f64;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, {useful:.1} % of {} within 200 ms", at(50), at(99), all.len())
    }
}

/// Opens connections one after the other for as long as `time`, each with a HELLO and a NOTIFY in two pieces, 20 ms apart. Returns
/// the number of connections whose NOTIFY was answered, and of all.
pub(crate) fn in_two_pieces(addr: &str, time: Duration) -> (usize, usize) {
    let (start, mut answered, mut tried) = (Instant::now(), 0, 0);
    while start.elapsed() < time {
        tried += 1;
        let mut client = Client::fresh(addr);
        let mut exchange = |bytes: Vec<u8>| {
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            client.try_send(first).ok()?;
            std::thread::sleep(Duration::from_millis(20));
            client.try_send(rest).ok()?;
            client.try_frame().map(|frame| frame.kind)
        };
        let is_served =
            exchange(Hello::mux().encode()) == Some(AGENT_HELLO) && exchange(notify(1, 1, &[])) == Some(ACK);
        answered += usize::from(is_served);
    }
    (answered, tried)
}
