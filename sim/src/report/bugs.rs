//! Plants each bug into a copy of the workspace, builds it, and lets the simulator find it.

mod copy;
mod table;

use std::fs;
use std::path::Path;

use spoa_sim::planted::PlantedBug;

use copy::Copy;
use table::Row;

/// Their folder, from the workspace's root.
const FOLDER: &str = "sim/bugs";

/// Plants the bugs of these names, or all, one after the other; returns false if one is not found. After a run of all it
/// rewrites the table.
///
/// # Errors
/// There is no workspace here, or git or cargo does not work in it; in one line.
pub(super) fn plant(names: &[String]) -> Result<bool, String> {
    let folder = Path::new(FOLDER);
    let all = list(folder).map_err(|error| format!("cannot read {FOLDER}: {error}; run it in the workspace's root"))?;
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        return Err(format!("there is no {FOLDER}/{unknown}.bug"));
    }
    let copy = Copy::make()?;
    let (mut rows, mut missed) = (Vec::new(), Vec::new());
    for name in if names.is_empty() { &all } else { names } {
        let path = folder.join(format!("{name}.bug"));
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let bug = PlantedBug::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        match copy.search(name, &bug)? {
            Some(found) => {
                println!("{name:<34} {found}");
                rows.push(Row { name: name.clone(), story: bug.story, found });
            }
            None => {
                println!("{name:<34} NOT FOUND: {}", bug.story);
                missed.push(name.as_str());
            }
        }
    }
    if !missed.is_empty() {
        println!("not found in seeds {}: {}", copy::SEEDS, missed.join(", "));
    } else if names.is_empty() {
        fs::write(folder.join("README.md"), table::text(&rows))
            .map_err(|error| format!("cannot write the table: {error}"))?;
    }
    Ok(missed.is_empty())
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
