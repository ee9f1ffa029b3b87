//! Trials of an agent with many scripts: the agent is started again when a script has ended it, and a script that fails is made small.

use std::time::{Duration, Instant};
use std::{fmt, io};

use spoa_sim_kit::judge::Finding;
use spoa_sim_kit::subject::Subject;

use super::{Options, PROCESS, Played, asks_only, play_until};
use crate::script::{MessageSpec, Script};
use crate::shrink::reduce;

/// The number of further runs that tell whether a failure occurs every time.
const CONFIRMATIONS: u32 = 2;

/// An agent that plays scripts.
#[derive(Debug)]
pub struct Trial<'s> {
    subject: &'s mut Subject,
    options: &'s Options,
}

/// The kind of a failure: the case with the rule, and the description without its numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failing {
    /// The conformance case with the rule, or `process` if the agent has ended or refuses connections.
    pub case: &'static str,
    words: String,
}

impl Failing {
    /// Returns the kind of a finding.
    pub fn of(finding: &Finding) -> Self {
        let words = finding.text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
        Self { case: finding.case, words: words.collect::<Vec<_>>().join(" ") }
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.words)
    }
}

/// The result of making a script small.
#[derive(Clone, Debug)]
pub struct Shrinking {
    /// The smallest script that fails in the same way.
    pub script: Script,
    /// The number of runs.
    pub tries: u32,
    /// True if the failure occurred in every run of the script before it was made smaller.
    pub is_certain: bool,
}

impl<'s> Trial<'s> {
    /// Returns a trial of this agent.
    pub const fn new(subject: &'s mut Subject, options: &'s Options) -> Self {
        Self { subject, options }
    }

    /// Plays a script. If the agent ends or does not serve afterwards, it is started again.
    ///
    /// # Errors
    /// If sockets cannot be polled, or the agent cannot be started again.
    pub fn play(&mut self, script: &Script) -> io::Result<Played> {
        self.play_until(script, |_| false)
    }

    fn play_until(&mut self, script: &Script, is_enough: impl Fn(&Finding) -> bool) -> io::Result<Played> {
        let mut played = play_until(script, self.subject.address(), self.options, is_enough)?;
        if let Some(death) = self.subject.death() {
            let at = played.recording.steps.last().map_or(Duration::ZERO, |step| Duration::from_nanos(step.at));
            let link = played.recording.steps.last().map_or(0, |step| step.link);
            played.findings.push(Finding { link, at, case: PROCESS, text: death });
            self.subject.restart()?;
        }
        Ok(played)
    }

    /// Makes a script small that fails as `failing` does, for at most this time. The agent is started again before each run.
    ///
    /// # Errors
    /// As [`play`](Self::play).
    pub fn shrink(
        &mut self,
        script: &Script,
        question: &MessageSpec,
        failing: &Failing,
        time: Duration,
    ) -> io::Result<Shrinking> {
        let (start, mut problem) = (Instant::now(), None);
        let mut fails = |script: &Script| match self.fails(script, failing) {
            Ok(fails) => fails,
            Err(error) => {
                problem = Some(error);
                false
            }
        };
        let is_certain = (0..CONFIRMATIONS).all(|_| fails(script));
        let tries = if is_certain { 1 } else { 1 + CONFIRMATIONS };
        let asks_only_before = asks_only(script, question);
        let shrunk = reduce(script, |script| {
            // A message that the agent does not know would be another failure.
            let is_valid = !asks_only_before || asks_only(script, question);
            is_valid && start.elapsed() < time && (0..tries).any(|_| fails(script))
        });
        problem.map_or(Ok(Shrinking { script: shrunk.script, tries: shrunk.tries, is_certain }), Err)
    }

    fn fails(&mut self, script: &Script, failing: &Failing) -> io::Result<bool> {
        self.subject.restart()?;
        let is_failing = |finding: &Finding| Failing::of(finding) == *failing;
        Ok(self.play_until(script, is_failing)?.findings.iter().any(is_failing))
    }
}
