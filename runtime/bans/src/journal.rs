//! The file that keeps bans across restarts: changes are appended, and nothing else is ever written to it.
//!
//! ```text
//! 5f3a9c01 bans 1 0c1e7f7e-3d0f-4a52-a5b4-4b6b4c0a7f1e
//! 9be0617c 81234567 {"action":"ban","address":"192.0.2.7","list":"bans","until":"2026-11-28T08:00:00.000Z"}
//! 07d3a1f5 - {"action":"remove","address":"192.0.2.7","list":"bans"}
//! ```
//!
//! Each line begins with the CRC-32 of what follows the blank. A line `bans 1` has the version of the format, and the start of the
//! system during which the following lines were written. The other lines have the end of a ban in milliseconds since that start.
//!
//! A line that was cut off by a crash is the last one, and is removed when the file is opened. A damaged line elsewhere is skipped
//! and counted; all others count.

use std::fmt::Arguments;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use crate::record::Record;

/// The longest line, in bytes, which bounds the memory that reading takes.
pub(crate) const LINE_MAX: usize = 8 << 10;

/// The number of bytes of the checksum and the blank.
const SUM: usize = 9;

/// The reason why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be opened, read or written to.
    #[error("cannot use the bans in {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// Another process uses it.
    #[error("the bans in {0} are used by another agent; each needs a file of its own")]
    InUse(PathBuf),
    /// It is another kind of file.
    #[error("{0} has something else than bans in it: name another file, or remove this one")]
    NotBans(PathBuf),
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Arc<File>,
    /// The size in bytes.
    len: u64,
    /// The number of lines with changes.
    lines: u64,
    /// True if the last line may be incomplete, because it could be neither written nor removed.
    is_torn: bool,
}

/// The findings of reading a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    /// The number of lines that could not be read, other than the last one.
    pub(crate) damaged: u64,
    /// The number of the first of them, from 1.
    pub(crate) first_damaged: u64,
    /// The number of bytes of an incomplete last line, which were removed.
    pub(crate) torn_bytes: u64,
    /// True if an end was written during another start of the system.
    pub(crate) has_other_boot: bool,
}

impl Journal {
    /// Opens a journal or creates it, and calls `each` with each change in it. With the change comes the end of its ban in
    /// milliseconds since the start of the system, if that is the start with this `boot_id`.
    ///
    /// # Errors
    /// It cannot be used.
    pub(crate) fn open(
        path: &Path,
        boot_id: &str,
        each: impl FnMut(Record<'_>, Option<u64>),
    ) -> Result<(Self, Replay), JournalError> {
        let failed = |error| JournalError::Io { path: path.to_owned(), error };
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is not a regular file")));
        }
        // Another agent may have replaced the file since it was opened.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || !is_at(&file, path) {
            return Err(JournalError::InUse(path.to_owned()));
        }
        let mut reading = Reading { is_same_boot: false, boot_id, each, lines: 0, good: 0, replay: Replay::default() };
        let (good_len, is_complete) = reading.read(&file).map_err(failed)?;
        let Reading { lines, good, mut replay, .. } = reading;
        let len = file.metadata().map_err(failed)?.len();
        // A first line that was cut off is no other kind of file.
        if good == 0 && (replay.damaged > 0 || len > 100) {
            return Err(JournalError::NotBans(path.to_owned()));
        }
        replay.torn_bytes = len - good_len;
        file.set_len(good_len).map_err(failed)?;
        let mut journal =
            Self { path: path.to_owned(), file: Arc::new(file), len: good_len, lines, is_torn: !is_complete };
        journal.append(0, &header(boot_id)).map_err(failed)?;
        Ok((journal, replay))
    }

    /// Appends lines with this number of changes. If they cannot be written completely, none of them counts.
    pub(crate) fn append(&mut self, changes: u64, lines: &[u8]) -> io::Result<()> {
        if self.is_torn {
            (&*self.file).write_all(b"\n")?;
            (self.is_torn, self.len) = (false, self.len + 1);
        }
        if let Err(error) = (&*self.file).write_all(lines) {
            self.is_torn = self.file.set_len(self.len).is_err();
            return Err(error);
        }
        self.len += lines.len() as u64;
        self.lines += changes;
        Ok(())
    }

    /// True if the file still has its path: it may have been removed.
    pub(crate) fn is_in_place(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file, to sync it without holding up changes.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Returns the size in bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Returns the number of lines with changes.
    pub(crate) const fn lines(&self) -> u64 {
        self.lines
    }

    /// Creates a file that is to [replace](Self::replace_by) the journal at `path`.
    pub(crate) fn successor(path: &Path, boot_id: &str) -> io::Result<Self> {
        let path = with_suffix(path, ".new");
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.set_len(0)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut journal = Self { path, file: Arc::new(file), len: 0, lines: 0, is_torn: false };
        journal.append(0, &header(boot_id))?;
        Ok(journal)
    }

    /// Replaces the file by that of its successor, which must be complete. Keeps the old one as `.damaged` if asked to.
    pub(crate) fn replace_by(&mut self, successor: Self, keeps_old: bool) -> io::Result<()> {
        successor.file.sync_data()?;
        if keeps_old {
            let kept = with_suffix(&self.path, ".damaged");
            // Of an earlier time; if there is none, that is right.
            let _ = fs::remove_file(&kept);
            fs::hard_link(&self.path, kept)?;
        }
        fs::rename(&successor.path, &self.path)?;
        *self = Self { path: std::mem::take(&mut self.path), ..successor };
        // So that the new name survives a crash of the system.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

/// True if `file` is the file at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().map(id).ok() == path.metadata().map(id).ok()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns the first line of what is written during this start of the system.
fn header(boot_id: &str) -> Vec<u8> {
    let mut line = Vec::new();
    push_line(&mut line, format_args!("bans 1 {boot_id}"));
    line
}

/// Appends the line of a change, and of the end of its ban in milliseconds since the start of the system.
pub(crate) fn push(lines: &mut Vec<u8>, record: &Record<'_>, end: Option<u64>) {
    let json = serde_json::to_string(record).expect("a record has no maps, whose keys could be no strings");
    match end {
        Some(end) => push_line(lines, format_args!("{end} {json}")),
        None => push_line(lines, format_args!("- {json}")),
    }
}

fn push_line(lines: &mut Vec<u8>, content: Arguments<'_>) {
    let start = lines.len();
    lines.extend([b' '; SUM]);
    // Writing to a vector does not fail.
    let _ = lines.write_fmt(content);
    let sum = format!("{:08x}", crc32fast::hash(&lines[start + SUM..]));
    lines[start..start + sum.len()].copy_from_slice(sum.as_bytes());
    lines.push(b'\n');
}

/// Returns the content of a line if its checksum is right.
fn content(line: &[u8]) -> Option<&str> {
    let (sum, content) = line.split_at_checked(SUM)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(content)).then(|| std::str::from_utf8(content).ok())?
}

/// The state of reading a journal.
struct Reading<'b, F> {
    /// True if the lines were written during the present start of the system.
    is_same_boot: bool,
    boot_id: &'b str,
    each: F,
    lines: u64,
    /// The number of lines that are not damaged.
    good: u64,
    replay: Replay,
}

impl<F: FnMut(Record<'_>, Option<u64>)> Reading<'_, F> {
    /// Reads all lines. Returns the number of bytes up to the end of the last good line, and whether it has a line break.
    fn read(&mut self, file: &File) -> io::Result<(u64, bool)> {
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let (mut line, mut at, mut number) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            let len = reader.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line)? as u64;
            if len == 0 {
                return Ok((at, true));
            }
            number += 1;
            let is_complete = line.pop_if(|last| *last == b'\n').is_some();
            let is_good = self.line(&line);
            if !is_complete && (len as usize) < LINE_MAX {
                return Ok(if is_good { (at + len, false) } else { (at, true) });
            }
            at += len;
            if !is_complete {
                at += reader.skip_until(b'\n')? as u64;
            }
            if !is_good && !line.is_empty() {
                self.replay.damaged += 1;
                if self.replay.first_damaged == 0 {
                    self.replay.first_damaged = number;
                }
            }
        }
    }

    /// Reads a line. Returns false if it is damaged.
    fn line(&mut self, line: &[u8]) -> bool {
        let is_good = content(line).and_then(|content| self.content(content)).is_some();
        self.good += u64::from(is_good);
        is_good
    }

    fn content(&mut self, content: &str) -> Option<()> {
        if let Some(boot_id) = content.strip_prefix("bans 1 ") {
            self.is_same_boot = boot_id == self.boot_id && !boot_id.is_empty();
            return Some(());
        }
        let (end, json) = content.split_once(' ')?;
        let end = if end == "-" { None } else { Some(end.parse().ok()?) };
        let record = serde_json::from_str(json).ok()?;
        self.lines += 1;
        self.replay.has_other_boot |= end.is_some() && !self.is_same_boot;
        (self.each)(record, end.filter(|_| self.is_same_boot));
        Some(())
    }
}
