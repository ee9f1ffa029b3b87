//! Bans that are added to an IP reputation agent while it serves: until a time, with a reason, and kept across restarts.
//!
//! A ban adds a prefix to a list, like a line of its file. A [`BanStore`] applies changes to the lookups of a
//! [`Library`](spoa_reputation::Library) at once, writes them to a journal before it confirms them, and removes each ban when its
//! time is over.

#![forbid(unsafe_code)]

mod ban;
mod bans;
mod clock;
mod compaction;
mod counts;
mod feed;
mod journal;
mod loading;
mod record;
mod removals;
mod request;
mod saving;
mod state;
mod store;
mod texts;
mod threads;

pub use clock::{Clock, Moment, SystemClock};
pub use journal::JournalError;
pub use record::{Action, Address, Record, Timestamp};
pub use request::{ALLOWED, BANS};
pub use state::Report;
pub use store::{BanStore, Page, Settings};
