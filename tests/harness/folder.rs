//! A folder of files for one test.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder in the system's temporary folder. It is removed when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates a folder with these files, given by name and content.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("spoa-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0).expect("the name of the folder is new");
        files.iter().for_each(|(name, content)| folder.write(name, content));
        folder
    }

    /// Returns the path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Creates or replaces a file atomically, by a rename, as careful download scripts do.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, content).and_then(|()| fs::rename(&new, self.path(name))).expect("the folder is writable");
    }

    /// Removes a file.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("the file exists");
    }

    /// Returns the value of an option `--list` for a file. The list has the name of the file. `options`, such as
    /// `,score=30`, is appended.
    pub fn list(&self, name: &str, options: &str) -> String {
        format!("{name}={}{options}", self.path(name).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a folder that is left over does not affect other tests
    }
}
