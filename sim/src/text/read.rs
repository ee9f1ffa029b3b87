//! Reads scripts from text.

use std::time::Duration;

use super::words::{Words, flag, is_name, number, time};
use super::{MAGIC, VERSION, steps};
use crate::script::{AgentSetup, MessageSpec, Script};

/// The error in a text that is not a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ScriptError {
    /// The number of the line, from 1.
    pub line: usize,
    /// The description of the error.
    pub what: String,
}

/// Reads a script of this version or an earlier one.
///
/// # Errors
/// The first line that cannot be read, and the cause.
pub fn parse(text: &str) -> Result<Script, ScriptError> {
    let mut script = Script::default();
    let mut lines = text.lines().zip(1..);
    let head = lines.next().map(|(line, _)| line).unwrap_or_default();
    check_version(head).map_err(|what| ScriptError { line: 1, what })?;
    for (line, number) in lines {
        read_line(line.trim(), &mut script).map_err(|what| ScriptError { line: number, what })?;
    }
    Ok(script)
}

/// Reads a message as in a NOTIFY of a script: `name(arg=value, ...)`.
///
/// # Errors
/// The cause if the text is no message, or more than one.
pub fn parse_message(text: &str) -> Result<MessageSpec, String> {
    match <[MessageSpec; 1]>::try_from(Words { rest: text }.messages()?) {
        Ok([message]) => Ok(message),
        Err(messages) => Err(format!("expected one message, got {}", messages.len())),
    }
}

/// Reads a time as in a script: a whole number with ns, us, ms or s.
///
/// # Errors
/// The cause if the text is no time.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    time(text).map(Duration::from_nanos)
}

fn check_version(head: &str) -> Result<(), String> {
    let version = head.strip_prefix(MAGIC).ok_or(format!("expected {MAGIC} and a version"))?;
    match version.trim().parse::<u32>() {
        Ok(version) if (1..=VERSION).contains(&version) => Ok(()),
        _ => Err(format!("expected a version from 1 to {VERSION}, got '{}'", version.trim())),
    }
}

fn read_line(line: &str, script: &mut Script) -> Result<(), String> {
    if let Some(story) = line.strip_prefix('#') {
        script.story.push(story.strip_prefix(' ').unwrap_or(story).into());
        return Ok(());
    }
    let mut words = Words { rest: line };
    let Some(verb) = words.next_word() else { return Ok(()) };
    if verb == "agent" {
        while let Some(word) = words.next_word() {
            limit(word, &mut script.agent)?;
        }
        return Ok(());
    }
    let step = steps::read(verb, &mut words)?;
    if let Some(more) = words.next_word() {
        return Err(format!("expected no more words in the line, got '{more}'"));
    }
    script.steps.push(step);
    Ok(())
}

fn limit(word: &str, agent: &mut AgentSetup) -> Result<(), String> {
    let (name, value) = word.split_once('=').ok_or(format!("expected LIMIT=VALUE, got '{word}'"))?;
    if name == "capabilities" {
        let offered = &mut agent.connection;
        (offered.pipelining, offered.fragmentation, offered.asynchronous) = (false, false, false);
        for capability in value.split(',').filter(|value| *value != "none") {
            match capability {
                "pipelining" => offered.pipelining = true,
                "fragmentation" => offered.fragmentation = true,
                "async" => offered.asynchronous = true,
                _ => return Err(format!("'{capability}' is not a capability")),
            }
        }
        return Ok(());
    }
    macro_rules! of_unit {
        (s) => {
            time
        };
        (flag) => {
            flag
        };
        ($unit:ident) => {
            number
        };
    }
    macro_rules! read {
        ($(($($field:tt)*) $name:ident $unit:ident;)*) => {
            $(if is_name(name, stringify!($name)) {
                agent.$($field)* = of_unit!($unit)(value)?;
                return Ok(());
            })*
        };
    }
    each_limit!(read);
    Err(format!("'{name}' is not a limit of the agent"))
}
