//! Replaces the journal by one that has the bans in effect and nothing else.
//!
//! Changes go on meanwhile: bans are copied some at a time, and what changes in the meantime is appended at the end. The new file
//! takes the place of the old one at once, so a crash at any time leaves one that is complete.

use std::io;

use crate::ban::{Ban, Key};
use crate::journal::{self, Journal};
use crate::store::Shared;

/// The number of bans that are copied at a time, so that changes do not wait for long.
const BATCH: usize = 1000;

/// Replaces the journal. An error is logged, and the old file stays in use.
pub(crate) fn run(shared: &Shared) {
    let result = replace(shared);
    let mut state = shared.lock();
    state.since_compaction = None;
    let path = state.journal.path().display();
    match result {
        Ok(()) => tracing::debug!("compacted {path} to {} bytes", state.journal.len()),
        Err(error) => tracing::error!("cannot compact {path}: {error}; the old file stays in use"),
    }
}

fn replace(shared: &Shared) -> io::Result<()> {
    let path = {
        let mut state = shared.lock();
        state.since_compaction = Some(Vec::new());
        state.journal.path().to_owned()
    };
    let mut successor = Journal::successor(&path, &shared.boot_id)?;
    let (mut last, mut lines) = (None, Vec::new());
    loop {
        lines.clear();
        let count = copy(shared, &mut last, &mut lines);
        if count == 0 {
            break;
        }
        successor.append(count, &lines)?;
    }
    // The disk has most of it before changes have to wait for the rest.
    successor.file().sync_data()?;
    let mut state = shared.lock();
    let since = state.since_compaction.take().unwrap_or_default();
    successor.append(since.iter().filter(|byte| **byte == b'\n').count() as u64, &since)?;
    let keeps_old = state.is_damaged;
    state.journal.replace_by(successor, keeps_old)?;
    (state.unsaved, state.is_damaged, state.is_outdated) = (0, false, false);
    Ok(())
}

/// Appends lines with the bans after `last`. Returns their number.
fn copy(shared: &Shared, last: &mut Option<Key>, lines: &mut Vec<u8>) -> u64 {
    let (state, index) = (shared.lock(), shared.index());
    let mut count = 0;
    for (key, ban) in state.bans.after(*last, None).take(BATCH) {
        let name = index.list_name(key.list);
        let end = |ban: &Ban| ban.end.map(|end| end.boot);
        journal::push(lines, &ban.record(key, &name), end(ban));
        *last = Some(key);
        count += 1;
    }
    count
}
