//! The commands `ban`, `allow`, `unban` and `bans`.

use std::borrow::Cow;
use std::env;
use std::net::IpAddr;

use nix::unistd::{User, getuid};
use spoa_bans::{Action, Address, Clock, Record, SystemClock};
use spoa_runtime::ListenAddr;

use super::args::{BanArgs, BansArgs, ChangeArgs, UnbanArgs};
use super::changer::Changer;
use super::{NO_BANS, PATH, follow, show};
use crate::http;
use crate::{Failure, print, print_line};

/// Bans addresses.
///
/// # Errors
/// The agent cannot be reached, or refuses a change.
pub(crate) fn ban(args: &BanArgs) -> Result<(), Failure> {
    let score = args.score.map(|score| score.0);
    Changer::adding(&args.change.agent)?
        .change(&args.change.targets, &|address| Record { score, ..added(Action::Ban, address, &args.change) })
}

/// Allows addresses.
///
/// # Errors
/// The agent cannot be reached, or refuses a change.
pub(crate) fn allow(args: &ChangeArgs) -> Result<(), Failure> {
    Changer::adding(&args.agent)?.change(&args.targets, &|address| added(Action::Allow, address, args))
}

/// Removes bans.
///
/// # Errors
/// The agent cannot be reached, or an address has no ban.
pub(crate) fn unban(args: &UnbanArgs) -> Result<(), Failure> {
    let changer = Changer::removing(&args.agent, args.ignore_missing)?;
    let text = |text: &Option<String>| text.clone().map(Cow::Owned);
    changer.change(&args.targets, &|Address(prefix)| Record {
        list: text(&args.list),
        origin: text(&args.origin),
        ..Record::new(Action::Remove, prefix)
    })
}

/// Returns the change that adds an address as the command line says.
fn added(action: Action, Address(prefix): Address, args: &ChangeArgs) -> Record<'static> {
    Record {
        list: args.list.clone().map(Cow::Owned),
        seconds: args.time.map(|time| time.0.as_secs_f64()),
        reason: args.reason.clone().into(),
        origin: Some(args.origin.clone().unwrap_or_else(user_name).into()),
        ..Record::new(action, prefix)
    }
}

/// Returns the name of the user who runs the program, or has become another user to run it.
fn user_name() -> String {
    let name = || Some(User::from_uid(getuid()).ok()??.name);
    env::var("SUDO_USER").ok().or_else(name).unwrap_or_default()
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
        if let Some(Address(prefix)) = after {
            query.append_pair("after", &prefix.to_string());
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
