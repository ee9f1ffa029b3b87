//! Symptoms of faulty configurations, as the headers of case files describe them. `tests/doctor/README.md` explains each
//! kind and key.

use serde::Deserialize;

/// A symptom of a faulty configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "README.md explains each key")]
pub struct Symptom {
    pub kind: Kind,
    #[serde(default)]
    pub agent: Agent,
    pub agent2: Option<Agent>,
    #[serde(default)]
    pub frontend: Frontend,
    #[serde(default)]
    pub source: Source,
    #[serde(default = "root")]
    pub path: String,
    #[serde(default)]
    pub headers: Vec<String>,
    pub headers_unlisted: Option<Vec<String>>,
    #[serde(default)]
    pub pad: usize,
    #[serde(default)]
    pub before: Vec<Step>,
    #[serde(default = "one")]
    pub attempts: usize,
    #[serde(default = "forbidden")]
    pub refused: u16,
    #[serde(default = "yes")]
    pub check_unlisted: bool,
    pub listed_first: Option<String>,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub quiet: bool,
    #[serde(default)]
    pub requests: usize,
    #[serde(default)]
    pub needless: usize,
    #[serde(default = "notifies")]
    pub metric: String,
    #[serde(default)]
    pub header: String,
    #[serde(default)]
    pub argument: String,
    #[serde(default)]
    pub text: String,
}

/// A request on the same connection before the one that shows the symptom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "README.md explains each key")]
pub struct Step {
    #[serde(default = "root")]
    pub path: String,
    #[serde(default)]
    pub headers: Vec<String>,
}

/// The kind of a symptom.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "README.md explains each kind")]
pub enum Kind {
    AgentIsDown,
    AgentLogContains,
    AgentNotAsked,
    AgentStaysUp,
    ArgumentEmpty,
    ConnectionPerEvent,
    ConnectionPerWaitingEvent,
    EventsWait,
    FailureNotLogged,
    GoodEventsLogged,
    HeaderReachesSite,
    ListedClientPasses,
    MessageNotSent,
    NeedlessNotifies,
    OutagePasses,
    OutageRefuses,
    RequestWaits,
    UnlistedClientRefused,
}

/// The agent, or what is at its address.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "README.md explains each of them")]
pub enum Agent {
    #[default]
    Spoa,
    Dead,
    Dies,
    Freezes,
    Held,
    Hung,
    Recorder,
    Silent,
    Slow,
    Vanishes,
}

/// The frontend that gets the requests, by the environment variable with its address.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are those of the environment variables")]
pub enum Frontend {
    #[default]
    Frontend,
    Frontend2,
}

/// The address that the listed client's request is sent from.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Its own address, 127.0.0.66.
    #[default]
    Listed,
    /// 127.0.0.1, because the listed address is in a header.
    Unlisted,
}

fn root() -> String {
    "/".to_owned()
}

fn one() -> usize {
    1
}

fn forbidden() -> u16 {
    403
}

fn yes() -> bool {
    true
}

fn notifies() -> String {
    "spoa_notifies_total".to_owned()
}
