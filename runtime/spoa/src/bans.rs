//! Bans at run time: the pages that serve and change them, and the commands that use these pages.

mod args;
mod changer;
mod changes;
mod command;
mod follow;
mod input;
mod page;
mod show;
mod token;

use spoa_bans::{ALLOWED, BANS};
use spoa_reputation::{ListConfig, SCORE_MAX};

pub(crate) use args::{BanArgs, BansArgs, ChangeArgs, UnbanArgs};
pub(crate) use command::{allow, ban, list, unban};
pub(crate) use page::ServedBans;
pub(crate) use token::Token;

/// The path of the bans on the admin address.
pub(crate) const PATH: &str = "/bans";

/// The path of the latest changes on the admin address.
pub(crate) const CHANGES_PATH: &str = "/bans/changes";

/// The answer of an agent that has no such page.
const NO_BANS: &str = "no bans: it was started without the option bans, or is another program";

/// Adds the lists to which bans are added by default, unless the configuration has them.
pub(crate) fn add_lists(lists: &mut Vec<ListConfig>) {
    let bans = ListConfig { name: BANS.into(), category: "ban".into(), ..ListConfig::default() };
    let allowed = ListConfig { name: ALLOWED.into(), allow: true, score: SCORE_MAX, ..ListConfig::default() };
    for list in [bans, allowed] {
        if lists.iter().all(|known| known.name != list.name) {
            lists.push(list);
        }
    }
}
