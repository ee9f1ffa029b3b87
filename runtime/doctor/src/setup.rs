//! Everything that is known about a setup: which engine asks which agent, and what its variables are called.

use std::collections::{BTreeMap, BTreeSet};

use spoa_reputation::MessageRule;

use crate::agent::{AgentConfig, scope_name};
use crate::config::{Config, Filter, Proxy};
use crate::rules::Moment;
use crate::spoe::{Engine, Message};
use crate::version::Version;

/// A setup.
pub(crate) struct Setup<'s> {
    pub(crate) config: &'s Config,
    pub(crate) agent: Option<&'s AgentConfig>,
    pub(crate) version: Version,
    /// The rules of messages that our agent serves.
    pub(crate) rules: BTreeMap<&'s str, &'s MessageRule>,
    pub(crate) deployed: Vec<Deployed<'s>>,
    /// The rules that set each variable: the proxy, the moment and the index of the rule.
    pub(crate) set_by_rules: SetByRules<'s>,
    /// Indices of proxies that a backend's requests can come from; `None` if some frontend chooses its backend by the request.
    sources: Option<BTreeMap<String, Vec<usize>>>,
}

/// The rules that set variables, by the name of the variable.
pub(crate) type SetByRules<'s> = BTreeMap<&'s str, Vec<(usize, Moment, usize)>>;

/// An engine that filters use.
pub(crate) struct Deployed<'s> {
    pub(crate) name: &'s str,
    pub(crate) engine: &'s Engine,
    pub(crate) uses: Vec<Use<'s>>,
    /// Our agent answers it.
    pub(crate) is_ours: bool,
    pub(crate) sent: Vec<Sent<'s>>,
}

/// A filter of a proxy.
#[derive(Clone, Copy)]
pub(crate) struct Use<'s> {
    pub(crate) proxy: usize,
    pub(crate) filter: &'s Filter,
}

/// A message that is sent, at an event or by a rule of a proxy with the filter.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'s> {
    pub(crate) message: &'s Message,
    pub(crate) proxy: usize,
    pub(crate) moment: Moment,
    /// The index of the rule that sends it, among those of its proxy.
    pub(crate) rule: Option<usize>,
    /// The event, or the name of the group.
    pub(crate) cause: &'s str,
}

impl<'s> Setup<'s> {
    pub(crate) fn new(
        config: &'s Config,
        engines: &'s BTreeMap<String, BTreeMap<String, Engine>>,
        rules: &'s [MessageRule],
        agent: Option<&'s AgentConfig>,
        version: Version,
    ) -> Self {
        let rules: BTreeMap<_, _> = rules.iter().map(|rule| (rule.message(), rule)).collect();
        let mut uses = BTreeMap::<(&str, &str), Vec<Use<'_>>>::new();
        for (proxy, filter) in
            config.proxies.iter().enumerate().flat_map(|(at, proxy)| proxy.filters.iter().map(move |f| (at, f)))
        {
            uses.entry((&filter.file, &filter.engine)).or_default().push(Use { proxy, filter });
        }
        let mut deployed = Vec::new();
        for ((file, name), uses) in uses {
            let Some(engine) = engines.get(file).and_then(|engines| engines.get(name)) else { continue };
            let sent = sent(config, name, engine, &uses);
            let is_ours = engine.messages.iter().any(|message| rules.contains_key(message.name.as_str()));
            deployed.push(Deployed { name, engine, uses, is_ours, sent });
        }
        // With a configuration of our agent and a single engine, the agent is ours whatever the messages are called.
        if let [only] = &mut deployed[..] {
            only.is_ours |= agent.is_some();
        }
        Self { config, agent, version, rules, deployed, set_by_rules: set_by_rules(config), sources: sources(config) }
    }

    pub(crate) fn proxy(&self, at: usize) -> &'s Proxy {
        &self.config.proxies[at]
    }

    /// True if streams that pass the proxy `from` can pass the proxy `to`, as far as is known.
    pub(crate) fn may_lead(&self, from: usize, to: usize) -> bool {
        let Some(sources) = &self.sources else { return true };
        from == to || sources.get(&self.proxy(to).name).is_some_and(|all| all.contains(&from))
    }

    /// True if no frontend leads to this backend.
    pub(crate) fn is_unreachable(&self, backend: usize) -> bool {
        let proxy = self.proxy(backend);
        !proxy.kind.has_clients() && self.sources.as_ref().is_some_and(|sources| !sources.contains_key(&proxy.name))
    }
}

/// Returns the rules that set variables.
fn set_by_rules(config: &Config) -> SetByRules<'_> {
    let mut set = SetByRules::new();
    for (at, proxy) in config.proxies.iter().enumerate() {
        for (number, rule) in proxy.rules.iter().enumerate() {
            if let Some(name) = rule.set_variable() {
                set.entry(name).or_default().push((at, rule.moment, number));
            }
        }
    }
    set
}

/// Returns the proxies that lead to each backend.
fn sources(config: &Config) -> Option<BTreeMap<String, Vec<usize>>> {
    let mut sources = BTreeMap::<String, Vec<usize>>::new();
    for (at, proxy) in config.proxies.iter().enumerate().filter(|(_, proxy)| proxy.kind.has_clients()) {
        let targets: BTreeSet<_> = config.targets(proxy)?.into_iter().collect();
        targets.into_iter().for_each(|name| sources.entry(name.to_owned()).or_default().push(at));
    }
    Some(sources)
}

/// Returns the messages that are sent, with each moment.
fn sent<'s>(config: &'s Config, name: &str, engine: &'s Engine, uses: &[Use<'s>]) -> Vec<Sent<'s>> {
    let all: Vec<_> = engine.sent().collect();
    let mut sent = Vec::new();
    for Use { proxy, .. } in uses {
        let (at, proxy) = (*proxy, &config.proxies[*proxy]);
        for (message, event) in
            all.iter().filter(|(_, group)| group.is_none()).filter_map(|(m, _)| Some((*m, m.event.as_ref()?)))
        {
            let Some(moment) = event.moment else { continue };
            let is_http = event.name.contains("http");
            let is_of_frontend = event.name.contains("frontend") || event.name == "on-client-session";
            if is_http && proxy.is_http() == Some(false) || is_of_frontend && !proxy.kind.has_clients() {
                continue;
            }
            sent.push(Sent { message, proxy: at, moment, rule: None, cause: &event.name });
        }
        for (number, rule) in proxy.rules.iter().enumerate() {
            let Some((_, group)) = rule.sent_group().filter(|(engine, _)| *engine == name) else { continue };
            let of_group = all.iter().filter(|(_, of)| of.is_some_and(|of| of.name == group));
            let cause = of_group.clone().find_map(|(_, of)| of.map(|of| of.name.as_str())).unwrap_or_default();
            let send = |(message, _): &(&'s Message, _)| Sent {
                message,
                proxy: at,
                moment: rule.moment,
                rule: Some(number),
                cause,
            };
            sent.extend(of_group.map(send));
        }
    }
    sent
}

/// The meaning of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Score,
    Listed,
    Verdict,
    List,
    Other,
}

/// Returns the names of the variables of a rule, without prefix and scope, with their meanings.
pub(crate) fn names(rule: &MessageRule) -> [(&str, Meaning); 10] {
    let names = rule.names();
    [
        (names.score.as_str(), Meaning::Score),
        (names.listed.as_str(), Meaning::Listed),
        (names.verdict.as_str(), Meaning::Verdict),
        (names.list.as_str(), Meaning::List),
        (names.category.as_str(), Meaning::Other),
        (names.prefix.as_str(), Meaning::Other),
        (names.generation.as_str(), Meaning::Other),
        (names.shadow_score.as_str(), Meaning::Score),
        (names.shadow_verdict.as_str(), Meaning::Verdict),
        (names.shadow_list.as_str(), Meaning::List),
    ]
}

impl<'s> Deployed<'s> {
    /// Returns the rule of our agent for a message.
    pub(crate) fn rule(&self, setup: &Setup<'s>, message: &Message) -> Option<&'s MessageRule> {
        setup.rules.get(message.name.as_str()).copied().filter(|_| self.is_ours)
    }

    /// Returns the messages that our agent serves, with their rules, whether or not they are sent.
    pub(crate) fn served(&self, setup: &Setup<'s>) -> Vec<(&'s Message, &'s MessageRule)> {
        self.engine.messages.iter().filter_map(|message| Some((message, self.rule(setup, message)?))).collect()
    }

    /// Returns the whole name of a variable of a rule: `txn.iprep.ip_score`.
    pub(crate) fn full_name(&self, rule: &MessageRule, name: &str) -> String {
        format!("{}.{}.{name}", scope_name(rule.scope()), self.engine.agent.prefix())
    }

    /// Returns the backend with the agents.
    pub(crate) fn backend(&self, setup: &Setup<'s>) -> Option<&'s Proxy> {
        setup.config.backend(self.engine.agent.backend()?)
    }

    /// Returns the number of agents that are used while all are alive, and those that replace them.
    pub(crate) fn agents(&self, setup: &Setup<'s>) -> Option<usize> {
        Some(self.backend(setup)?.servers().filter(|server| server.keyword("disabled").is_none()).count())
    }
}
