//! A conversation in its steady state: what is measured, in time, in instructions and in allocations.

use spoa_core::wire::{Messages, Scope};
use spoa_core::{Ack, Buffers, Config, Connection, Event, Instant, Notify, OwnedMessages, Ticket};

use crate::bytes::Value;
use crate::frames::{Hello, check_client_ip, notify};

/// A connection behind its HELLO, with a driver that does what a socket's would: lends buffers for a turn, copies bytes
/// in, takes bytes out and asks for the next deadline.
pub struct Steady {
    connection: Connection,
    spare: Buffers,
    now: u64,
    waiting: Vec<Waiting>,
}

/// A NOTIFY that is answered when all of its turn were handed out.
pub enum Waiting {
    /// Its answer is known.
    Score(Ticket, Option<u32>),
    /// Its messages are kept.
    Messages(Ticket, OwnedMessages),
}

/// The NOTIFYs of `n` streams, behind each other: each check-client-ip with one IPv4 address, whose score is [`SCORE`].
pub fn notifys(n: u64) -> Vec<u8> {
    (0..n).flat_map(|i| notify(2 * i + 1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, SCORE as u8]))])).collect()
}

/// The score that every NOTIFY of [`notifys`] is answered with.
pub const SCORE: u32 = 42;

impl Default for Steady {
    fn default() -> Self {
        Self::new(&Hello::mux().encode())
    }
}

impl Steady {
    /// A connection that took this HELLO, encoded.
    ///
    /// # Panics
    /// If it did not.
    pub fn new(hello: &[u8]) -> Self {
        let connection = Connection::new(Config::default(), Instant::ZERO);
        let mut steady = Self { connection, spare: Buffers::default(), now: 0, waiting: Vec::new() };
        let mut is_answered = false;
        steady.turn(hello, |_| unreachable!("a HELLO is no NOTIFY"), |_| is_answered = true);
        assert!(is_answered);
        steady
    }

    /// Hands `input` to the connection, in as many reads as its buffer takes, and each read's answers to `out`. What
    /// `handle` leaves waiting is answered in a turn of its own.
    #[inline]
    pub fn turn(
        &mut self,
        mut input: &[u8],
        mut handle: impl FnMut(Notify<'_>) -> Option<Waiting>,
        mut out: impl FnMut(&[u8]),
    ) {
        while !input.is_empty() {
            self.now += 1_000;
            let now = Instant::from_nanos(self.now);
            self.connection.lend_buffers(&mut self.spare);
            let buf = self.connection.recv_buf();
            let (read, rest) = input.split_at(input.len().min(buf.len()));
            buf[..read.len()].copy_from_slice(read);
            input = rest;
            self.connection.handle_input(now, read.len());
            while let Some(event) = self.connection.poll_event() {
                match event {
                    Event::Notify(notify) => self.waiting.extend(handle(notify)),
                    Event::Ready { .. } => {}
                    Event::Closed(reason) => panic!("{reason:?}"),
                }
            }
            self.send(now, &mut out);
            if !self.waiting.is_empty() {
                self.connection.lend_buffers(&mut self.spare);
                for waiting in self.waiting.drain(..) {
                    let (ticket, score) = match waiting {
                        Waiting::Score(ticket, score) => (ticket, score),
                        Waiting::Messages(ticket, messages) => (ticket, score(messages.messages())),
                    };
                    answer(self.connection.ack(now, ticket).expect("it is live"), score);
                }
                self.send(now, &mut out);
            }
        }
    }

    /// The end of a turn.
    #[inline]
    fn send(&mut self, now: Instant, out: &mut impl FnMut(&[u8])) {
        while let Some(bytes) = self.connection.poll_transmit() {
            let len = bytes.len();
            out(bytes);
            self.connection.transmitted(now, len);
        }
        self.connection.release_buffers(&mut self.spare);
        std::hint::black_box(self.connection.poll_timeout());
    }
}

/// Answers at once.
#[inline]
pub fn in_place(notify: Notify<'_>) -> Option<Waiting> {
    let score = score(notify.messages());
    answer(notify.ack(), score);
    None
}

/// Answers later, and keeps what it needs to know.
#[inline]
pub fn deferred(notify: Notify<'_>) -> Option<Waiting> {
    let score = score(notify.messages());
    Some(Waiting::Score(notify.defer(), score))
}

/// Answers later, and keeps a copy of the messages until then.
#[inline]
pub fn copied(notify: Notify<'_>) -> Option<Waiting> {
    let messages = notify.to_owned();
    Some(Waiting::Messages(notify.defer(), messages))
}

#[inline]
fn answer(mut ack: Ack<'_>, score: Option<u32>) {
    if let Some(score) = score {
        ack.set_var(Scope::Session, "ip_score", score).expect("HAProxy takes it");
    }
    ack.finish().expect("it fits");
}

/// The last byte of the address, as good a score as any.
#[inline]
fn score(mut messages: Messages<'_>) -> Option<u32> {
    let message = messages.find(|message| message.name() == b"check-client-ip")?;
    match message.args().next()?.1.as_ip()? {
        std::net::IpAddr::V4(address) => Some(u32::from(address.octets()[3])),
        std::net::IpAddr::V6(_) => None,
    }
}
