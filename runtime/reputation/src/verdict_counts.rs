//! Counts verdicts, scores and matches of lists, for metrics.

use std::array;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use spoa_runtime::{Counter, Families};

use crate::list::List;
use crate::lists::{Match, Verdict};
use crate::message_counts::{MESSAGES, MORE, MessageCounts};
use crate::message_rule::MessageRule;
use crate::observer::Judged;
use crate::scores::SCORE_MAX;

/// The number of different scores.
const SCORES: usize = SCORE_MAX as usize + 1;
/// The upper bounds of the buckets of scores.
const BOUNDS: [u32; 11] = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100];
/// The number of lists that are counted by name, since the start; further ones are counted together.
const LISTS: usize = CHUNK * CHUNKS;
/// The counters of lists are allocated in chunks, when the first list of a chunk matches.
const CHUNK: usize = 64;
const CHUNKS: usize = 16;

/// The use of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The variables have it.
    Enforced,
    /// It is what the verdict would be if all lists and rules in shadow mode were enforced.
    Shadow,
}

impl Mode {
    const ALL: [(Self, &'static str); 2] = [(Self::Enforced, "enforced"), (Self::Shadow, "shadow")];
}

/// Counts of verdicts. Each worker has its own; names of lists stay when a new configuration no longer has them.
#[derive(Debug, Default)]
pub(crate) struct VerdictCounts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lists: Vec<String>,
    workers: Vec<Arc<WorkerVerdicts>>,
}

/// The counts of one worker, which alone writes them. The alignment keeps them off the cache lines of other workers.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct WorkerVerdicts {
    /// By mode, message and verdict.
    verdicts: [[[Counter; Verdict::NAMES.len()]; MESSAGES]; 2],
    /// By score.
    scores: [Counter; SCORES],
    /// By list, then by mode.
    lists: [OnceLock<Box<Chunk>>; CHUNKS],
    more: [Counter; 2],
}

type Chunk = [[Counter; 2]; CHUNK];

impl Default for WorkerVerdicts {
    fn default() -> Self {
        let counters = || array::from_fn(|_| array::from_fn(|_| Counter::default()));
        Self {
            verdicts: [counters(), counters()],
            scores: array::from_fn(|_| Counter::default()),
            lists: Default::default(),
            more: Default::default(),
        }
    }
}

impl WorkerVerdicts {
    /// Counts a verdict on a message of `rule`, and its score, which is counted only if it is enforced.
    #[inline]
    pub(crate) fn add(&self, mode: Mode, rule: &MessageRule, Judged { verdict, score, .. }: Judged<'_>) {
        if let Some(of_message) = self.verdicts[mode as usize].get(rule.counter) {
            of_message[verdict.kind()].add(1);
        }
        if mode == Mode::Enforced
            && let Some(counter) = self.scores.get(score as usize)
        {
            counter.add(1);
        }
        let decided = verdict.matched().map(Match::list);
        // An enforced list is counted under `enforced` already.
        let is_counted = |list: &&List| mode == Mode::Enforced || rule.is_shadow() || list.config().shadow;
        if let Some(list) = decided.filter(is_counted) {
            self.of_list(list.counter)[mode as usize].add(1);
        }
    }

    fn of_list(&self, counter: usize) -> &[Counter; 2] {
        match self.lists.get(counter / CHUNK) {
            Some(chunk) => &chunk.get_or_init(|| Box::new(array::from_fn(|_| Default::default())))[counter % CHUNK],
            None => &self.more,
        }
    }

    fn count_of_list(&self, counter: usize, mode: Mode) -> u64 {
        let chunk = self.lists[counter / CHUNK].get();
        chunk.map_or(0, |chunk| chunk[counter % CHUNK][mode as usize].get())
    }
}

impl VerdictCounts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Assigns a counter to each list.
    pub(crate) fn assign(&self, lists: &mut [List]) {
        let mut inner = self.lock();
        for list in lists {
            let name = &list.config().name;
            let known = inner.lists.iter().position(|known| known == name);
            let counter = known.unwrap_or(inner.lists.len().min(LISTS));
            if known.is_none() && counter < LISTS {
                let name = name.clone();
                inner.lists.push(name);
            }
            list.counter = counter;
        }
    }

    /// Returns the counts of one more worker.
    pub(crate) fn worker(&self) -> Arc<WorkerVerdicts> {
        let counts = Arc::<WorkerVerdicts>::default();
        self.lock().workers.push(Arc::clone(&counts));
        counts
    }

    /// Writes all counts, those of shadow mode only if something `has_shadow`.
    pub(crate) fn write(&self, messages: &MessageCounts, has_shadow: bool, families: &mut Families<'_>) -> fmt::Result {
        let (names, inner) = (messages.names(), self.lock());
        let modes = &Mode::ALL[..if has_shadow { 2 } else { 1 }];
        let sum = |of: &dyn Fn(&WorkerVerdicts) -> u64| inner.workers.iter().map(|worker| of(worker)).sum::<u64>();
        for (mode, name, help) in [
            (Mode::Enforced, "verdicts", "Verdicts on messages, by message and verdict."),
            (
                Mode::Shadow,
                "shadow_verdicts",
                "What the verdicts would be if all lists and message rules in shadow mode were enforced, by message and verdict.",
            ),
        ]
        .into_iter()
        .take(modes.len())
        {
            let all = names.iter().flat_map(|(message, at)| {
                Verdict::NAMES.iter().enumerate().map(move |(kind, verdict)| {
                    let labels = [("message", message.clone()), ("verdict", (*verdict).to_owned())];
                    (labels, sum(&|worker| worker.verdicts[mode as usize][*at][kind].get()))
                })
            });
            families.counters(name, help, all)?;
        }
        let lists = inner.lists.iter().enumerate().flat_map(|(at, list)| {
            modes.iter().map(move |(mode, name)| {
                let labels = [("list", list.clone()), ("mode", (*name).to_owned())];
                (labels, sum(&|worker| worker.count_of_list(at, *mode)))
            })
        });
        let more = modes.iter().map(|(mode, name)| {
            let count = sum(&|worker| worker.more[*mode as usize].get());
            ([("list", MORE.to_owned()), ("mode", (*name).to_owned())], count)
        });
        families.counters(
            "list_matches",
            "Verdicts that a list decided, or would decide if everything in shadow mode were enforced, by list and mode. Of several lists \
             with the address one decides.",
            lists.chain(more.filter(|(_, count)| *count > 0)),
        )?;
        let scores: [u64; SCORES] = array::from_fn(|score| sum(&|worker| worker.scores[score].get()));
        let mut left = 0;
        let bucket = |bound: u32| {
            let bound = bound as usize;
            let count = scores[left..=bound].iter().sum();
            left = bound + 1;
            (bound as f64, count)
        };
        let buckets: Vec<_> = BOUNDS.into_iter().map(bucket).chain([(f64::INFINITY, 0)]).collect();
        let total = scores.iter().zip(0..).map(|(count, score)| *count as f64 * f64::from(score)).sum();
        families.histogram("score", "Scores of verdicts, 0 (bad) to 100 (trusted).", &buckets, total)
    }
}
