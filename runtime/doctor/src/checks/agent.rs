//! Checks of the agent's configuration alone.

use spoa_runtime::text::Count;
use spoa_runtime::{Capabilities, Scope};

use crate::agent::AgentConfig;
use crate::catalogue::{
    AGENT_PIPELINING_OFF, EVERYTHING_IN_SHADOW, FRAMES_LIMIT, IDLE_TIMEOUT_OF_AGENT, LIST_FILE_MISSING,
    MESSAGE_IN_SHADOW, MESSAGE_WITHOUT_LISTS, PROCESS_SCOPE, RANDOM_SCORES,
};
use crate::finding::Finding;
use crate::setup::Setup;
use crate::version::Version;

/// The number of NOTIFYs per connection below which reconnecting costs more than answering.
const FRAMES_MIN: u64 = 100;

pub(super) fn check(setup: &Setup<'_>, findings: &mut Vec<Finding>) {
    let Some(agent) = setup.agent.filter(|_| setup.deployed.iter().any(|deployed| deployed.is_ours)) else { return };
    lists(agent, findings);
    connections(setup, agent, findings);
    for rule in &agent.reputation.message_rules {
        let is_sent =
            setup.deployed.iter().any(|of| of.is_ours && of.engine.messages.iter().any(|m| m.name == rule.message()));
        if !is_sent {
            continue;
        }
        if rule.is_shadow() {
            let place = agent.table("message", rule.message(), "shadow");
            findings.push(Finding::new(&MESSAGE_IN_SHADOW, &place, &[("message", rule.message())]));
        }
        if rule.scope() == Scope::Process {
            findings.push(Finding::new(&PROCESS_SCOPE, &agent.table("message", rule.message(), "scope"), &[]));
        }
        let counted = |name: &String| agent.reputation.lists.iter().find(|list| list.name == *name);
        if let Some(lists) = &rule.policy().lists
            && rule.policy_argument().is_none()
            && rule.policy().default_score.is_none()
            && lists.iter().filter_map(counted).all(|list| list.allow)
        {
            let place = agent.table("message", rule.message(), "lists");
            findings.push(Finding::new(&MESSAGE_WITHOUT_LISTS, &place, &[("message", rule.message())]));
        }
    }
}

fn lists(agent: &AgentConfig, findings: &mut Vec<Finding>) {
    let bad: Vec<_> = agent.reputation.lists.iter().filter(|list| !list.allow).collect();
    let Some(first) = bad.first() else {
        if agent.reputation.lists.is_empty() {
            findings.push(Finding::new(&RANDOM_SCORES, &agent.key("list"), &[]));
        }
        return;
    };
    if bad.iter().all(|list| list.shadow) {
        findings.push(Finding::new(&EVERYTHING_IN_SHADOW, &agent.table("list", &first.name, "shadow"), &[]));
    }
    let files: Vec<_> = bad.iter().filter_map(|list| Some((list, list.path.as_ref()?))).collect();
    if let Some((first, path)) = files.first()
        && files.iter().all(|(list, path)| list.optional && !path.exists())
    {
        let path = path.display().to_string();
        let place = agent.table("list", &first.name, "path");
        findings.push(Finding::new(&LIST_FILE_MISSING, &place, &[("list", &first.name), ("path", &path)]));
    }
}

fn connections(setup: &Setup<'_>, agent: &AgentConfig, findings: &mut Vec<Finding>) {
    if let Some(frames) = agent.connection.notify_max.map(u64::from).filter(|max| *max < FRAMES_MIN) {
        let frames = Count(frames, "NOTIFY").to_string();
        findings.push(Finding::new(&FRAMES_LIMIT, &agent.key("frames"), &[("frames", &frames)]));
    }
    if let Some(time) = agent.connection.idle_timeout.filter(|time| time.as_secs() < 5) {
        let time = spoa_runtime::text::Span(time).to_string();
        findings.push(Finding::new(&IDLE_TIMEOUT_OF_AGENT, &agent.key("idle-timeout"), &[("value", &time)]));
    }
    if !agent.connection.capabilities.contains(Capabilities::PIPELINING) && setup.version >= Version(3, 1) {
        findings.push(Finding::new(&AGENT_PIPELINING_OFF, &agent.key("capability"), &[]));
    }
}
