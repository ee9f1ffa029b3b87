//! The last verdicts, for the status.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::SystemTime;

use spoa_reputation::{Decision, Observer};

use crate::status::or_nothing;
use crate::verdict_log::Rate;

/// The number of verdicts that are kept.
const KEPT: usize = 50;

/// The number of verdicts per second that are kept: nobody can read more, and it bounds the cost for workers.
const PER_SECOND: u64 = 10;

/// The last verdicts that are `listed`, or would be if everything in shadow mode were enforced.
pub(crate) struct Recent {
    rate: Rate,
    rows: Mutex<VecDeque<Vec<String>>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { rate: Rate::new(Some(PER_SECOND)), rows: Mutex::default() }
    }
}

impl Observer for Recent {
    fn decided(&self, decision: &Decision<'_>) {
        if !decision.is_listed() || !self.rate.allows() {
            return;
        }
        let row = row(decision).to_vec();
        // No worker waits: while another one or the status page holds the lock, the verdict is not kept.
        let mut rows = match self.rows.try_lock() {
            Ok(rows) => rows,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if rows.len() == KEPT {
            rows.pop_front();
        }
        rows.push_back(row);
    }
}

/// The columns of the verdicts in the status; names of columns with texts begin with `<`.
pub(crate) const COLUMNS: [&str; 9] =
    ["<address", "<verdict", "score", "<list", "<prefix", "<category", "<message", "<HAProxy", "<time (UTC)"];

/// Returns the texts of a verdict for [`COLUMNS`].
fn row(decision: &Decision<'_>) -> [String; COLUMNS.len()] {
    let (judged, would) = (decision.judged, decision.would);
    let verdict = match (judged.verdict.name(), would.verdict.name()) {
        (verdict, would) if verdict == would => verdict.to_owned(),
        (verdict, would) => format!("{verdict}, would be {would}"),
    };
    // The list that has listed it, or would have.
    let shown = if judged.verdict.name() == "listed" { judged } else { would };
    let matched = shown.verdict.matched();
    let config = matched.map(|matched| matched.list().config());
    let message = decision.rule.message();
    [
        or_nothing(shown.address, |address| address.to_string()),
        verdict,
        shown.score.to_string(),
        config.map_or_else(String::new, |config| config.name.clone()),
        matched.map_or_else(String::new, |matched| matched.prefix().to_string()),
        config.map_or_else(String::new, |config| config.category.clone()),
        decision.policy.map_or_else(|| message.to_owned(), |policy| format!("{message}, policy {policy}")),
        decision.context.peer().to_owned(),
        humantime::format_rfc3339_seconds(SystemTime::now()).to_string().trim_end_matches('Z').replace('T', " "),
    ]
}

impl Recent {
    /// Returns a row of texts for each verdict, the newest first.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().rev().cloned().collect()
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}
