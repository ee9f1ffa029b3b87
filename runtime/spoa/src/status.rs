//! The status page for people.

use spoa_runtime::{Page, PageAnswer};

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
