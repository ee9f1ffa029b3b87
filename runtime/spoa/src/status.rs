//! The status of the agent for people: the page in a browser, and the data that it and `spoa top` show.

mod format;
mod reading;
mod tables;
mod view;
mod warnings;

use std::sync::{Arc, Mutex, PoisonError};

use spoa_reputation::Library;
use spoa_runtime::{Page, PageAnswer, PageRequest};

use crate::recent::Recent;
use reading::Readings;

pub(crate) use format::or_nothing;
pub(crate) use reading::Reading;
pub(crate) use tables::Table;
pub(crate) use view::{BanAccess, Status, Tone};

/// The path of the page on the admin address.
pub(crate) const PATH: &str = "/";

/// The page without its nonce.
const TEMPLATE: &str = include_str!("status/page.html");

/// Serves the status page, an HTML document that loads nothing but the other pages of the agent.
#[derive(Debug)]
pub(crate) struct StatusPage;

impl Page for StatusPage {
    fn get(&self, _: &PageRequest<'_>) -> PageAnswer {
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

/// Serves the status as JSON. Everything in it is a text for people: programs read `/metrics` and the verdict log.
#[derive(Debug, Default)]
pub(crate) struct StatusData {
    /// The lists and the recent verdicts by them; `None` with random scores.
    lists: Option<(Library, Arc<Recent>)>,
    bans: BanAccess,
    readings: Mutex<Readings>,
}

impl StatusData {
    pub(crate) fn of_lists(library: Library, recent: Arc<Recent>, bans: BanAccess) -> Self {
        Self { lists: Some((library, recent)), bans, readings: Mutex::default() }
    }
}

impl Page for StatusData {
    fn get(&self, request: &PageRequest<'_>) -> PageAnswer {
        let (refused, recent) = match &self.lists {
            Some((library, recent)) => (library.refused(), recent.rows()),
            None => Default::default(),
        };
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = readings.show(Reading::take(request), |now, rise| Status::new(now, rise, &refused, recent));
        status.bans = self.bans;
        PageAnswer::json(
            serde_json::to_string(&status).expect("a status has no maps, whose keys could be no strings") + "\n",
        )
    }
}
