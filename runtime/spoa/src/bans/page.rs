//! The page `/bans`: GET lists bans, POST changes them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spoa_bans::{ALLOWED, Action, Address, BANS, BanStore, Record, Report};
use spoa_reputation::{Edition, Library};
use spoa_runtime::{
    Agent, Families, Page, PageAnswer, PagePost, PageRequest, PageStatus, PostSender, Source, Transport,
};

use super::changes::ChangesPage;
use super::token::Token;
use super::{CHANGES_PATH, PATH};
use crate::cli;
use crate::status::BanAccess;
use spoa_runtime::text::Count;

/// The bans of this agent, as they are served. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct ServedBans(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: BanStore,
    library: Library,
    /// The token for changes over TCP; without it they are refused.
    token: Option<Token>,
}

/// The number of bans in an answer: by default, and at most.
const LIMITS: (usize, usize) = (1000, 10_000);

/// The answer to changes.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Changed {
    #[serde(flatten)]
    pub(crate) report: Report,
    /// Messages whose policy does not select a list that was changed: the list and the message.
    pub(crate) unused: Vec<(String, String)>,
}

impl ServedBans {
    pub(crate) fn new(store: BanStore, library: Library, token: Option<Token>) -> Self {
        Self(Arc::new(Inner { store, library, token }))
    }

    pub(crate) fn store(&self) -> &BanStore {
        &self.0.store
    }

    /// Returns what the status page, which browsers open over TCP, can do with bans.
    pub(crate) fn access(&self) -> BanAccess {
        if self.0.token.is_some() { BanAccess::Token } else { BanAccess::Shown }
    }

    /// Adds the pages and metrics of bans to an agent.
    pub(crate) fn serve(&self, agent: Agent) -> Agent {
        let changes = ChangesPage(self.clone());
        agent.page(PATH, Arc::new(self.clone())).page(CHANGES_PATH, Arc::new(changes)).metrics(Arc::new(self.clone()))
    }

    /// Logs lists that have bans and are not configured.
    pub(crate) fn warn_of_unused(&self) {
        let edition = self.0.library.edition();
        let lists = self.store().lists().into_iter();
        for (list, bans) in lists.filter(|(list, _)| edition.lists.iter().all(|known| known.config().name != *list)) {
            let count = Count(bans, "ban");
            tracing::warn!(
                list,
                bans,
                "{count} of the list {list} without effect, because no list of this name is configured"
            );
        }
    }
}

impl Page for ServedBans {
    fn get(&self, request: &PageRequest<'_>) -> PageAnswer {
        let query = match Query::parse(request.query()) {
            Ok(query) => query,
            Err(reason) => return PageAnswer::bad_query(&reason),
        };
        let after = query.after.map(|Address(prefix)| prefix);
        let page = self.store().page(after, query.list.as_deref(), query.address, query.limit);
        json(&page)
    }

    fn authorize(&self, sender: &PostSender<'_>) -> Result<(), PageAnswer> {
        match (sender.transport(), &self.0.token) {
            (Transport::Unix, _) => Ok(()),
            (Transport::Tcp, None) => Err(PageAnswer::refused(
                PageStatus::Forbidden,
                "bans can be changed over a unix socket only: use one of the admin addresses, or configure admin-token-file",
            )),
            (Transport::Tcp, Some(token)) if sender.bearer().is_some_and(|given| token.is(given)) => Ok(()),
            (Transport::Tcp, Some(_)) => Err(PageAnswer::refused(
                PageStatus::Unauthorized,
                "the token is missing or wrong: expected the header \"Authorization: Bearer TOKEN\"",
            )),
        }
    }

    fn post(&self, request: &PagePost<'_>) -> PageAnswer {
        let records: Vec<Record<'_>> = match serde_json::from_slice(request.body()) {
            Ok(records) => records,
            Err(error) => return PageAnswer::bad_query(&format!("expected an array of changes: {error}")),
        };
        let unused = unused(&self.0.library.edition(), &records);
        let report = self.store().apply(records);
        json(&Changed { report, unused })
    }
}

/// Returns the messages whose policy does not select a list that is to be changed: the list and the message.
fn unused(edition: &Edition, records: &[Record<'_>]) -> Vec<(String, String)> {
    let mut lists: Vec<_> = records.iter().filter_map(list_of).collect();
    lists.sort_unstable();
    lists.dedup();
    let mut unused = Vec::new();
    for rule in &edition.config.message_rules {
        let Some(selected) = rule.policy().lists.as_ref() else { continue };
        let missing = lists.iter().filter(|list| selected.iter().all(|name| name != *list));
        unused.extend(missing.map(|list| ((*list).to_owned(), rule.message().to_owned())));
    }
    unused
}

/// Returns the list that a change adds to.
fn list_of<'r>(record: &'r Record<'_>) -> Option<&'r str> {
    let default = match record.action {
        Action::Ban => BANS,
        Action::Allow => ALLOWED,
        Action::Remove => return None,
    };
    Some(record.list.as_deref().unwrap_or(default))
}

pub(super) fn json(answer: &impl Serialize) -> PageAnswer {
    PageAnswer::json(serde_json::to_string(answer).expect("it has no maps, whose keys could be no strings") + "\n")
}

/// The query of the list of bans.
struct Query {
    list: Option<String>,
    address: Option<IpAddr>,
    after: Option<Address>,
    limit: usize,
}

impl Query {
    fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self { list: None, address: None, after: None, limit: LIMITS.0 };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "list" => parsed.list = Some(value.into_owned()),
                "address" => parsed.address = Some(cli::address(&value)?.to_canonical()),
                "after" => parsed.after = Some(value.parse()?),
                "limit" => {
                    let number = value.parse().ok().filter(|number| (1..=LIMITS.1).contains(number));
                    parsed.limit = number.ok_or_else(|| format!("limit has to be a number from 1 to {}", LIMITS.1))?;
                }
                _ => return Err("expected ?list=, &address=, &limit= or &after=, or none of them".into()),
            }
        }
        Ok(parsed)
    }
}

impl Source for ServedBans {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        self.store().write(families)
    }
}
