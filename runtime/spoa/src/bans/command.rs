//! The commands `ban`, `allow`, `unban` and `bans`.

use std::borrow::Cow;
use std::env;
use std::io;
use std::net::IpAddr;

use nix::unistd::{User, getuid};
use spoa_bans::{Action, Address, Clock, Record, Report, SystemClock};
use spoa_reputation::Asked;
use spoa_runtime::ListenAddr;
use spoa_runtime::text::Count;

use super::args::{AgentArgs, BanArgs, BansArgs, ChangeArgs, Target, UnbanArgs};
use super::page::Changed;
use super::token::Token;
use super::{NO_BANS, PATH, follow, input, show};
use crate::http::{self, Post};
use crate::{Failure, complain, live, print, print_line};

/// The number of changes in a request.
const BATCH: usize = 1000;

/// The number of addresses on the command line up to which the verdict on each is shown.
const VERDICTS_MAX: usize = 10;

/// Bans addresses.
///
/// # Errors
/// The agent cannot be reached, or refuses a change.
pub(crate) fn ban(args: &BanArgs) -> Result<(), Failure> {
    let score = args.score.map(|score| score.0);
    Changer::new(&args.change.agent)?
        .change(&args.change.targets, &|address| Record { score, ..added(Action::Ban, address, &args.change) })
}

/// Allows addresses.
///
/// # Errors
/// The agent cannot be reached, or refuses a change.
pub(crate) fn allow(args: &ChangeArgs) -> Result<(), Failure> {
    Changer::new(&args.agent)?.change(&args.targets, &|address| added(Action::Allow, address, args))
}

/// Removes bans.
///
/// # Errors
/// The agent cannot be reached, or an address has no ban.
pub(crate) fn unban(args: &UnbanArgs) -> Result<(), Failure> {
    let list = || args.list.clone().map(Cow::Owned);
    let changer = Changer { ignores_missing: args.ignore_missing, ..Changer::new(&args.agent)? };
    changer.change(&args.targets, &|Address(prefix)| Record { list: list(), ..Record::new(Action::Remove, prefix) })
}

/// Returns the change that adds an address as the command line says.
fn added(action: Action, Address(prefix): Address, args: &ChangeArgs) -> Record<'static> {
    Record {
        list: args.list.clone().map(Cow::Owned),
        seconds: args.time.map(|time| time.0.as_secs_f64()),
        reason: args.reason.clone().into(),
        origin: args.origin.clone().unwrap_or_else(user_name).into(),
        ..Record::new(action, prefix)
    }
}

/// Returns the name of the user who runs the program, or has become another user to run it.
fn user_name() -> String {
    let name = || Some(User::from_uid(getuid()).ok()??.name);
    env::var("SUDO_USER").ok().or_else(name).unwrap_or_default()
}

/// Sends changes to an agent.
struct Changer {
    agent: ListenAddr,
    token: Option<Token>,
    /// True if it is no failure that an address has no ban.
    ignores_missing: bool,
    /// The sum of all answers.
    total: Report,
    /// The number of changes that were refused, or lines that were none.
    wrong: u64,
}

impl Changer {
    fn new(args: &AgentArgs) -> Result<Self, Failure> {
        let (agent, token) = args.agent()?;
        Ok(Self { agent, token, ignores_missing: false, total: Report::default(), wrong: 0 })
    }

    /// Changes each target, and shows the result.
    fn change(mut self, targets: &[Target], change: &dyn Fn(Address) -> Record<'static>) -> Result<(), Failure> {
        let mut records = Vec::new();
        for target in targets {
            match target {
                Target::Address(address) => records.push(change(*address)),
                Target::StandardInput => self.change_input(change)?,
            }
        }
        for batch in records.chunks(BATCH) {
            self.send(batch)?;
        }
        print_line(&summary(&self.total))?;
        if self.wrong == 0 && records.len() <= VERDICTS_MAX {
            records.iter().for_each(|record| self.show_verdict(record));
        }
        match (self.wrong, self.total.missing) {
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
            let lines = input::read(&mut input, &mut number, BATCH, change)?;
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
            self.send(&records)?;
        }
    }

    /// Sends changes, and shows which of them have no effect.
    fn send(&mut self, records: &[Record<'static>]) -> Result<(), Failure> {
        if records.is_empty() {
            return Ok(());
        }
        let post =
            Post { json: serde_json::to_string(records)?, authorization: self.token.as_ref().map(Token::header) };
        let text = http::text(&self.agent, PATH, Some(post), NO_BANS).map_err(|error| error.to_string())?;
        let Changed { report, unused } = http::read_json(&self.agent, &text)?;
        for (at, reason) in &report.refused {
            let address = records.get(*at).map_or_else(String::new, |record| record.address.0.to_string());
            complain(&format_args!("{address}: {reason}"));
            self.wrong += 1;
        }
        if let Some(reason) = &report.unsaved {
            complain(&format_args!("in effect, but a restart of the agent undoes it: {reason}"));
            self.wrong += 1;
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

/// Returns `1 added, 2 removed`.
fn summary(report: &Report) -> String {
    let Report { added, replaced, unchanged, removed, .. } = *report;
    let counts = [(added, "added"), (replaced, "replaced"), (unchanged, "unchanged"), (removed, "removed")];
    let texts: Vec<_> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
    if texts.is_empty() { "nothing changed".into() } else { texts.join(", ") }
}

/// Shows the bans.
///
/// # Errors
/// The agent cannot be reached, or standard output cannot be written to.
pub(crate) fn list(args: &BansArgs) -> Result<(), Failure> {
    let (agent, _) = args.agent.agent()?;
    if args.follow {
        return follow::follow(&agent);
    }
    let now = SystemClock.now();
    let address = args.address.as_ref().map(IpAddr::to_string);
    let filters = [("list", args.list.clone()), ("address", address)];
    let filters: Vec<_> = filters.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    each_page(&agent, &filters, |bans| {
        bans.iter().try_for_each(|ban| match args.json {
            true => print(serde_json::to_string(ban)? + "\n"),
            false => print_line(&show::line(ban, now)),
        })
    })
}

/// Calls `each` with the bans of an agent, some at a time.
///
/// # Errors
/// The agent cannot be reached, or `each` fails.
pub(super) fn each_page<E: From<String>>(
    agent: &ListenAddr,
    filters: &[(&str, String)],
    mut each: impl FnMut(&[Record<'_>]) -> Result<(), E>,
) -> Result<(), E> {
    let mut after = None;
    loop {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(filters).append_pair("limit", "10000");
        if let Some(spoa_bans::Cursor { address, list }) = &after {
            query.append_pair("after", &address.0.to_string()).append_pair("after-list", list);
        }
        let text = http::get_text(agent, &format!("{PATH}?{}", query.finish()), NO_BANS)?;
        let page: spoa_bans::Page<'_> = http::read_json(agent, &text)?;
        each(&page.bans)?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
