//! Runs cases against an agent, one after the other.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use spoa_sim_haproxy::recording::Recording;

use super::case::{Case, Engine, Level, Needs};
use super::hello::Announced;
use super::play::{FIRST_SID, Play};
use super::question::Question;
use super::verdict::{Outcome, Status};
use crate::frames::Hello;
use crate::recorder::Recorder;
use crate::subject::Subject;

/// The longest conversation that a result has as text, in bytes. A capture has more of it.
const RECORDING_MAX: usize = 16 << 10;

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The question.
    pub question: Question,
    /// The time that the agent has for each answer.
    pub timeout: Duration,
    /// The time after which the agent must have closed a connection without a HELLO, or have stopped.
    pub patience: Duration,
    /// The number of bytes by which the memory of the agent may grow in a case.
    pub memory_max: u64,
}

impl Default for Options {
    /// The default question, 3 s for an answer, 15 s to stop, and 64 MiB.
    fn default() -> Self {
        Self {
            question: Question::default(),
            timeout: Duration::from_secs(3),
            patience: Duration::from_secs(15),
            memory_max: 64 << 20,
        }
    }
}

/// The choice of cases.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The engine that the kit plays. `None` plays both: a case of one engine has its HELLO, and all others have the HELLO of mux.
    pub engine: Option<Engine>,
    /// The least important level.
    pub level: Level,
    /// Chooses the cases whose id contains one of these texts; all cases if there are none.
    pub patterns: Vec<String>,
}

impl Default for Selection {
    fn default() -> Self {
        Self { engine: None, level: Level::Haproxy, patterns: Vec::new() }
    }
}

impl Selection {
    /// True if the case is chosen.
    pub fn includes(&self, case: &Case) -> bool {
        let is_engine = |engine| case.engine.is_none_or(|of| of == engine);
        self.engine.is_none_or(is_engine)
            && case.level <= self.level
            && (self.patterns.is_empty() || self.patterns.iter().any(|part| case.id.contains(&**part)))
    }
}

/// The result of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseResult {
    /// The id of the case.
    pub id: String,
    /// The importance of the rule.
    pub level: Level,
    /// The rule.
    pub rule: String,
    /// The source of the rule.
    pub source: String,
    /// The result in one word.
    pub status: Status,
    /// The two verdicts, or `None` if the agent is unsupported.
    pub outcome: Option<Outcome>,
    /// The missing condition if the agent is unsupported, or an event after the conversation.
    pub note: Option<String>,
    /// The time that the case took, in milliseconds.
    pub millis: u64,
    /// The conversation, as text.
    pub recording: String,
}

/// A run against one agent.
#[derive(Debug)]
pub struct Run<'r> {
    subject: &'r mut Subject,
    options: &'r Options,
    engine: Option<Engine>,
    /// The content of the AGENT-HELLO to a HELLO of HAProxy; `None` if it has not completed a handshake.
    announced: Option<Announced>,
    /// True if the agent has to be started again before the next case.
    is_down: bool,
}

impl<'r> Run<'r> {
    /// Learns what the agent announces. An agent that cannot complete a handshake announces nothing.
    pub fn new(subject: &'r mut Subject, options: &'r Options, engine: Option<Engine>) -> Self {
        let mut run = Self { subject, options, engine, announced: None, is_down: false };
        let play = run.play(None, Recorder::default());
        run.announced = play.ready_with(&play.hello).ok().map(|(_, announced)| announced);
        run
    }

    /// Returns what the agent announces, if it completes a handshake.
    pub const fn announced(&self) -> Option<&Announced> {
        self.announced.as_ref()
    }

    /// Runs a case. Restarts the agent first if the last case has ended it and the kit has started it.
    ///
    /// # Errors
    /// If the agent cannot be restarted.
    pub fn case(&mut self, case: &Case) -> io::Result<(CaseResult, Recording)> {
        let mut result = CaseResult {
            id: case.id.into(),
            level: case.level,
            rule: case.rule.into(),
            source: case.source.into(),
            status: Status::Unsupported,
            outcome: None,
            note: None,
            millis: 0,
            recording: String::new(),
        };
        if !self.can_play(case) {
            result.note = Some(case.needs.describe());
            return Ok((result, Recording::default()));
        }
        if std::mem::take(&mut self.is_down) {
            self.subject.restart()?;
        }
        let start = Instant::now();
        let recorder = Recorder::default();
        let mut play = self.play(case.engine, recorder.clone());
        let outcome = (case.play)(&mut play).unwrap_or_else(|early| early);
        let recording = recorder.take();
        result.millis = start.elapsed().as_millis() as u64;
        result.status = outcome.status();
        result.outcome = Some(outcome);
        result.recording = shortened(recording.to_string());
        if case.stops_agent {
            self.is_down = true;
        } else if let Err(reason) = self.check_serves() {
            result.status = Status::Fail;
            result.note = Some(format!("the agent does not serve after the case: {reason}"));
            self.is_down = true;
        }
        Ok((result, recording))
    }

    /// True if the agent announces what the case needs, and the kit can do it.
    pub fn can_play(&self, case: &Case) -> bool {
        let has = |name| self.announced.as_ref().is_some_and(|announced| announced.has(name));
        match case.needs {
            Needs::Nothing => true,
            Needs::Capability(name) => has(name),
            Needs::NoCapability(name) => !has(name),
            Needs::Started => self.subject.is_started(),
            Needs::StartedAndFragmentation => self.subject.is_started() && has("fragmentation"),
        }
    }

    /// Checks that the process of the agent runs, and that a new connection is served as at the start of the run.
    fn check_serves(&mut self) -> Result<(), String> {
        if let Some(death) = self.subject.death() {
            return Err(death);
        }
        // An agent that has never served is judged by the cases of the handshake alone.
        if self.announced.is_none() {
            return Ok(());
        }
        let play = self.play(None, Recorder::default());
        match play.ready() {
            Ok(_) => Ok(()),
            Err(outcome) => Err(outcome.answer.to_string()),
        }
    }

    fn play(&mut self, engine: Option<Engine>, recorder: Recorder) -> Play<'_> {
        let Options { question, timeout, patience, memory_max } = self.options;
        let hello = match engine.or(self.engine) {
            Some(Engine::Applet) => Hello::applet(),
            Some(Engine::Mux) | None => Hello::mux(),
        };
        Play {
            subject: self.subject,
            question,
            timeout: *timeout,
            patience: *patience,
            memory_max: *memory_max,
            hello,
            recorder,
            next_sid: Cell::new(FIRST_SID),
        }
    }
}

/// Cuts a conversation after the last line within the limit.
fn shortened(mut text: String) -> String {
    if text.len() > RECORDING_MAX {
        let end = text.as_bytes()[..RECORDING_MAX].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = text.split_off(end);
        // Writing to a string does not fail.
        let _ = writeln!(text, "... and {} more lines", rest.lines().count());
    }
    text
}

impl CaseResult {
    /// Returns the verdicts in words: what the agent sent, and how the connection ended.
    pub fn words(&self) -> [String; 2] {
        let note = || self.note.clone().unwrap_or_default();
        match &self.outcome {
            None => [note(), String::new()],
            Some(Outcome { answer, end }) => match &self.note {
                None => [answer.to_string(), end.to_string()],
                Some(note) => [answer.to_string(), format!("{end}; {note}")],
            },
        }
    }
}
