//! Planted bugs as text: a piece of code that occurs once in the core, and the faulty piece that replaces it.
//!
//! ```text
//! An answer takes the first slot instead of its own.
//!
//! replace
//!     self.free(id.index as usize)
//! by
//!     self.free(self.slots.iter().position(Option::is_some)?)
//! ```
//!
//! There is no file name and no line number, and indentation, blank lines and comments do not count: code can move, and
//! comments can be reworded, without a change to the bugs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A bug to plant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlantedBug {
    /// The fault, in one sentence.
    pub story: String,
    /// The lines to replace, without indentation.
    old: Vec<String>,
    /// The lines to put in their place.
    new: Vec<String>,
}

/// A place for a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file that the bug changes.
    pub file: PathBuf,
    /// Its text with the bug in it.
    pub text: String,
}

impl PlantedBug {
    /// Reads a bug.
    ///
    /// # Errors
    /// The text has not the form that the module documents; in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (story, rest) = text.split_once("\n\nreplace\n").ok_or("expected a story, a blank line and \"replace\"")?;
        let (old, new) = rest.split_once("\nby\n").ok_or("expected \"by\" after the lines to replace")?;
        let code =
            |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let bug = Self { story: story.trim().into(), old: code(old), new: code(new) };
        match () {
            () if bug.story.is_empty() || bug.story.contains('\n') => Err("the story is not one line".into()),
            () if bug.old.is_empty() => Err("there are no lines to replace".into()),
            () if bug.old == bug.new => Err("nothing changes".into()),
            () => Ok(bug),
        }
    }

    /// Finds the one place for it among the source files in `folder`.
    ///
    /// # Errors
    /// The lines to replace occur not once, or a file cannot be read; in one line.
    pub fn place(&self, folder: &Path) -> Result<Place, String> {
        let mut places = Vec::new();
        for file in sources(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))? {
            let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            places.extend(self.replaced(&text).map(|text| Place { file: file.clone(), text }));
        }
        match places.len() {
            1 => Ok(places.remove(0)),
            count => Err(format!("the lines to replace occur {count} times in {}: {:?}", folder.display(), self.old)),
        }
    }

    /// Returns `text` with the bug in it, once for each place that it has there.
    fn replaced<'t>(&'t self, text: &'t str) -> impl Iterator<Item = String> + 't {
        let lines: Vec<&str> = text.lines().collect();
        // The lines that count, by their number.
        let code: Vec<usize> = (0..lines.len()).filter(|at| is_code(lines[*at])).collect();
        let starts = 0..(code.len() + 1).saturating_sub(self.old.len());
        starts.filter_map(move |start| {
            let found = &code[start..start + self.old.len()];
            if !found.iter().zip(&self.old).all(|(at, old)| lines[*at].trim() == old) {
                return None;
            }
            let (first, last) = (*found.first()?, *found.last()?);
            let new = self.new.iter().map(String::as_str);
            let all = lines[..first].iter().copied().chain(new).chain(lines[last + 1..].iter().copied());
            Some(all.flat_map(|line| [line, "\n"]).collect())
        })
    }
}

/// True for lines that are neither blank nor comments.
fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

/// Returns the Rust files in a folder and those below it, in order.
fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUG: &str = "It adds one too many.\n\nreplace\n    let sum = a;\n    sum + b\nby\n    a + b + 1\n";

    #[test]
    fn comments_and_indentation_do_not_count() {
        let bug = PlantedBug::parse(BUG).unwrap();
        assert_eq!(bug.story, "It adds one too many.");
        let text = "fn f() {\n        let sum = a;\n\n        // Why.\n        sum + b\n}\n";
        assert_eq!(bug.replaced(text).collect::<Vec<_>>(), ["fn f() {\na + b + 1\n}\n"]);
        assert_eq!(bug.replaced("sum + b\nlet sum = a;\n").count(), 0);
        assert_eq!(bug.replaced(&text.repeat(2)).count(), 2);
        assert_eq!(bug.replaced("").count(), 0);
    }

    #[test]
    fn what_is_no_bug_is_an_error() {
        for (text, wanted) in [
            ("", "expected a story"),
            ("story\nreplace\na\nby\nb\n", "expected a story"),
            ("story\n\nreplace\na\n", "expected \"by\""),
            ("two\nlines\n\nreplace\na\nby\nb\n", "the story is not one line"),
            ("story\n\nreplace\n\nby\nb\n", "there are no lines to replace"),
            ("story\n\nreplace\n a\nby\na\n", "nothing changes"),
        ] {
            let error = PlantedBug::parse(text).unwrap_err();
            assert!(error.starts_with(wanted), "{text:?}: {error}");
        }
    }
}
