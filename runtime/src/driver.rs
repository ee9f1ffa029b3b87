//! One connection: the core's state machine on a socket.

mod report;

use std::io::{self, Read as _, Write as _};
use std::mem;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};

use mio::Interest;
use socket2::Socket;
use spoa_core::{Connection, Event, Instant, Stats};

use crate::answers::{Answer, WorkId, failed, panicked};
use crate::counters::{Counters, How};
use crate::frame_log::FrameLog;
use crate::handler::Handler;
use crate::load::Load;
use crate::name::{Name, tell};
use crate::parting::{self, Parting};
use crate::shared::{Drain, Handled, Shared};
use crate::waiting::Number;

/// How often a connection reads in one turn, before the other connections of its worker have theirs.
const READS_MAX: usize = 8;

/// One connection on its socket.
///
/// In each turn it sends finished answers, reads, hands out events, and writes all frames that are ready in one system
/// call, until nothing is left to do. The rules of SPOP are in the core.
pub(crate) struct Driver {
    /// Its key among the connections of the worker.
    key: usize,
    socket: Socket,
    connection: Connection,
    name: Name,
    frame_log: Option<Box<FrameLog>>,
    /// The deferred answers that are pending, and those that are finished.
    deferred: Vec<WorkId>,
    answers: Vec<Answer>,
    /// The socket may have bytes. Readiness is reported once, so this stays set until a read has found the socket
    /// empty.
    readable: bool,
    /// The peer has closed; there may still be bytes to read.
    ended: bool,
    /// The rest of the last write waits until the socket is writable.
    blocked: bool,
    drain: Draining,
    write_shut: bool,
    /// A HELLO was accepted.
    was_ready: bool,
    /// A NOTIFY arrived with the last read.
    came: bool,
    /// Deferred answers that were sent and are not counted yet.
    sent_late: u64,
    /// Its refusal was counted and logged.
    refused: bool,
    /// Its load, as far as it is counted.
    load: Load,
    /// Since when it has waited for its peer at the end of each turn, with bytes in its buffers.
    kept_since: Option<Instant>,
    /// The queue position that it had until it was granted a permit, which it has not used yet.
    called: Option<Number>,
    /// Since when a limit holds its NOTIFYs back.
    held_since: Option<Instant>,
    /// The statistics that were counted and logged so far.
    seen: Stats,
}

/// The state of its drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draining {
    No,
    /// It is closed at the best moment.
    Soon(Parting),
    Yes,
}

/// The outcome of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is more to do.
    Again,
    /// It waits for its socket, an answer or its timer.
    Wait,
    /// It is closed.
    Closed,
}

impl Driver {
    /// Serves a socket as connection `key`; if it is not `welcome`, rejects it with code 13.
    pub(crate) fn new<H: Handler>(shared: &Shared<H>, key: usize, socket: Socket, name: Name, welcome: bool) -> Self {
        let config = shared.settings.connection;
        let now = shared.clock.now();
        let connection = if welcome { Connection::new(config, now) } else { Connection::rejected(config, now) };
        tell!(debug, name, "connected");
        shared.counters.accepted.add(1);
        let mut driver = Self {
            key,
            socket,
            frame_log: None,
            connection,
            name,
            deferred: Vec::new(),
            answers: Vec::new(),
            readable: false,
            ended: false,
            blocked: false,
            drain: Draining::No,
            write_shut: false,
            was_ready: false,
            came: false,
            sent_late: 0,
            refused: false,
            load: Load::default(),
            kept_since: None,
            called: None,
            held_since: None,
            seen: Stats::default(),
        };
        driver.heed_refusal(shared);
        driver
    }

    /// Takes the readiness of the socket: bytes or the end to read, or room to write.
    pub(crate) fn socket_is_ready(&mut self, event: &mio::event::Event) {
        self.ended |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.ended;
        self.blocked &= !(event.is_writable() || self.ended);
    }

    /// Returns the descriptor to watch.
    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Returns the readiness to watch for.
    pub(crate) const fn interest(&self) -> Interest {
        // Not always for room to write: a unix socket reports that whenever HAProxy has read an ACK.
        if self.blocked { Interest::READABLE.add(Interest::WRITABLE) } else { Interest::READABLE }
    }

    /// Returns the time of its next turn, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        let parting = match self.drain {
            Draining::Soon(parting) => Some(parting.due(self.connection.is_idle())),
            Draining::No | Draining::Yes => None,
        };
        self.connection.poll_timeout().into_iter().chain(parting).min()
    }

    /// Does everything that there is to do, in buffers that are lent for the turn.
    pub(crate) fn turn<H: Handler>(&mut self, shared: &mut Shared<H>) -> Turn {
        self.heed_log_level(shared);
        self.connection.lend_buffers(&mut shared.spare);
        let turn = self.serve(shared);
        self.rest(shared);
        if self.deferred.is_empty() {
            (self.deferred, self.answers) = (Vec::new(), Vec::new());
        }
        turn
    }

    /// Returns buffers that are not needed between turns, and counts the rest.
    fn rest<H: Handler>(&mut self, shared: &mut Shared<H>) {
        self.connection.release_buffers(&mut shared.spare);
        let logged = self.frame_log.as_ref().map_or(0, |log| log.memory());
        shared.loads.change(&mut self.load, Load::of(&self.connection, logged));
        if !self.connection.waits_for_peer() {
            self.kept_since = None;
        } else if self.kept_since.is_none() {
            self.kept_since = Some(shared.clock.now());
        }
    }

    /// Grants a permit for one NOTIFY, until its next turn is over.
    pub(crate) const fn call(&mut self, number: Option<Number>) {
        self.called = number;
    }

    /// Gives the permit back, used or not; returns the queue position from before it was granted.
    pub(crate) fn answer_call<H: Handler>(&mut self, shared: &mut Shared<H>) -> Option<Number> {
        let called = self.called.take();
        if called.is_some() {
            shared.loads.answer_call();
        }
        called
    }

    /// True if it has a NOTIFY without a permit.
    pub(crate) fn needs_permit(&self) -> bool {
        self.connection.needs_permit()
    }

    /// Returns the number of bytes that it holds, and since when it has waited for its peer with some.
    pub(crate) fn kept(&self) -> Option<(Instant, usize)> {
        Some((self.kept_since?, self.load.bytes()))
    }

    /// Closes it to free memory.
    pub(crate) fn shed<H: Handler>(&mut self, shared: &mut Shared<H>) {
        let (bytes, max) = (self.load.bytes(), shared.loads.bytes_max());
        let what = format_args!(
            "closed to free memory: the connections of this worker hold more than {max} bytes, this one {bytes}"
        );
        self.warn(shared, "shed", &what);
        self.connection.shed(shared.clock.now());
        self.hand_out_events(shared);
        self.rest(shared);
    }

    /// Releases everything that it holds.
    pub(crate) fn release<H: Handler>(&mut self, shared: &mut Shared<H>) {
        self.cancel_work(shared);
        shared.loads.change(&mut self.load, Load::default());
        self.answer_call(shared);
    }

    /// Starts or stops logging frames, between two frames.
    fn heed_log_level<H: Handler>(&mut self, shared: &Shared<H>) {
        let wanted = shared.settings.log_frames && tracing::enabled!(tracing::Level::DEBUG);
        if !wanted {
            self.frame_log = None;
        } else if self.frame_log.is_none() && self.connection.is_idle() && self.connection.poll_transmit().is_none() {
            let log = FrameLog::new(self.name.clone(), shared.settings.connection.max_frame_size);
            self.frame_log = Some(Box::new(log));
        }
    }

    fn serve<H: Handler>(&mut self, shared: &mut Shared<H>) -> Turn {
        let now = shared.clock.now();
        self.send_answers(now, shared);
        self.heed_drain(now, shared.drain);
        // A NOTIFY may have arrived since the last read.
        self.readable |= matches!(self.drain, Draining::Soon(_));
        for _ in 0..READS_MAX {
            self.read(now, &shared.counters);
            // Input that has arrived counts before a deadline that has passed meanwhile.
            self.hand_out_events(shared);
            self.expire(now, shared);
            self.part(now, shared);
            while self.write(now, &shared.counters) {
                // Sending made room for NOTIFYs that were held back.
                self.hand_out_events(shared);
            }
            if !self.wants_read() {
                break;
            }
        }
        if self.connection.is_closed() {
            // A failed write may have closed it.
            self.hand_out_events(shared);
            self.count_held(now, shared);
            return Turn::Closed;
        }
        if self.connection.is_send_finished() && !self.write_shut {
            // An error means that the peer has closed, which the next read reports.
            let _ = self.socket.shutdown(Shutdown::Write);
            self.write_shut = true;
        }
        self.count_held(now, shared);
        if self.wants_read() { Turn::Again } else { Turn::Wait }
    }

    /// Counts the time in which a limit held NOTIFYs back.
    fn count_held<H: Handler>(&mut self, now: Instant, shared: &Shared<H>) {
        if let Some(since) = self.held_since {
            shared.counters.held_nanos.add(now.saturating_since(since).as_nanos() as u64);
        }
        self.held_since = self.connection.is_held_back().then_some(now);
    }

    /// Takes the answer to one of its NOTIFYs, for its next turn.
    pub(crate) fn answer(&mut self, answer: Answer) {
        self.answers.push(answer);
    }

    /// Cancels its pending deferred answers.
    fn cancel_work<H: Handler>(&mut self, shared: &mut Shared<H>) {
        self.deferred.drain(..).for_each(|id| shared.answers.cancel(id));
    }

    /// Writes finished answers.
    fn send_answers<H: Handler>(&mut self, now: Instant, shared: &Shared<H>) {
        let mut answers = mem::take(&mut self.answers);
        for Answer { ticket, since, actions, .. } in answers.drain(..) {
            if let Some(done) = self.deferred.iter().position(|id| id.ticket() == ticket.id()) {
                self.deferred.swap_remove(done);
            }
            let Ok(mut ack) = self.connection.ack(now, ticket) else { continue };
            match actions {
                Ok(actions) => {
                    self.sent_late += 1;
                    shared.counters.deferred.add(now.saturating_since(since));
                    ack.actions(&actions);
                    if let Err(cut) = ack.finish() {
                        self.warn(shared, "ack_cut", &cut);
                    }
                }
                // The unfinished ACK is sent empty.
                Err(error) => self.warn(shared, "handler_failed", &failed(&error)),
            }
        }
        self.answers = answers;
    }

    fn heed_drain(&mut self, now: Instant, drain: Option<Drain>) {
        if let Some(drain) = drain
            && self.drain == Draining::No
        {
            if self.was_ready && !drain.patience.is_zero() {
                self.drain = Draining::Soon(Parting::new(now, drain));
            } else {
                self.drain = Draining::Yes;
                self.connection.disconnect(now, drain.grace);
            }
        }
    }

    /// Closes a draining connection at the best moment.
    fn part<H: Handler>(&mut self, now: Instant, shared: &mut Shared<H>) {
        let Draining::Soon(parting) = &mut self.drain else { return };
        let (unsent, at_rest) = (self.connection.poll_transmit().is_some(), self.connection.is_idle());
        if parting.is_over(parting::Now { time: now, unsent, at_rest, asked: self.came }) {
            let grace = parting.grace(now);
            self.drain = Draining::Yes;
            self.connection.disconnect(now, grace);
            self.hand_out_events(shared);
        }
    }

    /// True while ACKs are held back, to be sent together with AGENT-DISCONNECT.
    const fn holds(&self) -> bool {
        matches!(&self.drain, Draining::Soon(parting) if parting.holds())
    }

    fn wants_read(&self) -> bool {
        self.readable && self.connection.wants_input()
    }

    /// Reads once, if there may be something to read.
    fn read(&mut self, now: Instant, counters: &Counters) {
        if !self.wants_read() {
            return;
        }
        let buf = self.connection.recv_buf();
        match (&self.socket).read(buf) {
            Ok(0) => self.connection.handle_eof(now),
            Ok(len) => {
                counters.bytes_received.add(len as u64);
                if let Some(log) = &mut self.frame_log {
                    log.received(&buf[..len]);
                }
                // A short read has emptied the socket, and later bytes are reported again; but an end that was reported
                // together with these bytes is not. (Urgent data or descriptors, which HAProxy never sends, also
                // shorten a read: bytes after them wait for more bytes, the end or a deadline.)
                self.readable = len == buf.len() || self.ended;
                self.connection.handle_input(now, len);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tell!(debug, self.name, "{error}");
                self.connection.handle_eof(now);
            }
        }
    }

    /// Writes output as far as the socket takes it; returns true if it took any.
    fn write(&mut self, now: Instant, counters: &Counters) -> bool {
        let mut wrote = false;
        while !self.blocked
            && !self.holds()
            && let Some(bytes) = self.connection.poll_transmit()
        {
            match (&self.socket).write(bytes) {
                Ok(len) => {
                    counters.bytes_sent.add(len as u64);
                    if let Some(log) = &mut self.frame_log {
                        log.sent(&bytes[..len]);
                    }
                    self.blocked = len < bytes.len();
                    self.connection.transmitted(now, len);
                    wrote |= len > 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tell!(debug, self.name, "{error}");
                    self.connection.handle_eof(now);
                }
            }
        }
        wrote
    }

    fn expire<H: Handler>(&mut self, now: Instant, shared: &mut Shared<H>) {
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now);
            let Self { connection, deferred, .. } = self;
            deferred.retain(|id| {
                let is_live = connection.is_live(id.ticket());
                if !is_live {
                    shared.answers.cancel(*id);
                }
                is_live
            });
            self.hand_out_events(shared);
        }
    }

    /// Holds NOTIFYs back while the limits of the worker are reached, or others are queued for a permit.
    fn heed_load<H: Handler>(&mut self, shared: &mut Shared<H>) {
        let load = self.load.within(&self.connection);
        shared.loads.change(&mut self.load, load);
        self.connection.hold_back(!shared.loads.has_place(self.called.is_some()));
    }

    fn hand_out_events<H: Handler>(&mut self, shared: &mut Shared<H>) {
        self.heed_load(shared);
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Ready { negotiated, engine_id } => {
                    if let Some(id) = engine_id {
                        self.name.set_engine(id);
                    }
                    let (size, capabilities) = (negotiated.max_frame_size, negotiated.capabilities);
                    tell!(debug, self.name, "ready: frames of up to {size} bytes, capabilities \"{capabilities}\"");
                    self.was_ready = true;
                    shared.counters.ready(negotiated.capabilities);
                }
                Event::Notify(notify) => match shared.handle(notify) {
                    Handled::Done => {}
                    Handled::Later(ticket, later) => {
                        let since = shared.clock.now();
                        self.deferred.push(shared.answers.spawn(self.key, ticket, since, later));
                        self.answer_call(shared);
                        self.heed_load(shared);
                    }
                    Handled::Failed(error) => self.warn(shared, "handler_failed", &failed(&error)),
                    Handled::Panicked(panic) => self.warn(shared, "handler_panicked", &panicked(&panic)),
                },
                Event::Closed(reason) => {
                    // Whichever side closed it, remaining output is sent now.
                    self.drain = Draining::Yes;
                    self.cancel_work(shared);
                    let is_told = !self.connection.is_closed();
                    let how = How { was_ready: self.was_ready, was_refused: self.refused, is_told };
                    shared.counters.closed(reason, how);
                    self.log_close(shared, reason);
                }
            }
        }
        self.count(shared);
    }
}
