//! Which messages are answered, and by what variables.

use spoa_core::wire::{Message, NameError, Scope, VarName};

/// A message that is answered, and the variables it is answered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRule {
    message: String,
    scope: Scope,
    names: Names<VarName>,
    /// Under which it is counted; 0 is with those that are no rule.
    pub(super) number: usize,
}

/// What the variables are called, without scope and the prefix that HAProxy puts before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names<N = String> {
    /// An integer from 0 (bad) to 100 (trusted).
    pub score: N,
    /// A boolean: in a list, and not allowed by another.
    pub listed: N,
    /// `allow`, `listed` or `unknown`.
    pub verdict: N,
    /// The list that explains it.
    pub list: N,
    /// That list's category.
    pub category: N,
    /// The prefix in it.
    pub prefix: N,
    /// Which edition of the lists said so.
    pub generation: N,
}

impl Names {
    /// `score` and so on, each behind `prefix`: `ip_` unless said.
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
        }
    }

    /// These, checked once for all answers.
    fn checked(&self) -> Result<Names<VarName>, MessageRuleError> {
        let check = |name: &String| VarName::new(name).map_err(|error| MessageRuleError::Variable(name.clone(), error));
        let Self { score, listed, verdict, list, category, prefix, generation } = self;
        let mut all = [score, listed, verdict, list, category, prefix, generation];
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
        })
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::with_prefix("ip_")
    }
}

/// Why a message cannot be answered by these variables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageRuleError {
    /// HAProxy sends no message without a name.
    #[error("a message has to have a name")]
    NoMessage,
    /// HAProxy would not take a variable of this name.
    #[error("\"{0}\": {1}")]
    Variable(String, NameError),
    /// One of two would be lost.
    #[error("two variables are called {0}")]
    SameVariable(String),
}

impl MessageRule {
    /// Answers `message` with variables of these names and scope.
    ///
    /// # Errors
    /// HAProxy would not take one of them, or could not tell them apart.
    pub fn new(message: &str, scope: Scope, names: &Names) -> Result<Self, MessageRuleError> {
        if message.is_empty() {
            return Err(MessageRuleError::NoMessage);
        }
        Ok(Self { message: message.into(), scope, names: names.checked()?, number: 0 })
    }

    /// What is answered unless said otherwise: the message of HAProxy's example agent, and that of SPOE.txt section 2.5,
    /// with variables of the session.
    ///
    /// # Panics
    /// Never: HAProxy takes these names.
    pub fn defaults() -> Vec<Self> {
        let rule = |message: &str| Self::new(message, Scope::Session, &Names::default());
        ["check-client-ip", "get-ip-reputation"].map(|message| rule(message).expect("names HAProxy takes")).into()
    }

    /// The name of the message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where the variables live.
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// What they are called.
    pub const fn names(&self) -> &Names<VarName> {
        &self.names
    }
}

/// The rule that a message is, if it is one. There are few: looking through them takes less than finding one by a hash.
#[inline]
pub(super) fn message_rule<'q>(message_rules: &'q [MessageRule], message: &Message<'_>) -> Option<&'q MessageRule> {
    message_rules.iter().find(|rule| rule.message.as_bytes() == message.name())
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
