//! Policies: which lists count for a message, and how.

use std::collections::BTreeSet;

use spoa_core::wire::Message;

use crate::list::ListConfig;
use crate::lists::Verdict;
use crate::message_rule::MessageRule;
use crate::scores::SCORE_MAX;

/// The way in which addresses are judged: for a message, or for the messages with a certain argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The names of the lists that count; `None` for all.
    pub lists: Option<Vec<String>>,
    /// The score of an address in none of them; `None` for [`Config::default_score`](crate::Config::default_score).
    pub default_score: Option<u32>,
    /// Prefixes with this score or a higher one do not count, except those of `allow` lists; `None` if all count.
    pub score_below: Option<u32>,
    /// Index of the lookup tables of these lists; see [`Lists::select`](crate::lists::Lists::select).
    pub(crate) selection: usize,
}

/// A policy that messages select by an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPolicy {
    /// The value of the argument.
    pub name: String,
    /// The policy.
    pub policy: Policy,
}

/// The reason why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It names a list that is not configured.
    #[error("the policy of {of} names the list {list}, which is not configured")]
    UnknownList {
        /// The message or policy.
        of: String,
        /// The name.
        list: String,
    },
    /// A score is above [`SCORE_MAX`].
    #[error("the policy of {of} has the score {score}, which is above {SCORE_MAX}")]
    Score {
        /// The message or policy.
        of: String,
        /// The score.
        score: u32,
    },
    /// The policies select too many different sets of lists.
    #[error(
        "the policies select {0} different sets of lists; at most {SELECTIONS_MAX} are possible, because each needs memory"
    )]
    TooManySelections(usize),
    /// Two policies have the same name.
    #[error("two policies are called {0}")]
    SameName(String),
    /// A message selects its policy by an argument, but there are no policies.
    #[error("the message {0} selects its policy by an argument, but there is no policy")]
    NoPolicies(String),
}

impl Policy {
    /// Returns a policy of these values.
    pub const fn new(lists: Option<Vec<String>>, default_score: Option<u32>, score_below: Option<u32>) -> Self {
        Self { lists, default_score, score_below, selection: 0 }
    }

    /// Returns the verdict, or `unknown` if the score of its prefix is too high to count.
    pub(crate) fn limit<'l>(&self, verdict: Verdict<'l>) -> Verdict<'l> {
        match (verdict, self.score_below) {
            (Verdict::Listed(matched), Some(below)) if matched.score() >= below => Verdict::Unknown,
            _ => verdict,
        }
    }

    /// Checks the policy of `of` against the names of the lists.
    pub(crate) fn check(&self, of: &str, has_list: impl Fn(&str) -> bool) -> Result<(), PolicyError> {
        if let Some(list) = self.lists.iter().flatten().find(|list| !has_list(list)) {
            return Err(PolicyError::UnknownList { of: of.into(), list: list.clone() });
        }
        match self.default_score.into_iter().chain(self.score_below).find(|score| *score > SCORE_MAX) {
            Some(score) => Err(PolicyError::Score { of: of.into(), score }),
            None => Ok(()),
        }
    }
}

/// Returns the policy of a message: the one that its argument names, with its name, or that of its rule.
#[inline]
pub(crate) fn policy_of<'c>(
    policies: &'c [NamedPolicy],
    rule: &'c MessageRule,
    message: &Message<'_>,
) -> (Option<&'c str>, &'c Policy) {
    let Some(argument) = rule.policy_argument() else { return (None, rule.policy()) };
    let value = message.arg(argument).and_then(|value| value.as_bytes());
    let named = policies.iter().find(|policy| value == Some(policy.name.as_bytes()));
    named.map_or((None, rule.policy()), |named| (Some(&named.name), &named.policy))
}

/// The number of different selections of lists, each of which has lookup tables of its own.
pub(crate) const SELECTIONS_MAX: usize = 64;

/// Assigns the lookup tables to each policy. Returns the names of the lists of each selection but the first, which has all
/// `lists`.
pub(crate) fn assign<'c>(
    lists: &[ListConfig],
    policies: impl Iterator<Item = &'c mut Policy>,
) -> Vec<BTreeSet<String>> {
    let all: BTreeSet<_> = lists.iter().map(|list| list.name.clone()).collect();
    let mut selections = vec![all];
    for policy in policies {
        let Some(lists) = &policy.lists else { continue };
        let names = lists.iter().cloned().collect();
        policy.selection = selections.iter().position(|known| *known == names).unwrap_or_else(|| {
            selections.push(names);
            selections.len() - 1
        });
    }
    selections.split_off(1)
}
