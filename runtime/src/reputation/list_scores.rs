//! The service with lists: what they say of an address, in variables.

use std::fmt::Write;
use std::future::Pending;
use std::net::IpAddr;
use std::sync::Arc;

use spoa_core::wire::{Actions, Message};
use spoa_core::{Ack, Notify};

use super::address::addresses;
use super::library::{Edition, Library};
use super::lists::Verdict;
use super::message_counts::Counts;
use super::message_rule::{MessageRule, message_rule};
use crate::handler::{Handler, HandlerError, Reply};

/// Answers each message that is a [`MessageRule`] with what the lists say of its address, in variables of the names and the
/// scope that the rule has; by default in session scope:
///
/// | variable | type | what |
/// |---|---|---|
/// | `ip_score` | integer | 0 (bad) to 100 (trusted): the list's, or the default |
/// | `ip_listed` | boolean | true if the verdict is `listed` |
/// | `ip_verdict` | string | `allow`, `listed` or `unknown` |
/// | `ip_list`, `ip_category` | string | the list that explains it, and its category; empty if none does |
/// | `ip_prefix` | string | the prefix in that list, `192.0.2.0/24`; empty if there is none |
/// | `ip_generation` | integer | the edition of the lists, from 1 |
///
/// All of them are always set, also where there is no address: then it is unknown. Of several addresses in one message one
/// that is listed counts before any other, and one that is unknown before one that is allowed; then the lowest score. So
/// nobody hides behind addresses of their own making, as X-Forwarded-For may have.
#[derive(Debug)]
pub struct ListScores {
    library: Library,
    counts: Arc<Counts>,
    /// The text of a prefix, kept so that none is allocated for each.
    prefix: String,
}

impl ListScores {
    /// Answers by `library`.
    pub fn new(library: Library) -> Self {
        Self { counts: library.counts().worker(), library, prefix: String::new() }
    }

    fn answer(
        &mut self,
        edition: &Edition,
        rule: &MessageRule,
        verdict: Verdict<'_>,
        ack: &mut Ack<'_>,
    ) -> Result<(), HandlerError> {
        let (scope, names) = (rule.scope(), rule.names());
        let (list, category) = verdict.matched().map_or(("", ""), |matched| {
            let config = matched.list().config();
            (config.name.as_str(), config.category.as_str())
        });
        self.prefix.clear();
        if let Some(matched) = verdict.matched() {
            write!(self.prefix, "{}", matched.prefix())?;
        }
        ack.set_var(scope, &names.score, edition.score(verdict))?
            .set_var(scope, &names.listed, matches!(verdict, Verdict::Listed(_)))?
            .set_var(scope, &names.verdict, verdict.name())?
            .set_var(scope, &names.list, list)?
            .set_var(scope, &names.category, category)?
            .set_var(scope, &names.prefix, self.prefix.as_str())?
            .set_var(scope, &names.generation, edition.generation)?;
        Ok(())
    }
}

/// Each worker counts by itself.
impl Clone for ListScores {
    fn clone(&self) -> Self {
        Self::new(self.library.clone())
    }
}

impl Edition {
    /// The score of a verdict.
    pub fn score(&self, verdict: Verdict<'_>) -> u32 {
        verdict.score().unwrap_or(self.config.default_score)
    }

    /// The lower the worse.
    fn badness(&self, verdict: Verdict<'_>) -> (u8, u32) {
        let kind = match verdict {
            Verdict::Listed(_) => 0,
            Verdict::Unknown => 1,
            Verdict::Allow(_) => 2,
        };
        (kind, self.score(verdict))
    }

    /// The worst that the lists say of the addresses of a message.
    fn worst(&self, message: &Message<'_>) -> Verdict<'_> {
        let mut worst: Option<Verdict<'_>> = None;
        addresses(message, |address: IpAddr| {
            let verdict = self.lists.verdict(address);
            if worst.is_none_or(|worst| self.badness(verdict) < self.badness(worst)) {
                worst = Some(verdict);
            }
        });
        worst.unwrap_or(Verdict::Unknown)
    }
}

impl Handler for ListScores {
    type Later = Pending<Result<Actions, HandlerError>>;

    fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError> {
        let edition = self.library.edition();
        let messages = notify.messages();
        let mut ack = notify.ack();
        for message in messages {
            let rule = message_rule(&edition.config.message_rules, &message);
            self.counts.add(rule);
            if let Some(rule) = rule {
                self.answer(&edition, rule, edition.worst(&message), &mut ack)?;
            }
        }
        ack.finish()?;
        Ok(Reply::Done)
    }
}
