//! The configuration file.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use spoa_runtime::Scope;
use spoa_runtime::reputation::format::{Column, Format};
use spoa_runtime::reputation::{ListConfig, MessageRule, Names, RegularFile};

use crate::Failure;
use crate::options::Options;
use crate::values::{Percent, text, texts};

/// The size of a configuration file, in bytes.
const SIZE_MAX: u64 = 4 << 20;

/// Reads the options in a file. Paths of lists in it are relative to its folder.
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
    for list in options.lists.iter_mut().flatten() {
        list.path = folder.join(&list.path);
    }
    options.check().map_err(|wrong| Failure::Usage(format!("{shown}: {wrong}")))?;
    Ok(options)
}

fn read_text(path: &Path) -> io::Result<String> {
    let (file, _) = RegularFile::open(path)?;
    let mut text = String::new();
    if file.take(SIZE_MAX + 1).read_to_string(&mut text)? as u64 > SIZE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {SIZE_MAX} bytes")));
    }
    Ok(text)
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

/// Reads `[[list]]`.
pub(crate) fn lists<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<ListConfig>>, D::Error> {
    let tables = Vec::<ListTable>::deserialize(from)?;
    Ok(Some(tables.into_iter().map(|ListTable(list)| list).collect()))
}

/// Reads `[[message]]`.
pub(crate) fn message_rules<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<MessageRule>>, D::Error> {
    let tables = Vec::<MessageTable>::deserialize(from)?;
    Ok(Some(tables.into_iter().map(|MessageTable(rule)| rule).collect()))
}

#[derive(Deserialize)]
#[serde(try_from = "ListKeys")]
struct ListTable(ListConfig);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListKeys {
    name: String,
    path: PathBuf,
    #[serde(default, deserialize_with = "text")]
    format: Option<Format>,
    #[serde(default, deserialize_with = "text")]
    column: Option<Column>,
    #[serde(default, deserialize_with = "text")]
    score: Option<Percent>,
    #[serde(default)]
    category: String,
    #[serde(default)]
    allow: bool,
    #[serde(default)]
    strict: bool,
    #[serde(default)]
    optional: bool,
    #[serde(default, rename = "max-shrink", deserialize_with = "text")]
    max_shrink: Option<Percent>,
}

impl TryFrom<ListKeys> for ListTable {
    type Error = String;

    fn try_from(keys: ListKeys) -> Result<Self, String> {
        let ListKeys { name, path, format, column, score, category, allow, strict, optional, max_shrink } = keys;
        if name.is_empty() || path.as_os_str().is_empty() {
            return Err("a list needs a name and a path".into());
        }
        let format = Format::of(format, column).map_err(|error| error.to_string())?;
        let score = ListConfig::score_of(score.map(|Percent(score)| score.into()), allow);
        let score = score.map_err(|error| error.to_string())?;
        let max_shrink = max_shrink.map(|Percent(max)| max);
        Ok(Self(ListConfig { name, path, format, score, category, allow, strict, optional, max_shrink }))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "MessageKeys")]
struct MessageTable(MessageRule);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageKeys {
    name: String,
    #[serde(default, deserialize_with = "texts")]
    argument: Option<Vec<String>>,
    scope: Option<ScopeName>,
    prefix: Option<String>,
    #[serde(default)]
    variables: VariableKeys,
}

/// The scope of variables, as in HAProxy's configuration.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ScopeName {
    Proc,
    Sess,
    Txn,
    Req,
    Res,
}

/// The names of variables that are not the prefix and their usual name.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct VariableKeys {
    score: Option<String>,
    listed: Option<String>,
    verdict: Option<String>,
    list: Option<String>,
    category: Option<String>,
    prefix: Option<String>,
    generation: Option<String>,
}

impl TryFrom<MessageKeys> for MessageTable {
    type Error = String;

    fn try_from(keys: MessageKeys) -> Result<Self, String> {
        let MessageKeys { name, argument, scope, prefix, variables } = keys;
        let scope = match scope {
            Some(ScopeName::Proc) => Scope::Process,
            Some(ScopeName::Sess) => Scope::Session,
            Some(ScopeName::Txn) => Scope::Transaction,
            Some(ScopeName::Req) => Scope::Request,
            Some(ScopeName::Res) => Scope::Response,
            // A message that is built in keeps its scope.
            None => {
                let built_in = MessageRule::defaults().into_iter().find(|rule| rule.message() == name);
                built_in.map_or(Scope::Session, |rule| rule.scope())
            }
        };
        let usual = prefix.map_or_else(Names::default, |prefix| Names::with_prefix(&prefix));
        let names = Names {
            score: variables.score.unwrap_or(usual.score),
            listed: variables.listed.unwrap_or(usual.listed),
            verdict: variables.verdict.unwrap_or(usual.verdict),
            list: variables.list.unwrap_or(usual.list),
            category: variables.category.unwrap_or(usual.category),
            prefix: variables.prefix.unwrap_or(usual.prefix),
            generation: variables.generation.unwrap_or(usual.generation),
        };
        let rule = MessageRule::new(&name, scope, &names).map_err(|error| error.to_string())?;
        Ok(Self(rule.with_arguments(argument.unwrap_or_default())))
    }
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
