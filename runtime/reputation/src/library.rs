//! The lists in use, and their atomic replacement.

mod metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};

use crate::bans::BanIndex;
use crate::list::{List, ListConfig, LoadError, REASONS, Retry, Room, Stamp};
use crate::lists::{self, Lists};
use crate::message_counts::MessageCounts;
use crate::message_rule::MessageRule;
use crate::policy::{self, NamedPolicy, PolicyError, SELECTIONS_MAX};
use crate::verdict_counts::VerdictCounts;

/// The lists and messages that are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The lists. If two of them have the same rank, the first one decides.
    pub lists: Vec<ListConfig>,
    /// The score of an address in no list.
    pub default_score: u32,
    /// The percentage by which a list of at least [`SHRINK_GUARD_MIN`](crate::SHRINK_GUARD_MIN) prefixes may shrink in one
    /// reload: if it shrinks by more, its file may have been cut off. The limit in [`ListConfig`] has precedence.
    pub max_shrink: u8,
    /// The messages that are served.
    pub message_rules: Vec<MessageRule>,
    /// The policies that messages select by an argument.
    pub policies: Vec<NamedPolicy>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lists: Vec::new(),
            default_score: 50,
            max_shrink: 50,
            message_rules: MessageRule::defaults(),
            policies: Vec::new(),
        }
    }
}

impl Config {
    /// Checks the lists against each other.
    ///
    /// # Errors
    /// Two have the same name, or there are too many, or a policy is wrong.
    pub fn check(&self) -> Result<(), LoadError> {
        lists::check(&self.lists)?;
        Ok(self.check_policies()?)
    }

    fn check_policies(&self) -> Result<(), PolicyError> {
        let has_list = |name: &str| self.lists.iter().any(|list| list.name == name);
        for rule in &self.message_rules {
            rule.policy().check(rule.message(), has_list)?;
            if rule.policy_argument().is_some() && self.policies.is_empty() {
                return Err(PolicyError::NoPolicies(rule.message().into()));
            }
        }
        for (at, NamedPolicy { name, policy }) in self.policies.iter().enumerate() {
            policy.check(name, has_list)?;
            if self.policies[..at].iter().any(|other| other.name == *name) {
                return Err(PolicyError::SameName(name.clone()));
            }
        }
        match self.clone().assign_selections().len() {
            count if count > SELECTIONS_MAX => Err(PolicyError::TooManySelections(count)),
            _ => Ok(()),
        }
    }

    /// Assigns the lookup tables to each policy; see [`policy::assign`].
    fn assign_selections(&mut self) -> Selections {
        let Self { lists, message_rules, policies, .. } = self;
        let of_rules = message_rules.iter_mut().map(MessageRule::policy_mut);
        policy::assign(lists, of_rules.chain(policies.iter_mut().map(|named| &mut named.policy)))
    }
}

/// The lists in use. Clones share them; each worker has one.
#[derive(Clone, Debug)]
pub struct Library(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    edition: ArcSwap<Edition>,
    bans: Arc<BanIndex>,
    /// One reload at a time.
    reloading: Mutex<()>,
    refused: Mutex<Refused>,
    counts: MessageCounts,
    verdicts: VerdictCounts,
    /// When each list was last found to be the newest version, by name; see [`List::checked`].
    checked: Mutex<BTreeMap<String, SystemTime>>,
    /// Successful loads of lists.
    loaded: AtomicU64,
    /// Failed loads of lists, by the reason in [`REASONS`].
    failed: [AtomicU64; REASONS.len()],
    configurations_refused: AtomicU64,
}

impl Shared {
    fn count_failed(&self, failed: &[(String, LoadError)]) {
        for (_, error) in failed {
            if let Some(at) = REASONS.iter().position(|reason| *reason == error.reason()) {
                self.failed[at].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The names of the lists that policies select.
type Selections = Vec<BTreeSet<String>>;

/// One generation of all lists, with their configuration.
#[derive(Debug)]
pub struct Edition {
    /// Their configuration.
    pub config: Arc<Config>,
    /// The lists.
    pub lists: Lists,
    /// The names of the lists that policies select.
    selections: Selections,
    has_shadow: bool,
    /// The number of this edition; the agent starts with number 1.
    pub generation: u64,
}

impl Edition {
    fn new(
        config: Arc<Config>,
        lists: Vec<List>,
        selections: Selections,
        bans: &Arc<BanIndex>,
        generation: u64,
    ) -> Self {
        let lists = Lists::of(lists, &selections, Arc::clone(bans));
        let has_shadow = lists.all().has_shadow() || config.message_rules.iter().any(MessageRule::is_shadow);
        Self { config, lists, selections, has_shadow, generation }
    }

    /// True if a list or a message is in shadow mode.
    #[inline]
    pub(crate) const fn has_shadow(&self) -> bool {
        self.has_shadow
    }
}

/// The files that could not be used when they were last read, by list.
type Refused = BTreeMap<String, RefusedFile>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct RefusedFile {
    /// The state that the file was in; `None` if it was missing.
    stamp: Option<Stamp>,
    error: String,
    retry: Retry,
}

/// The outcome of a reload.
#[derive(Debug)]
pub struct Change {
    /// The generation in use now.
    pub generation: u64,
    /// The names of the lists that were loaded.
    pub loaded: Vec<String>,
    /// The names of the lists that could not be loaded, so that their previous version stays in use, and the causes. A list
    /// that could not be loaded before, and now again for the same reason, is not among them after a refresh.
    pub failed: Vec<(String, LoadError)>,
}

impl Library {
    /// Loads the lists. An optional one that cannot be used is empty until it can; see [`refused`](Self::refused).
    ///
    /// # Errors
    /// Another one cannot be used.
    pub fn open(mut config: Config) -> Result<Self, LoadError> {
        let counts = MessageCounts::default();
        counts.assign(&mut config.message_rules);
        let selections = config.assign_selections();
        let Next { mut lists, loaded, failed, refused } =
            Next::load(&config, &Lists::default(), Refused::new(), |_, _| true)?;
        let verdicts = VerdictCounts::default();
        verdicts.assign(&mut lists);
        let bans = Arc::<BanIndex>::default();
        let edition = Edition::new(Arc::new(config), lists, selections, &bans, 1);
        let library = Self(Arc::new(Shared {
            edition: ArcSwap::from_pointee(edition),
            bans,
            reloading: Mutex::default(),
            refused: Mutex::new(refused),
            counts,
            verdicts,
            checked: Mutex::default(),
            loaded: AtomicU64::new(loaded.len() as u64),
            failed: Default::default(),
            configurations_refused: AtomicU64::new(0),
        }));
        library.0.count_failed(&failed);
        library.look_up_checks();
        Ok(library)
    }

    /// Returns the lists whose file could not be used when it was last read, with the cause.
    pub fn refused(&self) -> Vec<(String, String)> {
        lock(&self.0.refused).iter().map(|(name, file)| (name.clone(), file.error.clone())).collect()
    }

    /// Looks up when each list was last [checked](List::checked), for metrics.
    pub fn look_up_checks(&self) {
        let edition = self.edition();
        let checked = edition.lists.iter().filter_map(|list| Some((list.config().name.clone(), list.checked()?)));
        let checked = checked.collect();
        *lock(&self.0.checked) = checked;
    }

    /// Counts a configuration that could not be used, for metrics. [`replace`](Self::replace) counts its own.
    pub fn count_refused_configuration(&self) {
        self.0.configurations_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> &MessageCounts {
        &self.0.counts
    }

    pub(crate) fn verdicts(&self) -> &VerdictCounts {
        &self.0.verdicts
    }

    /// Returns the edition in use. It does not change while it is held.
    #[inline]
    pub fn edition(&self) -> Guard<Arc<Edition>> {
        self.0.edition.load()
    }

    /// Returns the bans, which count for the lists that they name.
    pub fn bans(&self) -> &Arc<BanIndex> {
        &self.0.bans
    }

    /// Loads all lists of `config` in the background and swaps them in atomically; no lookup waits. If a list cannot be
    /// used or shrank too much, its previous version stays in use. If nothing changed, the generation stays the same.
    ///
    /// # Errors
    /// A list cannot be used, is not optional, and has no previous version of the same file. Nothing changes.
    pub fn replace(&self, mut config: Config) -> Result<Change, LoadError> {
        self.0.counts.assign(&mut config.message_rules);
        let selections = config.assign_selections();
        let _one_at_a_time = lock(&self.0.reloading);
        let next = Next::load(&config, &self.0.edition.load().lists, Refused::new(), |_, _| true)
            .inspect_err(|_| self.count_refused_configuration())?;
        Ok(self.publish(Arc::new(config), selections, next))
    }

    /// Loads the lists whose files have changed, as [`replace`](Self::replace) does.
    ///
    /// # Errors
    /// The same as those of [`replace`](Self::replace), but these lists all have a previous version.
    pub fn refresh(&self) -> Result<Change, LoadError> {
        let _one_at_a_time = lock(&self.0.reloading);
        let before = self.0.edition.load();
        let has_changed = |list: &List, refused: &Refused| {
            let Some(path) = &list.config().path else { return false };
            let now = Stamp::at(path);
            match refused.get(&list.config().name) {
                Some(file) => file.retry == Retry::Always || now != file.stamp,
                None => now != list.stamp(),
            }
        };
        // A separate statement: otherwise the lock would be held while lists load, and metrics would wait for it.
        let refused = lock(&self.0.refused).clone();
        let next = Next::load(&before.config, &before.lists, refused, has_changed)?;
        Ok(self.publish(Arc::clone(&before.config), before.selections.clone(), next))
    }

    /// Swaps the lists in, if anything is new.
    fn publish(&self, config: Arc<Config>, selections: Selections, next: Next) -> Change {
        let Next { mut lists, loaded, failed, refused } = next;
        self.0.verdicts.assign(&mut lists);
        *lock(&self.0.refused) = refused;
        self.0.loaded.fetch_add(loaded.len() as u64, Ordering::Relaxed);
        self.0.count_failed(&failed);
        let before = self.0.edition.load();
        if loaded.is_empty() && config == before.config {
            return Change { generation: before.generation, loaded, failed };
        }
        let generation = before.generation + 1;
        self.0.edition.store(Arc::new(Edition::new(config, lists, selections, &self.0.bans, generation)));
        Change { generation, loaded, failed }
    }
}

/// The lists of the next edition.
struct Next {
    lists: Vec<List>,
    loaded: Vec<String>,
    failed: Vec<(String, LoadError)>,
    refused: Refused,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Next {
    /// Loads the lists for which `has_changed` is true, and those without a previous version.
    fn load(
        config: &Config,
        before: &Lists,
        refused: Refused,
        has_changed: impl Fn(&List, &Refused) -> bool,
    ) -> Result<Self, LoadError> {
        config.check()?;
        // Whether each stays is decided once, because a file may change meanwhile.
        let mut olds: Vec<_> = config
            .lists
            .iter()
            .map(|list| before.called(&list.name).and_then(|old| old.configured(list)))
            .map(|old| (old.as_ref().is_some_and(|old| !has_changed(old, &refused)), old))
            .collect();
        if olds.iter().any(|(stays, _)| !stays) {
            for (list, (stays, _)) in config.lists.iter().zip(&mut olds) {
                *stays &= refused.get(&list.name).is_none_or(|file| file.retry != Retry::Room);
            }
        }
        // Previous versions have their room, wherever they are in the order: each of them may stay.
        let mut room = Room::ALL;
        olds.iter().filter_map(|(_, old)| old.as_ref()).for_each(|old| room.take(old));
        let mut next = Self { lists: Vec::new(), loaded: Vec::new(), failed: Vec::new(), refused };
        for (list, old) in config.lists.iter().zip(olds) {
            let list = match old {
                _ if list.path.is_none() => List::absent(list.clone()),
                (true, Some(old)) => old,
                (_, old) => {
                    old.iter().for_each(|old| room.give_back(old));
                    let new = next.attempt(list, old, room, config.max_shrink)?;
                    room.take(&new);
                    new
                }
            };
            next.lists.push(list);
        }
        Ok(next)
    }

    /// Loads a list. If that fails its previous version stays or, if it has none and is optional, it is empty.
    fn attempt(&mut self, list: &ListConfig, old: Option<List>, room: Room, max_shrink: u8) -> Result<List, LoadError> {
        let stamp = list.path.as_deref().and_then(Stamp::at);
        let new = List::load_within(list.clone(), room).and_then(|new| match &old {
            Some(old) => new.unless_shrunk_from(old, max_shrink)?.unless_grown_from(old),
            None => Ok(new),
        });
        let error = match new {
            Ok(new) => {
                self.refused.remove(&list.name);
                self.loaded.push(list.name.clone());
                return Ok(new);
            }
            Err(error) => error,
        };
        // An optional list that was never loaded is not a previous version: if it is no longer optional, its error counts.
        let old = old.filter(|old| old.written().is_some());
        let Some(instead) = old.or_else(|| list.optional.then(|| List::absent(list.clone()))) else {
            return Err(error);
        };
        let file = RefusedFile { stamp, error: error.to_string(), retry: error.retry() };
        if self.refused.get(&list.name) != Some(&file) {
            self.refused.insert(list.name.clone(), file);
            self.failed.push((list.name.clone(), error));
        }
        Ok(instead)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A list that failed for want of file descriptors or room, and whose file does not change, is loaded as soon as it can be.
    #[test]
    fn a_list_is_loaded_again_when_the_cause_may_be_gone() {
        let folder = std::env::temp_dir().join(format!("spoa-retry-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let list =
            |name: &str| ListConfig { name: name.into(), path: Some(folder.join(name)), ..ListConfig::default() };
        let lists = vec![list("a"), list("b")];
        lists.iter().flat_map(|list| &list.path).for_each(|path| fs::write(path, "192.0.2.1\n").unwrap());
        let library = Library::open(Config { lists, ..Config::default() }).unwrap();
        let refuse = |retry| {
            let file = RefusedFile { stamp: Stamp::at(&folder.join("a")), error: String::new(), retry };
            lock(&library.0.refused).insert("a".into(), file);
        };
        let refreshed = || library.refresh().unwrap().loaded;
        refuse(Retry::Changed);
        assert!(refreshed().is_empty());
        refuse(Retry::Always);
        assert_eq!(refreshed(), ["a"]);
        assert!(refreshed().is_empty(), "it is not loaded a third time");
        refuse(Retry::Room);
        assert!(refreshed().is_empty(), "there is as little room as before");
        fs::write(folder.join("b"), "192.0.2.1\n192.0.2.2\n").unwrap();
        assert_eq!(refreshed(), ["a", "b"]);
        fs::remove_file(folder.join("a")).unwrap();
        assert_eq!(library.refresh().unwrap().failed.len(), 1);
        assert!(library.refresh().unwrap().failed.is_empty(), "the same failure is reported once");
        assert_eq!(library.refused().len(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    /// A list must not grow into the room of another one whose new version fails to load, so that its previous one stays.
    #[test]
    fn previous_versions_keep_their_room() {
        let folder = std::env::temp_dir().join(format!("spoa-room-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // As many combinations of a length and a score as there are: five such lists are near the limit.
        let lines = (3_u32..=128).flat_map(|len| (0..=100).map(move |score| format!("2000::/{len},{score}\n")));
        let full = lines.collect::<String>();
        let names = ["a", "b", "c", "d", "e", "f"];
        names
            .iter()
            .for_each(|name| fs::write(folder.join(name), if *name == "a" { "2000::/3,1\n" } else { &full }).unwrap());
        let list = |name: &str| {
            let options = "score-column=2,max-cover=100,max-growth=1000000";
            format!("{name}={},{options}", folder.join(name).display()).parse().unwrap()
        };
        let library = Library::open(Config { lists: names.map(list).into(), ..Config::default() }).unwrap();
        fs::write(folder.join("a"), &full).unwrap();
        fs::write(folder.join("f"), "nonsense\n").unwrap();
        let change = library.refresh().unwrap();
        let failed: Vec<_> = change.failed.iter().map(|(name, error)| (name.as_str(), error.reason())).collect();
        assert_eq!(failed, [("a", "limit"), ("f", "format")]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn only_a_fault_of_the_content_waits_for_a_change() {
        let of = |error| LoadError::Io { name: "l".into(), path: "l".into(), error };
        assert_eq!(of(std::io::Error::from_raw_os_error(5)).retry(), Retry::Always);
        assert_eq!(of(std::io::Error::other("corrupt gzip stream")).retry(), Retry::Changed);
        assert_eq!(
            LoadError::Empty { name: "l".into(), path: "l".into(), layout: String::new() }.retry(),
            Retry::Changed
        );
        assert_eq!(LoadError::TooManyPrefixes { name: "l".into(), path: "l".into() }.retry(), Retry::Room);
    }
}
