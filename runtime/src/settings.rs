//! What all parts of an agent have to know.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use spoa_core::Config;

/// The limits of an agent; see the methods of [`Agent`](crate::Agent) of the same names.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) connection: Config,
    pub(crate) workers: NonZeroUsize,
    pub(crate) drain: Duration,
    pub(crate) grace: Duration,
    pub(crate) connections_max: usize,
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
            log_frames: false,
            silence_warning: Duration::ZERO,
            heartbeat: None,
            stopping: || {},
        }
    }
}
