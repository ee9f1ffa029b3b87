//! The configuration of a connection: capabilities, limits and timeouts.

use core::mem::size_of;
use core::num::NonZeroU64;
use core::time::Duration;

use crate::in_flight::Slot;
use crate::memory::Memory;
use crate::wire::{Capabilities, LENGTH_LEN, MAX_FRAME_SIZE_MIN};

/// The capabilities, limits and timeouts of one connection. The defaults suit the defaults of HAProxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The largest frame to send or accept, in bytes without its length: 256 bytes to 16 MiB, default 16384 bytes.
    ///
    /// The HELLO negotiates the smaller of this and HAProxy's value. Do not set it above HAProxy's `tune.bufsize` - 4.
    /// Since HAProxy 3.1 its health check offers 16380 bytes whatever the size of its buffers, and it fails if the
    /// agent agrees to a size that does not fit into them.
    pub max_frame_size: u32,
    /// The capabilities to offer; default pipelining and fragmentation.
    ///
    /// Even with async negotiated, an ACK is always sent on the connection of its NOTIFY, which both of HAProxy's
    /// engines accept. HAProxy's multiplexer uses the same stream-ids on every connection, so an ACK on another
    /// connection could apply the verdict about one client to another client.
    pub capabilities: Capabilities,
    /// The largest number of NOTIFYs in flight: 1 to 65535, default 64. At the limit no other NOTIFY is handed out, and
    /// once the receive buffer is full nothing more is read.
    ///
    /// HAProxy waits for at most 20 ACKs per connection. But when it gives up on an event it may send another one
    /// without notifying the agent, so the agent may have more NOTIFYs in flight. Without pipelining the limit is 1, so
    /// that ACKs are sent in order.
    pub in_flight_max: usize,
    /// The total payload of the NOTIFYs in flight, in bytes, at which no other NOTIFY is handed out; default 1 MiB.
    ///
    /// A handler that defers its answers keeps a copy of each NOTIFY. This bounds the memory for the copies of one
    /// connection: the last NOTIFY may exceed the limit, so they take at most this size and one NOTIFY more.
    pub deferred_max: usize,
    /// The number of unsent bytes at which no other NOTIFY is handed out; default 64 KiB.
    pub unsent_max: usize,
    /// The largest NOTIFY accepted in fragments, in bytes of payload; default 1 MiB. A larger one is aborted.
    pub reassembly_max: usize,
    /// The number of NOTIFYs after which the connection is drained; default no limit.
    pub notify_max: Option<NonZeroU64>,
    /// The longest time to wait for a whole HELLO; default 5 s. HAProxy sends it immediately.
    pub hello_timeout: Duration,
    /// The longest time that a connection may be idle; default no limit, because an AGENT-DISCONNECT may cross
    /// HAProxy's next event, which is then lost.
    ///
    /// A partial frame counts as activity only when its first bytes arrive.
    pub idle_timeout: Option<Duration>,
    /// The deadline of an answer: after this time an empty ACK is sent; default 10 s.
    ///
    /// Set it a little below HAProxy's `timeout processing`, because HAProxy does not notify the agent when it gives up
    /// on an event.
    pub ack_timeout: Duration,
    /// The time that HAProxy waits before its HELLO is refused; default 1 s.
    ///
    /// HAProxy up to 3.0 reconnects immediately after a refusal, which would be thousands of times per second. Health
    /// checks are refused without delay.
    pub refuse_delay: Duration,
    /// True to refuse health checks, immediately and with code 13; default false.
    ///
    /// This is for an agent that is about to stop: HAProxy marks its server DOWN and uses other servers, while NOTIFYs
    /// that still arrive are answered normally.
    pub refuse_healthchecks: bool,
    /// The longest time to wait for HAProxy to close the socket after our last byte was sent; default 1 s.
    ///
    /// Until then further bytes from HAProxy are read and dropped. Closing a socket with unread bytes resets the
    /// connection, and HAProxy may then lose an ACK or DISCONNECT that it has not read yet.
    pub linger: Duration,
    /// The longest time that bytes may stay unsent while the socket accepts none of them; default 30 s.
    pub send_timeout: Duration,
}

/// The default of [`Config::max_frame_size`], the same as in HAProxy's reference agent.
const MAX_FRAME_SIZE_DEFAULT: u32 = 16_384;
/// The largest [`Config::max_frame_size`]: far above any `tune.bufsize`, and far below sizes at which arithmetic could
/// overflow.
const MAX_FRAME_SIZE_MAX: u32 = 1 << 24;
/// The largest [`Config::in_flight_max`].
const IN_FLIGHT_MAX: usize = u16::MAX as usize;
/// Room for the frames that do not answer a NOTIFY in flight: an AGENT-HELLO or AGENT-DISCONNECT, and the empty ACK of
/// a NOTIFY that was aborted or declined.
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
    #[error("the limit of unsent bytes must be at least 1")]
    UnsentMax,
    /// See [`Config::deferred_max`].
    #[error("the limit of payload bytes in flight must be at least 1")]
    DeferredMax,
}

impl Config {
    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// The first value that is out of range.
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

    /// Returns the most heap memory that a connection holds, in bytes, whatever its peer sends:
    /// `2·(4+F) + U + N·(4+F) + C + N·slot + R`, where
    ///
    /// - `F` is [`max_frame_size`](Self::max_frame_size), twice, so that the next frame can be read while the last one
    ///   is still borrowed;
    /// - `U` is [`unsent_max`](Self::unsent_max), the unsent bytes up to the limit;
    /// - `N` is [`in_flight_max`](Self::in_flight_max), with an ACK of full size for each NOTIFY that was handed out
    ///   before the limit of unsent bytes was reached;
    /// - `C` is 256 bytes for the frames that do not answer a NOTIFY in flight;
    /// - `slot` is 40 bytes for each NOTIFY in flight;
    /// - `R` is [`reassembly_max`](Self::reassembly_max) if fragmentation is offered, otherwise 0.
    ///
    /// An idle connection that released its buffers ([`release_buffers`](crate::Connection::release_buffers)) holds no
    /// heap memory.
    pub const fn memory_max(&self) -> usize {
        self.memory_max_by_buffer().total()
    }

    /// Returns the terms of [`memory_max`](Self::memory_max): the most heap memory of each buffer.
    pub const fn memory_max_by_buffer(&self) -> Memory {
        let offers_fragmentation = self.capabilities.contains(Capabilities::FRAGMENTATION);
        Memory {
            recv: self.recv_memory_max(),
            send: self.send_memory_max(),
            in_flight: self.in_flight_max.saturating_mul(size_of::<Slot>()),
            reassembly: if offers_fragmentation { self.reassembly_max } else { 0 },
        }
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

// The documentation of `memory_max` states the size of a slot.
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
    fn memory_max_follows_its_documented_formula() {
        let config = Config::default();
        let frame = 4 + 16384;
        assert_eq!(config.memory_max(), 2 * frame + (64 << 10) + 64 * frame + 256 + 64 * 40 + (1 << 20));
        let whole_only = Config { capabilities: Capabilities::PIPELINING, ..config };
        assert_eq!(config.memory_max() - whole_only.memory_max(), 1 << 20);
    }
}
