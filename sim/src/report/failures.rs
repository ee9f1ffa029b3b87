//! The scripts of failures: they are kept in a folder, and run first the next time.

use std::path::{Path, PathBuf};
use std::{fs, io};

use spoa_sim::failure::Failure;
use spoa_sim::metamorphic::examine;
use spoa_sim::script::Script;

use super::workspace::{revision, root, scripts};
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
    ///
    /// # Errors
    /// The folder cannot be read; in one line.
    pub(super) fn replay(&self) -> Result<Exit, String> {
        let Some(folder) = &self.0 else { return Ok(Exit::Held) };
        let paths = match scripts(folder) {
            Ok((paths, _)) => paths,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Exit::Held),
            Err(error) => return Err(format!("cannot read {}: {error}", folder.display())),
        };
        Ok(worst(paths.iter().map(|path| {
            // The message says which file it is. It is kept, and does not hide a check that fails.
            let Ok(script) = super::read(path) else { return Exit::Held };
            let found = script.story.first().map_or("", String::as_str);
            match examine(&script, None) {
                Some(failure) => {
                    println!("STILL FAILED: {}: {failure}\n  {found}", path.display());
                    exit_of(&failure)
                }
                None => {
                    let removed = fs::remove_file(path);
                    let end =
                        removed.map_or_else(|error| format!("cannot be removed: {error}"), |()| "is removed".into());
                    println!("fixed: {} does not fail any more, and {end}\n  {found}", path.display());
                    Exit::Held
                }
            }
        })))
    }

    /// Keeps the small script of a failure. Adds the revision of the source to its story. Returns the path, unless scripts are not
    /// kept.
    ///
    /// # Errors
    /// The file cannot be written; in one line.
    pub(super) fn keep(&self, script: &Script, failure: &Failure) -> Result<Option<PathBuf>, String> {
        let Some(folder) = &self.0 else { return Ok(None) };
        let mut kept = script.clone();
        kept.story.push(format!("Revision {}: {failure}", revision()));
        // One script of each kind of failure is enough.
        let path = folder.join(format!("{}.spop", failure.fingerprint().to_string().replace('/', "-")));
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, kept.to_string()));
        written.map_err(|error| format!("cannot keep {}: {error}", path.display()))?;
        Ok(Some(path))
    }
}
