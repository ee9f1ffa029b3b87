//! Replaces the journal by one that has the bans in effect and the latest removals, and nothing else.
//!
//! Changes go on meanwhile: bans are copied some at a time, and what changes in the meantime is appended at the end. The new file
//! takes the place of the old one at once, so a crash at any time leaves one that is complete.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::ban::Key;
use crate::journal::{self, Journal};
use crate::store::Shared;

/// The number of bans that are copied at a time, so that changes do not wait for long.
const BATCH: usize = 1000;

/// Replaces the journal for a reason. An error is logged, and the old file stays in use.
pub(crate) fn run(shared: &Shared, reason: &str) {
    let path = shared.lock().saving.begin();
    let shown = path.display();
    match replace(shared, &path) {
        Ok(len) => tracing::debug!("rewrote {shown}, because {reason}: {len} bytes"),
        Err(error) => {
            shared.lock().saving.abandon();
            // It would keep a full disk full.
            let _ = fs::remove_file(journal::successor_path(&path));
            tracing::error!("cannot rewrite {shown}, which is necessary because {reason}: {error}");
        }
    }
}

/// Returns the size of the new file.
fn replace(shared: &Shared, path: &Path) -> io::Result<u64> {
    let mut successor = Journal::successor(path, &shared.boot_id)?;
    let (mut last, mut lines) = (None, Vec::new());
    loop {
        lines.clear();
        let count = copy(shared, &mut last, &mut lines);
        if count == 0 {
            break;
        }
        successor.append(count, &lines)?;
    }
    let removals = shared.lock().latest_removals(shared.index());
    lines.clear();
    removals.iter().for_each(|json| journal::push(&mut lines, json, None));
    successor.append(removals.len() as u64, &lines)?;
    // Outside of the lock, so that changes do not wait for the disk.
    successor.file().sync_data()?;
    let len = {
        let mut state = shared.lock();
        state.saving.finish(successor)?;
        state.saving.len()
    };
    sync_folder(path);
    Ok(len)
}

/// Makes the new name of a file survive a crash of the system.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::error!("cannot sync the folder {}: {error}", folder.display());
    }
}

/// Appends lines with the bans after `last`. Returns their number.
fn copy(shared: &Shared, last: &mut Option<Key>, lines: &mut Vec<u8>) -> u64 {
    let state = shared.lock();
    let mut count = 0;
    for (key, ban) in state.bans.after(*last).take(BATCH) {
        let list = shared.index().list_name(key.list);
        let record = ban.record(key.prefix, &list, state.origins.name(key.origin));
        journal::push(lines, &record.json(), ban.end.map(|end| end.boot));
        *last = Some(key);
        count += 1;
    }
    count
}
