//! Checks of what the answers are compared with.

use super::reads::Read;
use crate::catalogue::{
    BOOLEAN_COMPARED_AS_STRING, ERROR_VALUE_INCOMPLETE, FAIL_CLOSED_WITH_ONE_AGENT, LIST_NAME_UNKNOWN, RULE_INVERTED,
    SCORE_ABOVE_LIMIT, VERDICT_WORD_UNKNOWN,
};
use crate::finding::{Finding, listed};
use crate::limits::COMPARED_MAX;
use crate::rules::{Rule, Test};
use crate::setup::{Deployed, Meaning, Setup, names};
use crate::words::is_known;
use spoa_reputation::MessageRule;

/// The actions that refuse a client.
const REFUSING: [&str; 5] = ["deny", "reject", "tarpit", "silent-drop", "return"];

/// True if the rule refuses a client.
pub(super) fn refuses(rule: &Rule) -> bool {
    REFUSING.contains(&rule.action.as_str())
}

/// True if the rule acts when the test of the read holds.
fn acts_if(read: &Read<'_>) -> bool {
    let is_unless = read.rule.is_some_and(|(_, rule)| rule.is_unless);
    read.test.as_ref().is_some_and(|(_, is_negated)| *is_negated == is_unless)
}

/// True if nothing else is asked by the condition.
fn is_alone(rule: &Rule) -> bool {
    rule.terms().count() == 1
}

/// Checks a comparison with the variable `name` of our agent; it has one finding at most.
pub(super) fn check(setup: &Setup<'_>, deployed: &Deployed<'_>, read: &Read<'_>, name: &str) -> Option<Finding> {
    let (Some((test, _)), Some((_, rule)), true) = (&read.test, read.rule, deployed.is_ours) else { return None };
    if test.patterns.len() > COMPARED_MAX
        || test.variable() != Some(read.name.as_str())
        || !test.patterns.iter().all(|pattern| is_known(pattern))
        || test.has_file
    {
        return None;
    }
    let served = deployed.served(setup);
    let meaning = |(_, of): &(_, &MessageRule)| {
        names(of).into_iter().find(|(known, _)| *known == name).map(|(_, meaning)| meaning)
    };
    let found = |kind, values: &[(&str, &str)]| Some(Finding::new(kind, &read.place, values));
    let values: Vec<_> = words(test).collect();
    let value = values.first().copied().unwrap_or_default();
    let is_same =
        |known: &str, value: &str| if test.is_caseless { known.eq_ignore_ascii_case(value) } else { known == value };
    let is_verdict = |value: &&str| ["allow", "listed", "unknown"].iter().any(|known| is_same(known, value));
    match served.iter().find_map(meaning)? {
        Meaning::Listed if test.method == "str" && matches!(value, "true" | "false") => {
            found(&BOOLEAN_COMPARED_AS_STRING, &[("variable", &read.name), ("value", value)])
        }
        Meaning::Verdict if test.method == "str" && !values.is_empty() && !values.iter().any(is_verdict) => {
            found(&VERDICT_WORD_UNKNOWN, &[("value", value)])
        }
        Meaning::List if test.method == "str" && !values.is_empty() => {
            let lists = &setup.agent?.reputation.lists;
            // No list has an empty name, which is the value without one.
            let is_list = |value: &&str| value.is_empty() || lists.iter().any(|list| is_same(&list.name, value));
            if values.iter().any(is_list) {
                return None;
            }
            let names = listed(lists.iter().map(|list| list.name.as_str()));
            found(&LIST_NAME_UNKNOWN, &[("value", value), ("known", &names)])
        }
        Meaning::Score => score(setup, deployed, read, rule, test),
        _ => None,
    }
}

/// Returns the values of a comparison of texts.
fn words(test: &Test) -> impl Iterator<Item = &str> {
    test.patterns.iter().map(String::as_str)
}

/// Returns the operator and the value of a comparison of numbers.
fn limit(test: &Test) -> Option<(&str, i64)> {
    match &test.patterns[..] {
        [operator, value] => Some((operator, value.parse().ok()?)),
        _ => None,
    }
}

fn score(setup: &Setup<'_>, deployed: &Deployed<'_>, read: &Read<'_>, rule: &Rule, test: &Test) -> Option<Finding> {
    if !refuses(rule) {
        return None;
    }
    let is_only_agent = deployed.agents == Some(1);
    if test.method == "found" {
        let is_closed = is_only_agent && is_alone(rule) && !acts_if(read);
        return is_closed.then(|| Finding::new(&FAIL_CLOSED_WITH_ONE_AGENT, &read.place, &[]));
    }
    let (operator, number) = limit(test)?;
    match operator {
        "lt" | "le" if acts_if(read) => {
            let limit = if operator == "le" { number.saturating_add(1) } else { number };
            let lowest = lowest_score(setup, deployed)?;
            let values = [("limit", &*limit.to_string()), ("lowest", &*lowest.to_string())];
            (lowest >= limit).then(|| Finding::new(&SCORE_ABOVE_LIMIT, &read.place, &values))
        }
        "ge" | "gt" if !acts_if(read) && is_only_agent && is_alone(rule) => {
            let limit = if operator == "gt" { number.saturating_add(1) } else { number };
            let values = [("variable", &*read.name), ("limit", &*limit.to_string())];
            Some(Finding::new(&RULE_INVERTED, &read.place, &values))
        }
        _ => None,
    }
}

/// Returns the lowest score that our agent can give; `None` if it depends on the entries of lists, or on policies.
fn lowest_score(setup: &Setup<'_>, deployed: &Deployed<'_>) -> Option<i64> {
    let agent = setup.agent.filter(|agent| !agent.reputation.lists.is_empty())?;
    let served = deployed.served(setup);
    let has_policy = |rule: &&MessageRule| {
        rule.policy_argument().is_some() || rule.policy().default_score.is_some() || rule.policy().lists.is_some()
    };
    if served.iter().any(|(_, rule)| has_policy(rule))
        || agent.reputation.lists.iter().any(|list| list.reading.score.is_some())
    {
        return None;
    }
    // Lists in shadow mode alone have a finding of their own.
    let counted = agent.reputation.lists.iter().filter(|list| !list.allow && !list.shadow);
    counted.map(|list| i64::from(list.score)).min().map(|lowest| lowest.min(i64::from(agent.reputation.default_score)))
}

/// Checks a comparison with the variable of `set-on-error`; it has one finding at most.
pub(super) fn check_error(deployed: &Deployed<'_>, read: &Read<'_>) -> Option<Finding> {
    let (Some((test, _)), Some((_, rule))) = (&read.test, read.rule) else { return None };
    if !refuses(rule) || !acts_if(read) {
        return None;
    }
    let values: Vec<_> = words(test).filter(|word| *word != "eq").collect();
    match values[..] {
        [value] if test.method != "found" && value.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Finding::new(&ERROR_VALUE_INCOMPLETE, &read.place, &[("value", value)]))
        }
        _ if deployed.agents == Some(1) && is_alone(rule) => {
            Some(Finding::new(&FAIL_CLOSED_WITH_ONE_AGENT, &read.place, &[]))
        }
        _ => None,
    }
}
