//! Connections that are kept, each with so many NOTIFYs in flight, one for one: HAProxy under load.

use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use spoa_core::wire::{Flags, Frame, FrameEncoder, FrameId, FrameType, StreamId};
use spoa_tests::bytes::Value;
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, check_client_ip};
use spoa_tests::process;

use crate::Load;
use crate::server::Server;

/// How long the load runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// How long an agent may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Microseconds of latency that are told apart.
const LATENCY_MAX: usize = 200_000;

/// An ACK behind its ids, up to the score: one byte from 0 to 100.
fn answer() -> Vec<u8> {
    let mut ack = ack(1, 1, &[0]).split_off(11);
    ack.pop();
    ack
}

struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
    len: usize,
    out: Vec<u8>,
    /// The stream of each slot, and since when it waits: since the client saw the answer before it.
    slots: Vec<(u64, Instant)>,
    /// How many NOTIFYs were sent.
    sent: u64,
}

/// Keeps `in_flight` NOTIFYs waiting on each of `connections` for so long, and checks that every ACK has a score.
pub(crate) fn load(server: &impl Server, connections: usize, in_flight: usize, time: Duration) -> Load {
    let answer = answer();
    let is_score = |payload: &[u8]| matches!(payload.strip_prefix(&answer[..]), Some([0..=100]));
    load_checked(server, connections, in_flight, time, is_score)
}

/// The same with another check of what is in each ACK.
pub(crate) fn load_checked(
    server: &impl Server,
    connections: usize,
    in_flight: usize,
    time: Duration,
    is_answer: impl Fn(&[u8]) -> bool,
) -> Load {
    let mut poll = Poll::new().expect("a poll");
    let notify = check_client_ip(Value::Ipv4([192, 0, 2, 33]));
    let mut connections: Vec<_> = (0..connections).map(|_| Connection::new(server.addr(), in_flight)).collect();
    let start = Instant::now();
    for (number, connection) in connections.iter_mut().enumerate() {
        poll.registry().register(&mut connection.socket, Token(number), Interest::READABLE).expect("it is a socket");
        (0..in_flight).for_each(|slot| connection.ask(slot, start, &notify));
        connection.flush();
    }
    let (mut latencies, mut acks, mut since) = (vec![0_u32; LATENCY_MAX], 0, None);
    let mut cpu_before = Duration::ZERO;
    let mut events = Events::with_capacity(256);
    loop {
        poll.poll(&mut events, Some(SILENCE_MAX)).expect("it waits");
        assert!(!events.is_empty(), "no ACK for {SILENCE_MAX:?}");
        let now = Instant::now();
        if since.is_none() && now - start >= WARM_UP {
            since = Some(now);
            cpu_before = process::cpu_time(server.pid());
            latencies.fill(0);
            acks = 0;
        }
        if now - start >= WARM_UP + time {
            break;
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            connection.receive(&is_answer, |connection, slot, asked| {
                acks += 1;
                latencies[((now - asked).as_micros() as usize).min(LATENCY_MAX - 1)] += 1;
                connection.ask(slot, now, &notify);
            });
            connection.flush();
        }
    }
    let measured = since.expect("the time is longer than the warm-up").elapsed();
    let cpu = process::cpu_time(server.pid()) - cpu_before;
    Load {
        acks_per_sec: f64::from(acks) / measured.as_secs_f64(),
        p99: p99(&latencies, acks),
        cpu: cpu.div_f64(f64::from(acks)),
    }
}

/// The time within which 99 of a hundred were answered.
fn p99(latencies: &[u32], acks: u32) -> Duration {
    let mut below = 0;
    let slow = latencies.iter().position(|count| {
        below += count;
        u64::from(below) * 100 >= u64::from(acks) * 99
    });
    Duration::from_micros(slow.unwrap_or(LATENCY_MAX) as u64)
}

impl Connection {
    /// Behind its HELLO.
    fn new(addr: &str, in_flight: usize) -> Self {
        let socket = Client::greeted(addr, &Hello::applet()).into_tcp();
        socket.set_nonblocking(true).expect("it is a socket");
        let socket = TcpStream::from_std(socket);
        let slots = vec![(0, Instant::now()); in_flight];
        Self { socket, received: vec![0; 1 << 18], len: 0, out: Vec::new(), slots, sent: 0 }
    }

    /// Writes the next NOTIFY of `slot`. Its stream tells the slot, and is never used again.
    fn ask(&mut self, slot: usize, now: Instant, notify: &[u8]) {
        self.sent += 1;
        let stream = self.sent * self.slots.len() as u64 + slot as u64;
        self.slots[slot] = (stream, now);
        let mut frame = FrameEncoder::begin(&mut self.out, FrameType::NOTIFY, Flags::FIN, StreamId(stream), FrameId(1));
        frame.payload().extend_from_slice(notify);
        frame.finish();
    }

    fn flush(&mut self) {
        if !self.out.is_empty() {
            // Whatever is in flight fits into a socket.
            self.socket.write_all(&self.out).expect("the agent takes it");
            self.out.clear();
        }
    }

    /// Reads once and tells of each ACK: its slot, and when it was asked for.
    fn receive(&mut self, is_answer: impl Fn(&[u8]) -> bool, mut tell: impl FnMut(&mut Self, usize, Instant)) {
        match self.socket.read(&mut self.received[self.len..]) {
            Ok(0) => panic!("the agent ended a connection"),
            Ok(len) => self.len += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
        let received = mem::take(&mut self.received);
        let mut rest = &received[..self.len];
        while let Some((frame, behind)) = Frame::split(rest).expect("the agent sends frames") {
            rest = behind;
            assert_eq!((frame.frame_type, frame.flags, frame.frame_id), (FrameType::ACK, Flags::FIN, FrameId(1)));
            let slot = (frame.stream_id.0 % self.slots.len() as u64) as usize;
            let (stream, asked) = self.slots[slot];
            assert_eq!(frame.stream_id.0, stream, "an ACK that nothing waits for");
            assert!(is_answer(frame.payload), "not an answer: {:?}", frame.payload);
            tell(self, slot, asked);
        }
        let left = rest.len();
        self.received = received;
        self.received.copy_within(self.len - left..self.len, 0);
        self.len = left;
    }
}
