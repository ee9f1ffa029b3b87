//! Receives the verdicts that an agent gives, for a log or a page.

use std::fmt::Debug;
use std::net::IpAddr;

use spoa_runtime::Peer;

use crate::library::Edition;
use crate::lists::Verdict;
use crate::message_rule::MessageRule;

/// A verdict that was given.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'d> {
    /// The lists that decided, and their configuration.
    pub edition: &'d Edition,
    /// The rule of the message.
    pub rule: &'d MessageRule,
    /// The address that decided; `None` if the message had none.
    pub address: Option<IpAddr>,
    /// The verdict in the variables.
    pub verdict: Verdict<'d>,
    /// Its score.
    pub score: u32,
    /// The verdict if everything in shadow mode were enforced; the same as `verdict` if nothing is.
    pub would: Verdict<'d>,
    /// Its score.
    pub would_score: u32,
    /// The connection that the message came from.
    pub peer: Peer<'d>,
}

impl Decision<'_> {
    /// True if the verdict is `listed`, or would be if everything in shadow mode were enforced.
    pub const fn is_listed(&self) -> bool {
        matches!(self.verdict, Verdict::Listed(_)) || matches!(self.would, Verdict::Listed(_))
    }
}

/// Receives verdicts. Workers call it for each verdict, so it must not block.
pub trait Observer: Debug + Send + Sync {
    /// A verdict was given.
    fn decided(&self, decision: &Decision<'_>);
}
