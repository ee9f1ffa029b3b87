//! Checks of what HAProxy sends, and when.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::catalogue::{
    BUILT_IN_MESSAGES_REPLACED, EVENT_CONDITION_NEVER_TRUE, FILTER_IN_UNUSED_BACKEND, GROUP_NEVER_SENT,
    HTTP_EVENT_IN_TCP_MODE, MESSAGE_NOT_LISTED, MESSAGE_NOT_SERVED, SESSION_MESSAGE_REPEATED,
};
use crate::finding::{Finding, listed};
use crate::limits::COMPARED_MAX;
use crate::rules::{Moment, Term, TermAcl};
use crate::setup::{Deployed, Setup, Use, names, never_occurs};
use spoa_reputation::{MessageRule, Prefix};
use spoa_runtime::Scope;

pub(super) fn check(setup: &Setup<'_>, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    unsent(setup, deployed, findings);
    events(setup, deployed, findings);
    unserved(setup, deployed, findings);
    for Use { proxy, filter } in &deployed.uses {
        if setup.is_unreachable(*proxy) {
            let name = &setup.proxy(*proxy).name;
            findings.push(Finding::new(&FILTER_IN_UNUSED_BACKEND, &filter.place, &[("proxy", name)]));
        }
    }
}

/// Messages that are in no `messages` line, and groups that no rule sends.
fn unsent(setup: &Setup<'_>, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    let engine = deployed.engine;
    let grouped = engine.groups.iter().flat_map(|group| group.messages.iter().map(String::as_str));
    let named: BTreeSet<_> = engine.agent.messages().chain(grouped).collect();
    // Somebody else's agent may have messages that are turned off on purpose.
    let is_meant = |name: &str| deployed.sent.is_empty() || setup.rules.contains_key(name);
    for message in engine.messages.iter().filter(|of| !named.contains(of.name.as_str()) && is_meant(&of.name)) {
        findings.push(Finding::new(&MESSAGE_NOT_LISTED, &message.place, &[("message", &message.name)]));
    }
    let sent: BTreeSet<_> = deployed.sent.iter().filter(|sent| sent.rule.is_some()).map(|sent| sent.cause).collect();
    let used: BTreeSet<_> = engine.agent.groups().collect();
    let sent_by_event: BTreeSet<_> = engine.agent.messages().collect();
    for group in &engine.groups {
        if group.messages.iter().all(|name| sent_by_event.contains(name.as_str())) {
            continue;
        }
        if used.contains(group.name.as_str()) && !sent.contains(group.name.as_str()) && !group.messages.is_empty() {
            let values = [("group", &*group.name), ("engine", deployed.name)];
            findings.push(Finding::new(&GROUP_NEVER_SENT, &group.place, &values));
        }
    }
}

fn events(setup: &Setup<'_>, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    let proxies: Vec<_> = deployed.uses.iter().take(COMPARED_MAX).map(|of| setup.proxy(of.proxy)).collect();
    let is_http = proxies.iter().any(|proxy| proxy.is_http == Some(true));
    let by_event = deployed.engine.sent().filter(|(_, group)| group.is_none());
    for (message, event) in by_event.filter_map(|(message, _)| Some((message, message.event.as_ref()?))) {
        if proxies.iter().all(|proxy| never_occurs(event, proxy)) {
            findings.push(Finding::new(&HTTP_EVENT_IN_TCP_MODE, &event.place, &[("event", &event.name)]));
        }
        if let Some((first, second)) =
            event.condition.iter().find_map(|terms| disjoint(terms)).filter(|_| !event.is_unless)
        {
            findings.push(Finding::new(
                &EVENT_CONDITION_NEVER_TRUE,
                &event.place,
                &[("first", &first), ("second", &second)],
            ));
        }
        let rule = deployed.rule(setup, message).filter(|rule| rule.scope() == Scope::Session);
        if let Some(rule) = rule.filter(|_| event.moment == Some(Moment::OnClientSession))
            && is_http
            && !event.reads_a_variable()
        {
            let read = deployed.full_name(rule, names(rule)[0].0);
            findings.push(Finding::new(&SESSION_MESSAGE_REPEATED, &event.place, &[("variable", &read)]));
        }
    }
}

/// Returns two networks that must both contain the source, and have no address in common.
fn disjoint(terms: &[Term]) -> Option<(String, String)> {
    let networks = |term: &Term| -> Option<Vec<(IpAddr, u8)>> {
        let TermAcl::Inline(test) = &term.acl else { return None };
        (test.expression == "src" && !term.is_negated)
            .then(|| test.patterns.iter().map(|text| network(text)).collect())?
    };
    let all: Vec<_> = terms.iter().filter_map(|term| Some((term, networks(term)?))).collect();
    let [(first, a), (second, b), ..] = &all[..] else { return None };
    let meets = |(a, len): &(IpAddr, u8), (b, other): &(IpAddr, u8)| {
        let len = (*len).min(*other);
        Prefix::of(*a, len) == Prefix::of(*b, len)
    };
    let name = |term: &Term| match &term.acl {
        TermAcl::Inline(test) => test.patterns.join(" "),
        TermAcl::Named(name) => name.clone(),
    };
    let is_short = a.len().max(b.len()) <= COMPARED_MAX;
    (is_short && !a.iter().any(|a| b.iter().any(|b| meets(a, b)))).then(|| (name(first), name(second)))
}

/// Reads `192.0.2.0/24` or an address.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let address = address.parse::<IpAddr>().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let len = len.map_or(Some(longest), |len| len.parse().ok())?;
    (len <= longest).then_some((address, len))
}

/// Messages that the agent does not serve, if it is known to be ours.
fn unserved(setup: &Setup<'_>, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    let Some(agent) = setup.agent.filter(|_| deployed.is_ours) else { return };
    let sent: BTreeSet<_> = deployed.sent.iter().map(|sent| sent.message.name.as_str()).collect();
    for message in deployed.engine.messages.iter().filter(|message| sent.contains(message.name.as_str())) {
        if deployed.rule(setup, message).is_some() {
            continue;
        }
        let is_built_in = MessageRule::defaults().iter().any(|rule| rule.message() == message.name);
        if is_built_in {
            let place = agent.first_table("message");
            findings.push(Finding::new(&BUILT_IN_MESSAGES_REPLACED, &place, &[("message", &message.name)]));
        } else {
            let served = listed(agent.reputation.message_rules.iter().map(MessageRule::message));
            let values = [("message", &*message.name), ("served", &served)];
            findings.push(Finding::new(&MESSAGE_NOT_SERVED, &message.place, &values));
        }
    }
}
