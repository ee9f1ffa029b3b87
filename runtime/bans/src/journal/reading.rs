//! Reads a journal, whatever a crash or a fault of the disk made of it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use super::{FORMAT, SUM};
use crate::record::Record;

/// The longest line, in bytes, which bounds the memory that reading takes.
const LINE_MAX: usize = 8 << 10;

/// The findings of reading a journal.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// The number of lines that could not be read, other than the last one.
    pub(crate) damaged: u64,
    /// The number of the first of them, from 1.
    pub(crate) first_damaged: u64,
    /// The number of bytes of an incomplete last line, which were removed.
    pub(crate) torn_bytes: u64,
    /// True if an end was written during another start of the system.
    pub(crate) has_other_boot: bool,
    /// The reason why nothing can be written, for example because the disk is full. The next lines are written if that is over.
    pub(crate) write_error: Option<io::Error>,
}

/// Returns the content of a line if its checksum is right.
fn content(line: &[u8]) -> Option<&str> {
    let (sum, content) = line.split_at_checked(SUM)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(content)).then(|| std::str::from_utf8(content).ok())?
}

/// The state of reading a journal.
pub(super) struct Reading<'b, F> {
    /// True if the lines were written during the present start of the system.
    is_same_boot: bool,
    boot_id: &'b str,
    each: F,
    /// The number of lines with changes.
    pub(super) lines: u64,
    /// The number of lines that are not damaged.
    pub(super) good: u64,
    pub(super) replay: Replay,
}

impl<'b, F: FnMut(Record<'_>, Option<u64>)> Reading<'b, F> {
    /// Prepares to read; see [`Journal::open`](super::Journal::open).
    pub(super) fn new(boot_id: &'b str, each: F) -> Self {
        Self { is_same_boot: false, boot_id, each, lines: 0, good: 0, replay: Replay::default() }
    }

    /// Reads all lines. Returns the number of bytes up to the end of the last line that counts or is damaged.
    pub(super) fn read(&mut self, file: &File) -> io::Result<u64> {
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let (mut line, mut at, mut number) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            let len = reader.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line)? as u64;
            if len == 0 {
                return Ok(at);
            }
            number += 1;
            let is_complete = line.pop_if(|last| *last == b'\n').is_some();
            let is_good = self.line(&line);
            if !is_complete && (len as usize) < LINE_MAX {
                return Ok(if is_good { at + len } else { at });
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
        if let Some(boot_id) = content.strip_prefix(FORMAT) {
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
