//! The thread that removes bans at their end, and looks after the journal.

use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use spoa_runtime::lower_priority;

use crate::compaction;
use crate::store::{Shared, State, removal};

/// The number of bans that are removed at a time, so that changes do not wait for long.
const BATCH: u64 = 1000;

/// The time after which written changes are on the disk, and in which the state of the journal is looked at.
const TICK: Duration = Duration::from_secs(1);

/// The time until a compaction that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The number of lines that a journal may have more than twice that of bans.
const LINES_SPARE: u64 = 10_000;

/// Runs until the store is dropped.
pub(crate) fn run(shared: &Shared) {
    lower_priority(false);
    let (mut next_tick, mut next_compaction) = (Instant::now(), Instant::now());
    loop {
        let mut state = shared.lock();
        while state.expire(shared) {
            drop(state);
            thread::yield_now();
            state = shared.lock();
        }
        let is_stopped = state.is_stopped;
        let now = Instant::now();
        if is_stopped || now >= next_tick {
            next_tick = now + TICK;
            let needs_compaction = state.needs_compaction();
            drop(state);
            if needs_compaction && (is_stopped || now >= next_compaction) {
                next_compaction = now + RETRY;
                compaction::run(shared);
            }
            sync(shared);
            if is_stopped {
                return;
            }
            continue;
        }
        let until_end = state
            .bans
            .next_end()
            .map_or(TICK, |end| Duration::from_millis(end.saturating_sub(shared.clock.now().boot)));
        let wait = until_end.min(next_tick - now);
        drop(shared.woken.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner));
    }
}

/// Brings written changes to the disk, while others go on.
fn sync(shared: &Shared) {
    let mut state = shared.lock();
    if !std::mem::take(&mut state.is_dirty) {
        return;
    }
    let file = state.journal.file();
    drop(state);
    if let Err(error) = file.sync_data() {
        let mut state = shared.lock();
        state.is_dirty = true;
        tracing::error!("cannot bring {} to the disk: {error}", state.journal.path().display());
    }
}

impl State {
    /// Removes some of the bans that have ended. Returns true if there may be more.
    fn expire(&mut self, shared: &Shared) -> bool {
        let (now, mut lines, mut count) = (shared.clock.now().boot, Vec::new(), 0);
        while count < BATCH
            && let Some((key, ban)) = self.bans.pop_ended(now)
        {
            removal(shared, key, &mut lines);
            self.counts.expired(key, &ban);
            count += 1;
        }
        // An error is logged, and a compaction writes everything.
        let _ = self.save(count, &lines);
        count == BATCH
    }

    /// True if the journal needs a compaction: it is longer than necessary, or does not have everything.
    fn needs_compaction(&self) -> bool {
        let is_long = self.journal.lines() > 2 * self.bans.len() as u64 + LINES_SPARE;
        is_long || self.unsaved > 0 || self.is_damaged || self.is_outdated || !self.journal.is_in_place()
    }
}
