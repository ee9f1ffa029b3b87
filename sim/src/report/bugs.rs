//! Plants each bug into a copy of the workspace, builds it, and lets the simulator find it.

mod copy;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use spoa_sim::planted::PlantedBug;

use super::counted;
use super::workspace::root;
use copy::WorkspaceCopy;
use table::Row;

/// Their folder, from the workspace's root.
const FOLDER: &str = "sim/bugs";

/// Plants bugs, or all of the folder, one after the other; returns false if one is not found. After a run of all it rewrites the
/// table.
///
/// # Errors
/// There is no workspace here, or git or cargo does not work in it; in one line.
pub(super) fn plant(bugs: &[String]) -> Result<bool, String> {
    let root = root().ok_or("there is no workspace here, whose core the bugs could be planted in")?;
    let folder = root.join(FOLDER);
    let all = list(&folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let names = if bugs.is_empty() { &all } else { bugs };
    let chosen = names.iter().map(|name| Bug::named(name, &folder, &all)).collect::<Result<Vec<_>, _>>()?;
    let copy = WorkspaceCopy::make(&root)?;
    let (mut rows, mut missed) = (Vec::new(), Vec::new());
    let count = chosen.len();
    for Bug { name, change } in chosen {
        let story = change.story().to_owned();
        match copy.search(&name, &change)? {
            Some(found) => {
                println!("{name:<34} {found}");
                rows.push(Row { name, story, found });
            }
            None => {
                println!("{name:<34} NOT FOUND: {story}");
                missed.push(name);
            }
        }
    }
    println!("{} of {} found", rows.len(), counted(count, "bug"));
    if !missed.is_empty() {
        println!("not found in seeds {}: {}", copy::SEEDS, missed.join(", "));
    } else if bugs.is_empty() {
        fs::write(folder.join("README.md"), table::text(&rows))
            .map_err(|error| format!("cannot write the table: {error}"))?;
    }
    Ok(missed.is_empty())
}

/// A bug, and its name in the table.
struct Bug {
    name: String,
    change: Change,
}

/// The change that plants a bug.
enum Change {
    /// Lines that replace others in the core.
    Lines(PlantedBug),
    /// A patch of any file of the workspace.
    Patch(PathBuf),
}

impl Change {
    fn story(&self) -> &str {
        match self {
            Self::Lines(bug) => &bug.story,
            Self::Patch(_) => "a patch",
        }
    }
}

impl Bug {
    /// Finds a bug by its name in the folder of bugs, or by its file.
    fn named(text: &str, folder: &Path, all: &[String]) -> Result<Self, String> {
        let path = Path::new(text);
        let kind = path.extension().and_then(|extension| extension.to_str());
        let path = match kind {
            Some("patch" | "diff") => {
                let path = path.canonicalize().map_err(|error| format!("cannot read {text}: {error}"))?;
                return Ok(Self { name: text.into(), change: Change::Patch(path) });
            }
            Some("bug") => path.to_owned(),
            _ if all.iter().any(|name| name == text) => folder.join(format!("{text}.bug")),
            _ => return Err(format!("there is no bug {text} in {}", folder.display())),
        };
        let content = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let bug = PlantedBug::parse(&content).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { name: text.into(), change: Change::Lines(bug) })
    }
}

fn list(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "bug") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
