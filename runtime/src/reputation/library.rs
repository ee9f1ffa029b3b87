//! The lists in use, and how they are replaced while they are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use arc_swap::{ArcSwap, Guard};
use prometheus_client::registry::Unit;

use super::list::{List, ListConfig, LoadError, PREFIXES_MAX, Stamp};
use super::lists::{self, Lists};
use super::message_counts::MessageCounts;
use super::message_rule::MessageRule;
use crate::metrics::{Families, Source};

/// What the service answers by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The lists, the first before the others where two count as much.
    pub lists: Vec<ListConfig>,
    /// The score of an address in no list.
    pub default_score: u32,
    /// How many of a hundred prefixes a list may lose from one time to the next; more, and it may have been cut off.
    pub max_shrink: u8,
    /// The messages that are answered.
    pub message_rules: Vec<MessageRule>,
}

impl Default for Config {
    fn default() -> Self {
        Self { lists: Vec::new(), default_score: 50, max_shrink: 50, message_rules: MessageRule::defaults() }
    }
}

impl Config {
    /// Says what is wrong with lists that are right one by one.
    ///
    /// # Errors
    /// Two have the same name, or there are too many.
    pub fn check(&self) -> Result<(), LoadError> {
        lists::check(&self.lists)
    }
}

/// The lists in use. Clones are the same: each worker has one.
#[derive(Clone, Debug)]
pub struct Library(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    edition: ArcSwap<Edition>,
    /// One reload at a time.
    reloading: Mutex<()>,
    refused: Mutex<Refused>,
    counts: MessageCounts,
    /// Lists that were loaded anew, and those that stayed as they were since they could not be.
    loaded: AtomicU64,
    kept: AtomicU64,
    configurations_refused: AtomicU64,
}

/// What an address is looked up in: all lists, and what is said about them.
#[derive(Debug)]
pub struct Edition {
    /// How it came about.
    pub config: Arc<Config>,
    /// The lists.
    pub lists: Lists,
    /// Which it is: 1 is that of the start.
    pub generation: u64,
}

/// The state a file was in when it was last refused, for lists that are as they were before: until it changes again there is
/// nothing to look at. Files that were missing have none.
type Refused = BTreeMap<String, Option<Stamp>>;

/// What became of an attempt to load lists anew.
#[derive(Debug)]
pub struct Change {
    /// The edition that is in use now.
    pub generation: u64,
    /// The names of the lists that were loaded.
    pub loaded: Vec<String>,
    /// The names of those that should have been and are as they were, and why.
    pub kept: Vec<(String, LoadError)>,
}

impl Library {
    /// Loads the lists.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn open(mut config: Config) -> Result<Self, LoadError> {
        let counts = MessageCounts::default();
        counts.number(&mut config.message_rules);
        let edition = Edition { lists: Lists::load(&config.lists)?, config: Arc::new(config), generation: 1 };
        Ok(Self(Arc::new(Shared {
            edition: ArcSwap::from_pointee(edition),
            reloading: Mutex::default(),
            refused: Mutex::default(),
            counts,
            loaded: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            configurations_refused: AtomicU64::new(0),
        })))
    }

    /// A configuration could not be used, so that all is as it was: counted for metrics. [`replace`](Self::replace) does by
    /// itself.
    pub fn configuration_was_refused(&self) {
        self.0.configurations_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> &MessageCounts {
        &self.0.counts
    }

    /// The edition in use. It stays as it is for whoever holds it.
    #[inline]
    pub fn edition(&self) -> Guard<Arc<Edition>> {
        self.0.edition.load()
    }

    /// Loads all lists of `config` beside those in use, and puts them in their place; no look-up waits. A list that cannot
    /// be used, or lost too much, is as it was; with nothing new at all so is the edition.
    ///
    /// # Errors
    /// A list that cannot be used was not there before, or another file: all is as it was.
    pub fn replace(&self, mut config: Config) -> Result<Change, LoadError> {
        self.0.counts.number(&mut config.message_rules);
        let _one_at_a_time = lock(&self.0.reloading);
        let next = Next::load(&config, &self.0.edition.load().lists, Refused::new(), |_, _| true)
            .inspect_err(|_| self.configuration_was_refused())?;
        Ok(self.publish(Arc::new(config), next))
    }

    /// Loads the lists whose files have changed, as [`replace`](Self::replace) does.
    ///
    /// # Errors
    /// As [`replace`](Self::replace); all these lists were there before.
    pub fn refresh(&self) -> Result<Change, LoadError> {
        let _one_at_a_time = lock(&self.0.reloading);
        let before = self.0.edition.load();
        let has_changed = |list: &List, refused: &Refused| {
            let known = refused.get(&list.config().name).copied().unwrap_or_else(|| list.stamp());
            Stamp::at(&list.config().path) != known
        };
        // In a line of its own: else the lock would be held while lists load, and metrics would wait for it.
        let refused = lock(&self.0.refused).clone();
        let next = Next::load(&before.config, &before.lists, refused, has_changed)?;
        Ok(self.publish(Arc::clone(&before.config), next))
    }

    /// Makes it the edition in use, if there is anything new in it.
    fn publish(&self, config: Arc<Config>, next: Next) -> Change {
        let Next { lists, loaded, kept, refused } = next;
        *lock(&self.0.refused) = refused;
        self.0.loaded.fetch_add(loaded.len() as u64, Ordering::Relaxed);
        self.0.kept.fetch_add(kept.len() as u64, Ordering::Relaxed);
        let before = self.0.edition.load();
        if loaded.is_empty() && config == before.config {
            return Change { generation: before.generation, loaded, kept };
        }
        let generation = before.generation + 1;
        self.0.edition.store(Arc::new(Edition { config, lists: Lists::of(lists), generation }));
        Change { generation, loaded, kept }
    }
}

/// What there is, how old it is, and what became of attempts to load it anew.
impl Source for Library {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        self.0.counts.write(families)?;
        let edition = self.0.edition.load();
        families.gauge(
            "lists_generation",
            "The edition of lists in use; 1 is that of the start.",
            edition.generation,
        )?;
        let name = |list: &List| [("list", list.config().name.clone())];
        let count = |of: fn(&List) -> u64| edition.lists.iter().map(move |list| (name(list), of(list) as f64));
        families.gauges("list_prefixes", "Prefixes in a list.", None, count(List::prefixes))?;
        families.gauges(
            "list_bad_lines",
            "Lines of a list that say nothing of an address.",
            None,
            count(List::bad_lines),
        )?;
        let written = |list: &List| list.written().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        let written = edition.lists.iter().map(|list| (name(list), written(list)));
        let help = "When the file of a list in use was last written to, since 1970.";
        families.gauges("list_written_timestamp", help, Some(&Unit::Seconds), written)?;
        let refused = lock(&self.0.refused);
        let is_refused = |list: &List| f64::from(u8::from(refused.contains_key(&list.config().name)));
        let stale = edition.lists.iter().map(|list| (name(list), is_refused(list)));
        let help = "1 for a list that is as it was, since its file could not be used when it was last looked at.";
        families.gauges("list_refused", help, None, stale)?;
        let Shared { loaded, kept, configurations_refused, .. } = &*self.0;
        let help = "Configurations that could not be used at a SIGHUP, so that all is as it was.";
        families.counter("configurations_refused", help, configurations_refused.load(Ordering::Relaxed))?;
        let results = [("loaded", loaded), ("refused", kept)];
        let results =
            results.into_iter().map(|(result, count)| ([("result", result.to_owned())], count.load(Ordering::Relaxed)));
        families.counters("list_reloads", "Lists that should have been loaded anew, by result.", results)
    }
}

/// The lists of an edition to be.
struct Next {
    lists: Vec<List>,
    loaded: Vec<String>,
    kept: Vec<(String, LoadError)>,
    refused: Refused,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Next {
    /// Loads the lists that `has_changed` is true of, and those that were not there before.
    fn load(
        config: &Config,
        before: &Lists,
        refused: Refused,
        has_changed: impl Fn(&List, &Refused) -> bool,
    ) -> Result<Self, LoadError> {
        config.check()?;
        let size = |list: &List| list.prefixes() as usize;
        // Each with whether it stays as it is: looked at once, for a file may change meanwhile.
        let olds: Vec<_> = config
            .lists
            .iter()
            .map(|list| before.called(&list.name).and_then(|old| old.configured(list)))
            .map(|old| (old.as_ref().is_some_and(|old| !has_changed(old, &refused)), old))
            .collect();
        // What stays has its room, wherever it is in the order.
        let staying = olds.iter().filter(|(stays, _)| *stays).filter_map(|(_, old)| old.as_ref()).map(size).sum();
        let mut room = PREFIXES_MAX.saturating_sub(staying);
        let mut next = Self { lists: Vec::new(), loaded: Vec::new(), kept: Vec::new(), refused };
        for (list, old) in config.lists.iter().zip(olds) {
            let list = match old {
                (true, Some(old)) => old,
                (_, old) => {
                    let new = next.attempt(list, old, room, config.max_shrink)?;
                    room = room.saturating_sub(size(&new));
                    new
                }
            };
            next.lists.push(list);
        }
        Ok(next)
    }

    /// Loads a list; if that fails, the old one stays.
    fn attempt(
        &mut self,
        list: &ListConfig,
        old: Option<List>,
        room: usize,
        max_shrink: u8,
    ) -> Result<List, LoadError> {
        let stamp = Stamp::at(&list.path);
        let new = List::load_within(list.clone(), room).and_then(|new| match &old {
            Some(old) => new.unless_shrunk_from(old, max_shrink),
            None => Ok(new),
        });
        match (new, old) {
            (Ok(new), _) => {
                self.refused.remove(&list.name);
                self.loaded.push(list.name.clone());
                Ok(new)
            }
            (Err(error), Some(old)) => {
                self.refused.insert(list.name.clone(), stamp);
                self.kept.push((list.name.clone(), error));
                Ok(old)
            }
            (Err(error), None) => Err(error),
        }
    }
}
