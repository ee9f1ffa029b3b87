//! What a connection may do, and how much of what.

use core::mem::size_of;
use core::num::NonZeroU64;
use core::time::Duration;

use crate::in_flight::Slot;
use crate::wire::{Capabilities, LENGTH_LEN, MAX_FRAME_SIZE_MIN};

/// The limits of one connection. The defaults suit HAProxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The largest frame sent or taken, in bytes without its length: 256..=16 MiB, default 16384.
    ///
    /// The HELLO settles on this or HAProxy's value, whichever is smaller. Best at or below HAProxy's
    /// `tune.bufsize` - 4: since 3.1 its health check offers 16380 whatever its buffers hold, and fails on an honest
    /// answer above them.
    pub max_frame_size: u32,
    /// What to offer; default pipelining and fragmentation.
    ///
    /// With async agreed an ACK still goes to the connection of its NOTIFY, which both engines accept: HAProxy's
    /// multiplexer uses the same stream-ids on every connection, so that an ACK on another one would hand one
    /// client's verdict to another.
    pub capabilities: Capabilities,
    /// How many NOTIFYs may wait for their ACK: 1..=65535, default 64. At the limit no other is taken, and once
    /// the receive buffer is full nothing more is read.
    ///
    /// HAProxy waits for 20 at most, but frees an event's place silently when it gives up on it, so the agent may
    /// see more. Where pipelining is not agreed on the limit is 1, so that ACKs leave in order.
    pub in_flight_max: usize,
    /// How many bytes of payload the NOTIFYs in flight may have in all before no other is taken; default 1 MiB.
    ///
    /// A handler that answers later keeps a copy of each: this bounds what the copies of one connection take, to one
    /// NOTIFY more than this.
    pub deferred_max: usize,
    /// How many bytes may wait to be sent before no NOTIFY is taken any more; default 64 KiB.
    pub unsent_max: usize,
    /// The largest NOTIFY taken in fragments, in bytes of payload; default 1 MiB. A larger one is aborted.
    pub reassembly_max: usize,
    /// How many NOTIFYs to take before the connection is ended in good order; default no limit.
    pub notify_max: Option<NonZeroU64>,
    /// How long to wait for a whole HELLO; default 5 s. HAProxy sends it at once.
    pub hello_timeout: Duration,
    /// How long a connection may stay without a NOTIFY, or with the beginning of one; default no limit, since closing one races
    /// with HAProxy's next event, which is then lost.
    pub idle_timeout: Option<Duration>,
    /// How long an answer may take before an empty ACK leaves in its place; default 10 s.
    ///
    /// Best a little below HAProxy's `timeout processing`: it gives no notice of events it gave up on.
    pub ack_timeout: Duration,
    /// How long a HELLO is left waiting before it is refused; default 1 s.
    ///
    /// HAProxy up to 3.0 comes back at once after a refusal, thousands of times a second. Health checks are refused
    /// without delay.
    pub refuse_delay: Duration,
    /// Whether health checks are refused, at once and with code 13; default no.
    ///
    /// For an agent that is about to go away: HAProxy marks its server DOWN and asks others, while NOTIFYs that still come
    /// are answered as ever.
    pub refuse_healthchecks: bool,
    /// How long HAProxy may take to close after our last byte; default 1 s.
    ///
    /// Until then what it still sends is read and dropped: closing a socket with unread bytes resets it, and a reset
    /// can destroy an ACK or DISCONNECT that HAProxy has not read yet.
    pub linger: Duration,
    /// How long HAProxy may leave our bytes unread without taking one; default 30 s.
    pub send_timeout: Duration,
}

/// The default of [`Config::max_frame_size`], that of the reference agent.
const MAX_FRAME_SIZE_DEFAULT: u32 = 16_384;
/// The largest [`Config::max_frame_size`]: far above any `tune.bufsize`, far below what could hurt arithmetic.
const MAX_FRAME_SIZE_MAX: u32 = 1 << 24;
/// The largest [`Config::in_flight_max`].
const IN_FLIGHT_MAX: usize = u16::MAX as usize;
/// Room for the frames that answer no NOTIFY in flight: an AGENT-HELLO or AGENT-DISCONNECT, and the empty ACK of a
/// NOTIFY that was aborted or came too late.
const CONTROL_LEN_MAX: usize = 256;

impl Default for Config {
    fn default() -> Self {
        Self {
            max_frame_size: MAX_FRAME_SIZE_DEFAULT,
            capabilities: Capabilities::PIPELINING | Capabilities::FRAGMENTATION,
            in_flight_max: 64,
            deferred_max: 1 << 20,
            unsent_max: 64 << 10,
            reassembly_max: 1 << 20,
            notify_max: None,
            hello_timeout: Duration::from_secs(5),
            idle_timeout: None,
            ack_timeout: Duration::from_secs(10),
            refuse_delay: Duration::from_secs(1),
            refuse_healthchecks: false,
            linger: Duration::from_secs(1),
            send_timeout: Duration::from_secs(30),
        }
    }
}

/// A value of [`Config`] outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// See [`Config::max_frame_size`].
    #[error("the maximum frame size must be {MAX_FRAME_SIZE_MIN} to {MAX_FRAME_SIZE_MAX} bytes, not {0}")]
    MaxFrameSize(u32),
    /// See [`Config::in_flight_max`].
    #[error("the number of NOTIFYs in flight must be 1 to {IN_FLIGHT_MAX}, not {0}")]
    InFlightMax(usize),
    /// See [`Config::unsent_max`].
    #[error("at least one byte must be allowed to wait unsent")]
    UnsentMax,
    /// See [`Config::deferred_max`].
    #[error("the NOTIFYs in flight must be allowed at least one byte of payload")]
    DeferredMax,
}

impl Config {
    /// Says which value is out of range, if any.
    ///
    /// # Errors
    /// The first such value.
    pub const fn validate(&self) -> Result<(), ConfigError> {
        if self.max_frame_size < MAX_FRAME_SIZE_MIN || self.max_frame_size > MAX_FRAME_SIZE_MAX {
            return Err(ConfigError::MaxFrameSize(self.max_frame_size));
        }
        if self.in_flight_max < 1 || self.in_flight_max > IN_FLIGHT_MAX {
            return Err(ConfigError::InFlightMax(self.in_flight_max));
        }
        if self.unsent_max == 0 {
            return Err(ConfigError::UnsentMax);
        }
        if self.deferred_max == 0 {
            return Err(ConfigError::DeferredMax);
        }
        Ok(())
    }

    /// The most heap memory a connection holds, in bytes, whatever its peer sends:
    /// `2·(4+F) + U + N·(4+F) + C + N·slot + R` with
    ///
    /// - F [`max_frame_size`](Self::max_frame_size): twice, so that a frame can be read behind the last one;
    /// - U [`unsent_max`](Self::unsent_max), N [`in_flight_max`](Self::in_flight_max): what may wait to be sent,
    ///   and an ACK of full size for each NOTIFY that was taken before that mark was reached;
    /// - C 256 bytes for the frames that answer no NOTIFY;
    /// - slot 40 bytes for each NOTIFY in flight;
    /// - R [`reassembly_max`](Self::reassembly_max) if fragmentation is offered, else 0.
    ///
    /// An idle connection that gave its buffers back
    /// ([`release_buffers`](crate::Connection::release_buffers)) holds nothing.
    pub const fn memory_max(&self) -> usize {
        let reassembly = if self.capabilities.contains(Capabilities::FRAGMENTATION) { self.reassembly_max } else { 0 };
        let slots = self.in_flight_max.saturating_mul(size_of::<Slot>());
        self.recv_memory_max().saturating_add(self.send_memory_max()).saturating_add(slots).saturating_add(reassembly)
    }

    pub(crate) const fn recv_memory_max(&self) -> usize {
        2 * self.frame_memory()
    }

    pub(crate) const fn send_memory_max(&self) -> usize {
        let acks = self.in_flight_max.saturating_mul(self.frame_memory());
        self.unsent_max.saturating_add(acks).saturating_add(CONTROL_LEN_MAX)
    }

    const fn frame_memory(&self) -> usize {
        LENGTH_LEN + self.max_frame_size as usize
    }
}

// The formula above names the size of a slot.
const _: () = assert!(size_of::<Slot>() == 40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn each_range_is_checked() {
        for size in [0, 255, MAX_FRAME_SIZE_MAX + 1] {
            let config = Config { max_frame_size: size, ..Config::default() };
            assert_eq!(config.validate(), Err(ConfigError::MaxFrameSize(size)));
        }
        for max in [0, 65_536] {
            let config = Config { in_flight_max: max, ..Config::default() };
            assert_eq!(config.validate(), Err(ConfigError::InFlightMax(max)));
        }
        assert_eq!(Config { unsent_max: 0, ..Config::default() }.validate(), Err(ConfigError::UnsentMax));
        assert_eq!(Config { deferred_max: 0, ..Config::default() }.validate(), Err(ConfigError::DeferredMax));
    }

    #[test]
    fn the_formula_in_numbers() {
        let config = Config::default();
        let frame = 4 + 16384;
        assert_eq!(config.memory_max(), 2 * frame + (64 << 10) + 64 * frame + 256 + 64 * 40 + (1 << 20));
        let whole_only = Config { capabilities: Capabilities::PIPELINING, ..config };
        assert_eq!(config.memory_max() - whole_only.memory_max(), 1 << 20);
    }
}
