//! Checks of what HAProxy sends, and when.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::catalogue::{
    BUILT_IN_MESSAGES_REPLACED, EVENT_CONDITION_NEVER_TRUE, FILTER_IN_UNUSED_BACKEND, GROUP_NEVER_SENT,
    HTTP_EVENT_IN_TCP_MODE, MESSAGE_NOT_LISTED, MESSAGE_NOT_SERVED, SESSION_QUESTION_REPEATED,
};
use crate::finding::Finding;
use crate::rules::{Moment, Term, TermAcl, variables};
use crate::setup::{Deployed, Setup, Use, names};
use crate::spoe::Event;
use spoa_reputation::{MessageRule, Prefix};

pub(super) fn check(setup: &Setup<'_>, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    unsent(deployed, findings);
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
fn unsent(deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    let engine = deployed.engine;
    let grouped = engine.groups.iter().flat_map(|group| group.messages.iter().map(String::as_str));
    let named: BTreeSet<_> = engine.agent.messages().chain(grouped).collect();
    for message in engine.messages.iter().filter(|message| !named.contains(message.name.as_str())) {
        findings.push(Finding::new(&MESSAGE_NOT_LISTED, &message.place, &[("message", &message.name)]));
    }
    let sent: BTreeSet<_> = deployed.sent.iter().filter(|sent| sent.rule.is_some()).map(|sent| sent.cause).collect();
    let used: BTreeSet<_> = engine.agent.groups().collect();
    for group in &engine.groups {
        if used.contains(group.name.as_str()) && !sent.contains(group.name.as_str()) && !group.messages.is_empty() {
            let values = [("group", &*group.name), ("engine", deployed.name)];
            findings.push(Finding::new(&GROUP_NEVER_SENT, &group.place, &values));
        }
    }
}

fn events(setup: &Setup<'_>, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    let mut modes = deployed.uses.iter().map(|of| setup.proxy(of.proxy).is_http);
    let is_tcp = modes.clone().all(|is_http| is_http == Some(false));
    let is_http = modes.any(|is_http| is_http == Some(true));
    let by_event = deployed.engine.sent().filter(|(_, group)| group.is_none());
    for (message, event) in by_event.filter_map(|(message, _)| Some((message, message.event.as_ref()?))) {
        if event.name.contains("http") && is_tcp {
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
        if event.moment == Some(Moment::OnClientSession) && is_http && !reads_a_variable(event) {
            let rule = deployed.rule(setup, message);
            let read = rule.map_or("VARIABLE".into(), |rule| deployed.full_name(rule, names(rule)[0].0));
            findings.push(Finding::new(&SESSION_QUESTION_REPEATED, &event.place, &[("variable", &read)]));
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
    (!a.iter().any(|a| b.iter().any(|b| meets(a, b)))).then(|| (name(first), name(second)))
}

/// Reads `192.0.2.0/24` or an address.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let address = address.parse::<IpAddr>().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let len = len.map_or(Some(longest), |len| len.parse().ok())?;
    (len <= longest).then_some((address, len))
}

/// True if the condition of an event depends on a variable, such as that of an answer before.
pub(super) fn reads_a_variable(event: &Event) -> bool {
    event.condition.iter().flatten().any(|term| match &term.acl {
        TermAcl::Inline(test) => variables(&test.expression).next().is_some(),
        TermAcl::Named(_) => true,
    })
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
            let served = agent
                .reputation
                .message_rules
                .iter()
                .map(|rule| format!("`{}`", rule.message()))
                .collect::<Vec<_>>()
                .join(", ");
            let values = [("message", &*message.name), ("served", &served)];
            findings.push(Finding::new(&MESSAGE_NOT_SERVED, &message.place, &values));
        }
    }
}
