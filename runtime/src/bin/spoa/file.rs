//! The configuration file.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use spoa_runtime::Scope;
use spoa_runtime::reputation::format::{Column, Format};
use spoa_runtime::reputation::{ListConfig, MessageRule, Names};

use crate::options::Options;
use crate::values::{Percent, text};

/// Reads the options in a file. Paths of lists in it begin where the file is.
///
/// # Errors
/// One line: what is wrong, with file, line and column.
pub(crate) fn read(path: &Path) -> Result<Options, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let mut options: Options = toml::from_str(&text).map_err(|error| {
        let place = error.span().map(|span| place(&text, span.start)).unwrap_or_default();
        format!("{shown}{place}: {}", error.message().replace('\n', ", "))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for list in options.lists.iter_mut().flatten() {
        list.path = folder.join(&list.path);
    }
    options.check().map_err(|wrong| format!("{shown}: {wrong}"))?;
    Ok(options)
}

/// The line and column of a byte: `:3:8`.
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
    #[serde(default, rename = "max-shrink", deserialize_with = "text")]
    max_shrink: Option<Percent>,
}

impl TryFrom<ListKeys> for ListTable {
    type Error = String;

    fn try_from(keys: ListKeys) -> Result<Self, String> {
        let ListKeys { name, path, format, column, score, category, allow, strict, max_shrink } = keys;
        if name.is_empty() || path.as_os_str().is_empty() {
            return Err("a list has to have a name and a path".into());
        }
        let format = Format::of(format, column).map_err(|error| error.to_string())?;
        let score = ListConfig::score_of(score.map(|Percent(score)| score.into()), allow);
        let score = score.map_err(|error| error.to_string())?;
        let max_shrink = max_shrink.map(|Percent(max)| max);
        Ok(Self(ListConfig { name, path, format, score, category, allow, strict, max_shrink }))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "MessageKeys")]
struct MessageTable(MessageRule);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageKeys {
    name: String,
    #[serde(default)]
    scope: ScopeName,
    prefix: Option<String>,
    #[serde(default)]
    variables: VariableKeys,
}

/// Where variables live, as HAProxy's configuration has it.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ScopeName {
    Proc,
    #[default]
    Sess,
    Txn,
    Req,
    Res,
}

/// What variables are called, where that is not the prefix and their own name.
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
        let MessageKeys { name, scope, prefix, variables } = keys;
        let scope = match scope {
            ScopeName::Proc => Scope::Process,
            ScopeName::Sess => Scope::Session,
            ScopeName::Txn => Scope::Transaction,
            ScopeName::Req => Scope::Request,
            ScopeName::Res => Scope::Response,
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
        MessageRule::new(&name, scope, &names).map(Self).map_err(|error| error.to_string())
    }
}
