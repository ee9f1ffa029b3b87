//! Sends the changes of a command to an agent, and shows what became of them.

use std::io;
use std::mem;
use std::thread;
use std::time::Duration;

use spoa_bans::{Action, Address, Record, Report};
use spoa_reputation::Asked;
use spoa_runtime::ListenAddr;
use spoa_runtime::text::Count;

use super::args::{AgentArgs, Target};
use super::page::Changed;
use super::token::Token;
use super::{NO_BANS, PATH, input};
use crate::http::{self, Post};
use crate::{Failure, complain, live, print_line};

/// The largest number of changes in a request.
const BATCH: usize = 1000;

/// The size in bytes from which on a request has no further change. Agents take twice that.
const BATCH_BYTES: usize = 512 << 10;

/// The time until a request is sent again.
const RETRY: Duration = Duration::from_secs(1);

/// The number of addresses on the command line up to which the verdict on each is shown.
const VERDICTS_MAX: usize = 10;

/// Sends changes to an agent.
pub(super) struct Changer {
    agent: ListenAddr,
    token: Option<Token>,
    /// True if bans are removed.
    removes: bool,
    /// True if it is no failure that an address has no ban.
    ignores_missing: bool,
    /// True if the agent has answered.
    has_answered: bool,
    /// The sum of all answers.
    total: Report,
    /// The number of changes that were refused, or lines that were none.
    wrong: u64,
    /// True if changes are in effect but were not saved.
    is_unsaved: bool,
}

impl Changer {
    /// Prepares to add bans.
    ///
    /// # Errors
    /// There is no address of an agent, or a file cannot be used.
    pub(super) fn adding(args: &AgentArgs) -> Result<Self, Failure> {
        let (agent, token) = args.agent()?;
        // Removals among the changes of another agent may concern bans that this one never had.
        let (removes, ignores_missing, has_answered, is_unsaved) = (false, true, false, false);
        let total = Report::default();
        Ok(Self { agent, token, removes, ignores_missing, has_answered, total, wrong: 0, is_unsaved })
    }

    /// Prepares to remove bans. With `ignores_missing` it is no failure that an address has none.
    ///
    /// # Errors
    /// Those of [`adding`](Self::adding).
    pub(super) fn removing(args: &AgentArgs, ignores_missing: bool) -> Result<Self, Failure> {
        Ok(Self { removes: true, ignores_missing, ..Self::adding(args)? })
    }

    /// Changes each target, and shows the result.
    pub(super) fn change(
        mut self,
        targets: &[Target],
        change: &dyn Fn(Address) -> Record<'static>,
    ) -> Result<(), Failure> {
        let mut records = Vec::new();
        for target in targets {
            match target {
                Target::Address(address) => records.push(change(*address)),
                Target::StandardInput => self.change_input(change)?,
            }
        }
        self.send_all(&records)?;
        print_line(&summary(&self.total))?;
        if self.wrong == 0 && records.len() <= VERDICTS_MAX {
            records.iter().for_each(|record| self.show_verdict(record));
        }
        match (self.wrong, self.total.missing) {
            (0, _) if self.is_unsaved => Err("the agent could not save the changes".to_owned().into()),
            (0, missing) if missing == 0 || self.ignores_missing => Ok(()),
            (0, missing) => {
                Err(format!("{} had no ban: a ban is removed by its own address or prefix", Count(missing, "address"))
                    .into())
            }
            (wrong, _) => Err(format!("{} refused", Count(wrong, "change")).into()),
        }
    }

    /// Sends the changes on standard input, each as soon as it is there.
    fn change_input(&mut self, change: &dyn Fn(Address) -> Record<'static>) -> Result<(), Failure> {
        let (mut input, mut number) = (io::BufReader::new(io::stdin()), 0);
        loop {
            let lines = input::read(&mut input, &mut number, BATCH, change, self.removes)?;
            if lines.is_empty() {
                return Ok(());
            }
            let mut records = Vec::new();
            for line in lines {
                match line {
                    Ok(record) => records.push(record),
                    Err(error) => {
                        complain(&error);
                        self.wrong += 1;
                    }
                }
            }
            self.send_all(&records)?;
        }
    }

    /// Sends changes in requests of a limited size.
    fn send_all(&mut self, mut records: &[Record<'static>]) -> Result<(), Failure> {
        while !records.is_empty() {
            let (count, json) = batch(records)?;
            let (sent, rest) = records.split_at(count);
            self.send(sent, &json)?;
            records = rest;
        }
        Ok(())
    }

    /// Returns the answer of the agent to changes. If it cannot be reached any more, because it restarts, they are sent again.
    fn answer(&mut self, json: &str) -> Result<String, Failure> {
        let mut is_lost = false;
        loop {
            let post = Post { json: json.to_owned(), authorization: self.token.as_ref().map(Token::header) };
            match http::text(&self.agent, PATH, Some(post), NO_BANS) {
                Ok(text) => {
                    self.has_answered = true;
                    return Ok(text);
                }
                Err(error) if error.status.is_some() || !self.has_answered => return Err(error.to_string().into()),
                Err(error) => {
                    if !mem::replace(&mut is_lost, true) {
                        complain(&format_args!("{error}; trying again"));
                    }
                    thread::sleep(RETRY);
                }
            }
        }
    }

    /// Sends changes, and shows which of them have no effect.
    fn send(&mut self, records: &[Record<'static>], json: &str) -> Result<(), Failure> {
        let text = self.answer(json)?;
        let Changed { report, unused } = http::read_json(&self.agent, &text)?;
        for (at, reason) in &report.refused {
            let address = records.get(*at).map_or_else(String::new, |record| record.address.0.to_string());
            complain(&format_args!("{address}: {reason}"));
            self.wrong += 1;
        }
        if let Some(reason) = &report.unsaved {
            complain(&format_args!("in effect, but a restart of the agent undoes it: {reason}"));
            self.is_unsaved = true;
        }
        for (list, message) in unused {
            complain(&format_args!("the message {message} does not use the list {list}, so it has no effect there"));
        }
        self.total.added += report.added;
        self.total.replaced += report.replaced;
        self.total.unchanged += report.unchanged;
        self.total.removed += report.removed;
        self.total.missing += report.missing;
        Ok(())
    }

    /// Shows the verdict on an address if it is not what the change was for.
    fn show_verdict(&self, record: &Record<'_>) {
        let prefix = record.address.0;
        let Ok(verdict) = live::ask(&self.agent, &Asked::default(), prefix.address()) else { return };
        let hint = match record.action {
            Action::Ban if verdict.is_listed() => return,
            Action::Ban => "the ban does not decide",
            Action::Allow if verdict.is_allowed() => return,
            Action::Allow => "it does not decide",
            Action::Remove if !verdict.is_listed() => return,
            Action::Remove => "\"spoa allow\" lets it in",
        };
        complain(&format_args!("{}; {hint}", verdict.reason()));
    }
}

/// Returns the JSON of the first changes, and their number.
fn batch(records: &[Record<'static>]) -> serde_json::Result<(usize, String)> {
    let (mut count, mut json) = (0, String::from("["));
    for record in records.iter().take(BATCH) {
        if json.len() > BATCH_BYTES {
            break;
        }
        json += if count > 0 { "," } else { "" };
        json += &serde_json::to_string(record)?;
        count += 1;
    }
    Ok((count, json + "]"))
}

/// Returns `1 added, 2 removed`.
fn summary(report: &Report) -> String {
    let Report { added, replaced, unchanged, removed, .. } = *report;
    let counts = [(added, "added"), (replaced, "replaced"), (unchanged, "unchanged"), (removed, "removed")];
    let texts: Vec<_> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
    if texts.is_empty() { "nothing changed".into() } else { texts.join(", ") }
}
