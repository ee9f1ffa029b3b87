//! The command `corpus`: runs all scripts of a folder.

use std::io;
use std::path::{Path, PathBuf};

use super::workspace::{root, scripts};
use super::{counted, read, replay, worst};
use crate::Exit;
use crate::cli::View;

/// Runs all scripts of a folder and of those below it, by default of the corpus.
pub(super) fn run(folder: Option<&Path>) -> Exit {
    let Some(folder) = folder.map(Path::to_owned).or_else(|| Some(root()?.join("sim/corpus"))) else {
        eprintln!("spoa-sim: there is no workspace here: name the folder of the corpus");
        return Exit::Usage;
    };
    let paths = match all_scripts(&folder) {
        Ok(paths) => paths,
        Err(error) => {
            eprintln!("spoa-sim: cannot read {}: {error}", folder.display());
            return Exit::Unreadable;
        }
    };
    if paths.is_empty() {
        eprintln!("spoa-sim: {} is no corpus: it has no scripts (*.spop)", folder.display());
        return Exit::Unreadable;
    }
    let exits: Vec<_> = paths
        .iter()
        .map(|path| match read(path) {
            Ok(script) => {
                println!("{}\n    {}", path.display(), script.story.join("\n    "));
                replay(&script, None, View::ALL)
            }
            Err(exit) => exit,
        })
        .collect();
    let held = exits.iter().filter(|exit| **exit == Exit::Held).count();
    println!("{}, {held} held", counted(exits.len(), "script"));
    worst(exits.into_iter())
}

/// Returns the paths of the scripts in a folder, in order. Folders below it are read only if it has scripts itself, so that another
/// folder is not searched.
fn all_scripts(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut paths, folders) = scripts(folder)?;
    if !paths.is_empty() {
        for folder in folders {
            paths.extend(all_scripts(&folder)?);
        }
    }
    paths.sort();
    Ok(paths)
}
