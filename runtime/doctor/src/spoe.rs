//! SPOE files: the agents' sections with their messages and groups.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::config::milliseconds;
use crate::limits::MESSAGES_MAX;
use crate::rules::{Moment, Term, TermAcl, condition};
use crate::source::{Line, Place, SourceFile, sections};
use crate::version::Version;
use crate::words::{Environment, is_known};

/// An engine: the `spoe-agent` section of a scope, with the messages and groups of the same scope.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) agent: Agent,
    pub(crate) messages: Vec<Message>,
    pub(crate) groups: Vec<Group>,
}

/// A `spoe-agent` section.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) lines: Vec<Rc<Line>>,
}

/// A `spoe-message` section.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) arguments: Vec<Argument>,
    /// The line with the arguments; that of the section if there is none.
    pub(crate) arguments_at: Place,
    pub(crate) event: Option<Event>,
}

/// An argument: `NAME=EXPRESSION`, or an expression alone.
#[derive(Debug)]
pub(crate) struct Argument {
    /// Empty if it has no name.
    pub(crate) name: String,
    pub(crate) expression: String,
}

/// An event with its condition.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) moment: Option<Moment>,
    pub(crate) is_unless: bool,
    pub(crate) condition: Vec<Vec<Term>>,
    pub(crate) place: Place,
}

/// A `spoe-group` section.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) messages: Vec<String>,
}

/// Returns the engines of a file, by scope.
pub(crate) fn engines(
    file: &SourceFile,
    environment: &mut Environment<'_>,
    version: Version,
) -> BTreeMap<String, Engine> {
    let mut parts = BTreeMap::<String, (Option<Agent>, Vec<Message>, Vec<Group>)>::new();
    for section in sections(file, environment, version) {
        let (agent, messages, groups) = parts.entry(section.scope).or_default();
        let (name, place) = (section.head.word(1).to_owned(), section.head.place.clone());
        match section.head.word(0) {
            "spoe-agent" => *agent = Some(Agent { name, place, lines: section.lines }),
            "spoe-message" if messages.len() < MESSAGES_MAX => messages.push(Message::of(name, place, &section.lines)),
            "spoe-group" => {
                let names =
                    section.lines.iter().filter(|line| line.word(0) == "messages").flat_map(|line| &line.words[1..]);
                groups.push(Group { name, place, messages: names.cloned().collect() });
            }
            _ => {}
        }
    }
    let engine = |(scope, (agent, messages, groups))| Some((scope, Engine { agent: agent?, messages, groups }));
    parts.into_iter().filter_map(engine).collect()
}

impl Message {
    fn of(name: String, place: Place, lines: &[Rc<Line>]) -> Self {
        let (mut arguments, mut arguments_at, mut event) = (Vec::new(), place.clone(), None);
        for line in lines {
            match line.word(0) {
                "args" => {
                    arguments_at = line.place.clone();
                    arguments.extend(line.words[1..].iter().map(|word| Argument::of(word)));
                }
                "event" => {
                    event = Some(Event {
                        name: line.word(1).to_owned(),
                        moment: Moment::of_event(line.word(1)),
                        is_unless: line.word(2) == "unless",
                        condition: condition(line.words.get(3..).unwrap_or_default()),
                        place: line.place.clone(),
                    });
                }
                _ => {}
            }
        }
        Self { name, place, arguments, arguments_at, event }
    }
}

impl Event {
    /// True if the condition depends on a variable, such as one that an earlier answer has set.
    pub(crate) fn reads_a_variable(&self) -> bool {
        self.condition.iter().flatten().any(|term| match &term.acl {
            TermAcl::Inline(test) => !test.variables.is_empty(),
            TermAcl::Named(_) => true,
        })
    }
}

impl Argument {
    fn of(word: &str) -> Self {
        // An expression alone may have a `=` inside parentheses.
        match word.split_once('=').filter(|(name, _)| !name.contains('(')) {
            Some((name, expression)) => Self { name: name.to_owned(), expression: expression.to_owned() },
            None => Self { name: String::new(), expression: word.to_owned() },
        }
    }

    /// Returns the name of the fetch: `src` of `src,ipmask(24)`.
    pub(crate) fn fetch(&self) -> &str {
        self.expression.split([',', '(']).next().unwrap_or_default()
    }
}

impl Agent {
    /// Returns the words after the first of all lines that begin with it.
    fn listed(&self, keyword: &str) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().filter(move |line| line.word(0) == keyword);
        lines.flat_map(|line| line.words[1..].iter().map(String::as_str))
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = &str> {
        self.listed("messages")
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.listed("groups")
    }

    /// Returns the last line with this first word, or with these first two.
    pub(crate) fn last(&self, keyword: &str) -> Option<&Rc<Line>> {
        let (first, second) = keyword.split_once(' ').map_or((keyword, None), |(first, second)| (first, Some(second)));
        let is_it = |line: &&Rc<Line>| line.word(0) == first && second.is_none_or(|second| line.word(1) == second);
        self.lines.iter().rev().find(is_it)
    }

    /// Returns the prefix of its variables: the name of the agent by default.
    pub(crate) fn prefix(&self) -> &str {
        self.last("option var-prefix").map_or(&self.name, |line| line.word(2))
    }

    /// Returns the name of the variable with the status of a failed event.
    pub(crate) fn error_variable(&self) -> Option<&str> {
        self.last("option set-on-error").map(|line| line.word(2))
    }

    /// Returns the backend with the agents.
    pub(crate) fn backend(&self) -> Option<&str> {
        self.last("use-backend").map(|line| line.word(1)).filter(|name| is_known(name))
    }

    /// Returns a timeout in milliseconds, with its line.
    pub(crate) fn timeout(&self, name: &str) -> Option<(u64, &Rc<Line>)> {
        let line = self.last(&format!("timeout {name}"))?;
        Some((milliseconds(line.word(2))?, line))
    }
}

impl Engine {
    /// Returns the messages that the agent's section sends, with the group of those that are sent by a rule.
    pub(crate) fn sent<'e>(&'e self) -> impl Iterator<Item = (&'e Message, Option<&'e Group>)> {
        let by_name: BTreeMap<_, _> = self.messages.iter().map(|message| (message.name.as_str(), message)).collect();
        let groups: BTreeMap<_, _> = self.groups.iter().map(|group| (group.name.as_str(), group)).collect();
        let by_event =
            each_once(self.agent.messages()).filter_map(|name| Some((*by_name.get(name)?, None))).collect::<Vec<_>>();
        let used = each_once(self.agent.groups()).filter_map(|name| groups.get(name).copied()).take(MESSAGES_MAX);
        let of_group = |group: &'e Group| {
            let names = each_once(group.messages.iter().map(String::as_str));
            names.filter_map(|name| Some((*by_name.get(name)?, Some(group)))).collect::<Vec<_>>()
        };
        let by_group: Vec<_> = used.flat_map(of_group).collect();
        by_event.into_iter().chain(by_group)
    }
}

/// Returns each name once, in their order.
fn each_once<'n>(names: impl Iterator<Item = &'n str>) -> impl Iterator<Item = &'n str> {
    let mut known = BTreeSet::new();
    names.filter(move |name| known.insert(*name))
}
