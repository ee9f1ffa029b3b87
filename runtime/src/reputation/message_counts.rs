//! How often each message was asked, for metrics.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message_rule::MessageRule;
use crate::counters::Counter;
use crate::metrics::Families;

/// Messages that are counted apart, the first of all that there are; the rest counts as other.
const NAMES_MAX: usize = 31;

/// Counts of messages by their names: each worker has its own, and names stay while configurations change.
#[derive(Debug, Default)]
pub(crate) struct MessageCounts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    names: Vec<String>,
    workers: Vec<Arc<Counts>>,
}

/// The counts of one worker: of messages that are no rule, then of each name.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counts([Counter; 1 + NAMES_MAX]);

impl Counts {
    /// Counts a message; `None` is one that is not answered.
    #[inline]
    pub(crate) fn add(&self, rule: Option<&MessageRule>) {
        // Numbers that are given are in range.
        if let Some(counter) = self.0.get(rule.map_or(0, |rule| rule.number)) {
            counter.add(1);
        }
    }
}

impl MessageCounts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives each rule the number under which it is counted.
    pub(crate) fn number(&self, message_rules: &mut [MessageRule]) {
        let mut inner = self.lock();
        for rule in message_rules {
            let known = inner.names.iter().position(|name| name == rule.message());
            if known.is_none() && inner.names.len() < NAMES_MAX {
                inner.names.push(rule.message().into());
            }
            rule.number = inner.names.iter().position(|name| name == rule.message()).map_or(0, |at| at + 1);
        }
    }

    /// The counts of one more worker.
    pub(crate) fn worker(&self) -> Arc<Counts> {
        let counts = Arc::<Counts>::default();
        self.lock().workers.push(Arc::clone(&counts));
        counts
    }

    pub(crate) fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let inner = self.lock();
        let names = ["(other)"].into_iter().chain(inner.names.iter().map(String::as_str));
        let mut samples = names.enumerate().map(|(at, name)| {
            let count = inner.workers.iter().map(|counts| counts.0[at].get()).sum();
            ([("message", name.to_owned())], count)
        });
        families.counters("messages", "Messages in NOTIFYs by name; (other) is not answered.", &mut samples)
    }
}
