//! The workspace of the simulator: its corpus, its planted bugs, and its revision.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Returns the root of the workspace: the folder, or one above it, that has the corpus; or else the one that this program was built
/// in, if it still exists.
pub(super) fn root() -> Option<PathBuf> {
    let has_corpus = |folder: &Path| folder.join("sim/corpus").is_dir();
    let here = env::current_dir().ok();
    let above = here.iter().flat_map(|here| here.ancestors()).find(|folder| has_corpus(folder)).map(Path::to_owned);
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().filter(|folder| has_corpus(folder));
    above.or_else(|| built.map(Path::to_owned))
}

/// Returns the scripts in a folder, in order, and the folders in it.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn scripts(folder: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut scripts, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        } else if path.extension().is_some_and(|extension| extension == "spop") {
            scripts.push(path);
        }
    }
    scripts.sort();
    Ok((scripts, folders))
}

/// Returns the revision of the work tree, or "unknown".
pub(super) fn revision() -> String {
    let described = root().and_then(|root| {
        let output = Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    described.unwrap_or("unknown".into())
}
