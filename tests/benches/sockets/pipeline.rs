//! Persistent connections with a fixed number of NOTIFYs in flight, as HAProxy has under load. Each ACK is
//! followed by the next NOTIFY.

use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::Socket;
use spoa_core::wire::{Flags, Frame, FrameEncoder, FrameId, FrameType, StreamId};
use spoa_tests::bytes::Value;
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, check_client_ip};
use spoa_tests::process;

use crate::Load;
use crate::server::Server;

/// Duration of the load before the measurement starts.
const WARM_UP: Duration = Duration::from_millis(300);

/// The longest time to wait for an ACK.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Number of microseconds below which latencies are counted separately. Longer latencies are counted together.
const LATENCY_MAX: usize = 200_000;

/// Returns the part of an ACK between its ids and the score, which is one byte from 0 to 100.
fn answer() -> Vec<u8> {
    let mut ack = ack(1, 1, &[0]).split_off(11);
    ack.pop();
    ack
}

struct Connection {
    socket: Socket,
    received: Vec<u8>,
    len: usize,
    out: Vec<u8>,
    /// For each slot, the stream-id of its NOTIFY and the start of the NOTIFY's latency: when the client received the
    /// ACK before it.
    slots: Vec<(u64, Instant)>,
    /// Number of NOTIFYs that were sent.
    sent: u64,
}

/// Keeps `in_flight` NOTIFYs in flight on each of `connections` for this time, and checks that every ACK has a score.
pub(crate) fn load(server: &impl Server, connections: usize, in_flight: usize, time: Duration) -> Load {
    let answer = answer();
    let is_score = |payload: &[u8]| matches!(payload.strip_prefix(&answer[..]), Some([0..=100]));
    load_checked(server, connections, in_flight, time, is_score)
}

/// Does the same as [`load`] with another check of the payload of each ACK.
pub(crate) fn load_checked(
    server: &impl Server,
    connections: usize,
    in_flight: usize,
    time: Duration,
    is_answer: impl Fn(&[u8]) -> bool,
) -> Load {
    let mut poll = Poll::new().expect("an epoll instance can be created");
    let notify = check_client_ip(Value::Ipv4([192, 0, 2, 33]));
    let mut connections: Vec<_> = (0..connections).map(|_| Connection::new(server.addr(), in_flight)).collect();
    let start = Instant::now();
    for (number, connection) in connections.iter_mut().enumerate() {
        poll.registry()
            .register(&mut SourceFd(&connection.socket.as_raw_fd()), Token(number), Interest::READABLE)
            .expect("the socket can be registered");
        (0..in_flight).for_each(|slot| connection.notify(slot, start, &notify));
        connection.flush();
    }
    let (mut latencies, mut acks, mut since) = (vec![0_u32; LATENCY_MAX], 0, None);
    let mut cpu_before = Duration::ZERO;
    let mut events = Events::with_capacity(256);
    loop {
        poll.poll(&mut events, Some(SILENCE_MAX)).expect("epoll works");
        assert!(!events.is_empty(), "no ACK within {SILENCE_MAX:?}");
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
            connection.receive(&is_answer, |connection, slot, start| {
                acks += 1;
                latencies[((now - start).as_micros() as usize).min(LATENCY_MAX - 1)] += 1;
                connection.notify(slot, now, &notify);
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

/// Returns the 99th percentile of the latencies.
fn p99(latencies: &[u32], acks: u32) -> Duration {
    let mut below = 0;
    let slow = latencies.iter().position(|count| {
        below += count;
        u64::from(below) * 100 >= u64::from(acks) * 99
    });
    Duration::from_micros(slow.unwrap_or(LATENCY_MAX) as u64)
}

impl Connection {
    /// Opens a connection and completes its handshake.
    fn new(addr: &str, in_flight: usize) -> Self {
        let socket = Socket::from(Client::with_hello(addr, &Hello::applet()).into_socket());
        socket.set_nonblocking(true).expect("the socket can be nonblocking");
        let slots = vec![(0, Instant::now()); in_flight];
        Self { socket, received: vec![0; 1 << 18], len: 0, out: Vec::new(), slots, sent: 0 }
    }

    /// Writes the next NOTIFY of `slot` to the buffer. Its stream-id identifies the slot and is never used again.
    fn notify(&mut self, slot: usize, now: Instant, notify: &[u8]) {
        self.sent += 1;
        let stream = self.sent * self.slots.len() as u64 + slot as u64;
        self.slots[slot] = (stream, now);
        let mut frame = FrameEncoder::begin(&mut self.out, FrameType::NOTIFY, Flags::FIN, StreamId(stream), FrameId(1));
        frame.payload().extend_from_slice(notify);
        frame.finish();
    }

    /// Sends the contents of the buffer.
    fn flush(&mut self) {
        if !self.out.is_empty() {
            // All NOTIFYs in flight fit into the buffer of the socket.
            self.socket.write_all(&self.out).expect("the NOTIFYs fit into the socket");
            self.out.clear();
        }
    }

    /// Reads once, and calls `on_ack` for each ACK with its slot and the start of its latency.
    fn receive(&mut self, is_answer: impl Fn(&[u8]) -> bool, mut on_ack: impl FnMut(&mut Self, usize, Instant)) {
        match self.socket.read(&mut self.received[self.len..]) {
            Ok(0) => panic!("the agent closed a connection"),
            Ok(len) => self.len += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("cannot read an ACK: {error}"),
        }
        let received = mem::take(&mut self.received);
        let mut rest = &received[..self.len];
        while let Some((frame, after)) = Frame::split(rest).expect("the agent sends valid frames") {
            rest = after;
            assert_eq!((frame.frame_type, frame.flags, frame.frame_id), (FrameType::ACK, Flags::FIN, FrameId(1)));
            let slot = (frame.stream_id.0 % self.slots.len() as u64) as usize;
            let (stream, start) = self.slots[slot];
            assert_eq!(frame.stream_id.0, stream, "expected the ACK of the NOTIFY in flight");
            assert!(is_answer(frame.payload), "unexpected payload of an ACK: {:?}", frame.payload);
            on_ack(self, slot, start);
        }
        let left = rest.len();
        self.received = received;
        self.received.copy_within(self.len - left..self.len, 0);
        self.len = left;
    }
}
