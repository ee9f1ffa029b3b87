//! `spoa bans --follow`: all bans, and then each change as it is made.

use std::io::{self, Write};
use std::mem;
use std::thread;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::value::RawValue;
use spoa_runtime::ListenAddr;

use super::changes::Changes;
use super::command::each_page;
use super::{CHANGES_PATH, NO_BANS};
use crate::http;
use crate::{Failure, complain};

/// The time between two questions for changes.
const PERIOD: Duration = Duration::from_secs(1);

/// Prints all bans and then changes, as JSON objects, until standard output is closed. An agent that cannot be reached any more is
/// asked again and again.
///
/// # Errors
/// The agent cannot be reached at the start, or standard output cannot be written to.
pub(super) fn follow(agent: &ListenAddr) -> Result<(), Failure> {
    let (mut position, mut has_started, mut is_lost) = (None::<String>, false, false);
    loop {
        let result = match &position {
            None => start(agent),
            Some(position) => changes(agent, position),
        };
        match result {
            Ok(next) => (position, has_started, is_lost) = (next, true, false),
            Err(End::Agent(error)) if !has_started => return Err(error.into()),
            Err(End::Agent(error)) => {
                if !mem::replace(&mut is_lost, true) {
                    complain(&format_args!("{error}; trying again"));
                }
            }
            Err(End::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(End::Output(error)) => return Err(format!("cannot write to standard output: {error}").into()),
        }
        thread::sleep(PERIOD);
    }
}

/// The reason why changes cannot be printed.
enum End {
    /// The agent may answer later.
    Agent(String),
    Output(io::Error),
}

/// Prints the latest removals and all bans. Returns the position before them: a change in between is printed twice, which does no
/// harm.
fn start(agent: &ListenAddr) -> Result<Option<String>, End> {
    let Changes { changes, position } = http::get_json(agent, CHANGES_PATH, NO_BANS).map_err(End::Agent)?;
    print_changes(&changes)?;
    each_page(agent, &[], |page| {
        let lines: Result<String, _> =
            page.iter().map(|ban| serde_json::to_string(ban).map(|json| json + "\n")).collect();
        print(&lines.map_err(|error| End::Output(error.into()))?)
    })?;
    Ok(Some(position))
}

/// Prints the changes after a position. Returns the position after them, or `None` if all bans have to be printed first.
fn changes(agent: &ListenAddr, position: &str) -> Result<Option<String>, End> {
    let mut position = position.to_owned();
    loop {
        let answer = match http::text(agent, &format!("{CHANGES_PATH}?after={position}"), None, NO_BANS) {
            Err(error) if error.status == Some(StatusCode::GONE) => return Ok(None),
            answer => answer.map_err(|error| End::Agent(error.to_string()))?,
        };
        let Changes { changes, position: next } = http::read_json(agent, &answer).map_err(End::Agent)?;
        if changes.is_empty() {
            return Ok(Some(next));
        }
        print_changes(&changes)?;
        position = next;
    }
}

fn print_changes(changes: &[Box<RawValue>]) -> Result<(), End> {
    print(&changes.iter().map(|change| format!("{change}\n")).collect::<String>())
}

fn print(text: &str) -> Result<(), End> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(End::Output)
}

impl From<String> for End {
    fn from(error: String) -> Self {
        Self::Agent(error)
    }
}
