//! The scripts of failures: they are kept in a folder, and run first the next time.

use std::path::{Path, PathBuf};
use std::{fs, io};

use spoa_sim::failure::Failure;
use spoa_sim::metamorphic::examine;
use spoa_sim::script::Script;
use spoa_sim::text::parse;

use super::workspace::{revision, root};
use super::{exit_of, worst};
use crate::Exit;

/// The folder of scripts that have failed; `None` if they are not kept.
pub(super) struct Failures(Option<PathBuf>);

impl Failures {
    /// Returns the folder of the option, or the default.
    pub(super) fn of(option: Option<&Path>) -> Self {
        match option {
            Some(path) if path == Path::new("none") => Self(None),
            Some(path) => Self(Some(path.to_owned())),
            None => Self(root().map(|root| root.join("target/spoa-sim"))),
        }
    }

    /// Runs the scripts. Those that still fail are shown, and the others are removed.
    pub(super) fn replay(&self) -> Exit {
        let Some(folder) = &self.0 else { return Exit::Held };
        let paths = match scripts(folder) {
            Ok(paths) => paths,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Exit::Held,
            Err(error) => {
                eprintln!("spoa-sim: cannot read {}: {error}", folder.display());
                return Exit::Usage;
            }
        };
        worst(paths.iter().map(|path| {
            let script = match super::read(path) {
                Ok(script) => script,
                Err(exit) => return exit,
            };
            let found = script.story.first().map_or("", String::as_str);
            match examine(&script, None) {
                Some(failure) => {
                    println!("STILL FAILED: {}: {failure}\n  {found}", path.display());
                    exit_of(&failure)
                }
                None => {
                    println!("fixed: {} does not fail any more, and is removed\n  {found}", path.display());
                    // If it cannot be removed, it is run again the next time.
                    let _ = fs::remove_file(path);
                    Exit::Held
                }
            }
        }))
    }

    /// Keeps the small script of a failure, with the revision of the source. Returns the path.
    pub(super) fn keep(&self, script: &Script, failure: &Failure, origin: &str) -> Option<PathBuf> {
        let folder = self.0.as_ref()?;
        let path = folder.join(format!("{}.spop", failure.fingerprint().to_string().replace('/', "-")));
        let mut story = vec![format!("{origin}, revision {}: {}", revision(), failure.fingerprint())];
        story.extend(script.story.iter().cloned());
        let text = Script { story, ..script.clone() }.to_string();
        // What cannot be read again is not worth keeping.
        let kept = parse(&text).is_ok() && fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)).is_ok();
        kept.then_some(path)
    }
}

fn scripts(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "spop") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
