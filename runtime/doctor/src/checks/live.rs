//! Checks of what arrives at a running agent.

use crate::catalogue::{ADDRESS_NOT_FOUND, MESSAGE_NEVER_ARRIVED, MESSAGE_NOT_SERVED, NOTHING_ARRIVES};
use crate::finding::{Finding, listed};
use crate::live::Live;
use crate::setup::{Deployed, Setup};
use spoa_runtime::text::{Count, Span};

pub(super) fn check(live: &Live, setup: &Setup<'_>, findings: &mut Vec<Finding>) {
    let is_served = |name: &str| live.messages.iter().any(|(served, _)| served == name);
    let is_asked = |deployed: &&Deployed<'_>| {
        let mut messages = deployed.engine.messages.iter();
        deployed.is_ours || setup.deployed.len() == 1 || messages.any(|message| is_served(&message.name))
    };
    let mut ours = setup.deployed.iter().filter(is_asked).peekable();
    let Some(first) = ours.peek() else { return };
    if live.notifies == 0 && live.health_checks > 0 {
        let checks = Count(live.health_checks, "health check").to_string();
        let place = first.uses.first().map_or(&first.engine.agent.place, |of| &of.filter.place);
        return findings.push(Finding::new(
            &NOTHING_ARRIVES,
            place,
            &[("checks", &checks), ("time", &Span(live.uptime).to_string())],
        ));
    }
    ours.for_each(|deployed| of_engine(live, deployed, findings));
}

fn of_engine(live: &Live, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    let served = || listed(live.messages.iter().map(|(name, _)| name.as_str()));
    for message in deployed.sent.iter().map(|sent| sent.message) {
        match live.messages.iter().find(|(name, _)| *name == message.name) {
            None => {
                let values = [("message", &*message.name), ("served", &served())];
                findings.push(Finding::new(&MESSAGE_NOT_SERVED, &message.place, &values));
            }
            Some((_, 0)) if live.notifies > 0 => {
                findings.push(Finding::new(&MESSAGE_NEVER_ARRIVED, &message.place, &[("message", &message.name)]));
            }
            Some(_) => {}
        }
        for (_, argument, count) in live.without_address.iter().filter(|(name, _, _)| *name == message.name) {
            let values = [("message", &*message.name), ("argument", argument), ("count", &count.to_string())];
            findings.push(Finding::new(&ADDRESS_NOT_FOUND, &message.arguments_at, &values));
        }
    }
}
