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

/// How often a connection with more to do goes on before the others of its worker have their turn.
const READS_MAX: usize = 8;

/// One connection on its socket.
///
/// In each turn it takes answers that have come, reads, hands out events and writes what is ready, all frames of it in
/// one system call, until there is nothing left to do. What SPOP asks for is the core's to know.
pub(crate) struct Driver {
    /// Its number among the worker's connections.
    key: usize,
    socket: Socket,
    connection: Connection,
    name: Name,
    frame_log: Option<Box<FrameLog>>,
    /// The answers at work, and those that have come.
    deferred: Vec<WorkId>,
    answers: Vec<Answer>,
    /// The socket may have bytes. It says so once, so this stays until a read has found it empty.
    readable: bool,
    /// The socket has come to its end, behind bytes that may still be there.
    ended: bool,
    /// What was left of the last write waits for room in the socket.
    blocked: bool,
    drain: Draining,
    write_shut: bool,
    /// A HELLO was accepted.
    was_ready: bool,
    /// A NOTIFY came with what was read last.
    came: bool,
    /// Answers that came later, not counted yet.
    sent_late: u64,
    /// That it is refused was counted and logged.
    refused: bool,
    /// What it holds, as far as it is counted.
    load: Load,
    /// Since when it has waited for its peer at the end of each turn, with bytes in its buffers.
    kept_since: Option<Instant>,
    /// It waited with a NOTIFY for others to be answered, as this number, and is called to a place.
    called: Option<Number>,
    /// Since when NOTIFYs wait, for a limit is reached.
    held_since: Option<Instant>,
    /// What was counted and logged about so far.
    seen: Stats,
}

/// Whether it is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draining {
    No,
    /// When it is best.
    Soon(Parting),
    Yes,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is more to do.
    Again,
    /// It waits for its socket, an answer or its time.
    Wait,
    /// It is over.
    Closed,
}

impl Driver {
    /// Takes the socket over, as connection `key`; if it is not `welcome`, only to say so.
    pub(crate) fn new<H: Handler>(shared: &Shared<H>, key: usize, socket: Socket, name: Name, welcome: bool) -> Self {
        let config = shared.settings.connection;
        let now = shared.clock.now();
        let connection = if welcome { Connection::new(config, now) } else { Connection::refused(config, now) };
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

    /// The socket has bytes or its end, or room for more.
    pub(crate) fn socket_is_ready(&mut self, event: &mio::event::Event) {
        self.ended |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.ended;
        self.blocked &= !(event.is_writable() || self.ended);
    }

    /// Where its socket is watched.
    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// What the socket has to be watched for.
    pub(crate) const fn interest(&self) -> Interest {
        // Not always for room: a unix socket tells of it whenever HAProxy has read an ACK.
        if self.blocked { Interest::READABLE.add(Interest::WRITABLE) } else { Interest::READABLE }
    }

    /// When it has to have its turn, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        let parting = match self.drain {
            Draining::Soon(parting) => Some(parting.due(self.connection.is_at_rest())),
            Draining::No | Draining::Yes => None,
        };
        self.connection.poll_timeout().into_iter().chain(parting).min()
    }

    /// Does what there is to do, in buffers that it is lent for it.
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

    /// Gives back what it does not need between turns, and has the rest counted.
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

    /// Has a place for a NOTIFY that it waited with, until its next turn is over.
    pub(crate) const fn call(&mut self, number: Option<Number>) {
        self.called = number;
    }

    /// Has taken the place that it was called to, or leaves it to others; gives the number that it had until then.
    pub(crate) fn answer_call<H: Handler>(&mut self, shared: &mut Shared<H>) -> Option<Number> {
        let called = self.called.take();
        if called.is_some() {
            shared.loads.answer_call();
        }
        called
    }

    /// True if it has a NOTIFY that waits for others of its worker to be answered.
    pub(crate) fn is_on_hold(&self) -> bool {
        self.connection.is_on_hold()
    }

    /// How many bytes it holds, and since when it has waited for its peer with some.
    pub(crate) fn kept(&self) -> Option<(Instant, usize)> {
        Some((self.kept_since?, self.load.bytes()))
    }

    /// Ends it for want of memory.
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

    /// Holds nothing any more.
    pub(crate) fn let_go<H: Handler>(&mut self, shared: &mut Shared<H>) {
        self.cancel_work(shared);
        shared.loads.change(&mut self.load, Load::default());
        self.answer_call(shared);
    }

    /// Follows the frames, or stops to; from between two of them on.
    fn heed_log_level<H: Handler>(&mut self, shared: &Shared<H>) {
        let wanted = shared.settings.log_frames && tracing::enabled!(tracing::Level::DEBUG);
        if !wanted {
            self.frame_log = None;
        } else if self.frame_log.is_none() && self.connection.is_at_rest() {
            let log = FrameLog::new(self.name.clone(), shared.settings.connection.max_frame_size);
            self.frame_log = Some(Box::new(log));
        }
    }

    fn serve<H: Handler>(&mut self, shared: &mut Shared<H>) -> Turn {
        let now = shared.clock.now();
        self.send_answers(now, shared);
        self.heed_drain(now, shared.drain);
        // Its socket may have got a NOTIFY since it was asked last.
        self.readable |= matches!(self.drain, Draining::Soon(_));
        for _ in 0..READS_MAX {
            self.read(now, &shared.counters);
            // What has arrived comes before any deadline that has passed meanwhile.
            self.hand_out_events(shared);
            self.expire(now, shared);
            self.part(now, shared);
            while self.write(now, &shared.counters) {
                // Sending has made room for NOTIFYs that were held back.
                self.hand_out_events(shared);
            }
            if !self.wants_read() {
                break;
            }
        }
        if self.connection.is_closed() {
            // A write that failed may have ended it.
            self.hand_out_events(shared);
            self.count_held(now, shared);
            return Turn::Closed;
        }
        if self.connection.is_send_finished() && !self.write_shut {
            // An error means that the peer is gone, which the next read tells.
            let _ = self.socket.shutdown(Shutdown::Write);
            self.write_shut = true;
        }
        self.count_held(now, shared);
        if self.wants_read() { Turn::Again } else { Turn::Wait }
    }

    /// Counts the time in which NOTIFYs wait, for a limit is reached.
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

    /// Drops what is still at work for it.
    fn cancel_work<H: Handler>(&mut self, shared: &mut Shared<H>) {
        self.deferred.drain(..).for_each(|id| shared.answers.cancel(id));
    }

    /// Writes the answers that have come.
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
                // The unfinished ACK leaves empty.
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

    /// Ends a conversation that is to be, when it is best.
    fn part<H: Handler>(&mut self, now: Instant, shared: &mut Shared<H>) {
        let Draining::Soon(parting) = &mut self.drain else { return };
        let (unsent, at_rest) = (self.connection.poll_transmit().is_some(), self.connection.is_at_rest());
        if parting.is_over(parting::Now { time: now, unsent, at_rest, asked: self.came }) {
            let grace = parting.grace(now);
            self.drain = Draining::Yes;
            self.connection.disconnect(now, grace);
            self.hand_out_events(shared);
        }
    }

    /// True while ACKs are kept for the end to go with them.
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
                // A short read has emptied the socket, and what comes from here on is told anew; but an end that was
                // told with these bytes is not. (Urgent data or descriptors, which no HAProxy sends, cut a read short too:
                // what is behind them waits for more bytes, the end or a deadline.)
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

    /// Sends all that is ready, as far as the socket takes it; true if it took any.
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

    /// Takes no NOTIFY while all connections of the worker together have as many as may be, or others wait to take one.
    fn heed_load<H: Handler>(&mut self, shared: &mut Shared<H>) {
        let load = self.load.within(&self.connection);
        shared.loads.change(&mut self.load, load);
        self.connection.hold(!shared.loads.has_place(self.called.is_some()));
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
                    // Whoever ended it: what there is to say goes now.
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
