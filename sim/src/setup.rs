//! Converts the agent's limits of a script to the types of the core and of the checker. Values that are out of range
//! are brought into range, because every script must be valid.

use std::ops::RangeInclusive;

use spoa_core::wire::Capabilities;
use spoa_core::{Config, LimitValue, connection_limits};
use spoa_sim_checker::Limits;

use crate::script::AgentSetup;

impl AgentSetup {
    /// Returns the limits of a connection.
    pub(crate) fn limits(&self) -> Limits {
        macro_rules! in_range {
            ($($group:ident {
                $($(#[$details:meta])* $name:ident $(($short:ident))?: $type:ty = $default:tt $unit:ident,
                  $range:expr, $summary:literal $(, $note:literal)?;)*
            })*) => {
                Limits { $($($name: in_range(self.connection.$name, &$range),)*)* ..self.connection }
            };
        }
        connection_limits!(in_range)
    }

    /// Returns the configuration of a connection.
    pub(crate) fn config(&self) -> Config {
        let limits = self.limits();
        let mut capabilities = Capabilities::NONE;
        for (on, capability) in [
            (limits.pipelining, Capabilities::PIPELINING),
            (limits.fragmentation, Capabilities::FRAGMENTATION),
            (limits.asynchronous, Capabilities::ASYNC),
        ] {
            if on {
                capabilities = capabilities | capability;
            }
        }
        macro_rules! config {
            ($($group:ident {
                $($(#[$details:meta])* $name:ident $(($short:ident))?: $type:ty = $default:tt $unit:ident,
                  $range:expr, $summary:literal $(, $note:literal)?;)*
            })*) => {
                Config {
                    capabilities,
                    refuse_healthchecks: limits.refuse_healthchecks,
                    $($($name: LimitValue::from_number(limits.$name.into()),)*)*
                }
            };
        }
        connection_limits!(config)
    }

    /// Returns the largest number of bytes that all connections hold.
    pub(crate) fn total_bytes_max(&self) -> usize {
        (self.total_bytes_max as usize).max(1)
    }

    /// True if the limit of NOTIFYs in flight on all connections is set below its default.
    pub(crate) fn limits_total(&self) -> bool {
        self.total_in_flight_max < Self::default().total_in_flight_max
    }
}

/// Returns the number in `range` that is nearest to `number`.
fn in_range<T: Copy + Into<u64> + TryFrom<u64>>(number: T, range: &RangeInclusive<u64>) -> T {
    number.into().clamp(*range.start(), *range.end()).try_into().unwrap_or(number)
}
