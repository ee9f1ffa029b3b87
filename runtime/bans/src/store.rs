//! The bans of an agent: their start, what is asked about them, and their threads.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};
use spoa_reputation::{BanIndex, Library, Prefix};
use spoa_runtime::{Families, Source, Unit};

use crate::ban::{Ban, Key};
use crate::clock::Clock;
use crate::journal::JournalError;
use crate::loading;
use crate::record::{Address, Record};
use crate::request::resolve;
use crate::state::{Batch, Report, State};
use crate::threads;

/// The settings of a [`BanStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The journal.
    pub path: PathBuf,
    /// The number of bans that are possible.
    pub max: usize,
}

/// The bans of an agent. Dropping it [closes](BanStore::close) it.
#[derive(Debug)]
pub struct BanStore {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The part that [`threads`] share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) library: Library,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) boot_id: String,
    state: Mutex<State>,
    /// Notified if the next end is another one, or the store is closed.
    pub(crate) earlier_end: Condvar,
    /// Notified if the store is closed.
    pub(crate) closed: Condvar,
}

/// Some of the bans.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Page<'p> {
    /// The bans, in the order of their prefixes. Those of one prefix are never on two pages.
    #[serde(borrow)]
    pub bans: Vec<Record<'p>>,
    /// The last prefix, after which the next page begins; `None` if this is the last page.
    pub next: Option<Address>,
}

/// The number of bans that are looked at for a page before changes may go on.
const SCAN: usize = 10_000;

impl BanStore {
    /// Loads the bans of a journal, which is created if there is none, and begins to serve them to `library`.
    ///
    /// # Errors
    /// The journal cannot be used, or a thread cannot be started.
    pub fn open(settings: &Settings, library: Library, clock: Box<dyn Clock>) -> Result<Self, JournalError> {
        let boot_id = clock.boot_id();
        if boot_id.is_empty() {
            tracing::warn!(
                "the system does not name its start, so that a restart of the agent takes the ends of bans from the time of day"
            );
        }
        let state = Mutex::new(loading::load(settings, library.bans(), clock.now(), &boot_id)?);
        let (earlier_end, closed) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { library, clock, boot_id, state, earlier_end, closed });
        let store = Self { shared, threads: Mutex::default() };
        let threads: [(_, fn(&Shared)); 2] =
            [("spoa-bans", threads::end_bans), ("spoa-bans-disk", threads::keep_journal)];
        for (name, run) in threads {
            let shared = Arc::clone(&store.shared);
            let thread = thread::Builder::new().name(name.into()).spawn(move || run(&shared));
            let failed = |error| JournalError::Io { path: settings.path.clone(), error };
            lock(&store.threads).push(thread.map_err(failed)?);
        }
        Ok(store)
    }

    /// Applies changes, in order. They are in effect for all lookups, and in the journal, when this returns.
    pub fn apply<'r>(&self, records: impl IntoIterator<Item = Record<'r>>) -> Report {
        let (now, edition, index) = (self.shared.clock.now(), self.shared.library.edition(), self.shared.index());
        let mut state = self.shared.lock();
        let next_end = state.bans.next_end();
        let mut batch = Batch::default();
        for (number, record) in records.into_iter().enumerate() {
            let done = resolve(record, &edition, now).and_then(|record| state.apply(index, &record, now, &mut batch));
            if let Err(reason) = done {
                batch.report.refused.push((number, reason));
            }
        }
        let report = state.save(batch);
        if state.bans.next_end() != next_end {
            self.shared.earlier_end.notify_one();
        }
        report
    }

    /// Returns about `max` bans after those of a prefix; only those of a list, and only those that contain an address, if these are
    /// given.
    pub fn page(
        &self,
        after: Option<Prefix>,
        list: Option<&str>,
        address: Option<IpAddr>,
        max: usize,
    ) -> Page<'static> {
        let mut page = Page { bans: Vec::new(), next: None };
        let mut last = after.map(Key::last_of);
        loop {
            let (state, index) = (self.shared.lock(), self.shared.index());
            let list = match list.map(|list| index.find_list(list)) {
                // No ban was ever in a list of this name.
                Some(None) => return page,
                list => list.flatten(),
            };
            let scanned: Vec<_> = match address {
                Some(address) => containing(address)
                    .flat_map(|prefix| state.bans.on(prefix))
                    .filter(|(key, _)| last.is_none_or(|last| *key > last))
                    .collect(),
                None => state.bans.after(last).take(SCAN).collect(),
            };
            for (key, ban) in scanned.iter().filter(|(key, _)| list.is_none_or(|list| list == key.list)) {
                let of_last = page.bans.last().map(|ban| ban.address);
                if page.bans.len() >= max && of_last != Some(Address(key.prefix)) {
                    page.next = of_last;
                    return page;
                }
                page.bans.push(state.record(index, *key, ban));
            }
            last = scanned.last().map(|(key, _)| *key);
            if address.is_some() || scanned.len() < SCAN {
                return page;
            }
        }
    }

    /// Returns the bans of exactly this prefix in a list.
    pub fn on(&self, prefix: Prefix, list: &str) -> Vec<Record<'static>> {
        let (state, index) = (self.shared.lock(), self.shared.index());
        let list = index.find_list(list);
        let bans = state.bans.on(prefix).filter(|(key, _)| Some(key.list) == list);
        bans.map(|(key, ban)| state.record(index, key, ban)).collect()
    }

    /// Returns at most `max` changes after a position in the sequence of changes, each as a JSON object, and the position after
    /// them. Returns `None` if the changes are not known any more. Without a position it returns the latest removals and the present
    /// position: together with all bans, these bring a follower up to date.
    pub fn changes(&self, after: Option<&str>, max: usize) -> Option<(Vec<String>, String)> {
        let state = self.shared.lock();
        match after {
            None => Some((state.latest_removals(self.shared.index()), state.feed.position())),
            Some(position) => state.feed.after(position, max),
        }
    }

    /// Brings everything to the disk. After this, bans do not end any more.
    pub fn close(&self) {
        self.shared.lock().is_stopped = true;
        self.shared.earlier_end.notify_one();
        self.shared.closed.notify_one();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Returns the number of bans of each list.
    pub fn lists(&self) -> Vec<(String, u64)> {
        let lists = self.shared.lock().counts.lists();
        lists.into_iter().map(|(list, count)| (self.shared.index().list_name(list), count)).collect()
    }

    /// Returns the number of bans.
    pub fn len(&self) -> usize {
        self.shared.lock().bans.len()
    }

    /// True if there are no bans.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for BanStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn index(&self) -> &BanIndex {
        self.library.bans()
    }
}

impl State {
    fn record(&self, index: &BanIndex, key: Key, ban: &Ban) -> Record<'static> {
        ban.record(key.prefix, &index.list_name(key.list), self.origins.name(key.origin)).into_owned()
    }
}

/// Returns the prefixes that contain an address, in their order.
fn containing(address: IpAddr) -> impl Iterator<Item = Prefix> {
    (0..=Prefix::of(address, u8::MAX).bits()).map(move |len| Prefix::of(address, len))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of bans, and the state of the journal.
impl Source for BanStore {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let state = self.shared.lock();
        state.counts.write(&state.origins, self.shared.index(), families)?;
        let help = "Changes of bans that are in effect but could not be written, so that a restart undoes them.";
        families.gauge("bans_unsaved", help, state.saving.unsaved())?;
        families.measure(
            "bans_journal",
            "Size of the file that keeps bans.",
            Some(Unit::Bytes),
            state.saving.len() as f64,
        )
    }
}
