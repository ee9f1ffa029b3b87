//! HAProxy's end of a `Connection`: bytes and virtual time in, bytes and events out.

use std::time::Duration;

use spoa_core::wire::{Capabilities, Message, Scope, TypedData};
use spoa_core::{Buffers, CloseReason, Config, Connection, Event, Instant, Notify, Ticket, TicketError};

use crate::bytes::{AGENT_DISCONNECT, AGENT_HELLO, Frame, Value};
use crate::frames::{Hello, agent_hello};

/// What the agent told its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of the events")]
pub enum Seen {
    Ready { max_frame_size: u32, capabilities: String },
    Notify { ids: (u64, u64), payload: Vec<u8> },
    Closed(CloseReason),
}

/// Answers a NOTIFY, or keeps its ticket.
pub type Handler = Box<dyn FnMut(Notify<'_>) -> Option<Ticket>>;

/// HAProxy, the socket and the agent's driver in one.
///
/// After every step it holds what must always hold: memory within its bound, frames of legal size and none behind an
/// AGENT-DISCONNECT, and no event behind `Closed`.
pub struct Peer {
    /// The agent.
    pub connection: Connection,
    /// What it was lent and has given back.
    spare: Buffers,
    config: Config,
    now: Instant,
    handler: Handler,
    /// HAProxy's bytes that the agent has not read yet.
    unread: Vec<u8>,
    /// How many bytes of the agent the socket still takes, and how many at once.
    room: usize,
    write_max: usize,
    /// What the agent sent, and how much of it was looked at and handed out.
    sent: Vec<u8>,
    checked: usize,
    taken: usize,
    writes: usize,
    frame_max: usize,
    is_last: bool,
    events: Vec<Seen>,
    tickets: Vec<((u64, u64), Ticket)>,
}

impl Peer {
    /// A socket that was just connected; every NOTIFY is [scored](score).
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
            is_last: false,
            events: Vec::new(),
            tickets: Vec::new(),
        }
    }

    /// After a good handshake: size 16380, pipelining, and fragmentation if the agent has it.
    pub fn ready() -> Self {
        Self::ready_with(Config::default())
    }

    /// After a good handshake with an agent of these limits.
    pub fn ready_with(config: Config) -> Self {
        Self::greeted(config, &Hello::mux())
    }

    /// After a good handshake with this HELLO.
    pub fn greeted(config: Config, hello: &Hello) -> Self {
        let mut peer = Self::new(config);
        peer.send(&hello.encode());
        assert!(matches!(peer.take_events()[..], [Seen::Ready { .. }]), "{hello:?} was not accepted");
        assert!(matches!(&peer.take_frames()[..], [Frame { kind: AGENT_HELLO, .. }]));
        peer.writes = 0;
        peer
    }

    /// With another handler.
    #[must_use]
    pub fn handling(mut self, handler: impl FnMut(Notify<'_>) -> Option<Ticket> + 'static) -> Self {
        self.handler = Box::new(handler);
        self
    }

    /// With a handler that keeps every ticket, for [`answer`](Self::answer).
    #[must_use]
    pub fn deferring(self) -> Self {
        self.handling(|notify| Some(notify.defer()))
    }

    /// With a socket that takes at most `len` bytes at once.
    #[must_use]
    pub fn writing_at_most(mut self, len: usize) -> Self {
        self.write_max = len;
        self
    }

    /// HAProxy stops reading: the socket takes no more.
    pub fn stop_reading(&mut self) {
        self.room = 0;
    }

    /// HAProxy reads `len` bytes more.
    pub fn read(&mut self, len: usize) {
        self.room = self.room.saturating_add(len);
        self.pump();
    }

    /// HAProxy sends `bytes`; what the agent does not read now waits.
    pub fn send(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        self.pump();
    }

    /// HAProxy closes its end.
    pub fn eof(&mut self) {
        self.connection.handle_eof(self.now);
        self.pump();
    }

    /// The agent wants to stop.
    pub fn stop(&mut self, grace: Duration) {
        self.connection.disconnect(self.now, grace);
        self.pump();
    }

    /// Time goes by; the agent is woken when it asked to be, and at the end.
    pub fn advance(&mut self, by: Duration) {
        self.doze(by);
        self.connection.handle_timeout(self.now);
        self.pump();
    }

    /// Time goes by; the agent is woken when it asked to be, and only then.
    pub fn doze(&mut self, by: Duration) {
        let end = self.now + by;
        for turn in 0.. {
            let Some(at) = self.connection.poll_timeout().filter(|at| *at <= end) else { break };
            assert!(turn < 100_000, "it asks to be woken at {at:?} again and again");
            self.now = self.now.max(at);
            self.connection.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    /// Answers a deferred NOTIFY with a score.
    ///
    /// # Errors
    /// Its ticket is void.
    pub fn answer(&mut self, ids: (u64, u64), score: u32) -> Result<(), TicketError> {
        let ticket = self.take_ticket(ids);
        let mut ack = self.connection.ack(self.now, ticket)?;
        ack.set_var(Scope::Session, "ip_score", score).expect("a good name and value");
        ack.finish().expect("it fits");
        self.pump();
        Ok(())
    }

    /// The ticket of a deferred NOTIFY, the oldest of these ids.
    ///
    /// # Panics
    /// If there is none.
    pub fn take_ticket(&mut self, ids: (u64, u64)) -> Ticket {
        let at = self.tickets.iter().position(|(known, _)| *known == ids).expect("it was deferred");
        self.tickets.remove(at).1
    }

    /// The ids of the NOTIFYs that were deferred and not taken, in order.
    pub fn deferred(&self) -> Vec<(u64, u64)> {
        self.tickets.iter().map(|(ids, _)| *ids).collect()
    }

    /// What the agent told since the last call.
    pub fn take_events(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.events)
    }

    /// The bytes that the agent sent since the last call.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        let bytes = self.sent[self.taken..].to_vec();
        self.taken = self.sent.len();
        bytes
    }

    /// The frames that the agent sent since the last call.
    ///
    /// # Panics
    /// If the last one is not whole.
    pub fn take_frames(&mut self) -> Vec<Frame> {
        Frame::read_all(&self.take_bytes())
    }

    /// How the conversation ended, if it did, since the last [`take_events`](Self::take_events).
    pub fn close_reason(&self) -> Option<CloseReason> {
        match self.events.last() {
            Some(Seen::Closed(reason)) => Some(*reason),
            _ => None,
        }
    }

    /// How many writes the agent's bytes took since the handshake.
    pub const fn writes(&self) -> usize {
        self.writes
    }

    /// HAProxy's bytes that the agent has not read yet.
    pub const fn unread(&self) -> usize {
        self.unread.len()
    }

    /// The virtual clock.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Polls until nothing happens any more: events, then bytes out, then bytes in.
    pub fn pump(&mut self) {
        while self.poll_events() | self.write() | self.receive() {}
    }

    fn poll_events(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.connection.poll_event() {
            any = true;
            assert!(!matches!(self.events.last(), Some(Seen::Closed(_))), "{event:?} behind Closed");
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

    /// The agent gives its buffers back, to have them lent when it reads next.
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
        let (memory, max) = (self.connection.memory(), memory_bound(&self.config));
        assert!(memory <= max, "{memory} bytes of memory, above the bound of {max}");
        let mut rest = &self.sent[self.checked..];
        while !rest.is_empty() {
            assert!(!self.is_last, "bytes behind the last frame: {rest:02x?}");
            if let Some(len) = rest.first_chunk::<4>() {
                let len = u32::from_be_bytes(*len) as usize;
                assert!((7..=self.frame_max).contains(&len), "a frame of {len} bytes where {} may be", self.frame_max);
            }
            let Some(frame) = Frame::take(&mut rest) else { break };
            self.checked = self.sent.len() - rest.len();
            self.is_last = frame.kind == AGENT_DISCONNECT;
            if let Some(Value::Uint32(size)) = frame.value("max-frame-size").filter(|_| frame.kind == AGENT_HELLO) {
                self.frame_max = size as usize;
            }
        }
    }
}

/// The documented bound of a connection's memory: two frames to receive, the unsent mark, a frame and a slot for each
/// NOTIFY in flight, some room for control frames, and what may be reassembled.
pub fn memory_bound(config: &Config) -> usize {
    let frame = 4 + config.max_frame_size as usize;
    let fragments = config.capabilities.contains(Capabilities::FRAGMENTATION);
    let reassembly = if fragments { config.reassembly_max } else { 0 };
    2 * frame + config.unsent_max + config.in_flight_max * (frame + 40) + 256 + reassembly
}

/// The agent's capabilities without fragmentation.
pub fn whole_only() -> Config {
    Config { capabilities: Capabilities::PIPELINING, ..Config::default() }
}

/// The AGENT-HELLO of an agent of default limits to HAProxy's default HELLO.
pub fn default_agent_hello() -> Vec<u8> {
    agent_hello(16380, "pipelining,fragmentation")
}

/// A handler that answers in place: each known message with an address sets the session's `ip_score`.
pub fn score(notify: Notify<'_>) -> Option<Ticket> {
    let messages = notify.messages();
    let mut ack = notify.ack();
    for address in messages.filter_map(|message| address(&message)) {
        ack.set_var(Scope::Session, "ip_score", score_of(&address)).expect("a good name and value");
    }
    let _ = ack.finish(); // what did not fit is for the tests to see
    None
}

/// A score that differs from one address to the next: the sum of its bytes, modulo 101.
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
