//! Finds what makes a setup of HAProxy's SPOE protect nothing, fail open unnoticed, fragile or slow.
//!
//! HAProxy accepts such setups and `haproxy -c` is silent about them. [`diagnose`] reads HAProxy's configuration, the SPOE files and
//! the agent's configuration, and returns [findings](Finding). It does no I/O, and unknown lines never stop it.

mod agent;
mod catalogue;
mod checks;
mod conditional;
mod config;
mod finding;
mod limits;
mod live;
mod log;
mod rules;
mod setup;
mod source;
mod spoe;
mod version;
mod words;

use std::collections::BTreeMap;

pub use agent::AgentConfig;
pub use catalogue::{KINDS, Kind, Severity};
pub use finding::Finding;
pub use live::Live;
pub use log::{Explained, Log};
pub use source::{Place, SourceFile};
pub use version::Version;

use config::Config;
use setup::Setup;
use words::Environment;

/// A setup to look at.
pub struct Input<'i> {
    /// HAProxy's configuration files, in the order in which HAProxy reads them.
    pub haproxy: Vec<SourceFile>,
    /// Returns the SPOE file that a `filter spoe` line names, given its name and the file of the line; `None` if it cannot be read.
    pub spoe: &'i mut dyn FnMut(&str, &str) -> Option<SourceFile>,
    /// The configuration of our agent. Without it, nothing is known about names of variables and arguments.
    pub agent: Option<AgentConfig>,
    /// Returns an environment variable of HAProxy, if it is known.
    pub environment: &'i dyn Fn(&str) -> Option<String>,
    /// The counts of a running agent, if one was asked.
    pub live: Option<Live>,
    /// The version of HAProxy; the newest if it is unknown.
    pub version: Option<Version>,
}

/// The result of [`diagnose`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The findings, in the order of files and lines.
    pub findings: Vec<Finding>,
    /// The lines that name an SPOE file which cannot be read, with its name. Nothing is known about its engines.
    pub unread: Vec<(Place, String)>,
    /// The lines that name an engine which is not in their SPOE file, with its name.
    pub unknown: Vec<(Place, String)>,
    /// The number of engines that filters use.
    pub engines: usize,
}

/// Looks for findings.
pub fn diagnose(input: Input<'_>) -> Diagnosis {
    let Input { haproxy, spoe, agent, environment, live, version } = input;
    let mut environment = Environment::new(environment);
    let version = version.unwrap_or(version::NEWEST);
    let config = Config::read(&haproxy, &mut environment, version);
    let (mut engines, mut unread) = (BTreeMap::new(), Vec::new());
    let mut unknown = Vec::new();
    for filter in config.proxies.iter().flat_map(|proxy| &proxy.filters) {
        if !engines.contains_key(&filter.file) {
            let read = spoe(&filter.file.name, &filter.place.file);
            let read = read.map(|file| spoe::engines(&file, &mut environment, version));
            if read.is_none() {
                unread.push((filter.place.clone(), filter.file.name.clone()));
            }
            engines.insert(filter.file.clone(), read.unwrap_or_default());
        }
        if engines.get(&filter.file).is_some_and(|of| !of.is_empty() && !of.contains_key(&filter.engine)) {
            unknown.push((filter.place.clone(), filter.engine.clone()));
        }
    }
    // Without a configuration the agent may be somebody else's, even if its messages have the names that ours has built in.
    let rules = agent.as_ref().map_or_else(Vec::new, |agent| agent.reputation.message_rules.clone());
    let texts: Vec<_> = haproxy.iter().map(|file| without_comments(&file.text)).collect();
    let setup = Setup::new(&config, &engines, &rules, agent.as_ref(), version, &texts);
    let mut findings = checks::all(&setup, live.as_ref());
    // Filters in `defaults`, and rules that several proxies inherit, are found more than once.
    findings.sort_by(|a, b| (&a.place, a.kind.id, &a.happens).cmp(&(&b.place, b.kind.id, &b.happens)));
    findings.dedup();
    Diagnosis { findings, unread, unknown, engines: setup.deployed.len() }
}

/// Returns the lines that are no comments.
fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}
