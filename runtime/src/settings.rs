//! The settings that all parts of an agent share.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use spoa_core::Config;
use spoa_core::endpoint::Limits;
use spoa_core::wire::Capabilities;

use crate::background::Background;
use crate::error::Error;
use crate::recorder::Recorder;

/// The limits of an agent; see the methods of [`Agent`](crate::Agent) of the same names.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) connection: Config,
    pub(crate) workers: NonZeroUsize,
    pub(crate) drain: Duration,
    pub(crate) grace: Duration,
    pub(crate) connections_max: usize,
    pub(crate) total_in_flight_max: Option<usize>,
    pub(crate) total_bytes_max: Option<usize>,
    pub(crate) log_frames: bool,
    pub(crate) recorder: Option<Arc<dyn Recorder>>,
    pub(crate) silence_warning: Duration,
    pub(crate) heartbeat: Option<(Duration, Callback)>,
    pub(crate) stopping: Option<Callback>,
    pub(crate) background: Vec<Background>,
}

/// A function of the application. Clones share it.
#[derive(Clone)]
pub(crate) struct Callback(Arc<dyn Fn() + Send + Sync>);

impl Callback {
    pub(crate) fn new(call: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    pub(crate) fn call(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connection: Config::default(),
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            drain: Duration::ZERO,
            grace: Duration::from_secs(5),
            connections_max: 65_536,
            total_in_flight_max: None,
            total_bytes_max: None,
            log_frames: false,
            recorder: None,
            silence_warning: Duration::ZERO,
            heartbeat: None,
            stopping: None,
            background: Vec::new(),
        }
    }
}

/// The default of [`Settings::total_in_flight_max`] per worker: 256 connections, each at its own limit.
const IN_FLIGHT_MAX: usize = 16_384;
/// The default of [`Settings::total_bytes_max`] per worker: a dozen connections with as many bytes as each may hold. A usual
/// connection holds a thousandth of that.
const BYTES_MAX: usize = 64 << 20;

impl Settings {
    /// Returns the limit of NOTIFYs in flight on all connections of a worker: its share of the total, or the default.
    pub(crate) fn worker_in_flight_max(&self) -> usize {
        self.total_in_flight_max.map_or(IN_FLIGHT_MAX, |total| share(total, self.workers))
    }

    /// Returns the limit of bytes that all connections of a worker hold: its share of the total, or the default, which is at
    /// least what two connections may hold.
    pub(crate) fn worker_bytes_max(&self) -> usize {
        let default = BYTES_MAX.max(self.connection_bytes_max().saturating_mul(2));
        self.total_bytes_max.map_or(default, |total| share(total, self.workers))
    }

    /// Returns the limits of all connections of a worker together.
    pub(crate) fn worker_limits(&self) -> Limits {
        Limits { in_flight_max: self.worker_in_flight_max(), bytes_max: self.worker_bytes_max() }
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// The first limit that is out of range.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.connection.validate()?;
        if self.connections_max == 0 {
            return Err(Error::ConnectionsMax);
        }
        if self.total_in_flight_max == Some(0) {
            return Err(Error::TotalInFlightMax);
        }
        let least = self.connection_bytes_max().saturating_mul(self.workers.get());
        match self.total_bytes_max {
            Some(given) if given < least => Err(Error::TotalBytesMax { given, least, workers: self.workers }),
            _ => Ok(()),
        }
    }

    /// Returns the bytes that one connection may hold: its buffers or, if that is more, twice the copies of its NOTIFYs in
    /// flight, because copies may take half of all bytes.
    pub(crate) const fn connection_bytes_max(&self) -> usize {
        let Config { deferred_max, reassembly_max, max_frame_size, capabilities, .. } = self.connection;
        let fragments = if capabilities.contains(Capabilities::FRAGMENTATION) { reassembly_max } else { 0 };
        let largest = if fragments > max_frame_size as usize { fragments } else { max_frame_size as usize };
        let copies = deferred_max.saturating_add(largest).saturating_mul(2);
        let memory = self.connection.memory_max();
        if memory > copies { memory } else { copies }
    }
}

/// Returns the share of each worker in `total`, at least 1.
fn share(total: usize, workers: NonZeroUsize) -> usize {
    (total / workers).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_a_share() {
        let share = |total, workers| share(total, NonZeroUsize::new(workers).unwrap());
        assert_eq!([share(100, 1), share(100, 3), share(1, 64), share(0, 1)], [100, 33, 1, 1]);
    }
}
