//! The IP reputation service: HAProxy sends a client's address and receives a score from 0 (bad) to 100 (trusted).

mod address;
mod bans;
mod cover;
mod embedded;
mod file_access;
pub mod format;
mod judge;
mod library;
mod list;
mod list_scores;
pub mod lists;
mod message_counts;
mod message_rule;
mod misfits;
mod observer;
mod policy;
mod prefix;
mod random_scores;
mod scores;
pub mod table;
mod verdict_counts;
mod watch;

pub use address::{addresses, canonical};
pub use bans::{BanIndex, ListId};
pub use embedded::embedded;
pub use file_access::{FileAccess, RegularFile};
pub use judge::{Asked, AskedError};
pub use library::{Change, Config, Edition, Library};
pub use list::{
    BAD_MAX, COVER_MAX, FirstBad, GROWTH_MAX, LineMatch, List, ListConfig, ListConfigError, LoadError,
    PREFIX_COVER_MAX, PREFIXES_MAX, SHRINK_GUARD_MIN,
};
pub use list_scores::ListScores;
pub use message_rule::{MessageRule, MessageRuleError, Names};
pub use observer::{Decision, Judged, Observer};
pub use policy::{NamedPolicy, Policy, PolicyError};
pub use prefix::{HostBits, Item, ItemError, Prefix};
pub use random_scores::RandomScores;
pub use scores::{SCORE_MAX, Scores};
pub use watch::{POLL, Watch};
