//! A ring of capture files: when one is full the next one is started, and the oldest is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind};
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
    /// The size of all files together.
    size: u64,
    /// The number of the last file.
    number: u64,
    /// `None` before the first packet, and after an error.
    current: Option<Writer<BufWriter<File>>>,
}

impl Ring {
    /// Opens a folder, which is created if it is missing. A file is started at the first packet, so that restarts of the agent alone
    /// remove nothing. All files together have at most `size` bytes, and one packet more each.
    ///
    /// # Errors
    /// No file can be created there.
    pub(super) fn open(folder: &Path, size: u64) -> io::Result<Self> {
        // Captures contain data of clients, so no other user may read them.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut ring = Self { folder: folder.to_owned(), size, number: 0, current: None };
        ring.number = ring.files()?.last().map_or(0, |file| file.number);
        // A file that cannot be created is an error of the start, not of the first packet.
        let path = ring.path(ring.number + 1);
        create(&path).and_then(|_| fs::remove_file(&path))?;
        Ok(ring)
    }

    /// Writes a packet. After an error, a later packet starts another file.
    ///
    /// # Errors
    /// The packet, or one before it, cannot be written.
    pub(super) fn write(&mut self, at: Duration, packet: &[u8]) -> io::Result<()> {
        if self.current.as_ref().is_some_and(|current| current.written() >= self.size / FILES) {
            self.flush()?;
            self.current = None;
        }
        let current = match &mut self.current {
            Some(current) => current,
            None => self.start()?,
        };
        let written = current.write(at, packet);
        if written.is_err() {
            self.current = None;
        }
        written
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let flushed = self.current.as_mut().map_or(Ok(()), Writer::flush);
        if flushed.is_err() {
            self.current = None;
        }
        flushed
    }

    /// Starts another file. Only when that has succeeded, the oldest are removed.
    fn start(&mut self) -> io::Result<&mut Writer<BufWriter<File>>> {
        let path = self.path(self.number + 1);
        let started = create(&path).and_then(|file| {
            let mut writer = Writer::new(BufWriter::new(file))?;
            writer.flush()?;
            Ok(writer)
        });
        let writer = started.inspect_err(|_| {
            // The number is used again.
            let _ = fs::remove_file(&path);
        })?;
        self.number += 1;
        self.remove_oldest()?;
        Ok(self.current.insert(writer))
    }

    /// Removes the oldest files until there are few enough, with room for the current one.
    fn remove_oldest(&self) -> io::Result<()> {
        let files = self.files()?;
        let mut others: Vec<_> = files.iter().filter(|file| file.number != self.number).collect();
        let mut len: u64 = others.iter().map(|file| file.len).sum();
        while !others.is_empty() && (others.len() as u64 >= FILES || len > self.size - self.size / FILES + MARGIN) {
            let oldest = others.remove(0);
            len -= oldest.len;
            match fs::remove_file(&oldest.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(name(number))
    }

    /// Returns the files of the ring, the oldest first.
    fn files(&self) -> io::Result<Vec<RingFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let number = file_name.to_str().and_then(number);
            // A file that is gone by now does not matter.
            if let (Some(number), Ok(metadata)) = (number, entry.metadata()) {
                files.push(RingFile { number, path: entry.path(), len: metadata.len() });
            }
        }
        files.sort_by_key(|file| file.number);
        Ok(files)
    }
}

/// The bytes by which files may exceed their share, because a packet is not divided.
const MARGIN: u64 = FILES * (64 << 10);

/// A file of the ring.
struct RingFile {
    number: u64,
    path: PathBuf,
    len: u64,
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:06}{SUFFIX}")
}

/// Returns the number of a file of the ring; `None` for other files.
fn number(file: &str) -> Option<u64> {
    let number: u64 = file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
    // A larger number could not be followed by others.
    (number < u64::MAX / 2 && file == name(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_ring_have_a_number() {
        assert_eq!(number("spoa-000007.pcapng"), Some(7));
        assert_eq!(number(&name(1_234_567)), Some(1_234_567));
        for other in ["spoa-7.pcapng", "spoa-+00007.pcapng", "spoa-000007.pcap", "spoa-18446744073709551615.pcapng"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
