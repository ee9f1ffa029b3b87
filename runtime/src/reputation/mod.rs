//! The IP reputation service: HAProxy asks about a client's address and gets a score from 0 (bad) to 100 (trusted).

mod address;
pub mod format;
mod library;
mod listed;
pub mod lists;
mod prefix;
mod scores;
mod service;
pub mod table;

pub use address::{addresses, canonical, client_address};
pub use library::{Edition, Library, ReloadError};
pub use listed::Listed;
pub use prefix::{Item, ItemError, Prefix};
pub use scores::{SCORE_MAX, Scores};
pub use service::{Service, VARIABLE};
