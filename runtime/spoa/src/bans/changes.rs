//! The page `/bans/changes`: the latest changes of bans, for agents that follow this one.

use serde::Deserialize;
use serde_json::value::RawValue;
use spoa_runtime::{Page, PageAnswer, PageRequest, PageStatus};

use super::page::ServedBans;

/// Serves the changes after a position.
#[derive(Debug)]
pub(crate) struct ChangesPage(pub(crate) ServedBans);

/// The number of changes in an answer.
const CHANGES_MAX: usize = 1000;

/// The answer.
#[derive(Debug, Deserialize)]
pub(super) struct Changes {
    /// The changes, each as a JSON object.
    pub(super) changes: Vec<Box<RawValue>>,
    /// The position after them.
    pub(super) position: String,
}

impl Page for ChangesPage {
    fn get(&self, request: &PageRequest<'_>) -> PageAnswer {
        let mut after = None;
        for (key, value) in form_urlencoded::parse(request.query().as_bytes()) {
            if key != "after" {
                return PageAnswer::bad_query(
                    "expected ?after=POSITION, or no query for the latest removals and the present position",
                );
            }
            after = Some(value.into_owned());
        }
        match self.0.store().changes(after.as_deref(), CHANGES_MAX) {
            // The changes are JSON already, and a position has only letters, digits and a sign.
            Some((changes, position)) => {
                PageAnswer::json(format!("{{\"changes\":[{}],\"position\":\"{position}\"}}\n", changes.join(",")))
            }
            None => PageAnswer::refused(
                PageStatus::Gone,
                "these changes are not kept any more, or the agent was restarted: read /bans, and go on from the present position",
            ),
        }
    }
}
