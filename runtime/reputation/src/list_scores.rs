//! The handler that answers with the verdicts of lists.

use std::fmt::Write;
use std::future::Pending;
use std::net::IpAddr;
use std::sync::Arc;

use spoa_core::wire::{Actions, Message, SetVars};
use spoa_core::{Ack, Notify};

use crate::address::addresses;
use crate::library::{Edition, Library};
use crate::lists::Verdict;
use crate::message_counts::Counts;
use crate::message_rule::{MessageRule, rule_for};
use spoa_runtime::{Handler, HandlerError, Reply};

/// Answers each message that a [`MessageRule`] serves with the verdict on its address, in variables of the names and the
/// scope that the rule has:
///
/// | variable | type | value |
/// |---|---|---|
/// | `ip_score` | integer | 0 (bad) to 100 (trusted): the list's, or the default |
/// | `ip_listed` | boolean | true if the verdict is `listed` |
/// | `ip_verdict` | string | `allow`, `listed` or `unknown` |
/// | `ip_list`, `ip_category` | string | the list that decided, and its category; empty if none did |
/// | `ip_prefix` | string | the prefix in that list, `192.0.2.0/24`; empty if there is none |
/// | `ip_generation` | integer | the generation of the lists, from 1 |
///
/// All of them are always set; without an address the verdict is `unknown`. If a message has several addresses, a
/// listed one has precedence, then an unknown one, then an allowed one; among equals the lowest score decides. So a client
/// cannot get a better verdict by adding addresses, for example in X-Forwarded-For.
#[derive(Debug)]
pub struct ListScores {
    library: Library,
    counts: Arc<Counts>,
    /// The text of a prefix, kept so that no answer allocates one.
    prefix: String,
}

impl ListScores {
    /// Answers with the lists of `library`.
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

    /// Returns the worst verdict on the addresses of a message.
    fn worst<'e>(&self, edition: &'e Edition, rule: &MessageRule, message: &Message<'_>) -> Verdict<'e> {
        let mut worst: Option<Verdict<'_>> = None;
        let each = |address: IpAddr| {
            let verdict = edition.lists.verdict(address);
            if worst.is_none_or(|worst| edition.badness(verdict) < edition.badness(worst)) {
                worst = Some(verdict);
            }
        };
        let has_argument =
            addresses(message, rule.arguments(), each, |name| self.library.counts().count_lost(rule, name));
        if !has_argument {
            self.library.counts().report_no_argument(rule, message);
        } else if worst.is_none() {
            self.library.counts().report_no_address(rule, message);
        }
        worst.unwrap_or(Verdict::Unknown)
    }
}

/// Each worker has its own counters, so a clone begins new ones.
impl Clone for ListScores {
    fn clone(&self) -> Self {
        Self::new(self.library.clone())
    }
}

impl Edition {
    /// Returns the score of a verdict.
    pub fn score(&self, verdict: Verdict<'_>) -> u32 {
        verdict.score().unwrap_or(self.config.default_score)
    }

    /// Returns a key that orders verdicts, the worst first.
    fn badness(&self, verdict: Verdict<'_>) -> (u8, u32) {
        let kind = match verdict {
            Verdict::Listed(_) => 0,
            Verdict::Unknown => 1,
            Verdict::Allow(_) => 2,
        };
        (kind, self.score(verdict))
    }
}

impl Handler for ListScores {
    type Later = Pending<Result<Actions, HandlerError>>;

    fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError> {
        let edition = self.library.edition();
        let messages = notify.messages();
        let mut ack = notify.ack();
        for message in messages {
            if let Some(rule) = rule_for(&edition.config.message_rules, &message) {
                self.counts.served(rule);
                self.answer(&edition, rule, self.worst(&edition, rule, &message), &mut ack)?;
            } else {
                self.counts.unknown();
                self.library.counts().report_unknown(&edition.config.message_rules, &message);
            }
        }
        ack.finish()?;
        Ok(Reply::Done)
    }
}
