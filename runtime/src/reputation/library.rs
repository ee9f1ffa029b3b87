//! The lists in use, and how they are replaced while they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::list::{List, ListConfig, LoadError, PREFIXES_MAX, Stamp};
use super::lists::{self, Lists};
use super::question::Question;

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
    pub questions: Vec<Question>,
}

impl Default for Config {
    fn default() -> Self {
        Self { lists: Vec::new(), default_score: 50, max_shrink: 50, questions: Question::defaults() }
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
pub struct Library {
    edition: Arc<ArcSwap<Edition>>,
    refused: Arc<Mutex<Refused>>,
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
    pub fn open(config: Config) -> Result<Self, LoadError> {
        let edition = Edition { lists: Lists::load(&config.lists)?, config: Arc::new(config), generation: 1 };
        Ok(Self { edition: Arc::new(ArcSwap::from_pointee(edition)), refused: Arc::default() })
    }

    /// The edition in use. It stays as it is for whoever holds it.
    #[inline]
    pub fn edition(&self) -> Guard<Arc<Edition>> {
        self.edition.load()
    }

    /// Loads all lists of `config` beside those in use, and puts them in their place; no look-up waits. A list that cannot
    /// be used, or lost too much, is as it was; with nothing new at all so is the edition.
    ///
    /// # Errors
    /// A list that cannot be used was not there before, or another file: all is as it was.
    pub fn replace(&self, config: Config) -> Result<Change, LoadError> {
        let mut refused = self.one_at_a_time();
        let next = Next::load(&config, &self.edition.load().lists, &mut refused, |_, _| true)?;
        refused.retain(|name, _| config.lists.iter().any(|list| list.name == *name));
        Ok(self.publish(Arc::new(config), next))
    }

    /// Loads the lists whose files have changed, as [`replace`](Self::replace) does.
    ///
    /// # Errors
    /// As [`replace`](Self::replace); all these lists were there before.
    pub fn refresh(&self) -> Result<Change, LoadError> {
        let mut refused = self.one_at_a_time();
        let before = self.edition.load();
        let has_changed = |list: &List, refused: &Refused| {
            let known = refused.get(&list.config().name).copied().unwrap_or_else(|| list.stamp());
            Stamp::at(&list.config().path) != known
        };
        let next = Next::load(&before.config, &before.lists, &mut refused, has_changed)?;
        Ok(self.publish(Arc::clone(&before.config), next))
    }

    fn one_at_a_time(&self) -> MutexGuard<'_, Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it the edition in use, if there is anything new in it.
    fn publish(&self, config: Arc<Config>, next: Next) -> Change {
        let Next { lists, loaded, kept } = next;
        let before = self.edition.load();
        if loaded.is_empty() && config == before.config {
            return Change { generation: before.generation, loaded, kept };
        }
        let generation = before.generation + 1;
        self.edition.store(Arc::new(Edition { config, lists: Lists::of(lists), generation }));
        Change { generation, loaded, kept }
    }
}

/// The lists of an edition to be.
struct Next {
    lists: Vec<List>,
    loaded: Vec<String>,
    kept: Vec<(String, LoadError)>,
}

impl Next {
    /// Loads the lists that `has_changed` is true of, and those that were not there before.
    fn load(
        config: &Config,
        before: &Lists,
        refused: &mut Refused,
        has_changed: impl Fn(&List, &Refused) -> bool,
    ) -> Result<Self, LoadError> {
        config.check()?;
        let mut next = Self { lists: Vec::new(), loaded: Vec::new(), kept: Vec::new() };
        let mut room = PREFIXES_MAX;
        for list in &config.lists {
            let old = before.called(&list.name).and_then(|old| old.configured(list));
            let list = match old {
                Some(old) if !has_changed(&old, refused) => old,
                old => {
                    let stamp = Stamp::at(&list.path);
                    let new = List::load_within(list.clone(), room).and_then(|new| match &old {
                        Some(old) => new.unless_shrunk_from(old, config.max_shrink),
                        None => Ok(new),
                    });
                    match (new, old) {
                        (Ok(new), _) => {
                            refused.remove(&list.name);
                            next.loaded.push(list.name.clone());
                            new
                        }
                        (Err(error), Some(old)) => {
                            refused.insert(list.name.clone(), stamp);
                            next.kept.push((list.name.clone(), error));
                            old
                        }
                        (Err(error), None) => return Err(error),
                    }
                }
            };
            room = room.saturating_sub(list.prefixes() as usize);
            next.lists.push(list);
        }
        Ok(next)
    }
}
