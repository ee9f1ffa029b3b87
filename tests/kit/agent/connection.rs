//! A connection of the faulty agent: a `Connection` of the core, whose input and output the fault changes.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant as Clock};
use std::{process, thread};

use spoa_core::wire::Capabilities;
use spoa_core::{Buffers, Config, Connection, Event, Instant};
use spoa_tests::bytes::{ACK, FIN, Frame, HELLO, NOTIFY, UNSET};
use spoa_tests::peer::score;

use crate::fault::{Effect, Fault, Memory, Special, Unit};

/// The largest number of bytes that an agent without limits keeps. The kit allows 16 MiB.
const KEPT_MAX: usize = 128 << 20;

/// The grace period of a stop.
const GRACE: Duration = Duration::from_secs(1);

/// Everything that connections share.
pub(crate) struct Agent {
    fault: &'static Fault,
    config: Config,
    start: Clock,
    open: AtomicUsize,
    opened: AtomicUsize,
    resets: AtomicUsize,
    healthchecks: AtomicUsize,
    /// The connections that are open, for the stop.
    served: Mutex<BTreeMap<usize, Arc<Served>>>,
    /// Bytes that an agent without limits keeps.
    kept: Mutex<Vec<Vec<u8>>>,
    /// Held while an agent with one thread writes.
    writing: Mutex<()>,
}

impl Agent {
    pub(crate) fn new(fault: &'static Fault, fragmentation: bool) -> Self {
        let mut config = Config { refuse_delay: Duration::ZERO, ..Config::default() };
        config.hello_timeout = if fault.special == Special::WaitsForHello {
            Duration::from_secs(3600)
        } else {
            Duration::from_millis(500)
        };
        if !fragmentation {
            config.capabilities = Capabilities::PIPELINING;
        }
        Self {
            fault,
            config,
            start: Clock::now(),
            open: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            resets: AtomicUsize::new(0),
            healthchecks: AtomicUsize::new(0),
            served: Mutex::default(),
            kept: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// Drains all connections.
    pub(crate) fn stop(&self) {
        let served: Vec<_> = lock(&self.served).values().cloned().collect();
        for served in served {
            let mut state = lock(&served.state);
            if self.fault.special == Special::ForgetsWhenStopped {
                state.memory.forgets = true;
            }
            state.connection.disconnect(self.now(), GRACE);
            served.pump(&mut state);
        }
    }

    /// True while a connection is open.
    pub(crate) fn is_busy(&self) -> bool {
        self.open.load(SeqCst) > 0
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(1 + self.start.elapsed().as_nanos() as u64)
    }
}

/// A connection.
pub(crate) struct Served {
    agent: Arc<Agent>,
    number: usize,
    stream: TcpStream,
    state: Mutex<State>,
}

struct State {
    connection: Connection,
    spare: Buffers,
    memory: Memory,
    /// Bytes that are read and do not form a unit yet.
    pending: Vec<u8>,
    /// The end of the connection is handled.
    is_over: bool,
}

impl Served {
    pub(crate) fn accept(agent: &Arc<Agent>, stream: TcpStream) -> Arc<Self> {
        stream.set_nodelay(true).expect("a TCP socket has this option");
        let number = agent.opened.fetch_add(1, SeqCst);
        agent.open.fetch_add(1, SeqCst);
        let state = State {
            connection: Connection::new(agent.config, agent.now()),
            spare: Buffers::default(),
            memory: Memory::default(),
            pending: Vec::new(),
            is_over: false,
        };
        let served = Arc::new(Self { agent: Arc::clone(agent), number, stream, state: Mutex::new(state) });
        lock(&agent.served).insert(number, Arc::clone(&served));
        served
    }

    /// Reads until the HELLO is answered, as an agent does that accepts in the same thread.
    pub(crate) fn handshake(&self) {
        while !lock(&self.state).memory.is_ready && self.turn() {}
    }

    /// Serves the connection until it ends.
    pub(crate) fn serve(&self) {
        while self.turn() {}
        lock(&self.agent.served).remove(&self.number);
        self.agent.open.fetch_sub(1, SeqCst);
    }

    /// Reads once, or until the next deadline. Returns false at the end.
    fn turn(&self) -> bool {
        let timeout = {
            let state = lock(&self.state);
            if state.is_over {
                return false;
            }
            state
                .connection
                .poll_timeout()
                .map(|at| at.saturating_since(self.agent.now()).max(Duration::from_millis(1)))
        };
        // A stop changes the deadline while the thread reads, so it reads for at most a short time.
        let timeout = timeout.unwrap_or(GRACE).min(Duration::from_millis(50));
        self.stream.set_read_timeout(Some(timeout)).expect("the time is not zero");
        let mut buffer = [0; 1 << 14];
        let read = (&self.stream).read(&mut buffer);
        let state = &mut *lock(&self.state);
        match read {
            Ok(0) => self.end(state, &Unit::Eof { inside: !state.pending.is_empty() }),
            Ok(len) => {
                state.memory.has_read_hello = false;
                state.memory.units_in_read = 0;
                state.pending.extend_from_slice(&buffer[..len]);
                self.units(state);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                state.connection.handle_timeout(self.agent.now());
                self.units(state);
            }
            Err(_) => {
                if self.agent.fault.special == Special::CountsResets && state.memory.is_ready {
                    self.agent.resets.fetch_add(1, SeqCst);
                }
                self.end(state, &Unit::Reset { inside: !state.pending.is_empty() });
            }
        }
        self.pump(state);
        !state.is_over
    }

    fn end(&self, state: &mut State, unit: &Unit<'_>) {
        match (self.agent.fault.input)(unit, &state.memory) {
            Some(effects) => self.apply(state, effects, &[]),
            None => state.connection.handle_eof(self.agent.now()),
        }
    }

    /// Hands the pending bytes to the fault and the connection, frame by frame.
    fn units(&self, state: &mut State) {
        loop {
            let pending = std::mem::take(&mut state.pending);
            let Some((len, frame)) = first_unit(&pending) else {
                if !pending.is_empty() {
                    state.memory.partials += 1;
                    if let Some(effects) = (self.agent.fault.input)(&Unit::Partial, &state.memory) {
                        return self.apply(state, effects, &[]);
                    }
                }
                state.pending = pending;
                return;
            };
            let (bytes, rest) = pending.split_at(len);
            state.pending = rest.to_vec();
            state.memory.is_last = rest.is_empty();
            state.memory.next_is_bad = rest.starts_with(&[0; 4]);
            state.memory.units_in_read += 1;
            state.memory.partials = 0;
            let unit = frame.as_ref().map_or(Unit::Raw(bytes), Unit::Frame);
            if let Unit::Frame(frame) = unit {
                self.note(state, frame);
            }
            match (self.agent.fault.input)(&unit, &state.memory) {
                Some(effects) => self.apply(state, effects, bytes),
                None if self.drops(state, frame.as_ref()) => {}
                None => self.feed(state, bytes),
            }
            // The next one is answered after a while, so that a stop comes before its answer.
            let is_late = self.agent.fault.special == Special::ForgetsWhenStopped && state.memory.notifys > 0;
            if state.is_over || is_late {
                return;
            }
        }
    }

    /// Counts a frame for the faults that need it.
    fn note(&self, state: &mut State, frame: &Frame) {
        let memory = &mut state.memory;
        match frame.kind {
            HELLO if memory.hello.is_none() => {
                memory.hello = Some(frame.clone());
                memory.has_read_hello = true;
            }
            NOTIFY => {
                memory.notifys += 1;
                memory.is_fragmented |= frame.flags & FIN == 0;
                memory.fragmented += usize::from(frame.flags & FIN == 0);
                memory.ids.push((frame.sid, frame.fid));
            }
            UNSET => memory.is_fragmented &= frame.flags & FIN == 0,
            _ => {}
        }
        if self.agent.fault.special == Special::KeepsFragments && frame.kind == UNSET {
            self.keep(frame.payload.clone());
        }
    }

    /// True if a fault of the whole agent drops this frame.
    fn drops(&self, state: &State, frame: Option<&Frame>) -> bool {
        let is_hello = frame.is_some_and(|frame| frame.kind == HELLO);
        match self.agent.fault.special {
            Special::ServesFifty => is_hello && self.agent.open.load(SeqCst) > 50,
            Special::CountsResets => is_hello && self.agent.resets.load(SeqCst) >= 20,
            Special::TiresOfChecks => {
                let is_check = is_hello && frame.is_some_and(|frame| frame.payload.ends_with(b"healthcheck\x11"));
                is_check && self.agent.healthchecks.fetch_add(1, SeqCst) >= 50
            }
            Special::ReservesAnnounced if frame.is_none() && !state.memory.is_ready => {
                self.keep(vec![1; 1 << 20]);
                true
            }
            _ => state.memory.forgets,
        }
    }

    fn apply(&self, state: &mut State, effects: Vec<Effect>, bytes: &[u8]) {
        for effect in effects {
            match effect {
                Effect::Feed(bytes) => self.feed(state, &bytes),
                Effect::Send(bytes) => self.send(&bytes),
                Effect::Stash => state.memory.stash = bytes.to_vec(),
                Effect::FeedStash => {
                    self.feed(state, bytes);
                    let stash = std::mem::take(&mut state.memory.stash);
                    self.feed(state, &stash);
                }
                Effect::Close => {
                    let _ = self.stream.shutdown(Shutdown::Both);
                    state.is_over = true;
                }
                Effect::Hang => {
                    // The socket stays open until the process ends.
                    std::mem::forget(self.stream.try_clone());
                    state.is_over = true;
                }
                Effect::Spin => loop {
                    std::hint::spin_loop();
                },
                Effect::Die => process::abort(),
            }
        }
    }

    /// Hands bytes to the connection as if they had been read.
    fn feed(&self, state: &mut State, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            state.connection.lend_buffers(&mut state.spare);
            let buf = state.connection.recv_buf();
            let len = buf.len().min(bytes.len());
            buf[..len].copy_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            state.connection.handle_input(self.agent.now(), len);
            self.pump(state);
            if len == 0 {
                return;
            }
        }
    }

    /// Handles events and sends what the connection has to send.
    fn pump(&self, state: &mut State) {
        loop {
            match state.connection.poll_event() {
                Some(Event::Ready { .. }) => state.memory.is_ready = true,
                Some(Event::Notify(notify)) => {
                    score(notify);
                }
                Some(Event::Closed(_)) => {}
                None => break,
            }
        }
        while let Some(bytes) = state.connection.poll_transmit().map(<[u8]>::to_vec) {
            state.connection.transmitted(self.agent.now(), bytes.len());
            for frame in Frame::read_all(&bytes) {
                let changed = (self.agent.fault.output)(&frame, &state.memory);
                for part in changed.unwrap_or_else(|| vec![frame.encode()]) {
                    self.write(&frame, &part);
                }
            }
        }
        if state.connection.is_send_finished() && !state.is_over {
            let _ = self.stream.shutdown(Shutdown::Write);
            state.is_over = state.connection.is_closed();
        }
    }

    fn write(&self, frame: &Frame, bytes: &[u8]) {
        match self.agent.fault.special {
            Special::AnswersElsewhere if frame.kind == ACK && frame.sid == 5 => {
                let served = lock(&self.agent.served);
                let other = served.range(self.number + 1..).next();
                let stream = other.map_or(&self.stream, |(_, other)| &other.stream);
                let _ = (&*stream).write_all(bytes);
            }
            Special::WritesInParts => {
                self.send(bytes);
                // The next part must not join this one in the buffer of the peer.
                thread::sleep(Duration::from_millis(20));
            }
            _ => self.send(bytes),
        }
    }

    fn send(&self, bytes: &[u8]) {
        match self.agent.fault.special {
            Special::DropsUnwritten => {
                let _ = self.stream.set_nonblocking(true);
                let _ = (&self.stream).write(bytes);
                let _ = self.stream.set_nonblocking(false);
            }
            Special::WritesAlone => {
                let _writing = lock(&self.agent.writing);
                let _ = (&self.stream).write_all(bytes);
            }
            Special::QueuesWithoutLimit => {
                let _ = self.stream.set_nonblocking(true);
                let written = (&self.stream).write(bytes).unwrap_or(0);
                let _ = self.stream.set_nonblocking(false);
                if written < bytes.len() {
                    // A frame that is kept costs some more than its bytes, as in any queue.
                    self.keep(vec![1; 2048]);
                }
            }
            _ => {
                let _ = (&self.stream).write_all(bytes);
            }
        }
    }

    /// Keeps bytes, up to a total that any case notices.
    fn keep(&self, bytes: Vec<u8>) {
        let mut kept = lock(&self.agent.kept);
        if kept.len() * bytes.len() < KEPT_MAX {
            kept.push(bytes);
        }
    }
}

/// Returns the length of the first frame, or of everything if it cannot be a frame, and the frame.
fn first_unit(pending: &[u8]) -> Option<(usize, Option<Frame>)> {
    let length = announced(pending).checked_sub(4).filter(|_| pending.len() >= 4)?;
    // A frame above the limit is refused by its length, and a short one has no ids.
    if !(7..=16384).contains(&length) {
        return Some((pending.len(), None));
    }
    let bytes = pending.get(..4 + length)?;
    Some((bytes.len(), Frame::take(&mut &*bytes)))
}

/// Returns the length of the first frame and its length field.
fn announced(pending: &[u8]) -> usize {
    pending.first_chunk().map_or(0, |length| 4 + u32::from_be_bytes(*length) as usize)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
