//! The state machine of one connection, from HAProxy's HELLO to the end of the socket.

mod commands;
mod deadlines;
mod frames;
mod getters;
mod input;
mod invariants;
mod limits;
mod polls;
mod state;

use crate::config::Config;
use crate::event::{CloseReason, LocalReason};
use crate::in_flight::InFlight;
use crate::outbox::Outbox;
use crate::reassembly::Reassembly;
use crate::recv::RecvBuf;
use crate::table::Step;
use crate::time::Instant;

pub use commands::TicketError;
pub use getters::Usage;
pub use limits::{Blocked, InputWait};
use state::State;

/// The agent's side of one connection. See the [crate] for the loop that drives it.
///
/// | methods | |
/// |---|---|
/// | input | [`recv_buf`](Self::recv_buf) and [`handle_input`](Self::handle_input), [`handle_eof`](Self::handle_eof), [`handle_timeout`](Self::handle_timeout) |
/// | commands | [`disconnect`](Self::disconnect), [`shed`](Self::shed), [`evict`](Self::evict), [`ack`](Self::ack) for a deferred answer, [`hold_back`](Self::hold_back), [`lend_buffers`](Self::lend_buffers) and [`release_buffers`](Self::release_buffers) |
/// | polls | [`poll_event`](Self::poll_event), [`poll_transmit`](Self::poll_transmit) and [`transmitted`](Self::transmitted), [`poll_timeout`](Self::poll_timeout) |
/// | getters | [`state`](Self::state), [`blocked`](Self::blocked), [`usage`](Self::usage), [`stats`](Self::stats) and others |
///
/// After each input and command, poll in this order: events until there are none, because they produce output; then the
/// bytes to send; then the time of the next timeout, which depends on both.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    state: State,
    /// The step in progress, or the last one.
    step: Step,
    /// The latest time that the caller passed in.
    now: Instant,
    /// True while the caller holds NOTIFYs back; see [`hold_back`](Self::hold_back).
    on_hold: bool,
    recv: RecvBuf,
    outbox: Outbox,
    in_flight: InFlight,
    reassembly: Reassembly,
    /// The reason of the end, until the event that reports it is polled.
    closed: Option<CloseReason>,
    /// The time of the last activity: a NOTIFY or the first bytes of a frame arrived, or a deferred NOTIFY was answered
    /// or expired.
    last_active: Instant,
    /// The last time that the socket accepted bytes, or that there were none to send.
    last_sent: Instant,
}

/// The reason to end a connection above a limit.
const ABOVE_LIMIT: CloseReason = CloseReason::Local(LocalReason::ConnectionLimit);

impl Connection {
    /// Creates the state of a connection that was just accepted.
    ///
    /// # Panics
    /// If `config` is [out of range](Config::validate).
    pub fn new(config: Config, now: Instant) -> Self {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        // Zero means no limit too.
        let idle_timeout = config.idle_timeout.filter(|time| !time.is_zero());
        Self {
            config: Config { idle_timeout, ..config },
            state: State::AwaitHello { until: now + config.hello_timeout, is_above_limit: false },
            step: Step::Ignore,
            now,
            on_hold: false,
            recv: RecvBuf::new(config.recv_memory_max()),
            outbox: Outbox::new(config.send_memory_max(), config.max_frame_size),
            in_flight: InFlight::new(config.in_flight_max),
            reassembly: Reassembly::new(config.reassembly_max),
            closed: None,
            last_active: now,
            last_sent: now,
        }
    }

    /// Creates the state of a connection above a limit: a health check is answered, so that HAProxy does not take the agent
    /// for dead, and every other connection is rejected with code 13 after the [`refuse_delay`](Config::refuse_delay), or
    /// after the [`hello_timeout`](Config::hello_timeout) if no HELLO has arrived by then.
    ///
    /// # Panics
    /// If `config` is [out of range](Config::validate).
    pub fn rejected(config: Config, now: Instant) -> Self {
        let until = now + config.refuse_delay.min(config.hello_timeout);
        Self { state: State::AwaitHello { until, is_above_limit: true }, ..Self::new(config, now) }
    }

    fn tick(&mut self, now: Instant) {
        self.settle();
        self.now = self.now.max(now);
        if self.outbox.send.unsent() == 0 {
            self.last_sent = self.now;
        }
    }

    /// Completes what the last event borrowed: sends an empty ACK for a NOTIFY that was dropped without an answer, or
    /// whose ACK was not finished, and frees a reassembled payload.
    #[inline]
    fn settle(&mut self) {
        self.outbox.settle();
        self.reassembly.settle();
    }
}
