//! Heartbeats, which show that every thread that the agent depends on still responds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The heartbeat of one thread. Clones share it.
///
/// The thread calls [`beat`](Self::beat) at least once a second while it works as it should; after [`SILENCE_MAX`] without
/// a call it counts as hung. See [`Agent::depends_on`](crate::Agent::depends_on).
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    thread: String,
    zero: Instant,
    /// The time of the last beat, in milliseconds since `zero`.
    last: AtomicU64,
}

/// The longest time between two beats, after which a thread counts as hung.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);

impl Heartbeat {
    /// Returns the heartbeat of a thread that has just beaten. `thread` is its name in logs.
    pub fn new(thread: impl Into<String>) -> Self {
        Self(Arc::new(Inner { thread: thread.into(), zero: Instant::now(), last: AtomicU64::new(0) }))
    }

    /// Records that the thread responds.
    pub fn beat(&self) {
        self.0.last.store(self.0.zero.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns the time since the last beat.
    fn silence(&self) -> Duration {
        self.0.zero.elapsed().saturating_sub(Duration::from_millis(self.0.last.load(Ordering::Relaxed)))
    }

    /// Returns the name of the thread.
    pub(crate) fn thread(&self) -> &str {
        &self.0.thread
    }

    /// True if the thread has been silent for longer than it may be.
    pub(crate) fn is_hung(&self) -> bool {
        self.silence() > SILENCE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_thread_is_hung_until_it_beats() {
        let zero = Instant::now().checked_sub(SILENCE_MAX + Duration::from_millis(1)).unwrap();
        let heartbeat = Heartbeat(Arc::new(Inner { thread: "t".into(), zero, last: AtomicU64::new(0) }));
        assert!(heartbeat.is_hung());
        heartbeat.beat();
        assert!(!heartbeat.is_hung() && !Heartbeat::new("t").is_hung());
    }
}
