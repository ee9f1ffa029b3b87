//! Checks of the arguments of messages: does the agent judge the address of the client?

use std::collections::{BTreeMap, BTreeSet};

use super::addresses::{is_no_address, judged};
use super::headers;
use crate::catalogue::{
    AGENT_FRAME_TOO_SMALL, ARGUMENT_SET_AFTER_EVENT, BODY_WITHOUT_BUFFERING, CLIENT_CHOOSES_ADDRESS,
    CLIENT_CONTROLS_SIZE, FRAME_TOO_SMALL_FOR_ARGUMENTS, IP_ARGUMENT_WITHOUT_ADDRESS, MASKED_ADDRESS,
    OWN_ADDRESS_JUDGED, POLICY_UNKNOWN, SET_SRC_AFTER_EVENT,
};
use crate::finding::{Finding, listed};
use crate::limits::COMPARED_MAX;
use crate::rules::{Moment, variables};
use crate::setup::{Deployed, Sent, Setup};
use crate::spoe::Message;
use crate::version::Version;
use spoa_reputation::MessageRule;

pub(super) fn check(setup: &Setup<'_>, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    let mut known = BTreeSet::new();
    let mut checked = BTreeMap::<usize, usize>::new();
    for sent in &deployed.sent {
        let rule = deployed.rule(setup, sent.message);
        if known.insert(sent.message.name.as_str()) {
            sizes(setup, deployed, sent.message, findings);
            if let Some(rule) = rule {
                address(sent.message, rule, findings);
                policy(setup, sent.message, rule, findings);
            }
        }
        // Each of these looks at all rules of the proxy.
        let of_proxy = checked.entry(sent.proxy).or_default();
        *of_proxy += 1;
        if *of_proxy <= COMPARED_MAX {
            of_moment(setup, sent, findings);
            if let Some(rule) = rule {
                headers::check(setup, deployed, sent, rule, findings);
                set_source(setup, sent, rule, findings);
            }
        }
    }
}

/// Checks arguments that depend on what HAProxy has done by the time of the event.
fn of_moment(setup: &Setup<'_>, sent: &Sent<'_>, findings: &mut Vec<Finding>) {
    let Sent { message, proxy, moment, .. } = *sent;
    let proxy = setup.proxy(proxy);
    let mut found = |kind, place, values: &[(&str, &str)]| findings.push(Finding::new(kind, place, values));
    for name in message.arguments.iter().flat_map(|argument| variables(&argument.expression)) {
        let Some(set) = setup.set_by_rules.get(name).filter(|_| sent.rule.is_none() && name.starts_with(['t', 'r']))
        else {
            continue;
        };
        if set.is_one_place && set.first.0 == sent.proxy && set.first.1 > moment {
            found(&ARGUMENT_SET_AFTER_EVENT, &message.arguments_at, &[("variable", name), ("event", sent.cause)]);
        }
    }
    let has_body = message.arguments.iter().any(|argument| argument.fetch().starts_with("req.body"));
    let waits = proxy.rules.iter().any(|rule| rule.action.starts_with("wait-for-body"));
    // A backend gets what its frontend has waited for.
    if has_body
        && proxy.kind.has_clients()
        && proxy.option("http-buffer-request").is_none()
        && !waits
        && moment < Moment::OnServerSession
    {
        found(&BODY_WITHOUT_BUFFERING, &message.arguments_at, &[]);
    }
}

/// Checks rules that change the source after the agent was asked about it.
fn set_source(setup: &Setup<'_>, sent: &Sent<'_>, rule: &MessageRule, findings: &mut Vec<Finding>) {
    let is_source =
        judged(sent.message, rule).is_ok_and(|judged| judged.iter().all(|argument| argument.fetch() == "src"));
    if is_source && sent.rule.is_none() && sent.moment <= Moment::OnFrontendHttpRequest {
        let rules = setup.proxy(sent.proxy).rules.iter();
        if let Some(rule) = rules.into_iter().find(|rule| rule.action == "set-src" && rule.moment > sent.moment) {
            findings.push(Finding::new(&SET_SRC_AFTER_EVENT, &rule.place, &[("event", sent.cause)]));
        }
    }
}

fn address(message: &Message, rule: &MessageRule, findings: &mut Vec<Finding>) {
    let mut found = |kind, values: &[(&str, &str)]| {
        findings.push(Finding::new(kind, &message.arguments_at, values));
    };
    let judged = match judged(message, rule) {
        Ok(judged) => judged,
        Err(Some((kind, argument))) => return found(kind, &[("argument", &argument), ("message", &message.name)]),
        Err(None) => return,
    };
    let is_named = !rule.arguments().is_empty() || judged.iter().any(|argument| argument.name == "ip");
    for argument in &judged {
        let (fetch, expression) = (argument.fetch(), argument.expression.as_str());
        if argument.name == "ip" && is_no_address(argument) {
            found(&IP_ARGUMENT_WITHOUT_ADDRESS, &[("expression", expression)]);
        }
        let mask = expression.find(",ipmask(").map(|at| &expression[at + 1..]);
        if let Some(converter) = mask.filter(|converter| !converter.starts_with("ipmask(32")) {
            let converter = converter.split_inclusive(')').next().unwrap_or_default();
            found(&MASKED_ADDRESS, &[("converter", converter)]);
        }
        if !is_named && fetch == "dst" && message.arguments.iter().any(|other| other.fetch() == "src") {
            found(&OWN_ADDRESS_JUDGED, &[]);
        }
        let is_header = fetch.ends_with("hdr_ip");
        if !is_named && is_header && message.arguments.iter().any(|other| other.fetch() == "src") {
            found(&CLIENT_CHOOSES_ADDRESS, &[]);
        }
    }
}

/// The size of a frame in bytes that holds the texts of usual requests.
const USUAL_FRAME: u32 = 2048;

/// Checks that messages fit into frames. HAProxy up to 3.0 sends larger ones in fragments.
fn sizes(setup: &Setup<'_>, deployed: &Deployed<'_>, message: &Message, findings: &mut Vec<Finding>) {
    if setup.version < Version(3, 1) {
        return;
    }
    let has_text = message.arguments.iter().any(|argument| argument.fetch().starts_with("req."));
    if let Some(line) = deployed.engine.agent.last("max-frame-size").filter(|_| has_text)
        && line.word(1).parse::<u32>().is_ok_and(|size| size < USUAL_FRAME)
    {
        findings.push(Finding::new(&FRAME_TOO_SMALL_FOR_ARGUMENTS, &line.place, &[("size", line.word(1))]));
    }
    if let Some(agent) = setup.agent.filter(|agent| has_text && agent.connection.max_frame_size < USUAL_FRAME) {
        let size = agent.connection.max_frame_size.to_string();
        findings.push(Finding::new(&AGENT_FRAME_TOO_SMALL, &agent.key("max-frame-size"), &[("size", &size)]));
    }
    let has = |fetch: &str| message.arguments.iter().any(|argument| argument.fetch() == fetch);
    if (has("req.hdrs") || has("req.hdrs_bin")) && (has("req.hdr") || has("req.fhdr") || has("req.cook")) {
        findings.push(Finding::new(&CLIENT_CONTROLS_SIZE, &message.arguments_at, &[]));
    }
}

/// Checks a policy that is selected by a constant.
fn policy(setup: &Setup<'_>, message: &Message, rule: &MessageRule, findings: &mut Vec<Finding>) {
    let (Some(agent), Some(name)) = (setup.agent, rule.policy_argument()) else { return };
    for argument in message.arguments.iter().filter(|argument| argument.name == name) {
        let Some(value) = argument.expression.strip_prefix("str(").and_then(|rest| rest.strip_suffix(')')) else {
            continue;
        };
        if !agent.reputation.policies.iter().any(|policy| policy.name == value) {
            let known = listed(agent.reputation.policies.iter().map(|policy| policy.name.as_str()));
            let values = [("message", &*message.name), ("value", value), ("known", &known)];
            findings.push(Finding::new(&POLICY_UNKNOWN, &message.arguments_at, &values));
        }
    }
}
