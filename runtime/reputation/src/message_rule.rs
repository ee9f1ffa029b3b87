//! Message rules: which messages are served, where their addresses are, and which variables answer them.

use spoa_core::wire::{Message, NameError, Scope, VarName};

use crate::policy::Policy;

/// A message that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRule {
    message: String,
    arguments: Vec<String>,
    scope: Scope,
    names: Names<VarName>,
    shadow: bool,
    policy: Policy,
    policy_argument: Option<String>,
    /// Index of its counter in [`Counts`](crate::message_counts::Counts).
    pub(crate) counter: usize,
}

/// Names of the variables, without the scope and the prefix that HAProxy puts before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names<N = String> {
    /// An integer from 0 (bad) to 100 (trusted).
    pub score: N,
    /// A boolean: true if the verdict is `listed`.
    pub listed: N,
    /// `allow`, `listed` or `unknown`.
    pub verdict: N,
    /// Name of the list that decided.
    pub list: N,
    /// Category of that list.
    pub category: N,
    /// The prefix of that list that the address is in.
    pub prefix: N,
    /// The generation of the lists that decided.
    pub generation: N,
    /// The score if everything in shadow mode were enforced. It and the next two are set only if any list or any rule is in shadow
    /// mode.
    pub shadow_score: N,
    /// The verdict if everything in shadow mode were enforced.
    pub shadow_verdict: N,
    /// The list that would decide then.
    pub shadow_list: N,
}

impl Names {
    /// Returns `score`, `listed` and so on, each with `prefix` before it. The default prefix is `ip_`.
    pub fn with_prefix(prefix: &str) -> Self {
        let name = |name: &str| format!("{prefix}{name}");
        Self {
            score: name("score"),
            listed: name("listed"),
            verdict: name("verdict"),
            list: name("list"),
            category: name("category"),
            prefix: name("prefix"),
            generation: name("generation"),
            shadow_score: name("shadow_score"),
            shadow_verdict: name("shadow_verdict"),
            shadow_list: name("shadow_list"),
        }
    }

    /// Checks the names once, so that no answer has to.
    fn checked(&self) -> Result<Names<VarName>, MessageRuleError> {
        let check = |name: &String| VarName::new(name).map_err(|error| MessageRuleError::Variable(name.clone(), error));
        let Self { score, listed, verdict, list, category, prefix, generation, .. } = self;
        let Self { shadow_score, shadow_verdict, shadow_list, .. } = self;
        let mut all =
            [score, listed, verdict, list, category, prefix, generation, shadow_score, shadow_verdict, shadow_list];
        all.sort_unstable();
        if let Some(pair) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(MessageRuleError::SameVariable(pair[0].clone()));
        }
        Ok(Names {
            score: check(score)?,
            listed: check(listed)?,
            verdict: check(verdict)?,
            list: check(list)?,
            category: check(category)?,
            prefix: check(prefix)?,
            generation: check(generation)?,
            shadow_score: check(shadow_score)?,
            shadow_verdict: check(shadow_verdict)?,
            shadow_list: check(shadow_list)?,
        })
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::with_prefix("ip_")
    }
}

/// The reason why a message rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageRuleError {
    /// The message has no name; HAProxy sends no such message.
    #[error("a message needs a name")]
    NoMessage,
    /// HAProxy does not accept a variable of this name.
    #[error("\"{0}\": {1}")]
    Variable(String, NameError),
    /// Two variables have the same name, so one would overwrite the other.
    #[error("two variables are called {0}")]
    SameVariable(String),
}

impl MessageRule {
    /// Serves `message` with variables of these names and scope.
    ///
    /// # Errors
    /// HAProxy would not accept one of the names, or two are equal.
    pub fn new(message: &str, scope: Scope, names: &Names) -> Result<Self, MessageRuleError> {
        if message.is_empty() {
            return Err(MessageRuleError::NoMessage);
        }
        Ok(Self {
            message: message.into(),
            arguments: Vec::new(),
            scope,
            names: names.checked()?,
            shadow: false,
            policy: Policy::default(),
            policy_argument: None,
            counter: 0,
        })
    }

    /// Sets the names of the arguments that hold the addresses. Without any, [`addresses`](crate::addresses) chooses.
    #[must_use]
    pub fn with_arguments(mut self, arguments: Vec<String>) -> Self {
        self.arguments = arguments;
        self
    }

    /// Tries the rule if `shadow` is true: the verdict is unknown, and what it would be is counted, logged and in variables of its own.
    #[must_use]
    pub fn with_shadow(mut self, shadow: bool) -> Self {
        self.shadow = shadow;
        self
    }

    /// Sets the policy: which lists count, and how. By default all of them do.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the name of an argument, a string, whose value selects a policy of [`Config::policies`](crate::Config::policies) by name. A
    /// message without the argument, or with another value, is judged by the rule's own policy.
    #[must_use]
    pub fn with_policy_argument(mut self, argument: Option<String>) -> Self {
        self.policy_argument = argument;
        self
    }

    /// Returns the rules that are used if none are configured.
    ///
    /// `check-client-ip` (the message of HAProxy's example agent) and `get-ip-reputation` (SPOE.txt section 2.5) set variables
    /// of the session, for one NOTIFY per connection. `check-request` sets variables of the transaction, for one NOTIFY per
    /// request: behind a proxy, requests of several clients may share a session, so the verdict on one of them must not outlive
    /// its request.
    ///
    /// # Panics
    /// Never: HAProxy accepts these names.
    pub fn defaults() -> Vec<Self> {
        let rule = |(message, scope)| Self::new(message, scope, &Names::default()).expect("names that HAProxy accepts");
        [
            ("check-client-ip", Scope::Session),
            ("get-ip-reputation", Scope::Session),
            ("check-request", Scope::Transaction),
        ]
        .map(rule)
        .into()
    }

    /// Returns the name of the message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the names of the arguments that hold the addresses; empty if the rule names none.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Returns the policy of messages that select no other.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) const fn policy_mut(&mut self) -> &mut Policy {
        &mut self.policy
    }

    /// Returns the name of the argument that selects a policy, if one does.
    pub fn policy_argument(&self) -> Option<&str> {
        self.policy_argument.as_deref()
    }

    /// True if the rule has no effect on verdicts.
    pub const fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// Returns the scope of the variables.
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// Returns the names of the variables.
    pub const fn names(&self) -> &Names<VarName> {
        &self.names
    }
}

/// Returns the rule for a message, if there is one. There are few, so comparing names is faster than hashing one.
#[inline]
pub(crate) fn rule_for<'q>(rules: &'q [MessageRule], message: &Message<'_>) -> Option<&'q MessageRule> {
    rules.iter().find(|rule| rule.message.as_bytes() == message.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_haproxy_would_drop_are_errors() {
        let rule = |names: Names| MessageRule::new("m", Scope::Session, &names);
        assert!(rule(Names::default()).is_ok());
        let error = rule(Names { score: "a-b".into(), ..Names::default() }).unwrap_err().to_string();
        assert!(error.starts_with("\"a-b\": a variable name cannot have the byte 0x2d"), "{error}");
        assert!(rule(Names { list: String::new(), ..Names::default() }).is_err());
        let error = rule(Names { list: "ip_score".into(), ..Names::default() });
        assert_eq!(error, Err(MessageRuleError::SameVariable("ip_score".into())));
        assert_eq!(MessageRule::new("", Scope::Session, &Names::default()), Err(MessageRuleError::NoMessage));
    }
}
