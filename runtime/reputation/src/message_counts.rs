//! Counts messages by name, for metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spoa_core::wire::Message;

use crate::message_rule::MessageRule;
use crate::misfits::Misfits;
use spoa_runtime::Counter;
use spoa_runtime::Families;

/// The number of served messages that are counted by name, the first that were configured; others are counted together.
const NAMES_MAX: usize = 30;
/// The counter of messages that no rule serves.
const UNKNOWN: usize = 0;
/// The counter of served messages beyond [`NAMES_MAX`].
const OTHERS: usize = NAMES_MAX + 1;

/// The label of everything that is counted together, because too many names are counted already.
pub(crate) const MORE: &str = "(more)";

/// The number of counters: of messages that no rule serves, of messages by name, and of further ones.
pub(crate) const MESSAGES: usize = OTHERS + 1;

/// Counts of messages by name. Each worker has its own; names stay when a new configuration no longer has them.
#[derive(Debug, Default)]
pub(crate) struct MessageCounts {
    inner: Mutex<Inner>,
    misfits: Misfits,
    /// Strings without an address, by message and argument.
    lost: Mutex<BTreeMap<(String, String), u64>>,
}

/// The label of arguments that the message rule does not name: HAProxy's configuration chooses their names.
const OTHER_ARGUMENT: &str = "(other)";

#[derive(Debug, Default)]
struct Inner {
    names: Vec<String>,
    workers: Vec<Arc<Counts>>,
}

/// The counts of one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counts([Counter; MESSAGES]);

impl Counts {
    #[inline]
    fn add(&self, counter: usize) {
        if let Some(counter) = self.0.get(counter) {
            counter.add(1);
        }
    }

    /// Counts a message that a rule serves.
    #[inline]
    pub(crate) fn served(&self, rule: &MessageRule) {
        self.add(rule.counter);
    }

    /// Counts a message that no rule serves.
    pub(crate) fn unknown(&self) {
        self.add(UNKNOWN);
    }
}

impl MessageCounts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Assigns a counter to each rule.
    pub(crate) fn assign(&self, rules: &mut [MessageRule]) {
        let mut inner = self.lock();
        for rule in rules {
            let known = inner.names.iter().position(|name| name == rule.message());
            if known.is_none() && inner.names.len() < NAMES_MAX {
                inner.names.push(rule.message().into());
            }
            let index = inner.names.iter().position(|name| name == rule.message());
            rule.counter = index.map_or(OTHERS, |index| 1 + index);
        }
    }

    /// Returns the counts of one more worker.
    pub(crate) fn worker(&self) -> Arc<Counts> {
        let counts = Arc::<Counts>::default();
        self.lock().workers.push(Arc::clone(&counts));
        counts
    }

    /// Counts a string without an address. Its client passes.
    #[cold]
    pub(crate) fn count_lost(&self, rule: &MessageRule, argument: &[u8]) {
        let is_known = argument == b"ip" || rule.arguments().iter().any(|known| known.as_bytes() == argument);
        let argument =
            if is_known { String::from_utf8_lossy(argument).into_owned() } else { OTHER_ARGUMENT.to_owned() };
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        *lost.entry((rule.message().to_owned(), argument)).or_default() += 1;
    }

    /// Reports a message that no rule serves.
    pub(crate) fn report_unknown(&self, rules: &[MessageRule], message: &Message<'_>) {
        self.misfits.unknown(rules, message);
    }

    /// Reports a message that has none of the arguments that its rule names.
    pub(crate) fn report_no_argument(&self, rule: &MessageRule, message: &Message<'_>) {
        self.misfits.no_argument(rule, message);
    }

    /// Reports a message in which no address was found.
    pub(crate) fn report_no_address(&self, rule: &MessageRule, message: &Message<'_>) {
        self.misfits.no_address(rule, message);
    }

    /// Returns the names of served messages with the index of their counters. The last one is that of further messages, if there
    /// are any.
    pub(crate) fn names(&self) -> Vec<(String, usize)> {
        let inner = self.lock();
        let has_more = inner.workers.iter().any(|counts| counts.0[OTHERS].get() > 0);
        let more = has_more.then(|| (MORE.to_owned(), OTHERS));
        inner.names.iter().cloned().zip(1..).chain(more).collect()
    }

    pub(crate) fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let inner = self.lock();
        let sum = |at: usize| inner.workers.iter().map(|counts| counts.0[at].get()).sum::<u64>();
        let names = inner.names.iter().enumerate().map(|(at, name)| (name.as_str(), sum(1 + at)));
        let others = Some((MORE, sum(OTHERS))).filter(|(_, count)| *count > 0);
        let all = [("(other)", sum(UNKNOWN))].into_iter().chain(names).chain(others);
        families.counters(
            "messages",
            "Messages in NOTIFYs by name; (other) are those that no message rule serves.",
            all.map(|(name, count)| ([("message", name.to_owned())], count)),
        )?;
        drop(inner);
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        families.counters(
            "strings_without_address",
            "Strings that should have held an address and did not, so that no address was judged, by message and argument.",
            lost.into_iter().map(|((message, argument), count)| ([("message", message), ("argument", argument)], count)),
        )
    }
}
