//! The configuration of a connection: capabilities, limits and timeouts.

use core::fmt;
use core::mem::size_of;
use core::num::NonZeroU64;
use core::ops::RangeInclusive;
use core::time::Duration;

use crate::in_flight::Slot;
use crate::memory::Memory;
use crate::wire::{Capabilities, LENGTH_LEN};

#[macro_use]
mod rows;

/// Defines [`Config`], its defaults, and its ranges.
macro_rules! config {
    ($($group:ident {
        $($(#[doc = $details:literal])* $name:ident $(($short:ident))?: $type:ty = $default:tt $unit:ident,
          $range:expr, $summary:literal $(, $note:literal)?;)*
    })*) => {
        /// The capabilities, limits and timeouts of one connection. The defaults suit the defaults of HAProxy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Config {
            /// The capabilities to offer; default pipelining and fragmentation.
            ///
            /// Even with async negotiated, an ACK is always sent on the connection of its NOTIFY, which both of HAProxy's
            /// engines accept. HAProxy's multiplexer uses the same stream-ids on every connection, so an ACK on another
            /// connection could apply the verdict about one client to another client.
            pub capabilities: Capabilities,
            /// True to refuse health checks, immediately and with code 13; default false.
            ///
            /// This is for an agent that is about to stop: HAProxy marks its server DOWN and uses other servers, while
            /// NOTIFYs that still arrive are answered normally.
            pub refuse_healthchecks: bool,
            $($(
                #[doc = concat!($summary, ".\n\n", default_text!($default $unit), range_text!($unit, $range), "\n\n")]
                $(#[doc = $details])*
                pub $name: $type,
            )*)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    capabilities: Capabilities::PIPELINING | Capabilities::FRAGMENTATION,
                    refuse_healthchecks: false,
                    $($($name: LimitValue::from_number(limit_number!($default $unit)),)*)*
                }
            }
        }

        impl Config {
            /// Returns each limit and timeout with its value and range.
            pub fn limits(&self) -> impl Iterator<Item = Limit> {
                [$($(
                    Limit {
                        name: stringify!($name),
                        unit: stringify!($unit),
                        value: self.$name.to_number(),
                        range: $range,
                    },
                )*)*]
                .into_iter()
            }
        }
    };
}

/// The default of a limit, for its documentation.
macro_rules! default_text {
    (0 $unit:ident) => {
        "No limit by default. "
    };
    ($default:tt $unit:ident) => {
        concat!("Default ", stringify!($default), " ", stringify!($unit), ". ")
    };
}

/// The range of a limit, for its documentation.
macro_rules! range_text {
    (s, $range:expr) => {
        ""
    };
    ($unit:ident, $range:expr) => {
        concat!("Allowed are ", stringify!($range), ".")
    };
}

connection_limits!(config);

/// The value of a limit or timeout of [`Config`] as a plain number.
pub trait LimitValue: Copy {
    /// Returns the value in bytes, NOTIFYs or nanoseconds; `None` for no limit. A value that does not fit becomes the largest number.
    fn to_number(self) -> Option<u64>;

    /// Returns the value of a number of bytes, NOTIFYs or nanoseconds. A number that does not fit becomes the largest value. For an
    /// `Option`, 0 is `None`.
    fn from_number(number: u64) -> Self;
}

impl LimitValue for u32 {
    fn to_number(self) -> Option<u64> {
        Some(self.into())
    }

    fn from_number(number: u64) -> Self {
        number.try_into().unwrap_or(Self::MAX)
    }
}

impl LimitValue for usize {
    fn to_number(self) -> Option<u64> {
        Some(self as u64)
    }

    fn from_number(number: u64) -> Self {
        number.try_into().unwrap_or(Self::MAX)
    }
}

impl LimitValue for Duration {
    fn to_number(self) -> Option<u64> {
        Some(self.as_nanos().try_into().unwrap_or(u64::MAX))
    }

    fn from_number(number: u64) -> Self {
        Self::from_nanos(number)
    }
}

impl LimitValue for Option<NonZeroU64> {
    fn to_number(self) -> Option<u64> {
        self.map(NonZeroU64::get)
    }

    fn from_number(number: u64) -> Self {
        NonZeroU64::new(number)
    }
}

impl LimitValue for Option<Duration> {
    fn to_number(self) -> Option<u64> {
        self.filter(|time| !time.is_zero())?.to_number()
    }

    fn from_number(number: u64) -> Self {
        (number > 0).then(|| Duration::from_number(number))
    }
}

/// Room for the frames that do not answer a NOTIFY in flight: an AGENT-HELLO or AGENT-DISCONNECT, and the empty ACK of
/// a NOTIFY that was aborted or declined.
const CONTROL_LEN_MAX: usize = 256;

/// A limit or timeout of [`Config`], its value and its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The name of the field.
    pub name: &'static str,
    /// `bytes`, `NOTIFYs`, or `s` for a time, whose value and range are in nanoseconds.
    pub unit: &'static str,
    /// The value in bytes, NOTIFYs or nanoseconds; `None` for no limit.
    pub value: Option<u64>,
    /// The values that are allowed.
    pub range: RangeInclusive<u64>,
}

/// A limit of [`Config`] outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} must be {}, not {}", .0.name, RangeText(.0), .0.value.unwrap_or_default())]
pub struct ConfigError(pub Limit);

/// Displays the range of a limit with its unit.
struct RangeText<'l>(&'l Limit);

impl fmt::Display for RangeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit { unit, range, .. } = self.0;
        match (range.start(), range.end()) {
            (1, &u64::MAX) => write!(f, "at least 1 {}", unit.trim_end_matches('s')),
            (least, &u64::MAX) => write!(f, "at least {least} {unit}"),
            (least, largest) => write!(f, "{least} to {largest} {unit}"),
        }
    }
}

impl Config {
    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// The first value that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self.limits().find(|limit| !limit.range.contains(&limit.value.unwrap_or_default())) {
            Some(limit) => Err(ConfigError(limit)),
            None => Ok(()),
        }
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
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn defaults_are_in_range() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn each_range_is_checked() {
        let fault = |config: Config| config.validate().map_err(|error| error.to_string());
        let defaults = Config::default();
        for size in [0, 255, (1 << 24) + 1] {
            let error = format!("max_frame_size must be 256 to 16777216 bytes, not {size}");
            assert_eq!(fault(Config { max_frame_size: size, ..defaults }), Err(error));
        }
        for max in [0, 65_536] {
            let error = format!("in_flight_max must be 1 to 65535 NOTIFYs, not {max}");
            assert_eq!(fault(Config { in_flight_max: max, ..defaults }), Err(error));
        }
        let least = |name| Err(format!("{name} must be at least 1 byte, not 0"));
        assert_eq!(fault(Config { unsent_max: 0, ..defaults }), least("unsent_max"));
        assert_eq!(fault(Config { deferred_max: 0, ..defaults }), least("deferred_max"));
        assert_eq!(fault(Config { reassembly_max: 0, ack_timeout: Duration::ZERO, ..defaults }), Ok(()));
    }

    #[test]
    fn values_survive_the_way_to_numbers_and_back() {
        assert_eq!((<Option<Duration>>::from_number(0), None::<NonZeroU64>.to_number()), (None, None));
        assert_eq!((Some(Duration::ZERO).to_number(), Duration::ZERO.to_number()), (None, Some(0)));
        assert_eq!((u32::from_number(1 << 40), Duration::MAX.to_number()), (u32::MAX, Some(u64::MAX)));
        let defaults = Config::default();
        assert_eq!((defaults.hello_timeout.to_number(), defaults.notify_max), (Some(5_000_000_000), None));
        assert_eq!(<Option<Duration>>::from_number(7).to_number(), Some(7));
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
