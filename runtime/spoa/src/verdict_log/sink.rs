//! The place where the log of verdicts is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;
use std::str::FromStr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// The largest number of bytes that are written to a pipe at once, all or none of them (`PIPE_BUF`).
const PIECE_MAX: usize = 4096;

/// The longest time to wait for room in a full FIFO. More lines are queued meanwhile.
const ROOM_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// The file of the log, or standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `-`
    Stderr,
    /// A regular file or a FIFO.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "" => Err("expected a file, or - for standard error"),
            "-" => Ok(Self::Stderr),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// An open log.
pub(super) enum Sink {
    Stderr,
    File {
        file: File,
        /// The last write ended inside a line, because the disk is full.
        is_torn: bool,
    },
}

impl Target {
    /// Opens the log. A file is created if there is none, and appended to.
    ///
    /// # Errors
    /// It cannot be opened. A FIFO without a reader is one of these errors, so that opening it never waits.
    pub(super) fn open(&self) -> io::Result<Sink> {
        let Self::File(path) = self else { return Ok(Sink::Stderr) };
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file =
            OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags.bits() as i32).open(path)?;
        Ok(Sink::File { file, is_torn: false })
    }

    /// True for the error of a FIFO that nobody has opened to read.
    pub(super) fn has_no_reader(&self, error: &io::Error) -> bool {
        let Self::File(path) = self else { return false };
        let is_fifo = || path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) && is_fifo()
    }
}

impl Sink {
    /// Writes whole lines, which all end with a line feed. Returns the number of lines that were written, and the error that
    /// prevented others. It waits for room in a full FIFO for at most [`ROOM_WAIT`].
    pub(super) fn write(&mut self, lines: &[u8]) -> (u64, Option<io::Error>) {
        let (mut written, mut fault) = (0, None);
        for piece in pieces(lines) {
            match self.write_piece(piece) {
                Ok(len) if len == piece.len() => written += count(piece),
                Ok(len) => {
                    written += count(&piece[..len]);
                    fault = Some(io::ErrorKind::StorageFull.into());
                }
                // The other pieces would wait as long.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (written, Some(error)),
                Err(error) => fault = Some(error),
            }
        }
        (written, fault)
    }

    /// Writes a piece, and returns the number of bytes that were written.
    fn write_piece(&mut self, piece: &[u8]) -> io::Result<usize> {
        let Self::File { file, is_torn } = self else {
            io::stderr().write_all(piece)?;
            return Ok(piece.len());
        };
        if *is_torn {
            file.write_all(b"\n")?;
            *is_torn = false;
        }
        let len = match file.write(piece) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut room = [PollFd::new(file, PollFlags::OUT)];
                poll(&mut room, Some(&ROOM_WAIT))?;
                file.write(piece)?
            }
            written => written?,
        };
        *is_torn = len > 0 && len < piece.len() && piece[len - 1] != b'\n';
        Ok(len)
    }
}

/// Divides lines into pieces of whole lines, each of which has one line or at most [`PIECE_MAX`] bytes.
fn pieces(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let ends = |byte: &u8| *byte == b'\n';
        let end = lines[..lines.len().min(PIECE_MAX)].iter().rposition(ends).or_else(|| lines.iter().position(ends))?;
        let (piece, rest) = lines.split_at(end + 1);
        lines = rest;
        Some(piece)
    })
}

/// Returns the number of lines.
pub(super) fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines() {
        let line = |len: usize| [vec![b'x'; len - 1], b"\n".to_vec()].concat();
        let lines = [line(4000), line(96), line(1), line(5000), line(4096)].concat();
        assert_eq!(pieces(&lines).map(<[u8]>::len).collect::<Vec<_>>(), [4096, 1, 5000, 4096]);
        assert_eq!((pieces(b"").count(), count(&lines)), (0, 5));
    }
}
