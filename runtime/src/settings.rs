//! What all parts of an agent have to know.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use spoa_core::Config;

use crate::error::Error;

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
    pub(crate) silence_warning: Duration,
    pub(crate) heartbeat: Option<(Duration, fn())>,
    pub(crate) stopping: fn(),
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
            silence_warning: Duration::ZERO,
            heartbeat: None,
            stopping: || {},
        }
    }
}

/// The default of [`Settings::total_in_flight_max`] for each worker: 256 connections with all that one may have.
const IN_FLIGHT_MAX: usize = 16_384;
/// The default of [`Settings::total_bytes_max`] for each worker: some twenty connections with all that one may hold, of which
/// a usual one holds a thousandth.
const BYTES_MAX: usize = 64 << 20;

impl Settings {
    /// How many NOTIFYs may be in flight, on all connections of all workers.
    pub(crate) fn total_in_flight_max(&self) -> usize {
        self.total_in_flight_max.unwrap_or(self.workers.get().saturating_mul(IN_FLIGHT_MAX))
    }

    /// How many bytes all connections of all workers may hold.
    pub(crate) fn total_bytes_max(&self) -> usize {
        // Whatever one may have: limits of a connection that are large are meant to be used.
        let each = BYTES_MAX.max(self.connection_bytes_max().saturating_mul(2));
        self.total_bytes_max.unwrap_or(self.workers.get().saturating_mul(each))
    }

    /// Says which limit is out of range, if any.
    ///
    /// # Errors
    /// The first such limit.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.connection.validate()?;
        let least = self.connection_bytes_max().saturating_mul(self.workers.get());
        let (given, workers) = (self.total_bytes_max(), self.workers);
        if given < least {
            return Err(Error::TotalBytesMax { given, least, workers });
        }
        if self.total_in_flight_max() == 0 {
            return Err(Error::TotalInFlightMax);
        }
        Ok(())
    }

    /// The most that one connection may hold: its buffers, and a copy of each NOTIFY in flight.
    pub(crate) const fn connection_bytes_max(&self) -> usize {
        let Config { deferred_max, reassembly_max, max_frame_size, .. } = self.connection;
        let largest = if reassembly_max > max_frame_size as usize { reassembly_max } else { max_frame_size as usize };
        self.connection.memory_max().saturating_add(deferred_max).saturating_add(largest)
    }
}
