//! HAProxy's side of a `Connection`, with a virtual clock and without sockets.

use std::time::Duration;

use spoa_core::wire::{Capabilities, Message, Scope, SetVars, TypedData};
use spoa_core::{Buffers, CloseReason, Config, Connection, Event, Instant, Notify, Ticket, TicketError};

use crate::bytes::{AGENT_DISCONNECT, AGENT_HELLO, Frame, Value};
use crate::frames::{Hello, agent_hello};

/// An event that the connection reported to its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants and fields are those of the core's events")]
pub enum Seen {
    Ready { max_frame_size: u32, capabilities: String },
    Notify { ids: (u64, u64), payload: Vec<u8> },
    Closed(CloseReason),
}

/// A function that answers a NOTIFY immediately, or defers it and returns its ticket.
pub type Handler = Box<dyn FnMut(Notify<'_>) -> Option<Ticket>>;

/// HAProxy, the socket and the driver of one `Connection`.
///
/// Every step checks the invariants of a connection: memory is within its bound, frames have a legal size, no frame
/// follows an AGENT-DISCONNECT, and no event follows `Closed`.
pub struct Peer {
    /// The connection under test.
    pub connection: Connection,
    /// Buffers to lend to the connection.
    spare: Buffers,
    config: Config,
    now: Instant,
    handler: Handler,
    /// Bytes from HAProxy that the connection has not read yet.
    unread: Vec<u8>,
    /// The number of bytes that the socket still accepts from the connection.
    room: usize,
    /// The number of bytes that the socket accepts per write.
    write_max: usize,
    /// All bytes that the connection sent.
    sent: Vec<u8>,
    /// The length of the part of `sent` whose frames were checked.
    checked: usize,
    /// The length of the part of `sent` that was returned to the test.
    taken: usize,
    writes: usize,
    frame_max: usize,
    /// True if the last checked frame is an AGENT-DISCONNECT.
    has_disconnected: bool,
    events: Vec<Seen>,
    tickets: Vec<((u64, u64), Ticket)>,
}

impl Peer {
    /// Returns a connection whose handshake has not begun. Its handler is [`score`].
    pub fn new(config: Config) -> Self {
        let now = Instant::from_nanos(1_000);
        Self {
            connection: Connection::new(config, now),
            spare: Buffers::default(),
            config,
            now,
            handler: Box::new(score),
            unread: Vec::new(),
            room: usize::MAX,
            write_max: usize::MAX,
            sent: Vec::new(),
            checked: 0,
            taken: 0,
            writes: 0,
            frame_max: config.max_frame_size as usize,
            has_disconnected: false,
            events: Vec::new(),
            tickets: Vec::new(),
        }
    }

    /// Returns a connection with default limits after a handshake: frames of 16380 bytes, pipelining and fragmentation.
    pub fn ready() -> Self {
        Self::ready_with(Config::default())
    }

    /// Returns a connection with these limits after a handshake.
    pub fn ready_with(config: Config) -> Self {
        Self::with_hello(config, &Hello::mux())
    }

    /// Returns a connection with these limits after a handshake with this HELLO, which it must accept.
    pub fn with_hello(config: Config, hello: &Hello) -> Self {
        let mut peer = Self::new(config);
        peer.send(&hello.encode());
        assert!(matches!(peer.take_events()[..], [Seen::Ready { .. }]), "the connection refuses {hello:?}");
        assert!(matches!(&peer.take_frames()[..], [Frame { kind: AGENT_HELLO, .. }]));
        peer.writes = 0;
        peer
    }

    /// Replaces the handler.
    #[must_use]
    pub fn handling(mut self, handler: impl FnMut(Notify<'_>) -> Option<Ticket> + 'static) -> Self {
        self.handler = Box::new(handler);
        self
    }

    /// Defers every NOTIFY, for [`answer`](Self::answer).
    #[must_use]
    pub fn deferring(self) -> Self {
        self.handling(|notify| Some(notify.defer()))
    }

    /// Limits each write to `len` bytes.
    #[must_use]
    pub fn writing_at_most(mut self, len: usize) -> Self {
        self.write_max = len;
        self
    }

    /// HAProxy stops reading: the socket accepts no more bytes from the connection.
    pub fn stop_reading(&mut self) {
        self.room = 0;
    }

    /// HAProxy reads up to `len` more bytes.
    pub fn read(&mut self, len: usize) {
        self.room = self.room.saturating_add(len);
        self.pump();
    }

    /// HAProxy sends `bytes`. Bytes that the connection does not read yet stay in the socket.
    pub fn send(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        self.pump();
    }

    /// HAProxy closes its end.
    pub fn eof(&mut self) {
        self.connection.handle_eof(self.now);
        self.pump();
    }

    /// The agent stops: the driver asks the connection to disconnect within `grace`.
    pub fn stop(&mut self, grace: Duration) {
        self.connection.disconnect(self.now, grace);
        self.pump();
    }

    /// Advances the clock. The driver calls the connection at each of its deadlines, and also at the end.
    pub fn advance(&mut self, by: Duration) {
        self.sleep(by);
        self.connection.handle_timeout(self.now);
        self.pump();
    }

    /// Advances the clock. The driver calls the connection at each of its deadlines, but not at the end.
    pub fn sleep(&mut self, by: Duration) {
        let end = self.now + by;
        for turn in 0.. {
            let Some(at) = self.connection.poll_timeout().filter(|at| *at <= end) else { break };
            assert!(turn < 100_000, "the connection keeps asking for a timeout at {at:?}");
            self.now = self.now.max(at);
            self.connection.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    /// Answers a deferred NOTIFY with a score.
    ///
    /// # Errors
    /// If its ticket is void.
    pub fn answer(&mut self, ids: (u64, u64), score: u32) -> Result<(), TicketError> {
        let ticket = self.take_ticket(ids);
        let mut ack = self.connection.ack(self.now, ticket)?;
        ack.set_var(Scope::Session, "ip_score", score).expect("name and value are valid");
        ack.finish().expect("the ACK fits in a frame");
        self.pump();
        Ok(())
    }

    /// Removes and returns the oldest ticket of a deferred NOTIFY with these stream-id and frame-id.
    ///
    /// # Panics
    /// If there is none.
    pub fn take_ticket(&mut self, ids: (u64, u64)) -> Ticket {
        let at = self.tickets.iter().position(|(known, _)| *known == ids).expect("the NOTIFY was deferred");
        self.tickets.remove(at).1
    }

    /// Returns the stream-id and frame-id of each NOTIFY whose ticket has not been taken, in order of arrival.
    pub fn deferred(&self) -> Vec<(u64, u64)> {
        self.tickets.iter().map(|(ids, _)| *ids).collect()
    }

    /// Returns the events since the last call.
    pub fn take_events(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.events)
    }

    /// Returns the bytes that the connection sent since the last call.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        let bytes = self.sent[self.taken..].to_vec();
        self.taken = self.sent.len();
        bytes
    }

    /// Returns the frames that the connection sent since the last call.
    ///
    /// # Panics
    /// If the last one is incomplete.
    pub fn take_frames(&mut self) -> Vec<Frame> {
        Frame::read_all(&self.take_bytes())
    }

    /// Returns the reason why the connection was closed, if it was closed after the last call of
    /// [`take_events`](Self::take_events).
    pub fn close_reason(&self) -> Option<CloseReason> {
        match self.events.last() {
            Some(Seen::Closed(reason)) => Some(*reason),
            _ => None,
        }
    }

    /// Returns the number of writes since the handshake.
    pub const fn writes(&self) -> usize {
        self.writes
    }

    /// Returns the number of bytes from HAProxy that the connection has not read yet.
    pub const fn unread(&self) -> usize {
        self.unread.len()
    }

    /// Returns the time of the virtual clock.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Polls until nothing is left to do. Each round handles events first, then bytes to HAProxy, then bytes from
    /// HAProxy.
    pub fn pump(&mut self) {
        while self.poll_events() | self.write() | self.receive() {}
    }

    fn poll_events(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.connection.poll_event() {
            any = true;
            assert!(!matches!(self.events.last(), Some(Seen::Closed(_))), "{event:?} after Closed");
            match event {
                Event::Ready { negotiated, .. } => self.events.push(Seen::Ready {
                    max_frame_size: negotiated.max_frame_size,
                    capabilities: negotiated.capabilities.to_string(),
                }),
                Event::Notify(notify) => {
                    let ids = (notify.stream_id().0, notify.frame_id().0);
                    self.events.push(Seen::Notify { ids, payload: notify.payload().to_vec() });
                    if let Some(ticket) = (self.handler)(notify) {
                        self.tickets.push((ids, ticket));
                    }
                }
                Event::Closed(reason) => self.events.push(Seen::Closed(reason)),
            }
            self.check();
        }
        any
    }

    fn write(&mut self) -> bool {
        let mut any = false;
        while let Some(bytes) = self.connection.poll_transmit() {
            let len = bytes.len().min(self.room).min(self.write_max);
            if len == 0 {
                break;
            }
            self.sent.extend_from_slice(&bytes[..len]);
            self.connection.transmitted(self.now, len);
            self.room -= len;
            self.writes += 1;
            any = true;
        }
        self.check();
        any
    }

    /// Takes back the buffers that the connection does not need. They are lent again before its next read.
    pub fn release(&mut self) {
        self.connection.release_buffers(&mut self.spare);
        self.check();
    }

    fn receive(&mut self) -> bool {
        if self.unread.is_empty() {
            return false;
        }
        self.connection.lend_buffers(&mut self.spare);
        let buf = self.connection.recv_buf();
        let len = buf.len().min(self.unread.len());
        if len == 0 {
            return false;
        }
        buf[..len].copy_from_slice(&self.unread[..len]);
        self.unread.drain(..len);
        self.connection.handle_input(self.now, len);
        self.check();
        true
    }

    fn check(&mut self) {
        let (memory, max) = (self.connection.usage().memory.total(), memory_bound(&self.config));
        assert!(memory <= max, "expected at most {max} bytes of memory, got {memory}");
        let mut rest = &self.sent[self.checked..];
        while !rest.is_empty() {
            assert!(!self.has_disconnected, "bytes after the AGENT-DISCONNECT: {rest:02x?}");
            if let Some(len) = rest.first_chunk::<4>() {
                let (len, max) = (u32::from_be_bytes(*len) as usize, self.frame_max);
                assert!((7..=max).contains(&len), "expected a frame of 7 to {max} bytes, got {len} bytes");
            }
            let Some(frame) = Frame::take(&mut rest) else { break };
            self.checked = self.sent.len() - rest.len();
            self.has_disconnected = frame.kind == AGENT_DISCONNECT;
            if let Some(Value::Uint32(size)) = frame.value("max-frame-size").filter(|_| frame.kind == AGENT_HELLO) {
                self.frame_max = size as usize;
            }
        }
    }
}

/// Returns the documented bound of a connection's memory: two frames to receive, the limit of unsent bytes, a frame
/// and a slot for each NOTIFY in flight, 256 bytes for control frames, and the limit of reassembly.
pub fn memory_bound(config: &Config) -> usize {
    let frame = 4 + config.max_frame_size as usize;
    let fragments = config.capabilities.contains(Capabilities::FRAGMENTATION);
    let reassembly = if fragments { config.reassembly_max } else { 0 };
    2 * frame + config.unsent_max + config.in_flight_max * (frame + 40) + 256 + reassembly
}

/// Returns default limits with pipelining as the only capability.
pub fn whole_only() -> Config {
    Config { capabilities: Capabilities::PIPELINING, ..Config::default() }
}

/// Encodes the answer of an agent with default limits to the default HELLO of HAProxy 3.1 and later.
pub fn default_agent_hello() -> Vec<u8> {
    agent_hello(16380, "pipelining,fragmentation")
}

/// A handler that answers immediately: each known message with an address sets `sess.ip_score`.
pub fn score(notify: Notify<'_>) -> Option<Ticket> {
    let messages = notify.messages();
    let mut ack = notify.ack();
    for address in messages.filter_map(|message| address(&message)) {
        ack.set_var(Scope::Session, "ip_score", score_of(&address)).expect("name and value are valid");
    }
    let _ = ack.finish(); // an error if not all actions fit, which tests notice in the ACK
    None
}

/// Returns the score of an address: the sum of its bytes, modulo 101, so that neighbouring addresses have different
/// scores.
pub fn score_of(octets: &[u8]) -> u32 {
    octets.iter().copied().map(u32::from).sum::<u32>() % 101
}

fn address(message: &Message<'_>) -> Option<Vec<u8>> {
    if !matches!(message.name(), b"check-client-ip" | b"get-ip-reputation") {
        return None;
    }
    match message.arg("ip").or_else(|| message.arg(""))? {
        TypedData::Ipv4(address) => Some(address.octets().to_vec()),
        TypedData::Ipv6(address) => Some(match address.to_ipv4_mapped() {
            Some(address) => address.octets().to_vec(),
            None => address.octets().to_vec(),
        }),
        _ => None,
    }
}
