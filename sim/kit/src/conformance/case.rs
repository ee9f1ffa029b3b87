//! A case: one rule, and the way to see whether an agent keeps it.

use serde::{Deserialize, Serialize};

use super::play::{Play, Played};

/// A rule of the protocol, and the conversation that shows whether an agent keeps it.
#[derive(Debug)]
pub struct Case {
    /// The section of SPOE.txt and a name, as in `3.2.4/no-versions`. No other case has it.
    pub id: &'static str,
    /// The rule.
    pub rule: &'static str,
    /// The source of the rule: a section of SPOE.txt, a function or an issue of HAProxy.
    pub source: &'static str,
    /// The importance of the rule.
    pub level: Level,
    /// The conditions of the case: what the agent must announce, or the kit must have.
    pub needs: Needs,
    /// The engines of HAProxy that send such bytes.
    pub engine: Option<Engine>,
    /// True if the agent is stopped by the case, and has to be started again.
    pub(super) stops_agent: bool,
    pub(super) play: fn(&mut Play<'_>) -> Played,
}

/// The importance of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// HAProxy or the agent fails, or clients wait, if the rule is broken.
    Must,
    /// SPOE.txt requires it, but HAProxy works without it.
    Should,
    /// SPOE.txt does not say it, but HAProxy does it or relies on it.
    Haproxy,
}

/// The condition under which a case can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// The agent announces this capability.
    Capability(&'static str),
    /// The agent does not announce this capability.
    NoCapability(&'static str),
    /// The kit has started the agent, so it can read the agent's memory and stop it.
    Started,
    /// The kit has started the agent, and the agent announces fragmentation.
    StartedAndFragmentation,
}

/// An engine of HAProxy's SPOE filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// HAProxy up to 3.0.
    Applet,
    /// HAProxy 3.1 and later.
    Mux,
}

impl Case {
    pub(super) const fn new(
        level: Level,
        id: &'static str,
        rule: &'static str,
        source: &'static str,
        play: fn(&mut Play<'_>) -> Played,
    ) -> Self {
        Self { id, rule, source, level, needs: Needs::Nothing, engine: None, stops_agent: false, play }
    }

    /// Restricts the case to agents with `needs`.
    pub(super) const fn needs(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    /// Has the agent started again after the case.
    pub(super) const fn stops_agent(self) -> Self {
        Self { stops_agent: true, ..self }
    }

    /// Restricts the case to what one engine sends.
    pub(super) const fn of(self, engine: Engine) -> Self {
        Self { engine: Some(engine), ..self }
    }
}

impl Level {
    /// Returns the word for the level in tables and options.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Haproxy => "haproxy",
        }
    }

    /// Returns the level with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Must, Self::Should, Self::Haproxy].into_iter().find(|level| level.word() == word)
    }
}

impl Engine {
    /// Returns the word for the engine in tables and options.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Applet => "applet",
            Self::Mux => "mux",
        }
    }

    /// Returns the engine with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Applet, Self::Mux].into_iter().find(|engine| engine.word() == word)
    }
}

impl Needs {
    /// Describes why an agent cannot be tested, in a few words; empty for [`Nothing`](Self::Nothing).
    pub fn describe(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Capability(name) => format!("the agent does not announce {name}"),
            Self::NoCapability(name) => format!("the agent announces {name}"),
            Self::Started => "the kit has not started the agent (--cmd)".into(),
            Self::StartedAndFragmentation => {
                "the kit has not started the agent (--cmd), or the agent does not announce fragmentation".into()
            }
        }
    }
}
