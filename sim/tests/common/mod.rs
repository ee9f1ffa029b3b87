//! Runs `spoa-sim`, in folders that are removed afterwards.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::{env, fs, process};

/// A folder that is removed with its files.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("spoa-sim-{}-{name}", process::id()));
        fs::create_dir(&path).expect("the name is new");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `spoa-sim` in a folder outside the workspace. Returns its exit code, its output and its errors.
pub(crate) fn sim(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-sim"));
    let output: Output = command.args(arguments).current_dir(env::temp_dir()).output().expect("spoa-sim runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("spoa-sim prints UTF-8");
    (output.status.code().expect("spoa-sim exits"), text(output.stdout), text(output.stderr))
}
