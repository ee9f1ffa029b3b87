//! A connection in its steady state, whose time, instructions and allocations are measured.

use spoa_core::wire::{Messages, Scope, SetVars};
use spoa_core::{Ack, Buffers, Config, Connection, Event, Instant, Notify, OwnedMessages, Ticket};

use crate::bytes::Value;
use crate::frames::{Hello, check_client_ip, notify};

/// A connection after its handshake, with a driver that does the same work as one for sockets: it lends buffers for a
/// turn, copies bytes in and out, and asks for the next deadline.
pub struct Steady {
    connection: Connection,
    spare: Buffers,
    now: u64,
    waiting: Vec<DeferredAnswer>,
}

/// A deferred NOTIFY, which is answered after all NOTIFYs of its turn have been handled.
pub enum DeferredAnswer {
    /// The score is computed already.
    Score(Ticket, Option<u32>),
    /// The score is computed from a copy of the messages.
    Messages(Ticket, OwnedMessages),
}

/// Encodes one NOTIFY for each of `n` streams. Each has a message check-client-ip with an IPv4 address of score
/// [`SCORE`].
pub fn notifys(n: u64) -> Vec<u8> {
    (0..n).flat_map(|i| notify(2 * i + 1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, SCORE as u8]))])).collect()
}

/// The score in the answer to each NOTIFY of [`notifys`].
pub const SCORE: u32 = 42;

impl Default for Steady {
    fn default() -> Self {
        Self::new(&Hello::mux().encode())
    }
}

impl Steady {
    /// Returns a connection after a handshake with this HELLO, which is encoded already.
    ///
    /// # Panics
    /// If the connection sends no answer.
    pub fn new(hello: &[u8]) -> Self {
        let connection = Connection::new(Config::default(), Instant::ZERO);
        let mut steady = Self { connection, spare: Buffers::default(), now: 0, waiting: Vec::new() };
        let mut is_answered = false;
        steady.turn(hello, |_| unreachable!("a HELLO is no NOTIFY"), |_| is_answered = true);
        assert!(is_answered, "the connection does not answer the HELLO");
        steady
    }

    /// Feeds `input` to the connection, in as many reads as its buffer requires, and passes the connection's bytes to
    /// `out` after each read. The NOTIFYs that `handle` defers are then answered in a separate turn.
    #[inline]
    pub fn turn(
        &mut self,
        mut input: &[u8],
        mut handle: impl FnMut(Notify<'_>) -> Option<DeferredAnswer>,
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
                    Event::Closed(reason) => panic!("the connection is closed: {reason:?}"),
                }
            }
            self.send(now, &mut out);
            if !self.waiting.is_empty() {
                self.connection.lend_buffers(&mut self.spare);
                for waiting in self.waiting.drain(..) {
                    let (ticket, score) = match waiting {
                        DeferredAnswer::Score(ticket, score) => (ticket, score),
                        DeferredAnswer::Messages(ticket, messages) => (ticket, score(messages.messages())),
                    };
                    answer(self.connection.ack(now, ticket).expect("the ticket is live"), score);
                }
                self.send(now, &mut out);
            }
        }
    }

    /// Does the work at the end of a turn: sends bytes, takes buffers back and asks for the next deadline.
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

/// A handler that answers immediately.
#[inline]
pub fn immediate(notify: Notify<'_>) -> Option<DeferredAnswer> {
    let score = score(notify.messages());
    answer(notify.ack(), score);
    None
}

/// A handler that computes the score immediately and defers the answer.
#[inline]
pub fn deferred(notify: Notify<'_>) -> Option<DeferredAnswer> {
    let score = score(notify.messages());
    Some(DeferredAnswer::Score(notify.defer(), score))
}

/// A handler that defers the answer and keeps a copy of the messages until then.
#[inline]
pub fn deferred_with_copy(notify: Notify<'_>) -> Option<DeferredAnswer> {
    let messages = notify.to_owned();
    Some(DeferredAnswer::Messages(notify.defer(), messages))
}

#[inline]
fn answer(mut ack: Ack<'_>, score: Option<u32>) {
    if let Some(score) = score {
        ack.set_var(Scope::Session, "ip_score", score).expect("name and value are valid");
    }
    ack.finish().expect("the ACK fits in a frame");
}

/// Returns the last byte of the IPv4 address as its score.
#[inline]
fn score(mut messages: Messages<'_>) -> Option<u32> {
    let message = messages.find(|message| message.name() == b"check-client-ip")?;
    match message.args().next()?.1.as_ip()? {
        std::net::IpAddr::V4(address) => Some(u32::from(address.octets()[3])),
        std::net::IpAddr::V6(_) => None,
    }
}
