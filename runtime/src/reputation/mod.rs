//! The IP reputation service: HAProxy asks about a client's address and gets a score from 0 (bad) to 100 (trusted).

mod address;
mod asked;
pub mod format;
mod library;
mod list;
mod listed;
pub mod lists;
mod prefix;
mod question;
mod scores;
mod service;
pub mod table;
mod watch;

pub use address::{addresses, canonical, client_address};
pub use library::{Change, Config, Edition, Library};
pub use list::{List, ListConfig, ListConfigError, LoadError, PREFIXES_MAX};
pub use listed::Listed;
pub use prefix::{Item, ItemError, Prefix};
pub use question::{Names, Question, QuestionError};
pub use scores::{SCORE_MAX, Scores};
pub use service::Service;
pub use watch::{POLL, Watch};
