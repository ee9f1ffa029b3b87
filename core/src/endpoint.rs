//! Many connections together: chooses which connection has a turn, which may have one more NOTIFY in flight, which is closed to
//! free memory, and when each is closed in a drain.
//!
//! An [`Endpoint`] serves the connections of one thread. As [`Connection`] it does no I/O: its caller, the [`Host`], reports the
//! readiness of sockets and lends them for a turn. So a simulator runs the same policy as a server.
//!
//! # The loop
//!
//! In each pass the host reports what has happened ([`socket_ready`](Endpoint::socket_ready), [`answer`](Endpoint::answer),
//! [`accept`](Endpoint::accept), [`drain`](Endpoint::drain)), then calls [`begin_pass`](Endpoint::begin_pass), gives a
//! [`turn`](Endpoint::turn) for each key of [`next_turn`](Endpoint::next_turn), and ends with
//! [`end_pass`](Endpoint::end_pass). It waits until something happens or [`next_deadline`](Endpoint::next_deadline), but not
//! while [`has_turns`](Endpoint::has_turns).

mod admission;
mod handover;
mod host;
mod invariants;
mod queue;
mod readiness;
mod seat;
mod shared;
mod timers;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use slab::Slab;

use crate::buffers::Buffers;
use crate::config::Config;
use crate::connection::Connection;
use crate::time::Instant;

use admission::Admission;
pub use admission::Usage;
pub use host::{Answer, Congestion, Handled, Host, Io, Readiness, Report, Socket};
use seat::{Next, Seat};
use shared::Shared;
pub use shared::UNUSED_TIME;
use timers::Timers;

/// Identifies a connection of an endpoint. A later connection may have the same index, but not the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    index: u32,
    serial: u32,
}

impl Key {
    /// Returns the key of the connection `serial` with this index, for tests of hosts. Other keys come from an endpoint.
    pub const fn new(index: u32, serial: u32) -> Self {
        Self { index, serial }
    }

    /// Returns the index of the connection, which no other connection has while this one is open.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// Identifies the peer of a connection: a hash of its address, for example. Peers take turns when connections are queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u64);

/// The limits of all connections of an endpoint together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of NOTIFYs in flight.
    pub in_flight_max: usize,
    /// The bytes that connections hold: parts of frames, unsent output, and copies of NOTIFYs in flight. When the copies take half,
    /// no further NOTIFY is accepted.
    pub bytes_max: usize,
}

/// The times of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The time for answers in flight.
    pub grace: Duration,
    /// The time to wait for an ACK that leaves nothing in flight: closing right after it crosses no NOTIFY. Zero closes
    /// at once.
    pub patience: Duration,
}

/// The outcome of a turn.
#[derive(Debug)]
pub enum Turn<S> {
    /// The connection is open. If it `is_blocked`, its socket has to be watched for room to write.
    Open {
        /// The socket had no room for all output.
        is_blocked: bool,
    },
    /// The connection has ended, and its socket can be closed.
    Closed(S),
}

/// The connections of one thread.
pub struct Endpoint<H: Host> {
    config: Config,
    seats: Slab<Box<Seat<H>>>,
    /// The serial number of the last connection.
    serial: u32,
    /// The indexes of connections that have a turn, each once.
    ready: VecDeque<u32>,
    /// The number of them that have their turn in this pass.
    turns_left: usize,
    timers: Timers,
    /// The connections above the limit, by their serial numbers.
    rejected: BTreeMap<u32, Key>,
    shared: Shared,
}

impl<H: Host> Endpoint<H> {
    /// Returns an endpoint without connections, which have the limits of `config` each, and `limits` together.
    ///
    /// # Panics
    /// If `config` is [out of range](Config::validate).
    pub fn new(config: Config, limits: Limits) -> Self {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        let admission = Admission::new(limits, config.max_frame_size as usize);
        Self {
            config,
            seats: Slab::new(),
            serial: 0,
            ready: VecDeque::new(),
            turns_left: 0,
            timers: Timers::default(),
            rejected: BTreeMap::new(),
            shared: Shared {
                admission,
                spare: Buffers::default(),
                unused: BTreeSet::new(),
                drain: None,
                is_contended: false,
            },
        }
    }

    /// Adds a connection that was accepted from the peer `origin`. Above the limit of connections it is not `welcome`: only a health
    /// check is answered, and every other connection is [rejected](Connection::rejected) with code 13.
    pub fn accept(&mut self, now: Instant, socket: H::Socket, origin: Origin, welcome: bool) -> Key {
        let connection =
            if welcome { Connection::new(self.config, now) } else { Connection::rejected(self.config, now) };
        let entry = self.seats.vacant_entry();
        self.serial = self.serial.wrapping_add(1);
        let index = u32::try_from(entry.key()).expect("there are fewer connections than file descriptors");
        let key = Key { index, serial: self.serial };
        debug_assert!(!self.rejected.contains_key(&key.serial), "a serial number belongs to one open connection");
        let seat = entry.insert(Box::new(Seat::new(key, socket, origin, connection)));
        if welcome {
            seat.unused_since = Some(now);
            self.shared.unused.insert((now, index));
        } else {
            self.rejected.insert(key.serial, key);
        }
        // For its first deadline.
        make_ready(seat, &mut self.ready);
        key
    }

    /// Ends the connection that has been open for longest without a NOTIFY, at least for [`UNUSED_TIME`], to make room for another,
    /// and returns its socket. HAProxy sends a NOTIFY as soon as it has opened a connection.
    pub fn evict(&mut self, now: Instant, host: &mut H) -> Option<H::Socket> {
        let &(since, index) = self.shared.unused.first()?;
        if now.saturating_since(since) < UNUSED_TIME {
            return None;
        }
        let seat = &mut self.seats[index as usize];
        let key = seat.key;
        debug_assert_eq!(seat.unused_since, Some(since), "a connection that gives way has sent no NOTIFY");
        seat.evict(now, &mut self.shared, host);
        self.remove(key, host)
    }

    /// Removes the connection that has been waiting for longest to be rejected, and returns its socket.
    pub fn drop_rejected(&mut self, host: &mut H) -> Option<H::Socket> {
        let (_, key) = self.rejected.pop_first()?;
        self.remove(key, host)
    }

    /// Returns the key of the connection with this index, if there is one.
    pub fn key_at(&self, index: usize) -> Option<Key> {
        self.seats.get(index).map(|seat| seat.key)
    }

    /// Returns a connection and its socket.
    pub fn get_mut(&mut self, key: Key) -> Option<(&Connection, &mut H::Socket)> {
        self.seat(key).map(|seat| (&seat.connection, &mut seat.socket))
    }

    fn seat(&mut self, key: Key) -> Option<&mut Seat<H>> {
        self.seats.get_mut(key.index()).map(|seat| &mut **seat).filter(|seat| seat.key == key)
    }

    /// Takes the readiness of a socket.
    pub fn socket_ready(&mut self, key: Key, readiness: Readiness) {
        let Self { seats, ready, .. } = self;
        if let Some(seat) = seats.get_mut(key.index()).filter(|seat| seat.key == key) {
            seat.report_readiness(readiness);
            make_ready(seat, ready);
        }
    }

    /// Takes the answer to a deferred NOTIFY. It is dropped if its connection has ended.
    pub fn answer(&mut self, answer: Answer<H::Error>) {
        let Self { seats, ready, .. } = self;
        let key = answer.key;
        if let Some(seat) = seats.get_mut(key.index()).filter(|seat| seat.key == key) {
            seat.answer(answer);
            make_ready(seat, ready);
        }
    }

    /// Refuses health checks on connections that are accepted from now on, and serves everything else: the lame-duck period.
    pub const fn refuse_healthchecks(&mut self) {
        self.config.refuse_healthchecks = true;
    }

    /// Drains all connections: answers the NOTIFYs in flight, then closes each at the best moment. A second call changes nothing
    /// for connections that have begun to drain.
    pub fn drain(&mut self, drain: Drain) {
        self.shared.drain = Some(drain);
        for (_, seat) in &mut self.seats {
            make_ready(seat, &mut self.ready);
        }
    }

    /// True if a connection has a turn, so that the host must not wait.
    pub fn has_turns(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns the time at which to begin a pass if nothing happens before. `None` means never.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// Begins a pass: connections whose deadlines are due have a turn.
    pub fn begin_pass(&mut self, now: Instant) {
        while let Some(index) = self.timers.pop_due(now) {
            let seat = &mut self.seats[index];
            debug_assert!(seat.armed.is_armed(), "a timer that is due belongs to a connection that knows it");
            seat.armed.clear();
            make_ready(seat, &mut self.ready);
        }
        self.turns_left = self.ready.len();
    }

    /// Returns the next connection that has a turn in this pass.
    pub fn next_turn(&mut self) -> Option<Key> {
        while self.turns_left > 0 {
            self.turns_left -= 1;
            let index = self.ready.pop_front()?;
            if let Some(seat) = self.seats.get_mut(index as usize)
                && seat.is_ready
            {
                seat.is_ready = false;
                return Some(seat.key);
            }
        }
        None
    }

    /// Gives a connection its turn.
    pub fn turn(&mut self, key: Key, now: Instant, host: &mut H) -> Turn<H::Socket> {
        let Self { seats, ready, timers, shared, .. } = self;
        let seat = &mut *seats[key.index()];
        debug_assert!(seat.key == key, "a turn is given to the connection that it was announced for");
        debug_assert!(!seat.is_ready, "a turn was announced by next_turn");
        shared.is_contended = !ready.is_empty();
        match seat.turn(now, shared, host) {
            Next::Closed => {
                let socket = self.remove(key, host).expect("the connection has just had its turn");
                return Turn::Closed(socket);
            }
            Next::Turn => make_ready(seat, ready),
            Next::Wait => {}
        }
        let due = seat.due();
        timers.arm(key.index(), &mut seat.armed, due);
        seat.settle_permit(shared, host);
        debug_assert!(seat.permit.is_none(), "a permit is used or given back in the turn after it was granted");
        debug_assert_eq!(
            seat.position.is_some(),
            seat.connection.blocked().needs_permit(),
            "who needs a permit is queued"
        );
        debug_assert!(due.is_none() || seat.armed.is_armed(), "a connection with a deadline has a timer");
        seat.invariants();
        Turn::Open { is_blocked: seat.is_blocked() }
    }

    /// Ends a pass: closes connections if all together hold too many bytes, and grants free permits to the connections at the head
    /// of the queue.
    pub fn end_pass(&mut self, now: Instant, host: &mut H) {
        // Before permits are granted, because it makes room for NOTIFYs.
        if self.shared.admission.excess() > 0 {
            self.shed(now, host);
        }
        debug_assert_eq!(self.turns_left, 0, "every connection of the pass has had its turn");
        while let Some((key, permit)) = self.shared.admission.grant() {
            let seat = &mut *self.seats[key.index()];
            debug_assert!(seat.key == key && seat.permit.is_none(), "a queued connection is open and has no permit");
            seat.position = None;
            seat.permit = Some(permit);
            make_ready(seat, &mut self.ready);
        }
        self.invariants();
    }

    /// Closes connections in the order of [`Seat::shed_order`]. Stops when a quarter of the limit is free, because scanning every
    /// connection is expensive.
    #[cold]
    fn shed(&mut self, now: Instant, host: &mut H) {
        let Self { seats, ready, shared, .. } = self;
        let ranks = shared.admission.ranks();
        let order = |index, seat: &Seat<H>| Some((seat.shed_order(now, ranks.get(&index))?, index));
        let candidates = seats.iter().filter_map(|(index, seat)| order(index, seat));
        let mut candidates: Vec<_> = candidates.collect();
        candidates.sort_unstable();
        let mut surplus = shared.admission.excess() + shared.admission.limits().bytes_max / 4;
        for (_, index) in candidates {
            if surplus == 0 {
                return;
            }
            let seat = &mut *seats[index];
            surplus = surplus.saturating_sub(seat.usage.bytes());
            seat.shed(now, shared, host);
            debug_assert!(seat.position.is_none(), "a connection that was shed is not queued");
            debug_assert_eq!(seat.usage.in_flight, 0, "a connection that was shed has nothing in flight");
            make_ready(seat, ready);
        }
    }

    /// Removes a connection whatever its state, and returns its socket.
    pub fn remove(&mut self, key: Key, host: &mut H) -> Option<H::Socket> {
        self.seat(key)?;
        let mut seat = self.seats.remove(key.index());
        seat.release(&mut self.shared, host);
        debug_assert_eq!(seat.usage, Usage::default(), "a connection that is removed holds nothing");
        debug_assert!(seat.permit.is_none() && seat.position.is_none(), "nor has it a permit or a queue position");
        self.rejected.remove(&key.serial);
        self.timers.disarm(key.index(), &mut seat.armed);
        Some(seat.socket)
    }

    /// Returns the number of connections.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// True if there is no connection.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Returns the resources that all connections hold.
    pub const fn usage(&self) -> Usage {
        self.shared.admission.usage()
    }

    /// Returns the number of connections that are queued for a permit.
    pub fn queued(&self) -> usize {
        self.shared.admission.queued()
    }
}

impl<H: Host> fmt::Debug for Endpoint<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, seats, ready, timers, shared, .. } = self;
        let mut fields = f.debug_struct("Endpoint");
        fields.field("config", config).field("connections", &seats.len()).field("ready", ready);
        fields.field("timers", timers).field("shared", shared).finish_non_exhaustive()
    }
}

fn make_ready<H: Host>(seat: &mut Seat<H>, ready: &mut VecDeque<u32>) {
    if !seat.is_ready {
        seat.is_ready = true;
        ready.push_back(seat.key.index);
    }
}
