//! The tables `[[list]]`, `[[message]]` and `[[policy]]` of the configuration file.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use spoa_reputation::format::{Column, Format, Min, Reading};
use spoa_reputation::{HostBits, ListConfig, MessageRule, NamedPolicy, Names, Policy};
use spoa_runtime::Scope;

use crate::values::{Percent, Whole, text, texts};

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

/// Reads `[[policy]]`.
pub(crate) fn policies<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<NamedPolicy>>, D::Error> {
    let tables = Vec::<PolicyTable>::deserialize(from)?;
    let named = |PolicyTable { name, lists, default_score, score_below }| NamedPolicy {
        name,
        policy: policy(lists, default_score, score_below),
    };
    Ok(Some(tables.into_iter().map(named).collect()))
}

/// A policy that messages select by an argument.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PolicyTable {
    name: String,
    lists: Option<Vec<String>>,
    #[serde(default, deserialize_with = "text")]
    default_score: Option<Percent>,
    #[serde(default, deserialize_with = "text")]
    score_below: Option<Percent>,
}

fn policy(lists: Option<Vec<String>>, default_score: Option<Percent>, score_below: Option<Percent>) -> Policy {
    let score = |score: Option<Percent>| score.map(|Percent(score)| score.into());
    Policy::new(lists, score(default_score), score(score_below))
}

#[derive(Deserialize)]
#[serde(try_from = "ListKeys")]
struct ListTable(ListConfig);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListKeys {
    name: String,
    path: Option<PathBuf>,
    #[serde(default, deserialize_with = "text")]
    format: Option<Format>,
    #[serde(default, deserialize_with = "text")]
    column: Option<Column>,
    key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    min: Option<Min>,
    #[serde(default, rename = "score-column", deserialize_with = "text")]
    score_column: Option<Column>,
    #[serde(default, rename = "invert-score")]
    invert_score: bool,
    #[serde(default, rename = "host-bits", deserialize_with = "text")]
    host_bits: Option<HostBits>,
    #[serde(default, rename = "ipv6-host", deserialize_with = "text")]
    ipv6_host: Option<Whole<1, 128>>,
    #[serde(default, deserialize_with = "text")]
    score: Option<Percent>,
    #[serde(default)]
    category: String,
    #[serde(default)]
    allow: bool,
    #[serde(default)]
    shadow: bool,
    #[serde(default)]
    strict: bool,
    #[serde(default)]
    optional: bool,
    #[serde(default, rename = "max-shrink", deserialize_with = "text")]
    max_shrink: Option<Percent>,
    #[serde(default, rename = "max-growth", deserialize_with = "text")]
    max_growth: Option<Whole<0, { u32::MAX as u64 }>>,
    #[serde(default, rename = "max-bad", deserialize_with = "text")]
    max_bad: Option<Percent>,
    #[serde(default, rename = "max-cover", deserialize_with = "text")]
    max_cover: Option<Percent>,
}

impl TryFrom<ListKeys> for ListTable {
    type Error = String;

    fn try_from(keys: ListKeys) -> Result<Self, String> {
        let ListKeys { name, path, format, column, key, min, score_column, invert_score, host_bits, ipv6_host, .. } =
            keys;
        let ListKeys {
            score,
            category,
            allow,
            shadow,
            strict,
            optional,
            max_shrink,
            max_growth,
            max_bad,
            max_cover,
            ..
        } = keys;
        if name.is_empty() || path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err("a list needs a name and a path".into());
        }
        let reading = Reading {
            format: format.unwrap_or_default(),
            column,
            key,
            min,
            score: score_column,
            invert_score,
            host_bits: host_bits.unwrap_or_default(),
            ipv6_host: ipv6_host.map(|Whole(len)| len as u8),
        };
        reading.check().map_err(|error| error.to_string())?;
        let score = ListConfig::score_of(score.map(|Percent(score)| score.into()), allow);
        let score = score.map_err(|error| error.to_string())?;
        let percent = |max: Option<Percent>| max.map(|Percent(max)| max);
        Ok(Self(ListConfig {
            name,
            path,
            reading,
            score,
            category,
            allow,
            shadow,
            strict,
            optional,
            max_shrink: percent(max_shrink),
            max_growth: max_growth.map(|Whole(max)| max as u32),
            max_bad: percent(max_bad),
            max_cover: percent(max_cover),
        }))
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
    shadow: bool,
    lists: Option<Vec<String>>,
    #[serde(default, rename = "default-score", deserialize_with = "text")]
    default_score: Option<Percent>,
    #[serde(default, rename = "score-below", deserialize_with = "text")]
    score_below: Option<Percent>,
    #[serde(rename = "policy-argument")]
    policy_argument: Option<String>,
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
    #[serde(rename = "shadow-score")]
    shadow_score: Option<String>,
    #[serde(rename = "shadow-verdict")]
    shadow_verdict: Option<String>,
    #[serde(rename = "shadow-list")]
    shadow_list: Option<String>,
}

impl TryFrom<MessageKeys> for MessageTable {
    type Error = String;

    fn try_from(keys: MessageKeys) -> Result<Self, String> {
        let MessageKeys { name, argument, scope, prefix, shadow, variables, .. } = keys;
        let policy = policy(keys.lists, keys.default_score, keys.score_below);
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
            shadow_score: variables.shadow_score.unwrap_or(usual.shadow_score),
            shadow_verdict: variables.shadow_verdict.unwrap_or(usual.shadow_verdict),
            shadow_list: variables.shadow_list.unwrap_or(usual.shadow_list),
        };
        let rule = MessageRule::new(&name, scope, &names).map_err(|error| error.to_string())?;
        let rule = rule.with_arguments(argument.unwrap_or_default()).with_shadow(shadow);
        Ok(Self(rule.with_policy(policy).with_policy_argument(keys.policy_argument)))
    }
}
