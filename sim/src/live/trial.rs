//! Trials of an agent with many scripts: the agent is started again when a script has ended it, and a script that fails is made small.

use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use spoa_sim_kit::judge::Finding;
use spoa_sim_kit::subject::Subject;

use super::{Options, PROCESS, Played, asks_only, play_until};
use crate::script::{MessageSpec, Script};
use crate::shrink::reduce;

/// The longest time to wait for the end of an agent that has broken a rule.
const DEATH_WAIT: Duration = Duration::from_millis(20);

/// The number of further runs that tell whether a failure occurs every time.
const CONFIRMATIONS: u32 = 2;

/// An agent that plays scripts.
#[derive(Debug)]
pub struct Trial<'s> {
    subject: &'s mut Subject,
    options: &'s Options,
    /// True if the agent has broken a rule, so that it may be in any state.
    is_suspect: bool,
}

/// The kind of a failure: the case with the rule, and the description without numbers that are no status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failing {
    /// The conformance case with the rule, or `process` if the agent has ended or refuses connections.
    pub case: &'static str,
    words: String,
}

impl Failing {
    /// Returns the kind of a finding.
    pub fn of(finding: &Finding) -> Self {
        let mut words: Vec<&str> = Vec::new();
        for word in finding.text.split_whitespace() {
            // Another status is another failure. Other numbers differ between scripts that fail for the same cause.
            let is_status = words.last().is_some_and(|last| last.ends_with("DISCONNECT"));
            match word {
                "NOTIFYs" => words.push("NOTIFY"),
                _ if is_status || !word.contains(|c: char| c.is_ascii_digit()) => words.push(word),
                _ => {}
            }
        }
        Self { case: finding.case, words: words.join(" ") }
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
    /// The number of smaller scripts that were considered.
    pub candidates: u32,
    /// True if the failure occurred in every run of the script before it was made smaller.
    pub is_certain: bool,
}

impl<'s> Trial<'s> {
    /// Returns a trial of this agent.
    pub const fn new(subject: &'s mut Subject, options: &'s Options) -> Self {
        Self { subject, options, is_suspect: false }
    }

    /// Plays a script. An agent that has broken a rule is started again before the next script.
    ///
    /// # Errors
    /// If sockets cannot be polled, or the agent cannot be started again.
    pub fn play(&mut self, script: &Script) -> io::Result<Played> {
        self.play_until(script, |_| false)
    }

    fn play_until(&mut self, script: &Script, is_enough: impl Fn(&Finding) -> bool) -> io::Result<Played> {
        if std::mem::take(&mut self.is_suspect) {
            self.subject.restart()?;
        }
        let mut played = play_until(script, self.subject.address(), self.options, is_enough)?;
        self.is_suspect = !played.findings.is_empty();
        if let Some(text) = self.death() {
            let last = played.recording.steps.last();
            let (link, at) = last.map_or((0, Duration::ZERO), |step| (step.link, Duration::from_nanos(step.at)));
            played.findings.push(Finding { link, at, case: PROCESS, text });
            self.is_suspect = true;
        }
        Ok(played)
    }

    /// Returns a description of the end of the agent's process, if it has ended. Its sockets are closed before that can be seen, so
    /// the end of a suspect agent is waited for.
    fn death(&mut self) -> Option<String> {
        let until = Instant::now() + if self.is_suspect { DEATH_WAIT } else { Duration::ZERO };
        loop {
            let death = self.subject.death();
            if death.is_some() || Instant::now() >= until {
                return death;
            }
            thread::sleep(Duration::from_millis(1));
        }
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
        let mut fails = |script: &Script| {
            if problem.is_some() {
                return false;
            }
            self.fails(script, failing).unwrap_or_else(|error| {
                problem = Some(error);
                false
            })
        };
        let is_certain = (0..CONFIRMATIONS).all(|_| fails(script));
        let tries = if is_certain { 1 } else { 1 + CONFIRMATIONS };
        let asks_only_before = asks_only(script, question);
        let shrunk = reduce(script, |script| {
            // A message that the agent does not know would be another failure.
            let is_valid = !asks_only_before || asks_only(script, question);
            is_valid && start.elapsed() < time && (0..tries).any(|_| fails(script))
        });
        problem.map_or(Ok(Shrinking { script: shrunk.script, candidates: shrunk.tries, is_certain }), Err)
    }

    fn fails(&mut self, script: &Script, failing: &Failing) -> io::Result<bool> {
        self.is_suspect = true;
        let is_failing = |finding: &Finding| Failing::of(finding) == *failing;
        Ok(self.play_until(script, is_failing)?.findings.iter().any(is_failing))
    }
}
