//! The workspace of the simulator: its corpus, its planted bugs, and its revision.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the root of the workspace: the folder, or one above it, that has the corpus; or else the one that this program was built
/// in, if it still exists.
pub(super) fn root() -> Option<PathBuf> {
    let has_corpus = |folder: &Path| folder.join("sim/corpus").is_dir();
    let here = env::current_dir().ok();
    let above = here.iter().flat_map(|here| here.ancestors()).find(|folder| has_corpus(folder)).map(Path::to_owned);
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().filter(|folder| has_corpus(folder));
    above.or_else(|| built.map(Path::to_owned))
}

/// Returns the revision of the source, or "unknown".
pub(super) fn revision() -> String {
    let described = root().and_then(|root| {
        let output = Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    described.unwrap_or("unknown".into())
}
