//! The status page for people, and the data that it needs besides the metrics.

use std::sync::Arc;

use serde::Serialize;
use spoa_reputation::Library;
use spoa_runtime::text::Escaped;
use spoa_runtime::{Page, PageAnswer};

use crate::recent::Recent;

/// The path of the page on the admin address.
pub(crate) const PATH: &str = "/";

/// The page without its nonce. It shows what `/metrics` counts, and asks `/verdict`, so nothing is counted twice.
const TEMPLATE: &str = include_str!("status/page.html");

/// Serves the status page, an HTML document that loads nothing but the other pages of the agent.
#[derive(Debug)]
pub(crate) struct StatusPage;

impl Page for StatusPage {
    fn get(&self, _: &str) -> PageAnswer {
        // The browser runs only scripts with this nonce, which nobody can predict: a text that came in as HTML would not run.
        let nonce = format!("{:032x}", rand::random::<u128>());
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        PageAnswer::html(TEMPLATE.replace("{nonce}", &nonce), policy)
    }
}

/// The path of the data on the admin address.
pub(crate) const DATA_PATH: &str = "/status";

/// Serves, as JSON, the lists that could not be loaded with the causes, and the recent verdicts.
#[derive(Debug)]
pub(crate) struct StatusData {
    pub(crate) library: Library,
    pub(crate) recent: Arc<Recent>,
}

/// A list whose last load failed.
#[derive(Serialize)]
struct Refused {
    list: String,
    error: String,
}

impl Page for StatusData {
    fn get(&self, _: &str) -> PageAnswer {
        let refused: Vec<_> = self
            .library
            .refused()
            .into_iter()
            .map(|(list, error)| Refused { list, error: Escaped(&error).to_string() })
            .collect();
        let refused = serde_json::to_string(&refused).expect("it has no maps, whose keys could be no strings");
        PageAnswer::json(format!("{{\"refused\":{refused},\n\"recent\":{}}}\n", self.recent.json()))
    }
}
