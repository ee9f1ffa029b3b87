//! The place where the log of verdicts is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::str::FromStr;

use rustix::fs::OFlags;

/// The largest number of bytes that are written to a pipe at once, all or none of them (`PIPE_BUF`).
const PIECE_MAX: usize = 4096;

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
    pub(super) fn has_no_reader(error: &io::Error) -> bool {
        error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
    }
}

impl Sink {
    /// Writes whole lines, which all end with a line feed. Returns the number of lines that were written, and the error that
    /// prevented the others.
    pub(super) fn write(&mut self, lines: &[u8]) -> (u64, Option<io::Error>) {
        let (mut written, mut fault) = (0, None);
        for piece in pieces(lines) {
            // Pieces after a fault are tried too: a FIFO may have room again.
            match self.write_piece(piece) {
                Ok(()) => written += count(piece),
                Err(error) => fault = Some(error),
            }
        }
        (written, fault)
    }

    fn write_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(piece),
            Self::File { file, is_torn } => {
                if *is_torn {
                    file.write_all(b"\n")?;
                    *is_torn = false;
                }
                match file.write(piece)? {
                    len if len == piece.len() => Ok(()),
                    len => {
                        *is_torn = len > 0 && piece[len - 1] != b'\n';
                        Err(io::ErrorKind::StorageFull.into())
                    }
                }
            }
        }
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
