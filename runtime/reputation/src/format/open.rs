//! Opens the file of a list: unpacked, as UTF-8, and up to limits of size and time.

use std::fs::Metadata;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use encoding_rs::{UTF_16BE, UTF_16LE};
use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::bufread::MultiGzDecoder;
use rustix::time::{ClockId, clock_gettime};

use crate::file_access::RegularFile;

/// The size of a list, unpacked, in bytes. The addresses that all lists together may have take less, but some kilobytes of
/// gzip, or a sparse file, may be gigabytes of nothing.
pub const SIZE_MAX: u64 = 1 << 30;

/// The processor time that reading one list may take. A file of the largest size that has an address in each line takes a
/// third of it; one without a single address, which is a bad line each, would take minutes.
pub const CPU_TIME_MAX: Duration = Duration::from_secs(30);

/// Reads a list, unpacked, up to the limits.
pub(super) struct Bounded<R> {
    pub(super) file: R,
    /// The bytes that it may still have.
    pub(super) bytes_left: u64,
    /// The processor time of this thread at which reading stops.
    pub(super) cpu_end: Duration,
}

impl<R> Bounded<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file, bytes_left: SIZE_MAX, cpu_end: cpu_time() + CPU_TIME_MAX }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if cpu_time() > self.cpu_end {
            return Err(exceeded(format!("reading it took more than {} s of processor time", CPU_TIME_MAX.as_secs())));
        }
        let len = self.file.read(into)?;
        self.bytes_left = self.bytes_left.checked_sub(len as u64).ok_or_else(too_large)?;
        Ok(len)
    }
}

fn exceeded(limit: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, limit)
}

fn too_large() -> io::Error {
    exceeded(format!("it is larger than {SIZE_MAX} bytes"))
}

/// Returns the processor time that this thread has used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The size of the buffers of a file.
const BUFFER: usize = 1 << 16;

/// Opens a list, compressed with gzip or not, in UTF-8 or UTF-16. Text that is neither is read as it is.
///
/// # Errors
/// The same as those of [`RegularFile::open`]; or the file cannot be read. The returned reader fails beyond [`SIZE_MAX`] and
/// [`CPU_TIME_MAX`].
pub fn open(path: &Path) -> io::Result<(Box<dyn BufRead>, Metadata)> {
    let (file, metadata) = RegularFile::open(path)?;
    let mut file = BufReader::with_capacity(BUFFER, file);
    let is_packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    if !is_packed && metadata.len() > SIZE_MAX {
        return Err(too_large());
    }
    let file: Box<dyn BufRead> = if is_packed {
        // The compressed bytes too: empty members unpack to nothing, and may be many.
        let packed = BufReader::with_capacity(BUFFER, Bounded::new(file));
        Box::new(BufReader::with_capacity(BUFFER, Bounded::new(MultiGzDecoder::new(packed))))
    } else {
        Box::new(BufReader::with_capacity(BUFFER, Bounded::new(file)))
    };
    Ok((as_utf8(file)?, metadata))
}

/// Converts UTF-16 to UTF-8. It is recognised by its byte order mark, or by a zero byte among the first two.
fn as_utf8(mut file: Box<dyn BufRead>) -> io::Result<Box<dyn BufRead>> {
    let encoding = match file.fill_buf()? {
        [0xff, 0xfe, ..] => UTF_16LE,
        [0xfe, 0xff, ..] => UTF_16BE,
        [first, 0, ..] if *first != 0 => UTF_16LE,
        [0, second, ..] if *second != 0 => UTF_16BE,
        _ => return Ok(file),
    };
    let decoder = DecodeReaderBytesBuilder::new().encoding(Some(encoding)).build(file);
    Ok(Box::new(BufReader::with_capacity(BUFFER, decoder)))
}
