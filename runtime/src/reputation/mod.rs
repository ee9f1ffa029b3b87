//! The IP reputation service: HAProxy asks about a client's address and gets a score from 0 (bad) to 100 (trusted).

mod address;
mod scores;
mod service;

pub use address::{canonical, client_address};
pub use scores::{SCORE_MAX, Scores};
pub use service::{Service, VARIABLE};
