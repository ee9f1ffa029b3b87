//! The checks, by subject.

mod addresses;
mod agent;
mod arguments;
mod backend;
mod headers;
mod live;
mod logs;
mod messages;
mod overlap;
mod reads;
mod values;
mod variables;

use crate::finding::Finding;
use crate::live::Live;
use crate::setup::Setup;

/// Runs all checks.
pub(crate) fn all(setup: &Setup<'_>, live: Option<&Live>) -> Vec<Finding> {
    let mut findings = Vec::new();
    agent::check(setup, &mut findings);
    overlap::check(setup, &mut findings);
    for deployed in &setup.deployed {
        messages::check(setup, deployed, &mut findings);
        arguments::check(setup, deployed, &mut findings);
    }
    let used = variables::check(setup, &mut findings);
    for deployed in &setup.deployed {
        let is_closed = used.closed.contains(deployed.engine.agent.prefix());
        backend::check(setup, deployed, is_closed, &mut findings);
        logs::check(setup, deployed, &used, &mut findings);
    }
    if let Some(live) = live {
        live::check(live, setup, &mut findings);
    }
    findings
}
