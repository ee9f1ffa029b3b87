//! Pages of an application on the admin address.

use std::fmt::Debug;

/// A page that an agent serves over HTTP next to its metrics; see [`Agent::page`](crate::Agent::page).
///
/// Pages are called one after the other on one thread, on which metrics and health are served too.
pub trait Page: Debug + Send + Sync + 'static {
    /// Answers a GET request. `query` is the text after `?` in the URL, percent-encoded; it may be anything.
    fn get(&self, query: &str) -> PageAnswer;
}

/// The answer of a [`Page`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAnswer {
    /// True for status 200, false for status 400, because something is wrong with the query.
    pub is_ok: bool,
    /// The value of the Content-Type header.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl PageAnswer {
    /// Returns a JSON document.
    pub const fn json(body: String) -> Self {
        Self { is_ok: true, content_type: "application/json", body }
    }

    /// Returns the reason why a query cannot be answered, a line of text.
    pub fn bad_query(reason: &str) -> Self {
        Self { is_ok: false, content_type: "text/plain; charset=utf-8", body: format!("{reason}\n") }
    }
}
