//! Judges a message: by the lists and the policy that apply to it, with and without shadow mode.

use std::net::IpAddr;

use spoa_core::wire::Message;

use crate::address::addresses;
use crate::library::{Edition, Library};
use crate::lists::{Selection, Verdict};
use crate::message_rule::MessageRule;
use crate::observer::Judged;
use crate::policy::{Policy, policy_of};

/// The lists and the policy that a message is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'e> {
    pub(crate) edition: &'e Edition,
    pub(crate) rule: &'e MessageRule,
    /// The name of the policy that the message selected.
    pub(crate) policy_name: Option<&'e str>,
    policy: &'e Policy,
    lists: Selection<'e>,
}

/// The message whose verdict is asked for; by default none, which means all lists and the default score.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The name of the message.
    pub message: Option<String>,
    /// The name of the policy that the message selects, by its argument.
    pub policy: Option<String>,
}

/// The reason why a verdict cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskedError {
    /// No rule serves a message of this name.
    #[error("no message rule serves the message {0}")]
    NoMessage(String),
    /// There is no policy of this name.
    #[error("no policy is called {0}")]
    NoPolicy(String),
}

impl Edition {
    /// Returns the verdict on an address in a message, and the verdict if everything in shadow mode were enforced.
    ///
    /// # Errors
    /// There is no such message or policy.
    pub fn judge(&self, asked: &Asked, address: IpAddr) -> Result<(Judged<'_>, Judged<'_>), AskedError> {
        let rule = match &asked.message {
            None => None,
            Some(name) => {
                let rule = self.config.message_rules.iter().find(|rule| rule.message() == name);
                Some(rule.ok_or_else(|| AskedError::NoMessage(name.clone()))?)
            }
        };
        let default = Policy::default();
        let policy = match &asked.policy {
            None => rule.map_or(&default, MessageRule::policy),
            Some(name) => {
                let named = self.config.policies.iter().find(|named| named.name == *name);
                &named.ok_or_else(|| AskedError::NoPolicy(name.clone()))?.policy
            }
        };
        let (verdict, would) = verdicts(self.lists.select(policy.selection), policy, address);
        let verdict = if rule.is_some_and(MessageRule::is_shadow) { Verdict::Unknown } else { verdict };
        let judged = |verdict| Judged { address: Some(address), verdict, score: score_of(verdict, policy, self) };
        Ok((judged(verdict), judged(would)))
    }
}

/// Returns the verdict on an address, and the verdict if all lists in shadow mode were enforced.
fn verdicts<'l>(lists: Selection<'l>, policy: &Policy, address: IpAddr) -> (Verdict<'l>, Verdict<'l>) {
    let verdict = lists.verdict(address);
    (policy.limit(verdict), policy.limit(lists.verdict_with_shadow(address, verdict)))
}

/// Returns the score of a verdict.
fn score_of(verdict: Verdict<'_>, policy: &Policy, edition: &Edition) -> u32 {
    verdict.score().or(policy.default_score).unwrap_or(edition.config.default_score)
}

/// The worst verdict on the addresses of a message, and the address that it is about.
#[derive(Clone, Copy)]
struct Worst<'e>(Option<(IpAddr, Verdict<'e>)>);

impl<'e> Judge<'e> {
    pub(crate) fn of(edition: &'e Edition, rule: &'e MessageRule, message: &Message<'_>) -> Self {
        let (policy_name, policy) = policy_of(&edition.config.policies, rule, message);
        Self { edition, rule, policy_name, policy, lists: edition.lists.select(policy.selection) }
    }

    /// Returns the worst verdict on the addresses of a message, and the worst if everything in shadow mode were enforced.
    pub(crate) fn judge(self, library: &Library, message: &Message<'_>) -> (Judged<'e>, Judged<'e>) {
        let (mut worst, mut would) = (Worst(None), Worst(None));
        let each = |address: IpAddr| {
            let (verdict, with_shadow) = verdicts(self.lists, self.policy, address);
            worst.add(self, address, verdict);
            would.add(self, address, with_shadow);
        };
        let (rule, counts) = (self.rule, library.counts());
        let has_argument = addresses(message, rule.arguments(), each, |name| counts.count_lost(rule, name));
        if !has_argument {
            counts.report_no_argument(rule, message);
        } else if worst.0.is_none() {
            counts.report_no_address(rule, message);
        }
        let enforced =
            if rule.is_shadow() { Worst(worst.0.map(|(address, _)| (address, Verdict::Unknown))) } else { worst };
        (enforced.judged(self), would.judged(self))
    }

    /// Returns the score of a verdict.
    fn score(self, verdict: Verdict<'_>) -> u32 {
        score_of(verdict, self.policy, self.edition)
    }

    /// Returns a key that orders verdicts, the worst first.
    fn badness(self, verdict: Verdict<'_>) -> (usize, u32) {
        (verdict.kind(), self.score(verdict))
    }
}

impl<'e> Worst<'e> {
    fn add(&mut self, judge: Judge<'e>, address: IpAddr, verdict: Verdict<'e>) {
        if self.0.is_none_or(|(_, worst)| judge.badness(verdict) < judge.badness(worst)) {
            self.0 = Some((address, verdict));
        }
    }

    fn judged(self, judge: Judge<'_>) -> Judged<'e> {
        let verdict = self.0.map_or(Verdict::Unknown, |(_, verdict)| verdict);
        Judged { address: self.0.map(|(address, _)| address), verdict, score: judge.score(verdict) }
    }
}
