//! The configuration file.

use std::io::{self, Read as _};
use std::path::Path;

use spoa_reputation::RegularFile;

use crate::Failure;
use crate::options::Options;

/// The size of a configuration file, in bytes.
const SIZE_MAX: u64 = 4 << 20;

/// Reads the options in a file, which are not checked against each other: the command line may complete them. Paths of lists and of the verdict log in it are relative to its folder.
///
/// # Errors
/// The file cannot be read, or has something wrong in it, which the error names with line and column.
pub(crate) fn read(path: &Path) -> Result<Options, Failure> {
    let shown = path.display();
    let text = read_text(path).map_err(|error| Failure::Other(format!("cannot read {shown}: {error}").into()))?;
    let mut options: Options = toml::from_str(&text).map_err(|error| {
        let place = error.span().map(|span| place(&text, span.start)).unwrap_or_default();
        Failure::Usage(format!("{shown}{place}: {}", suggest(&error.message().replace('\n', ", "))))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for path in options.lists.iter_mut().flatten().flat_map(|list| &mut list.path) {
        *path = folder.join(&*path);
    }
    options.files_below(folder);
    Ok(options)
}

fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Reads a file that is not larger than [`SIZE_MAX`].
///
/// # Errors
/// It is larger, no regular file, or cannot be read.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let (file, _) = RegularFile::open(path)?;
    let mut bytes = Vec::new();
    if file.take(SIZE_MAX + 1).read_to_end(&mut bytes)? as u64 > SIZE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {SIZE_MAX} bytes")));
    }
    Ok(bytes)
}

/// Rewrites an error of the TOML reader about an unknown name, so that it names the known one that was probably meant.
fn suggest(error: &str) -> String {
    let Some((wrong, known)) = error.split_once(", expected ") else { return error.into() };
    let mut words = wrong.split('`');
    let (Some(what @ ("unknown field " | "unknown variant ")), Some(wrong)) = (words.next(), words.next()) else {
        return error.into();
    };
    let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
    let what = if what == "unknown field " { "unknown key" } else { "unknown value" };
    let similar = known.iter().map(|word| (strsim::jaro_winkler(wrong, word), word));
    match similar.max_by(|(a, _), (b, _)| a.total_cmp(b)).filter(|(similarity, _)| *similarity > SIMILAR) {
        Some((_, word)) => format!("{what} \"{wrong}\"; did you mean \"{word}\"?"),
        None => format!("{what} \"{wrong}\"; known are {}", known.join(", ")),
    }
}

/// The similarity of two words from which on one may have been meant by the other; as clap has it.
const SIMILAR: f64 = 0.7;

/// Returns the line and column of a byte: `:3:8`.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let (line, start) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |end| end + 1));
    format!(":{line}:{}", before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::suggest;

    #[test]
    fn unknown_names_are_explained() {
        for (error, wanted) in [
            ("unknown field `prt`, expected one of `debug`, `port`", "unknown key \"prt\"; did you mean \"port\"?"),
            ("unknown field `x`, expected `a` or `b`", "unknown key \"x\"; known are a, b"),
            (
                "unknown variant `session`, expected one of `proc`, `sess`",
                "unknown value \"session\"; did you mean \"sess\"?",
            ),
            ("missing field `path`", "missing field `path`"),
            ("invalid type: x, expected y", "invalid type: x, expected y"),
        ] {
            assert_eq!(suggest(error), wanted);
        }
    }
}
