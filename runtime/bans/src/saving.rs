//! Keeps the journal up to date: what was written, what the disk may not have yet, and whether the file has to be rewritten.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::{Journal, Replay};

/// The number of lines that a journal may have more than twice those that are necessary.
const LINES_SPARE: u64 = 10_000;

/// The journal, and what it lacks.
#[derive(Debug)]
pub(crate) struct Saving {
    journal: Journal,
    /// The number of changes that are in effect, but not in the journal.
    unsaved: u64,
    /// True if something was written that the disk may not have.
    is_dirty: bool,
    /// The reason why the file has to be rewritten, if it has to.
    rewrite: Option<&'static str>,
    /// True if the file has damaged lines, and is kept when it is replaced.
    is_damaged: bool,
    /// The lines that were written since a rewriting began; `None` without one.
    since: Option<Vec<u8>>,
}

impl Saving {
    /// Takes an open journal. `has_ended` is true if it has bans that have ended.
    pub(crate) fn new(journal: Journal, replay: &Replay, has_ended: bool) -> Self {
        let reasons = [
            (replay.write_error.is_some(), "it could not be written to"),
            (replay.damaged > 0, "it has damaged lines"),
            // Their ends were taken from the clock of the day, which may be set before the next start of the agent.
            (replay.has_other_boot, "it has ends from another start of the system"),
            // They must not be in effect again if that clock is set back.
            (has_ended, "it has bans that have ended"),
        ];
        let rewrite = reasons.into_iter().find_map(|(applies, reason)| applies.then_some(reason));
        Self { journal, unsaved: 0, is_dirty: true, rewrite, is_damaged: replay.damaged > 0, since: None }
    }

    /// Writes lines with this number of changes.
    ///
    /// # Errors
    /// They cannot be written; a text for people says why. The file has to be rewritten.
    pub(crate) fn save(&mut self, changes: u64, lines: &[u8]) -> Result<(), String> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(since) = &mut self.since {
            since.extend_from_slice(lines);
        }
        self.is_dirty = true;
        self.journal.append(changes, lines).map_err(|error| {
            self.unsaved += changes;
            self.rewrite = Some("it lacks changes");
            let text = format!("cannot write to {}: {error}", self.path().display());
            tracing::error!("{text}; bans are in effect, but a restart undoes them");
            text
        })
    }

    /// Returns the reason why the file has to be rewritten, if it has to; a new one would have `entries` lines.
    pub(crate) fn rewrite_reason(&self, entries: usize) -> Option<&'static str> {
        let is_long = self.journal.lines() > 2 * entries as u64 + LINES_SPARE;
        let others = [(is_long, "it is long"), (!self.journal.is_in_place(), "it was removed or replaced")];
        self.rewrite.or_else(|| others.into_iter().find_map(|(applies, reason)| applies.then_some(reason)))
    }

    /// Begins a rewriting: lines that are written from now on are kept for [`finish`](Self::finish). Returns the path of the file.
    pub(crate) fn begin(&mut self) -> PathBuf {
        self.since = Some(Vec::new());
        self.path().to_owned()
    }

    /// Replaces the file by one that has all bans of the time when the rewriting [began](Self::begin).
    ///
    /// # Errors
    /// The old file stays in use.
    pub(crate) fn finish(&mut self, mut successor: Journal) -> io::Result<()> {
        let since = self.since.take().unwrap_or_default();
        successor.append(since.iter().filter(|byte| **byte == b'\n').count() as u64, &since)?;
        self.journal.replace_by(successor, self.is_damaged)?;
        // The last lines are on the disk a second later, as all others.
        (self.unsaved, self.is_dirty, self.rewrite, self.is_damaged) = (0, true, None, false);
        Ok(())
    }

    /// Ends a rewriting that failed.
    pub(crate) fn abandon(&mut self) {
        self.since = None;
    }

    /// Returns the file if it has something that the disk may not have.
    pub(crate) fn take_dirty(&mut self) -> Option<Arc<File>> {
        std::mem::take(&mut self.is_dirty).then(|| self.journal.file())
    }

    /// Notes that the disk did not take the file: the kernel does not keep what it could not write, so another try proves nothing.
    pub(crate) fn sync_failed(&mut self, error: &io::Error) {
        self.rewrite = Some("the disk did not take it");
        tracing::error!("cannot bring {} to the disk: {error}", self.path().display());
    }

    pub(crate) fn path(&self) -> &Path {
        self.journal.path()
    }

    /// Returns the size of the file in bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.journal.len()
    }

    /// Returns the number of changes that are in effect, but not in the journal.
    pub(crate) const fn unsaved(&self) -> u64 {
        self.unsaved
    }
}
