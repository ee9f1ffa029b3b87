//! Everything that is known about a setup: which engine asks which agent, and what its variables are called.

use std::collections::{BTreeMap, BTreeSet};

use spoa_reputation::MessageRule;

use crate::agent::{AgentConfig, scope_name};
use crate::config::{Config, Filter, Proxy, Server, SpoeFile};
use crate::limits::{COMPARED_MAX, ENGINES_MAX, SENT_MAX};
use crate::rules::{Moment, Rule};
use crate::source::ProxyKind;
use crate::spoe::{Engine, Event, Group, Message};
use crate::version::Version;

/// A setup.
pub(crate) struct Setup<'s> {
    pub(crate) config: &'s Config,
    pub(crate) agent: Option<&'s AgentConfig>,
    pub(crate) version: Version,
    /// The rules of messages that our agent serves.
    pub(crate) rules: BTreeMap<&'s str, &'s MessageRule>,
    pub(crate) deployed: Vec<Deployed<'s>>,
    /// The rules that set each variable.
    pub(crate) set_by_rules: BTreeMap<&'s str, SetByRules>,
    /// Names of variables that something sets, also as a converter.
    pub(crate) set_anywhere: BTreeSet<String>,
    /// The texts of all files of HAProxy without comments, in which names may occur in a form that is not known here.
    texts: &'s [String],
    /// Indices of proxies that a backend's requests can come from; `None` if some frontend chooses its backend by the request.
    sources: Option<BTreeMap<String, Vec<usize>>>,
}

/// The rules that set a variable.
#[derive(Clone, Copy)]
pub(crate) struct SetByRules {
    /// The proxy, the moment and the index of the first rule.
    pub(crate) first: (usize, Moment, usize),
    /// All of them are in the same proxy, and run at the same moment.
    pub(crate) is_one_place: bool,
}

/// An engine that filters use.
pub(crate) struct Deployed<'s> {
    pub(crate) name: &'s str,
    pub(crate) engine: &'s Engine,
    pub(crate) uses: Vec<Use<'s>>,
    /// Our agent answers it.
    pub(crate) is_ours: bool,
    pub(crate) sent: Vec<Sent<'s>>,
    /// The first message that sets a variable: by the variable as `SCOPE.NAME`, and by the proxy with the filter. Those of other agents
    /// may set any variable, and are at an empty name.
    pub(crate) first_sent: BTreeMap<String, BTreeMap<usize, Sent<'s>>>,
    /// The index of the backend with the agents.
    pub(crate) backend: Option<usize>,
    /// The number of its servers that are not disabled.
    pub(crate) agents: Option<usize>,
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
        engines: &'s BTreeMap<SpoeFile, BTreeMap<String, Engine>>,
        rules: &'s [MessageRule],
        agent: Option<&'s AgentConfig>,
        version: Version,
        texts: &'s [String],
    ) -> Self {
        let rules: BTreeMap<_, _> = rules.iter().map(|rule| (rule.message(), rule)).collect();
        let mut uses = BTreeMap::<(&SpoeFile, &str), Vec<Use<'_>>>::new();
        for (proxy, filter) in
            config.proxies.iter().enumerate().flat_map(|(at, proxy)| proxy.filters.iter().map(move |f| (at, f)))
        {
            uses.entry((&filter.file, &filter.engine)).or_default().push(Use { proxy, filter });
        }
        let engine =
            |((file, name), uses): ((&SpoeFile, &str), _)| Some((engines.get(file)?.get_key_value(name)?, uses));
        let used: Vec<_> = uses.into_iter().filter_map(engine).take(ENGINES_MAX).collect();
        // With a configuration of our agent and a single engine, the agent is ours even if its messages have other names.
        let is_only = agent.is_some() && used.len() == 1;
        let (mut deployed, mut room) = (Vec::new(), SENT_MAX);
        for ((name, engine), uses) in used {
            let sent = sent(config, name, engine, &uses, room);
            room -= sent.len();
            let is_served = |message: &Message| rules.contains_key(message.name.as_str());
            let is_ours = is_only || engine.messages.iter().any(is_served);
            let backend = engine.agent.backend().and_then(|name| config.backend(name));
            let is_used = |server: &Server<'_>| server.keyword("disabled").is_none();
            let is_static = |at: &usize| config.proxies[*at].last("server-template").is_none();
            let agents = backend.filter(is_static).map(|at| config.proxies[at].servers().filter(is_used).count());
            let first_sent = first_sent(&sent, is_ours, &rules);
            deployed.push(Deployed { name, engine, uses, is_ours, sent, first_sent, backend, agents });
        }
        Self {
            set_anywhere: set_anywhere(texts),
            texts,
            config,
            agent,
            version,
            rules,
            deployed,
            set_by_rules: set_by_rules(config),
            sources: sources(config),
        }
    }

    /// True if the name of a variable, or what it begins with, occurs anywhere.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.texts.iter().any(|text| text.contains(name))
    }

    pub(crate) fn proxy(&self, at: usize) -> &'s Proxy {
        &self.config.proxies[at]
    }

    /// Returns the proxies that streams of a proxy may have passed before, or may pass later, and itself. `None` if they are unknown, or
    /// too many to look at.
    pub(crate) fn related(&self, proxy: usize) -> Option<Vec<usize>> {
        let before = self.sources.as_ref()?.get(&self.proxy(proxy).name).map_or(&[][..], Vec::as_slice);
        let later = self.config.targets(self.proxy(proxy))?;
        if before.len() + later.len() > COMPARED_MAX {
            return None;
        }
        let later = later.into_iter().filter_map(|name| self.config.backend(name));
        Some([proxy].into_iter().chain(before.iter().copied()).chain(later).collect())
    }

    /// True if no frontend leads to this backend.
    pub(crate) fn is_unreachable(&self, backend: usize) -> bool {
        let proxy = self.proxy(backend);
        !proxy.kind.has_clients() && self.sources.as_ref().is_some_and(|sources| !sources.contains_key(&proxy.name))
    }
}

/// Returns the first message that sets each variable in each proxy.
fn first_sent<'s>(
    sent: &[Sent<'s>],
    is_ours: bool,
    rules: &BTreeMap<&str, &MessageRule>,
) -> BTreeMap<String, BTreeMap<usize, Sent<'s>>> {
    let mut first = BTreeMap::<_, BTreeMap<_, Sent<'s>>>::new();
    for sent in sent {
        let variables = match rules.get(sent.message.name.as_str()) {
            _ if !is_ours => vec![String::new()],
            Some(rule) => names(rule).map(|(name, _)| format!("{}.{name}", scope_name(rule.scope()))).to_vec(),
            None => Vec::new(),
        };
        for variable in variables {
            let known = first.entry(variable).or_default().entry(sent.proxy).or_insert(*sent);
            if (sent.moment, sent.rule) < (known.moment, known.rule) {
                *known = *sent;
            }
        }
    }
    first
}

/// Returns the names in `set-var(NAME)`, `set-var-fmt(NAME)` and `do-resolve(NAME,…)`.
fn set_anywhere(texts: &[String]) -> BTreeSet<String> {
    let starts = ["set-var(", "set-var-fmt(", "do-resolve("];
    let names = texts.iter().flat_map(|text| starts.iter().flat_map(move |start| text.split(start).skip(1)));
    let name = |rest: &str| rest.split([',', ')', ' ', '\n']).next().unwrap_or_default().to_owned();
    names.map(name).collect()
}

/// Returns the rules that set variables.
fn set_by_rules(config: &Config) -> BTreeMap<&str, SetByRules> {
    let mut set = BTreeMap::new();
    for (at, proxy) in config.proxies.iter().enumerate() {
        for (number, rule) in proxy.rules.iter().enumerate() {
            if let Some(name) = rule.set_variable() {
                let this = SetByRules { first: (at, rule.moment, number), is_one_place: true };
                let known = set.entry(name).or_insert(this);
                known.is_one_place &= (known.first.0, known.first.1) == (at, rule.moment);
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

/// Returns the messages that are sent, with each moment, up to `room` of them.
fn sent<'s>(config: &'s Config, name: &str, engine: &'s Engine, uses: &[Use<'s>], room: usize) -> Vec<Sent<'s>> {
    let all: Vec<_> = engine.sent().collect();
    let by_event: Vec<_> = all.iter().filter(|(_, group)| group.is_none()).map(|(message, _)| *message).collect();
    let by_group: Vec<_> = all.iter().filter_map(|(message, group)| Some((*message, (*group)?))).collect();
    let of_use = |of: &Use<'s>| {
        let (at, proxy) = (of.proxy, &config.proxies[of.proxy]);
        let at_event = by_event.clone().into_iter().filter_map(move |message| sent_at_event(at, proxy, message));
        let rules = proxy.rules.iter().enumerate();
        let groups = by_group.clone();
        let by_rule = rules.filter(move |(_, rule)| rule.sent_group().is_some_and(|(engine, _)| engine == name));
        let by_rule = by_rule.flat_map(move |(number, rule)| sent_by_rule(at, number, rule, &groups));
        at_event.chain(by_rule)
    };
    uses.iter().flat_map(of_use).take(room).collect()
}

/// Returns a message that is sent at its event, if that can occur in the proxy.
fn sent_at_event<'s>(at: usize, proxy: &Proxy, message: &'s Message) -> Option<Sent<'s>> {
    let event = message.event.as_ref()?;
    let is_of_frontend = event.name.contains("frontend") || event.name == "on-client-session";
    if never_occurs(event, proxy) || is_of_frontend && !proxy.kind.has_clients() {
        return None;
    }
    let moment = if proxy.kind == ProxyKind::Listen { of_listen(event.moment?) } else { event.moment? };
    Some(Sent { message, proxy: at, moment, rule: None, cause: &event.name })
}

/// Returns the messages of the group that a rule sends.
fn sent_by_rule<'s>(at: usize, number: usize, rule: &Rule, groups: &[(&'s Message, &'s Group)]) -> Vec<Sent<'s>> {
    let is_it = |group: &Group| rule.sent_group().is_some_and(|(_, name)| name == group.name);
    let of_group = groups.iter().filter(|(_, group)| is_it(group));
    let sent = |(message, group): &(&'s Message, &'s Group)| Sent {
        message,
        proxy: at,
        moment: rule.moment,
        rule: Some(number),
        cause: &group.name,
    };
    of_group.map(sent).collect()
}

/// True if an event of HTTP cannot occur because the proxy is in TCP mode. The backend of a frontend may be in HTTP mode.
pub(crate) fn never_occurs(event: &Event, proxy: &Proxy) -> bool {
    let may_be_http = proxy.is_http != Some(false) || proxy.rules.iter().any(|rule| rule.action == "switch-mode");
    let is_of_backend = matches!(event.moment, Some(Moment::OnBackendHttpRequest | Moment::OnHttpResponse));
    event.name.contains("http") && !may_be_http && !(is_of_backend && proxy.kind == ProxyKind::Frontend)
}

/// Returns the moment of an event in a `listen` section: events of the backend occur before its rules.
const fn of_listen(moment: Moment) -> Moment {
    match moment {
        Moment::OnBackendTcpRequest => Moment::OnFrontendTcpRequest,
        Moment::OnBackendHttpRequest => Moment::OnFrontendHttpRequest,
        moment => moment,
    }
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
}
