//! A ring of capture files: when one is full the next one is started, and the oldest is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spoa_capture::Writer;

/// The number of files.
const FILES: u64 = 8;
const PREFIX: &str = "spoa-";
const SUFFIX: &str = ".pcapng";

/// The files, and the one that is being written. Files of earlier runs belong to the ring too.
pub(super) struct Ring {
    folder: PathBuf,
    file_max: u64,
    /// The number of the last file.
    number: u64,
    /// `None` after an error.
    writer: Option<Writer<BufWriter<File>>>,
}

impl Ring {
    /// Starts a file in a folder, which is created if it is missing. All files together have at most `size` bytes and one packet
    /// each.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(super) fn open(folder: &Path, size: u64) -> io::Result<Self> {
        // What clients send is nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut ring = Self { folder: folder.to_owned(), file_max: size / FILES, number: 0, writer: None };
        ring.number = ring.numbers()?.into_iter().max().unwrap_or(0);
        ring.start()?;
        Ok(ring)
    }

    /// Writes a packet. After an error, a later packet starts another file.
    ///
    /// # Errors
    /// The packet cannot be written.
    pub(super) fn write(&mut self, at: Duration, packet: &[u8]) -> io::Result<()> {
        let is_full = self.writer.as_ref().is_some_and(|writer| writer.written() >= self.file_max);
        if is_full {
            self.flush()?;
            self.writer = None;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.start()?,
        };
        let written = writer.write(at, packet);
        if written.is_err() {
            self.writer = None;
        }
        written
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let flushed = self.writer.as_mut().map_or(Ok(()), Writer::flush);
        if flushed.is_err() {
            self.writer = None;
        }
        flushed
    }

    /// Removes the oldest files, and starts another one.
    fn start(&mut self) -> io::Result<&mut Writer<BufWriter<File>>> {
        let mut numbers = self.numbers()?;
        numbers.sort_unstable();
        let old = numbers.len().saturating_sub(FILES as usize - 1);
        numbers.iter().take(old).try_for_each(|number| fs::remove_file(self.path(*number)))?;
        self.number += 1;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(self.number))?;
        Ok(self.writer.insert(Writer::new(BufWriter::new(file))?))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{number:06}{SUFFIX}"))
    }

    /// Returns the numbers of the files, in any order.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number: Option<u64> =
                name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
            numbers.extend(number);
        }
        Ok(numbers)
    }
}
