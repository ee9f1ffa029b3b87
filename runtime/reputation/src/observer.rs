//! Receives the verdicts that an agent gives, for a log or a page.

use std::fmt::Debug;
use std::net::IpAddr;

use spoa_runtime::Context;

use crate::library::Edition;
use crate::lists::Verdict;
use crate::message_rule::MessageRule;

/// A verdict, with the address that it is about.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'d> {
    /// The address that decided, of several in a message; `None` if there was none.
    pub address: Option<IpAddr>,
    /// The verdict.
    pub verdict: Verdict<'d>,
    /// Its score.
    pub score: u32,
}

/// A verdict that was given.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'d> {
    /// The lists that decided, and their configuration.
    pub edition: &'d Edition,
    /// The rule of the message.
    pub rule: &'d MessageRule,
    /// The name of the policy that the message selected by an argument; `None` if it is judged by the policy of its rule.
    pub policy: Option<&'d str>,
    /// The verdict in the variables.
    pub judged: Judged<'d>,
    /// The verdict if everything in shadow mode were enforced; the same as `judged` if nothing is in it.
    pub would: Judged<'d>,
    /// The connection that the message came from.
    pub context: Context<'d>,
}

impl Decision<'_> {
    /// True if the verdict is `listed`, or would be if everything in shadow mode were enforced.
    pub const fn is_listed(&self) -> bool {
        matches!(self.judged.verdict, Verdict::Listed(_)) || matches!(self.would.verdict, Verdict::Listed(_))
    }
}

/// Receives verdicts. Workers call it for each verdict, so it must not block.
pub trait Observer: Debug + Send + Sync {
    /// A verdict was given.
    fn decided(&self, decision: &Decision<'_>);
}
