//! Checks of the variables that rules read: their names, and whether they are set by then.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::reads::{self, Read};
use super::values;
use crate::catalogue::{
    ACCEPT_BEFORE_REJECT, ACL_UNUSED, ANSWER_UNUSED, CONNECTION_RULE, CONTENT_RULE_BEFORE_EVENT, COPY_SET_AFTER_RULE,
    ERROR_VALUE_INCOMPLETE, ERROR_VARIABLE_NEVER_SET, ERROR_VARIABLE_SCOPE, FRONTEND_WITHOUT_FILTER,
    GROUP_SENT_AFTER_RULE, HEADER_NOT_REMOVED, Kind, RESPONSE_EVENT, RULE_BEFORE_EVENT, SCORE_ABOVE_LIMIT,
    SESSION_RULE, VARIABLE_NAME, VARIABLE_PREFIX, VARIABLE_RENAMED, VARIABLE_SCOPE,
};
use crate::checks::values::refuses;
use crate::finding::{Finding, listed};
use crate::rules::{Moment, Rule, variables};
use crate::setup::{Deployed, Meaning, Sent, Setup, names};
use crate::source::Place;
use crate::words::is_known;
use spoa_reputation::MessageRule;

/// The variables that are read.
#[derive(Default)]
pub(super) struct Used {
    /// Whole names of the variables of `set-on-error`.
    pub(super) errors: BTreeSet<String>,
    /// The prefixes of engines whose failed events are refused.
    pub(super) closed: BTreeSet<String>,
    /// The indices of engines whose answer is read, or whose answer somebody tries to read.
    engines: BTreeSet<usize>,
}

/// Findings about one test that another test may make good.
#[derive(Default)]
struct Deferred {
    /// For each score its tests, with a finding if no list meets the test.
    scores: BTreeMap<String, Vec<Option<Finding>>>,
    /// Tests of one status of failed events, with the prefix of the engine.
    errors: Vec<(String, Finding)>,
}

impl Deferred {
    /// Adds the findings that nothing makes good. `closed` has the prefixes of engines whose failed events are refused.
    fn decide(self, closed: &BTreeSet<String>, findings: &mut Vec<Finding>) {
        // A test that a list meets refuses what the others let pass.
        let scores = self.scores.into_values().filter(|tests| tests.iter().all(Option::is_some));
        findings.extend(scores.flatten().flatten());
        let errors = self.errors.into_iter().filter(|(prefix, _)| !closed.contains(prefix));
        findings.extend(errors.map(|(_, finding)| finding));
    }
}

/// The state of the checks of one setup.
struct Check<'c, 's> {
    setup: &'c Setup<'s>,
    /// Indices of engines by the prefix of their variables.
    by_prefix: BTreeMap<&'s str, Vec<usize>>,
    /// The proxies related to each, which are asked for once per proxy.
    related: BTreeMap<usize, Option<Rc<[usize]>>>,
    /// The number of rules of all proxies that set or remove a header, by its name in lower case.
    header_rules: BTreeMap<String, usize>,
    /// A rule removes headers whose names it does not write out.
    removes_by_pattern: bool,
    /// Engines whose answer is in an ACL that no rule uses, with the ACL.
    unused_acls: Vec<(usize, String, Place)>,
    /// Findings that count only if the setup has nothing else against the same fault.
    deferred: Deferred,
    findings: &'c mut Vec<Finding>,
    used: Used,
}

pub(super) fn check(setup: &Setup<'_>, findings: &mut Vec<Finding>) -> Used {
    let mut by_prefix = BTreeMap::<&str, Vec<usize>>::new();
    for (at, deployed) in setup.deployed.iter().enumerate() {
        by_prefix.entry(deployed.engine.agent.prefix()).or_default().push(at);
    }
    let mut check = Check {
        setup,
        by_prefix,
        related: BTreeMap::new(),
        header_rules: header_rules(setup),
        removes_by_pattern: setup.config.proxies.iter().flat_map(|of| &of.rules).any(removes_by_pattern),
        unused_acls: Vec::new(),
        deferred: Deferred::default(),
        findings,
        used: Used::default(),
    };
    for read in reads::all(setup) {
        check.read(&read);
    }
    check.used_by_arguments();
    check.unused();
    check.deferred.decide(&check.used.closed, check.findings);
    check.used
}

impl<'s> Check<'_, 's> {
    fn found(&mut self, kind: &'static Kind, read: &Read<'_>, values: &[(&str, &str)]) {
        self.findings.push(Finding::new(kind, &read.place, values));
    }

    fn read(&mut self, read: &Read<'s>) {
        if !is_known(&read.name) {
            return;
        }
        let Some((scope, rest)) = read.name.split_once('.') else { return };
        let mut splits = rest.match_indices('.').map(|(at, _)| (&rest[..at], &rest[at + 1..]));
        let known = splits.find_map(|(prefix, name)| Some((self.by_prefix.get(prefix)?.clone(), name)));
        let is_set_by_rules = self.setup.set_anywhere.contains(&read.name);
        let Some((engines, name)) = known else {
            return if is_set_by_rules { self.copy(read) } else { self.other_prefix(read, scope, rest) };
        };
        if let Some(acl) = read.unused_acl {
            engines.iter().for_each(|at| self.unused_acls.push((*at, acl.to_owned(), read.place.clone())));
            return;
        }
        self.used.engines.extend(&engines);
        // A rule may set a default, for example.
        if is_set_by_rules {
            return self.copy(read);
        }
        // Several engines may have the same prefix: the first one that sets the variable is meant.
        let setup = self.setup;
        let of = engines.iter().map(|at| &setup.deployed[*at]);
        if let Some(deployed) = of.clone().find(|deployed| deployed.engine.agent.error_variable() == Some(name)) {
            return self.error(read, scope, deployed);
        }
        match of.clone().find(|deployed| deployed.sets(setup, scope, name)) {
            Some(deployed) => self.answer(read, scope, name, deployed),
            None => of.take(1).for_each(|deployed| self.unknown(read, name, deployed)),
        }
    }

    /// A variable that an engine sets: is it set by then, and can the comparison be true?
    fn answer(&mut self, read: &Read<'s>, scope: &str, name: &str, deployed: &Deployed<'s>) {
        let setup = self.setup;
        let variable = if deployed.is_ours { format!("{scope}.{name}") } else { String::new() };
        // The log of a proxy without the filter is inherited from `defaults`, and its variables are empty there. Other findings are
        // about messages that are never sent.
        let Some(first_sent) = deployed.first_sent.get(&variable) else { return };
        if read.rule.is_none() || read.moment == Moment::End {
            return;
        }
        let related = self.related.entry(read.proxy).or_insert_with(|| setup.related(read.proxy).map(Rc::from));
        if let Some(related) = related.clone().filter(|_| scope != "proc") {
            let sent: Vec<_> = related.iter().filter_map(|proxy| first_sent.get(proxy)).collect();
            let Some(first) = sent.first() else {
                let proxy = self.setup.proxy(read.proxy);
                if self.setup.is_unreachable(read.proxy) || !proxy.has_own(&read.place) {
                    return;
                }
                let values = [
                    ("engine", deployed.name),
                    ("variable", &*read.name),
                    ("proxy", &*self.setup.proxy(read.proxy).name),
                ];
                return self.found(&FRONTEND_WITHOUT_FILTER, read, &values);
            };
            // In the session the answer to an earlier request may be there.
            let is_kept = scope == "sess" && first.moment >= Moment::OnServerSession;
            if !sent.iter().any(|sent| is_before(sent, read)) && !is_kept {
                return self.found(
                    kind_of_late(first, read),
                    read,
                    &[("variable", &read.name), ("event", first.cause)],
                );
            }
        }
        self.accepted_before(read);
        self.header(read);
        let mut found = values::check(setup, deployed, read, name);
        if read.test.is_some() && names_score(setup, deployed, name) {
            let tests = self.deferred.scores.entry(read.name.clone()).or_default();
            tests.push(found.take_if(|finding| finding.kind == &SCORE_ABOVE_LIMIT));
        }
        self.findings.extend(found);
    }

    /// A rule that refuses clients after a rule that accepts some of them.
    fn accepted_before(&mut self, read: &Read<'s>) {
        let Some((number, rule)) = read.rule.filter(|(_, rule)| refuses(rule)) else { return };
        if rule.moment != Moment::FrontendContentRules {
            return;
        }
        let proxy = self.setup.proxy(read.proxy);
        if let Some(accepting) = proxy.accepting.filter(|accepting| *accepting < number) {
            let place = &proxy.rules[accepting].place;
            self.findings.push(Finding::new(&ACCEPT_BEFORE_REJECT, place, &[("variable", &read.name)]));
        }
    }

    /// A header that is set only if there is an answer.
    fn header(&mut self, read: &Read<'s>) {
        let Some((_, rule)) = read.rule.filter(|(_, rule)| rule.action == "set-header" && read.test.is_none()) else {
            return;
        };
        let Some(header) = rule.words.get(2).filter(|_| !rule.condition.is_empty()) else { return };
        // Another rule may set the header in the other case, and another proxy may remove it.
        let is_only = self.header_rules.get(&header.to_ascii_lowercase()) == Some(&1);
        if read.moment < Moment::OnHttpResponse && is_only && !self.removes_by_pattern {
            self.found(&HEADER_NOT_REMOVED, read, &[("header", header)]);
        }
    }

    /// A variable that no engine sets although it has the prefix of one.
    fn unknown(&mut self, read: &Read<'s>, name: &str, deployed: &Deployed<'s>) {
        let served = deployed.served(self.setup);
        // Another agent, or a message with a finding of its own.
        let is_complete = served.len() == deployed.engine.messages.len();
        if !deployed.is_ours || served.is_empty() || !is_complete || self.setup.config.has_lua() {
            return;
        }
        let full = |(_, rule): &(_, &MessageRule)| deployed.full_name(rule, name);
        let set: Vec<_> =
            served.iter().filter(|(_, rule)| names(rule).iter().any(|(known, _)| *known == name)).map(full).collect();
        if let Some(set) = set.first() {
            return self.found(&VARIABLE_SCOPE, read, &[("variable", &read.name), ("answer", set)]);
        }
        if name.contains("err") && deployed.engine.agent.error_variable().is_none() {
            return self.found(&ERROR_VARIABLE_NEVER_SET, read, &[("variable", &read.name), ("name", name)]);
        }
        let of_rule = |(_, rule): &(_, &MessageRule)| names(rule).map(|(name, _)| deployed.full_name(rule, name));
        let known: BTreeSet<_> = served.iter().flat_map(|of| of_rule(of).into_iter().take(4)).collect();
        let known = listed(known.iter().map(String::as_str));
        let defaults = MessageRule::defaults();
        let is_usual = defaults.iter().any(|rule| names(rule).iter().any(|(usual, _)| *usual == name));
        let message = served.first().map_or("", |(message, _)| message.name.as_str());
        let kind = if is_usual { &VARIABLE_RENAMED } else { &VARIABLE_NAME };
        self.found(kind, read, &[("variable", &read.name), ("known", &known), ("message", message)]);
    }

    /// A variable without the prefix of an engine.
    fn other_prefix(&mut self, read: &Read<'s>, scope: &str, rest: &str) {
        let name = rest.rsplit('.').next().unwrap_or(rest);
        let setup = self.setup;
        let usual = MessageRule::defaults();
        let has_name = |rule: &MessageRule| names(rule).iter().any(|(known, _)| *known == name);
        let sets_it = |deployed: &Deployed<'_>| {
            let served = deployed.served(setup);
            let is_usual = |rule: &MessageRule| deployed.engine.messages.iter().any(|of| of.name == rule.message());
            served.iter().any(|(_, rule)| has_name(rule))
                || served.is_empty() && usual.iter().any(|rule| is_usual(rule) && has_name(rule))
        };
        let meant = setup.deployed.iter().position(sets_it).filter(|_| !setup.config.has_lua());
        if let Some(at) = meant {
            self.used.engines.insert(at);
            let set = format!("{scope}.{}.{name}", setup.deployed[at].engine.agent.prefix());
            self.found(&VARIABLE_PREFIX, read, &[("variable", &read.name), ("answer", &set)]);
        }
    }

    /// The variable of `set-on-error`.
    fn error(&mut self, read: &Read<'s>, scope: &str, deployed: &Deployed<'s>) {
        let agent = &deployed.engine.agent;
        let set = format!("txn.{}.{}", agent.prefix(), agent.error_variable().unwrap_or_default());
        if scope != "txn" {
            self.found(&ERROR_VARIABLE_SCOPE, read, &[("variable", &read.name), ("answer", &set)]);
        } else if read.unused_acl.is_none() {
            let refuses_it = read.rule.is_some_and(|(_, rule)| refuses(rule));
            if refuses_it
                && read.test.as_ref().is_some_and(|(test, _)| {
                    test.method == "found" || test.patterns.first().is_some_and(|of| of == "gt")
                })
            {
                self.used.closed.insert(agent.prefix().to_owned());
            }
            match values::check_error(deployed, read) {
                Some(finding) if finding.kind == &ERROR_VALUE_INCOMPLETE => {
                    self.deferred.errors.push((agent.prefix().to_owned(), finding));
                }
                finding => self.findings.extend(finding),
            }
        }
        self.used.errors.insert(set);
    }

    /// A variable that rules set: a copy of an answer has to be made before it is read.
    fn copy(&mut self, read: &Read<'s>) {
        let Some((number, _)) = read.rule.filter(|_| matches!(read.name.split('.').next(), Some("txn" | "req"))) else {
            return;
        };
        let Some(set) = self.setup.set_by_rules.get(read.name.as_str()).copied() else { return };
        let (proxy, moment, rule) = set.first;
        if !set.is_one_place || (proxy, moment) != (read.proxy, read.moment) || rule < number {
            return;
        }
        let rule = &self.setup.proxy(proxy).rules[rule];
        let reads_answer = |name: &str| {
            let rest = name.split_once('.').map_or("", |(_, rest)| rest);
            rest.split_once('.').is_some_and(|(prefix, _)| self.by_prefix.contains_key(prefix))
        };
        if rule.words.iter().flat_map(|word| variables(word)).any(reads_answer) {
            self.found(&COPY_SET_AFTER_RULE, read, &[("variable", &read.name)]);
        }
    }

    /// Arguments and conditions of one engine may read the answers of another.
    fn used_by_arguments(&mut self) {
        for deployed in &self.setup.deployed {
            let arguments = deployed.engine.messages.iter().flat_map(|message| &message.arguments);
            for name in arguments.flat_map(|argument| variables(&argument.expression)) {
                let rest = name.split_once('.').map_or("", |(_, rest)| rest);
                let engines = rest.split_once('.').and_then(|(prefix, _)| self.by_prefix.get(prefix));
                self.used.engines.extend(engines.into_iter().flatten());
            }
        }
    }

    /// Engines of our agent whose answer nothing reads.
    fn unused(&mut self) {
        if self.setup.config.has_lua() {
            return;
        }
        for (at, deployed) in self.setup.deployed.iter().enumerate() {
            let served = deployed.served(self.setup);
            let (Some((_, rule)), Some(of)) = (served.first(), deployed.uses.first()) else { continue };
            if self.used.engines.contains(&at) || deployed.sent.is_empty() {
                continue;
            }
            if let Some((_, acl, place)) = self.unused_acls.iter().find(|(of, _, _)| *of == at) {
                self.findings.push(Finding::new(&ACL_UNUSED, place, &[("acl", acl)]));
                continue;
            }
            let prefix = deployed.engine.agent.prefix();
            let is_mentioned = ["proc", "sess", "txn", "req", "res"]
                .iter()
                .any(|scope| self.setup.mentions(&format!("{scope}.{prefix}.")));
            if !is_mentioned {
                let set = deployed.full_name(rule, names(rule)[0].0);
                self.findings.push(Finding::new(&ANSWER_UNUSED, &of.filter.place, &[("answer", &set)]));
            }
        }
    }
}

/// Returns the number of rules that set or remove each header.
fn header_rules(setup: &Setup<'_>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for rule in setup.config.proxies.iter().flat_map(|proxy| &proxy.rules) {
        if matches!(rule.action.as_str(), "set-header" | "del-header" | "replace-header") {
            let name = rule.words.get(2).map_or_else(String::new, |name| name.to_ascii_lowercase());
            *counts.entry(name).or_insert(0) += 1;
        }
    }
    counts
}

fn removes_by_pattern(rule: &Rule) -> bool {
    rule.action == "del-header" && rule.words.iter().any(|word| word == "-m")
}

/// True if a variable is a score.
fn names_score(setup: &Setup<'_>, deployed: &Deployed<'_>, name: &str) -> bool {
    let is_score = |(known, meaning): (&str, Meaning)| known == name && meaning == Meaning::Score;
    deployed.served(setup).iter().any(|(_, rule)| names(rule).into_iter().any(is_score))
}

/// True if a message is sent before a rule reads its answer.
fn is_before(sent: &Sent<'_>, read: &Read<'_>) -> bool {
    match (sent.rule, read.rule) {
        (Some(send), Some((number, _))) if sent.proxy == read.proxy && sent.moment == read.moment => send < number,
        _ => sent.moment < read.moment,
    }
}

/// Returns the kind of a rule that reads the answer to a message which is sent later.
fn kind_of_late(sent: &Sent<'_>, read: &Read<'_>) -> &'static Kind {
    match read.moment {
        Moment::ConnectionRules => &CONNECTION_RULE,
        Moment::SessionRules => &SESSION_RULE,
        _ if sent.rule.is_some() => &GROUP_SENT_AFTER_RULE,
        _ if sent.moment >= Moment::OnServerSession => &RESPONSE_EVENT,
        Moment::FrontendContentRules | Moment::BackendContentRules => &CONTENT_RULE_BEFORE_EVENT,
        _ => &RULE_BEFORE_EVENT,
    }
}

impl<'s> Deployed<'s> {
    /// True if the engine sets a variable in this scope, as far as is known.
    fn sets(&self, setup: &Setup<'s>, scope: &str, name: &str) -> bool {
        let agent = &self.engine.agent;
        let is_time = |option| scope == "txn" && agent.last(option).is_some_and(|line| line.word(2) == name);
        is_time("option set-process-time")
            || is_time("option set-total-time")
            || self.engine.messages.iter().any(|message| self.message_sets(setup, message, scope, name))
    }

    /// True if the answer to a message sets a variable. Variables of other agents are unknown, so each message may set all.
    fn message_sets(&self, setup: &Setup<'s>, message: &crate::spoe::Message, scope: &str, name: &str) -> bool {
        if !self.is_ours {
            return true;
        }
        self.rule(setup, message).is_some_and(|rule| {
            crate::agent::scope_name(rule.scope()) == scope && names(rule).iter().any(|(known, _)| *known == name)
        })
    }
}
