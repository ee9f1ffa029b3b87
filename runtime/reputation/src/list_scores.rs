//! The handler that answers with the verdicts of lists.

use std::fmt::Write;
use std::future::Pending;
use std::net::IpAddr;
use std::sync::Arc;

use spoa_core::wire::{Actions, Message, SetVars};
use spoa_core::{Ack, Notify};

use crate::address::addresses;
use crate::library::{Edition, Library};
use crate::lists::{Selection, Verdict};
use crate::message_counts::Counts;
use crate::message_rule::{MessageRule, rule_for};
use crate::observer::{Decision, Observer};
use crate::policy::{Policy, policy_of};
use crate::verdict_counts::{Mode, WorkerVerdicts};
use spoa_runtime::{Handler, HandlerError, Peer, Reply};

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
/// | `ip_shadow_score`, `ip_shadow_verdict`, `ip_shadow_list` | as above | the same if everything in shadow mode were enforced |
///
/// All of them are always set, but those of shadow mode only if a list or the message rule is in it; without an address the verdict is
/// `unknown`. If a message has several addresses, a
/// listed one has precedence, then an unknown one, then an allowed one; among equals the lowest score decides. So a client
/// cannot get a better verdict by adding addresses, for example in X-Forwarded-For.
#[derive(Debug)]
pub struct ListScores {
    library: Library,
    counts: Arc<Counts>,
    verdicts: Arc<WorkerVerdicts>,
    observer: Option<Arc<dyn Observer>>,
    /// The text of a prefix, kept so that no answer allocates one.
    prefix: String,
}

/// The lists and the policy that a message is judged by.
#[derive(Clone, Copy)]
struct Judge<'e> {
    edition: &'e Edition,
    policy: &'e Policy,
    lists: Selection<'e>,
}

impl<'e> Judge<'e> {
    fn of(edition: &'e Edition, rule: &'e MessageRule, message: &Message<'_>) -> Self {
        let policy = policy_of(&edition.config.policies, rule, message);
        Self { edition, policy, lists: edition.lists.select(policy.selection) }
    }

    /// Returns the score of a verdict.
    fn score(self, verdict: Verdict<'_>) -> u32 {
        verdict.score().or(self.policy.default_score).unwrap_or(self.edition.config.default_score)
    }

    /// Returns a key that orders verdicts, the worst first.
    fn badness(self, verdict: Verdict<'_>) -> (u8, u32) {
        let kind = match verdict {
            Verdict::Listed(_) => 0,
            Verdict::Unknown => 1,
            Verdict::Allow(_) => 2,
        };
        (kind, self.score(verdict))
    }
}

/// The worst verdict on the addresses of a message, and the address that it is about.
#[derive(Clone, Copy)]
struct Worst<'e>(Option<(IpAddr, Verdict<'e>)>);

impl<'e> Worst<'e> {
    fn add(&mut self, judge: Judge<'e>, address: IpAddr, verdict: Verdict<'e>) {
        if self.0.is_none_or(|(_, worst)| judge.badness(verdict) < judge.badness(worst)) {
            self.0 = Some((address, verdict));
        }
    }

    fn verdict(self) -> Verdict<'e> {
        self.0.map_or(Verdict::Unknown, |(_, verdict)| verdict)
    }

    fn address(self) -> Option<IpAddr> {
        self.0.map(|(address, _)| address)
    }
}

impl ListScores {
    /// Answers with the lists of `library`.
    pub fn new(library: Library) -> Self {
        let (counts, verdicts) = (library.counts().worker(), library.verdicts().worker());
        Self { library, counts, verdicts, observer: None, prefix: String::new() }
    }

    /// Reports each verdict to `observer`.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Answers a message that `rule` serves.
    fn serve(
        &mut self,
        edition: &Edition,
        rule: &MessageRule,
        message: &Message<'_>,
        ack: &mut Ack<'_>,
        peer: Peer<'_>,
    ) -> Result<(), HandlerError> {
        self.counts.served(rule);
        let judge = Judge::of(edition, rule, message);
        let (worst, would) = self.worst(judge, rule, message);
        let verdict = if rule.is_shadow() { Verdict::Unknown } else { worst.verdict() };
        self.answer(judge, rule, verdict, ack)?;
        self.verdicts.add(Mode::Enforced, rule, verdict, judge.score(verdict));
        if judge.lists.has_shadow() || rule.is_shadow() {
            let would = would.verdict();
            answer_shadow(judge, rule, would, ack)?;
            self.verdicts.add(Mode::Shadow, rule, would, judge.score(would));
        }
        if let Some(observer) = &self.observer {
            // The address that would be listed is the one to know.
            let address = if verdict.matched().is_some() { worst.address() } else { would.address() };
            let would = would.verdict();
            let (score, would_score) = (judge.score(verdict), judge.score(would));
            observer.decided(&Decision { edition, rule, address, verdict, score, would, would_score, peer });
        }
        Ok(())
    }

    fn answer(
        &mut self,
        judge: Judge<'_>,
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
        ack.set_var(scope, &names.score, judge.score(verdict))?
            .set_var(scope, &names.listed, matches!(verdict, Verdict::Listed(_)))?
            .set_var(scope, &names.verdict, verdict.name())?
            .set_var(scope, &names.list, list)?
            .set_var(scope, &names.category, category)?
            .set_var(scope, &names.prefix, self.prefix.as_str())?
            .set_var(scope, &names.generation, judge.edition.generation)?;
        Ok(())
    }

    /// Returns the worst verdict on the addresses of a message, and the worst if all lists in shadow mode were enforced.
    fn worst<'e>(&self, judge: Judge<'e>, rule: &MessageRule, message: &Message<'_>) -> (Worst<'e>, Worst<'e>) {
        let (mut worst, mut would) = (Worst(None), Worst(None));
        let each = |address: IpAddr| {
            let verdict = judge.lists.verdict(address);
            let with_shadow = judge.lists.verdict_with_shadow(address, verdict);
            worst.add(judge, address, judge.policy.limit(verdict));
            would.add(judge, address, judge.policy.limit(with_shadow));
        };
        let has_argument =
            addresses(message, rule.arguments(), each, |name| self.library.counts().count_lost(rule, name));
        if !has_argument {
            self.library.counts().report_no_argument(rule, message);
        } else if worst.address().is_none() {
            self.library.counts().report_no_address(rule, message);
        }
        (worst, would)
    }
}

/// Sets the variables of shadow mode.
fn answer_shadow(
    judge: Judge<'_>,
    rule: &MessageRule,
    would: Verdict<'_>,
    ack: &mut Ack<'_>,
) -> Result<(), HandlerError> {
    let (scope, names) = (rule.scope(), rule.names());
    let list = would.matched().map_or("", |matched| matched.list().config().name.as_str());
    ack.set_var(scope, &names.shadow_score, judge.score(would))?
        .set_var(scope, &names.shadow_verdict, would.name())?
        .set_var(scope, &names.shadow_list, list)?;
    Ok(())
}

/// Each worker has its own counters, so a clone begins new ones.
impl Clone for ListScores {
    fn clone(&self) -> Self {
        Self { observer: self.observer.clone(), ..Self::new(self.library.clone()) }
    }
}

impl Edition {
    /// Returns the score of a verdict by all lists, without a policy.
    pub fn score(&self, verdict: Verdict<'_>) -> u32 {
        verdict.score().unwrap_or(self.config.default_score)
    }
}

impl Handler for ListScores {
    type Later = Pending<Result<Actions, HandlerError>>;

    fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError> {
        self.handle_from(notify, Peer::unknown())
    }

    fn handle_from(&mut self, notify: Notify<'_>, peer: Peer<'_>) -> Result<Reply<Self::Later>, HandlerError> {
        let edition = self.library.edition();
        let messages = notify.messages();
        let mut ack = notify.ack();
        for message in messages {
            if let Some(rule) = rule_for(&edition.config.message_rules, &message) {
                self.serve(&edition, rule, &message, &mut ack, peer)?;
            } else {
                self.counts.unknown();
                self.library.counts().report_unknown(&edition.config.message_rules, &message);
            }
        }
        ack.finish()?;
        Ok(Reply::Done)
    }
}
