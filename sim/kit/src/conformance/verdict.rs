//! Verdicts on what an agent did.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The two verdicts of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The verdict on what the agent sent.
    pub answer: Judged,
    /// The verdict on the connection afterwards: open, closed, reset, or hung.
    pub end: Judged,
}

/// Something that was observed, and the verdict on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The observation, in words.
    pub got: String,
    /// The verdict.
    pub verdict: Verdict,
}

/// A verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The rule is kept.
    Good,
    /// The result is right for HAProxy, though another way is better; the text says which.
    Tolerated(String),
    /// The rule is broken; the text is what it requires.
    Wrong(String),
}

/// The result of a case, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Both verdicts are good.
    Pass,
    /// One verdict is tolerated, and none is wrong.
    Tolerated,
    /// The agent does not announce what the case needs, or the kit has not started the agent and cannot do what it needs.
    Unsupported,
    /// One verdict is wrong, or the agent has died.
    Fail,
}

impl Judged {
    /// A good observation.
    pub fn good(got: impl Into<String>) -> Self {
        Self { got: got.into(), verdict: Verdict::Good }
    }

    /// An observation that HAProxy can live with, although `better` is preferable.
    pub fn tolerated(got: impl Into<String>, better: impl Into<String>) -> Self {
        Self { got: got.into(), verdict: Verdict::Tolerated(better.into()) }
    }

    /// A wrong observation, and what the rule requires.
    pub fn wrong(got: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { got: got.into(), verdict: Verdict::Wrong(expected.into()) }
    }

    /// A good observation if `is_good`, otherwise a wrong one.
    pub fn check(is_good: bool, got: impl Into<String>, expected: impl Into<String>) -> Self {
        if is_good { Self::good(got) } else { Self::wrong(got, expected) }
    }
}

impl Outcome {
    /// Returns the worse of the two verdicts in one word.
    pub fn status(&self) -> Status {
        [&self.answer, &self.end].map(|judged| judged.verdict.status()).into_iter().max().unwrap_or(Status::Pass)
    }
}

impl Verdict {
    /// Returns the verdict in one word.
    pub const fn status(&self) -> Status {
        match self {
            Self::Good => Status::Pass,
            Self::Tolerated(_) => Status::Tolerated,
            Self::Wrong(_) => Status::Fail,
        }
    }
}

impl Status {
    /// All results, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Tolerated, Self::Unsupported, Self::Fail];

    /// Returns the word for the result in tables and files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Tolerated => "tolerated",
            Self::Unsupported => "unsupported",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Good => f.write_str(&self.got),
            Verdict::Tolerated(better) => write!(f, "{} (better: {better})", self.got),
            Verdict::Wrong(expected) => write!(f, "expected {expected}, got {}", self.got),
        }
    }
}
