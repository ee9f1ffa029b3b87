//! Accesses files of lists and of the configuration, and records which file a thread is waiting for: an unreachable network
//! file system never answers, and no system call on it has a timeout.

use std::cell::RefCell;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// The file operation that a thread is executing. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct FileAccess(Arc<Mutex<Option<Operation>>>);

#[derive(Debug)]
struct Operation {
    path: PathBuf,
    begin: Instant,
}

thread_local! {
    static OF_THIS_THREAD: RefCell<FileAccess> = RefCell::default();
}

impl FileAccess {
    /// From now on records the file operations of the calling thread here.
    pub fn record_this_thread(&self) {
        OF_THIS_THREAD.set(self.clone());
    }

    /// Returns the file that the thread is waiting for and for how long it has been, at `now`; `None` outside of file
    /// operations. Reading a file is one operation per block.
    pub fn waiting_for(&self, now: Instant) -> Option<(PathBuf, Duration)> {
        let operation = self.lock();
        let Operation { path, begin } = operation.as_ref()?;
        Some((path.clone(), now.saturating_duration_since(*begin)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Operation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a file operation, recorded as the one that this thread is in.
pub(crate) fn recorded<T>(path: &Path, operation: impl FnOnce() -> T) -> T {
    let access = OF_THIS_THREAD.with_borrow(FileAccess::clone);
    *access.lock() = Some(Operation { path: path.into(), begin: Instant::now() });
    let result = operation();
    *access.lock() = None;
    result
}

/// A regular file that is read.
#[derive(Debug)]
pub struct RegularFile {
    file: File,
    path: PathBuf,
}

impl RegularFile {
    /// Opens a file without waiting for a writer, as opening a pipe would.
    ///
    /// # Errors
    /// It cannot be opened, or is not a regular file.
    pub fn open(path: &Path) -> io::Result<(Self, Metadata)> {
        recorded(path, || {
            // What is checked is the open file, which cannot be replaced.
            let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
            }
            Ok((Self { file, path: path.into() }, metadata))
        })
    }
}

impl Read for RegularFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Self { file, path } = self;
        recorded(path, || file.read(into))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn the_file_that_a_thread_waits_for_is_known_to_others() {
        let access = FileAccess::default();
        let recording = access.clone();
        let ((enter, entered), (leave, left)) = (channel(), channel::<()>());
        let thread = thread::spawn(move || {
            recording.record_this_thread();
            recorded(Path::new("/dead/list"), || {
                enter.send(()).unwrap();
                left.recv().unwrap();
            });
        });
        entered.recv().unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        let (path, time) = access.waiting_for(later).expect("the thread is in a file operation");
        assert!(path == Path::new("/dead/list") && time >= Duration::from_secs(60), "{path:?} {time:?}");
        recorded(Path::new("/other"), || assert_eq!(access.waiting_for(later).unwrap().0, path, "one for each thread"));
        leave.send(()).unwrap();
        thread.join().unwrap();
        assert_eq!(access.waiting_for(later), None);
    }

    #[test]
    fn each_block_of_a_file_is_an_operation() {
        let access = FileAccess::default();
        access.record_this_thread();
        let (mut file, metadata) =
            RegularFile::open(Path::new(file!().trim_start_matches("runtime/reputation/"))).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text.len() as u64, metadata.len());
        assert_eq!(access.waiting_for(Instant::now()), None);
    }
}
