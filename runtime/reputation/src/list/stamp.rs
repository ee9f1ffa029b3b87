//! The state of a file, to notice that it has changed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::file_access::recorded;

/// Identifies one state of a file: it differs as soon as the file is written to or replaced, or its owner or mode changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// The same, of the last change of content, owner or mode: a file that could not be read is tried again then.
    changed: (i64, i64),
}

impl Stamp {
    /// Returns the stamp of an open file.
    pub(crate) fn of(file: &Metadata) -> Self {
        let modified = (file.mtime(), file.mtime_nsec());
        let changed = (file.ctime(), file.ctime_nsec());
        Self { device: file.dev(), inode: file.ino(), len: file.len(), modified, changed }
    }

    /// Returns the stamp of the file at `path`, if there is one.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        recorded(path, || path.metadata()).ok().map(|file| Self::of(&file))
    }

    /// Returns the modification time.
    pub(super) fn modified(self) -> SystemTime {
        let (seconds, nanos) = self.modified;
        let since = Duration::new(seconds.max(0).unsigned_abs(), nanos.clamp(0, 999_999_999) as u32);
        SystemTime::UNIX_EPOCH + since
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A file that could not be read is tried again after `chmod`.
    #[test]
    fn a_change_of_the_mode_is_a_new_state_of_a_file() {
        let path = std::env::temp_dir().join(format!("spoa-stamp-{}", std::process::id()));
        fs::write(&path, "192.0.2.1\n").unwrap();
        let before = Stamp::at(&path).unwrap();
        // The clock of a file system has ticks of some milliseconds.
        let after = loop {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let now = Stamp::at(&path).unwrap();
            if now.changed != before.changed {
                break now;
            }
        };
        fs::remove_file(&path).unwrap();
        assert!(after != before && after.modified == before.modified);
    }
}
