//! Converts the agent's limits of a script to the types of the core and of the checker. Values that are out of range
//! are brought into range, because every script must be valid.

use std::num::NonZeroU64;
use std::time::Duration;

use spoa_core::Config;
use spoa_core::wire::Capabilities;
use spoa_sim_checker::Limits;

use crate::script::AgentSetup;

impl AgentSetup {
    pub(crate) fn config(&self) -> Config {
        let mut capabilities = Capabilities::NONE;
        for (on, capability) in [
            (self.pipelining, Capabilities::PIPELINING),
            (self.fragmentation, Capabilities::FRAGMENTATION),
            (self.asynchronous, Capabilities::ASYNC),
        ] {
            if on {
                capabilities = capabilities | capability;
            }
        }
        Config {
            max_frame_size: self.max_frame_size.clamp(256, 1 << 24),
            capabilities,
            in_flight_max: (self.in_flight_max as usize).clamp(1, 65_535),
            deferred_max: (self.deferred_max as usize).max(1),
            unsent_max: (self.unsent_max as usize).max(1),
            reassembly_max: self.reassembly_max as usize,
            notify_max: NonZeroU64::new(u64::from(self.notify_max)),
            hello_timeout: Duration::from_nanos(self.hello_timeout),
            idle_timeout: (self.idle_timeout > 0).then(|| Duration::from_nanos(self.idle_timeout)),
            ack_timeout: Duration::from_nanos(self.ack_timeout),
            refuse_delay: Duration::from_nanos(self.refuse_delay),
            refuse_healthchecks: self.refuse_healthchecks > 0,
            linger: Duration::from_nanos(self.linger),
            send_timeout: Duration::from_nanos(self.send_timeout),
        }
    }

    /// Returns the largest number of bytes that all connections hold.
    pub(crate) fn total_bytes_max(&self) -> usize {
        (self.total_bytes_max as usize).max(1)
    }

    /// True if the limit of NOTIFYs in flight on all connections is set below its default.
    pub(crate) fn limits_total(&self) -> bool {
        self.total_in_flight_max < Self::default().total_in_flight_max
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_frame_size: self.max_frame_size.clamp(256, 1 << 24),
            pipelining: self.pipelining,
            fragmentation: self.fragmentation,
            asynchronous: self.asynchronous,
            in_flight_max: (self.in_flight_max as usize).clamp(1, 65_535),
            deferred_max: (self.deferred_max as usize).max(1),
            unsent_max: (self.unsent_max as usize).max(1),
            reassembly_max: self.reassembly_max as usize,
            notify_max: u64::from(self.notify_max),
            hello_timeout: self.hello_timeout,
            idle_timeout: self.idle_timeout,
            ack_timeout: self.ack_timeout,
            refuse_delay: self.refuse_delay,
            refuse_healthchecks: self.refuse_healthchecks > 0,
            linger: self.linger,
            send_timeout: self.send_timeout,
        }
    }
}
