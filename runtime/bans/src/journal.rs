//! The file that keeps bans across restarts: changes are appended, and nothing else is ever written to it.
//!
//! ```text
//! 5f3a9c01 bans 1 0c1e7f7e-3d0f-4a52-a5b4-4b6b4c0a7f1e
//! 9be0617c 81234567 {"action":"ban","address":"192.0.2.7","list":"bans","until":"2026-11-28T08:00:00.000Z"}
//! 07d3a1f5 - {"action":"remove","address":"192.0.2.7","list":"bans","changed":"2026-11-28T07:00:00.000Z","origin":"alice"}
//! ```
//!
//! Each line begins with the CRC-32 of what follows the blank. A line `bans 1` has the version of the format, and the start of the
//! system during which the following lines were written. The other lines have the end of a ban in milliseconds since that start.
//!
//! A line that was cut off by a crash is the last one, and is removed when the file is opened. A damaged line elsewhere is skipped
//! and counted; all others count.

mod reading;

use std::fmt::Arguments;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use crate::record::Record;
use reading::Reading;

pub(crate) use reading::Replay;

/// The beginning of the content of a [`header`]: the version of the format.
const FORMAT: &str = "bans 1 ";

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
    /// The bytes that have to be written before the next line: the [`header`], and a line break after an incomplete line.
    before_next: Vec<u8>,
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
        // Left over by a crash.
        let _ = fs::remove_file(successor_path(path));
        let mut reading = Reading::new(boot_id, each);
        let good_len = reading.read(&file).map_err(failed)?;
        let Reading { lines, good, mut replay, .. } = reading;
        let len = file.metadata().map_err(failed)?.len();
        if good == 0 && !is_cut_header(&file, len).map_err(failed)? {
            return Err(JournalError::NotBans(path.to_owned()));
        }
        replay.torn_bytes = len - good_len;
        file.set_len(good_len).map_err(failed)?;
        let mut last = [b'\n'];
        if good_len > 0 {
            file.read_exact_at(&mut last, good_len - 1).map_err(failed)?;
        }
        let mut before_next = if last == *b"\n" { Vec::new() } else { vec![b'\n'] };
        before_next.extend(header(boot_id));
        let mut journal = Self { path: path.to_owned(), file: Arc::new(file), len: good_len, lines, before_next };
        replay.write_error = journal.append(0, &[]).err();
        Ok((journal, replay))
    }

    /// Appends lines with this number of changes. If they cannot be written completely, none of them counts,
    /// unless those that were written cannot be removed again.
    pub(crate) fn append(&mut self, changes: u64, lines: &[u8]) -> io::Result<()> {
        let bytes = [&self.before_next, lines].concat();
        if let Err(error) = (&*self.file).write_all(&bytes) {
            self.remove_torn();
            return Err(error);
        }
        self.before_next.clear();
        self.len += bytes.len() as u64;
        self.lines += changes;
        Ok(())
    }

    /// Removes an incomplete line; if that is impossible, the next one begins after a line break.
    fn remove_torn(&mut self) {
        if self.file.set_len(self.len).is_err() {
            self.len = self.file.metadata().map_or(self.len, |metadata| metadata.len());
            if self.before_next.first() != Some(&b'\n') {
                self.before_next.insert(0, b'\n');
            }
        }
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
        let path = successor_path(path);
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.set_len(0)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut journal = Self { path, file: Arc::new(file), len: 0, lines: 0, before_next: header(boot_id) };
        journal.append(0, &[])?;
        Ok(journal)
    }

    /// Replaces the file by that of its successor, which must be complete, and on the disk. Keeps the old one as `.damaged` if asked to.
    ///
    /// # Errors
    /// The old file stays in use.
    pub(crate) fn replace_by(&mut self, successor: Self, keeps_old: bool) -> io::Result<()> {
        if keeps_old && let Err(error) = keep(&self.path) {
            tracing::error!("cannot keep the damaged file {}: {error}", self.path.display());
        }
        fs::rename(&successor.path, &self.path)?;
        *self = Self { path: std::mem::take(&mut self.path), ..successor };
        Ok(())
    }
}

/// Keeps a damaged journal, in place of one from an earlier time.
fn keep(path: &Path) -> io::Result<()> {
    let kept = with_suffix(path, ".damaged");
    match fs::remove_file(&kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::hard_link(path, kept),
    }
}

/// Returns the path of the file that is to replace the journal at `path`.
pub(crate) fn successor_path(path: &Path) -> PathBuf {
    with_suffix(path, ".new")
}

/// True if a file without a good line is empty, or has nothing but the beginning of a [`header`]: the agent crashed while it
/// created the file.
fn is_cut_header(file: &File, len: u64) -> io::Result<bool> {
    const HEADER_MAX: usize = 100;
    let mut bytes = vec![0; HEADER_MAX.min(len as usize)];
    file.read_exact_at(&mut bytes, 0)?;
    let (sum, content) = bytes.split_at(bytes.len().min(SUM - 1));
    let start = format!(" {FORMAT}");
    let has_start = content.iter().zip(start.as_bytes()).all(|(byte, wanted)| byte == wanted);
    Ok(len < HEADER_MAX as u64 && sum.iter().all(u8::is_ascii_hexdigit) && has_start && !content.contains(&b'\n'))
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
    push_line(&mut line, format_args!("{FORMAT}{boot_id}"));
    line
}

/// Appends the line of a change as JSON, and of the end of its ban in milliseconds since the start of the system.
pub(crate) fn push(lines: &mut Vec<u8>, json: &str, end: Option<u64>) {
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
