//! A folder of files for one test.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that goes with the value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A folder with these files: their names and what is in them.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("spoa-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0).expect("there is none of that name");
        files.iter().for_each(|(name, content)| folder.write(name, content));
        folder
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Puts a file in the place of whatever is there, at once, as a download that is careful does.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, content).and_then(|()| fs::rename(&new, self.path(name))).expect("it can be written");
    }

    /// Removes a file.
    ///
    /// # Panics
    /// If there is none.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("it is there");
    }

    /// An option `--list` for a file: its name is the list's.
    pub fn list(&self, name: &str, options: &str) -> String {
        format!("{name}={}{options}", self.path(name).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a file that is left is no reason to panic
    }
}
