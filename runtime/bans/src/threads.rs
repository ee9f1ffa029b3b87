//! The threads of a store: one removes bans at their end, one looks after the journal.

use std::sync::PoisonError;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use spoa_runtime::lower_priority;

use crate::compaction;
use crate::store::Shared;

/// The time after which written changes are on the disk, and in which the state of the journal is looked at.
const TICK: Duration = Duration::from_secs(1);

/// The time until a compaction that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Removes each ban at its end, until the store is closed. It does not wait until the disk has the journal, so that bans end in time.
pub(crate) fn end_bans(shared: &Shared) {
    lower_priority(false);
    let mut state = shared.lock();
    while !state.is_stopped {
        let now = shared.clock.now().boot;
        if state.expire(shared.index(), now) {
            // Changes may be waiting.
            drop(state);
            thread::yield_now();
            state = shared.lock();
            continue;
        }
        // The clock goes on while the system sleeps, but the wait does not.
        let wait = state.bans.next_end().map_or(TICK, |end| Duration::from_millis(end.saturating_sub(now)).min(TICK));
        state = shared.earlier_end.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Syncs the journal every second, and rewrites it when that is necessary, until the store is closed.
pub(crate) fn keep_journal(shared: &Shared) {
    lower_priority(false);
    thread::scope(|scope| {
        let (mut next_rewrite, mut rewriting) = (Instant::now(), None);
        while !wait_for_tick(shared) {
            sync(shared);
            let is_rewriting =
                rewriting.as_ref().is_some_and(|thread: &ScopedJoinHandle<'_, ()>| !thread.is_finished());
            if is_rewriting || Instant::now() < next_rewrite {
                continue;
            }
            let Some(reason) = shared.lock().rewrite_reason() else { continue };
            next_rewrite = Instant::now() + RETRY;
            let rewrite = || {
                lower_priority(false);
                compaction::run(shared, reason);
            };
            // On a thread of its own, because changes have to be on the disk within a second meanwhile.
            match thread::Builder::new().name("spoa-bans-write".into()).spawn_scoped(scope, rewrite) {
                Ok(thread) => rewriting = Some(thread),
                Err(error) => tracing::error!("cannot start a thread that rewrites the journal of bans: {error}"),
            }
        }
    });
    let reason = shared.lock().rewrite_reason();
    if let Some(reason) = reason {
        compaction::run(shared, reason);
    }
    sync(shared);
}

/// Waits for the next tick. Returns true if the store is closed.
fn wait_for_tick(shared: &Shared) -> bool {
    let state = shared.lock();
    let waited = shared.closed.wait_timeout_while(state, TICK, |state| !state.is_stopped);
    waited.unwrap_or_else(PoisonError::into_inner).0.is_stopped
}

/// Syncs written changes to the disk, while others go on.
fn sync(shared: &Shared) {
    let Some(file) = shared.lock().saving.take_dirty() else { return };
    if let Err(error) = file.sync_data() {
        shared.lock().saving.sync_failed(&error);
    }
}
