//! Checks of messages and engines that set the same variables.

use crate::catalogue::{ENGINES_SHARE_VARIABLES, IDENTICAL_MESSAGES, VARIABLE_OVERWRITTEN};
use crate::finding::Finding;
use crate::limits::COMPARED_MAX;
use crate::setup::{Deployed, Sent, Setup, names};
use crate::spoe::Message;
use spoa_reputation::MessageRule;

/// True if two rules set a variable of the same name.
fn overlap(a: &MessageRule, b: &MessageRule) -> bool {
    a.scope() == b.scope() && names(a)[0].0 == names(b)[0].0
}

/// True if two messages have the same arguments.
fn ask_the_same(a: &Message, b: &Message) -> bool {
    let arguments = |message: &Message| {
        message.arguments.iter().map(|a| (a.name.clone(), a.expression.clone())).collect::<Vec<_>>()
    };
    arguments(a) == arguments(b)
}

pub(super) fn check(setup: &Setup<'_>, findings: &mut Vec<Finding>) {
    for deployed in &setup.deployed {
        messages(setup, deployed, findings);
    }
    let ours: Vec<_> = setup.deployed.iter().filter(|deployed| deployed.is_ours).take(COMPARED_MAX).collect();
    for (at, a) in ours.iter().enumerate() {
        for b in &ours[at + 1..] {
            engines(setup, a, b, findings);
        }
    }
}

fn messages(setup: &Setup<'_>, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    let served = deployed.sent.iter().filter_map(|sent| Some((*sent, deployed.rule(setup, sent.message)?)));
    let sent: Vec<(Sent<'_>, _)> = served.take(COMPARED_MAX).collect();
    for (at, (first, first_rule)) in sent.iter().enumerate() {
        for (second, second_rule) in &sent[at + 1..] {
            let (a, b) = (first.message, second.message);
            let is_always = |message: &Message| message.event.as_ref().is_none_or(|event| event.condition.is_empty());
            let is_together = first.proxy == second.proxy && first.moment == second.moment && first.rule == second.rule;
            if !is_together || a.name == b.name || !overlap(first_rule, second_rule) {
                continue;
            }
            let values = [("first", &*a.name), ("second", &*b.name)];
            let condition = |message: &Message| {
                message.event.as_ref().map(|event| format!("{} {:?}", event.is_unless, event.condition))
            };
            if ask_the_same(a, b) && condition(a) == condition(b) {
                findings.push(Finding::new(&IDENTICAL_MESSAGES, &b.place, &values));
            } else if is_always(a) && is_always(b) {
                let place = setup.agent.map(|agent| agent.table("message", &b.name, "prefix"));
                findings.push(Finding::new(&VARIABLE_OVERWRITTEN, place.as_ref().unwrap_or(&b.place), &values));
            }
        }
    }
}

fn engines(setup: &Setup<'_>, a: &Deployed<'_>, b: &Deployed<'_>, findings: &mut Vec<Finding>) {
    let is_together = a.uses.iter().any(|of| b.uses.iter().any(|other| other.proxy == of.proxy));
    let rules = |of: &Deployed<'_>| of.served(setup).into_iter().map(|(_, rule)| rule.clone()).collect::<Vec<_>>();
    let (of_a, of_b) = (rules(a), rules(b));
    let has_condition = |of: &Deployed<'_>| {
        of.engine.messages.iter().any(|message| message.event.as_ref().is_none_or(|event| !event.condition.is_empty()))
    };
    let overlaps = of_a.iter().any(|rule| of_b.iter().any(|other| overlap(rule, other)));
    if !is_together
        || !overlaps
        || has_condition(a)
        || has_condition(b)
        || a.engine.agent.prefix() != b.engine.agent.prefix()
    {
        return;
    }
    // The filter that comes later in the proxy replaces the other's variables.
    let later =
        if a.uses.first().map(|of| &of.filter.place) < b.uses.first().map(|of| &of.filter.place) { b } else { a };
    let agent = &later.engine.agent;
    let place = agent.last("option var-prefix").map_or(&agent.place, |line| &line.place);
    findings.push(Finding::new(&ENGINES_SHARE_VARIABLES, place, &[("first", a.name), ("second", b.name)]));
}
