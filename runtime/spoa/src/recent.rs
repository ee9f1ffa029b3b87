//! The last verdicts, for the status page.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::SystemTime;

use spoa_reputation::{Decision, Observer};

use crate::verdict_log::{Rate, with_line};

/// The number of verdicts that are kept.
const KEPT: usize = 50;

/// The number of verdicts per second that are kept: nobody can read more, and it bounds the cost for workers.
const PER_SECOND: u64 = 10;

/// The last verdicts that are `listed`, or would be if everything in shadow mode were enforced. Each is a line of the
/// verdict log.
pub(crate) struct Recent {
    rate: Rate,
    lines: Mutex<VecDeque<String>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { rate: Rate::new(Some(PER_SECOND)), lines: Mutex::default() }
    }
}

impl Observer for Recent {
    fn decided(&self, decision: &Decision<'_>) {
        if !decision.is_listed() || !self.rate.allows() {
            return;
        }
        with_line(decision, 1, SystemTime::now(), |line| {
            // No worker waits: while another one or the status page holds the lock, the verdict is not kept.
            let mut lines = match self.lines.try_lock() {
                Ok(lines) => lines,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        });
    }
}

impl Recent {
    /// Returns the lines as a JSON array, the newest first.
    pub(crate) fn json(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let newest_first: Vec<_> = lines.iter().rev().map(String::as_str).collect();
        format!("[{}]", newest_first.join(",\n"))
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}
