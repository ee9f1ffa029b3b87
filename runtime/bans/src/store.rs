//! The bans of an agent: changes, their journal, and what is asked about them.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};
use spoa_reputation::{BanIndex, Library, ListId, Prefix};
use spoa_runtime::{Families, Source, Unit};

use crate::ban::{Ban, End, Key, Notes};
use crate::bans::Bans;
use crate::clock::{Clock, Moment};
use crate::counts::Counts;
use crate::feed::Feed;
use crate::journal::{self, Journal, JournalError, Replay};
use crate::keeper;
use crate::record::{Action, Record};
use crate::request::resolve;

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
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// The part that [`keeper`] shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) library: Library,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) boot_id: String,
    max: usize,
    state: Mutex<State>,
    /// Wakes the keeper: an earlier end was added, or it has to stop.
    pub(crate) woken: Condvar,
}

/// The state that changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) bans: Bans,
    notes: Notes,
    pub(crate) counts: Counts,
    pub(crate) journal: Journal,
    /// The lines that were written since a compaction began.
    pub(crate) since_compaction: Option<Vec<u8>>,
    feed: Feed,
    /// The number of changes that are in effect, but not in the journal.
    pub(crate) unsaved: u64,
    /// True if something was written that the disk may not have.
    pub(crate) is_dirty: bool,
    /// True if the journal has damaged lines.
    pub(crate) is_damaged: bool,
    /// True if the journal has bans that have ended, or ends from another start of the system: these were taken from the clock of
    /// the day, which may be set before the next start of the agent.
    pub(crate) is_outdated: bool,
    pub(crate) is_stopped: bool,
}

/// The result of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Report {
    /// The bans that were added.
    pub added: u64,
    /// The bans that were replaced by others of the same prefix and list.
    pub replaced: u64,
    /// The bans that were there already.
    pub unchanged: u64,
    /// The bans that were removed.
    pub removed: u64,
    /// The prefixes that were to be removed and had no ban.
    pub missing: u64,
    /// The changes that were refused: the index of each, from 0, and the reason.
    pub refused: Vec<(usize, String)>,
    /// The reason why changes are in effect but were not saved, so that a restart undoes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved: Option<String>,
}

/// Some of the bans.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Page<'p> {
    /// The bans, in the order of their prefixes.
    #[serde(borrow)]
    pub bans: Vec<Record<'p>>,
    /// Where to go on; `None` if these were the last ones.
    pub next: Option<Cursor>,
}

/// The last ban of a [`Page`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Cursor {
    /// Its prefix.
    pub address: crate::Address,
    /// Its list.
    pub list: String,
}

impl BanStore {
    /// Loads the bans of a journal, which is created if there is none, and begins to serve them to `library`.
    ///
    /// # Errors
    /// The journal cannot be used, or the thread that removes bans at their end cannot be started.
    pub fn open(settings: &Settings, library: Library, clock: Box<dyn Clock>) -> Result<Self, JournalError> {
        let (now, boot_id) = (clock.now(), clock.boot_id());
        let (mut changes, mut notes, mut has_ended) = (Vec::new(), Notes::default(), false);
        let index = Arc::clone(library.bans());
        let each = |record: Record<'_>, end| {
            let Some(list) = &record.list else { return };
            let key = Key { prefix: record.address.0, list: index.list(list) };
            let ban = ban_of(&record, &mut notes, end, now);
            let is_over = ban.end.is_some_and(|end| end.boot <= now.boot);
            has_ended |= is_over;
            changes.push((key, (record.action != Action::Remove && !is_over).then_some(ban)));
        };
        let (journal, replay) = Journal::open(&settings.path, &boot_id, each)?;
        let bans = Bans::of(changes);
        index.reserve(bans.after(None, None).map(|(key, _)| key.prefix));
        log_replay(&journal, replay, bans.len());
        let mut counts = Counts::default();
        index.extend(bans.after(None, None).map(|(key, ban)| (key.prefix, key.list, ban.score)));
        bans.after(None, None).for_each(|(key, ban)| counts.loaded(key, ban));
        let state = State {
            bans,
            notes,
            counts,
            journal,
            since_compaction: None,
            feed: Feed::new(now.wall),
            unsaved: 0,
            is_dirty: true,
            is_damaged: replay.damaged > 0,
            is_outdated: replay.has_other_boot || has_ended,
            is_stopped: false,
        };
        let (max, state) = (settings.max, Mutex::new(state));
        let shared = Arc::new(Shared { library, clock, boot_id, max, state, woken: Condvar::new() });
        let of_keeper = Arc::clone(&shared);
        let keeper = thread::Builder::new().name("spoa-bans".into()).spawn(move || keeper::run(&of_keeper));
        let failed = |error| JournalError::Io { path: settings.path.clone(), error };
        Ok(Self { shared, keeper: Mutex::new(Some(keeper.map_err(failed)?)) })
    }

    /// Applies changes, in order. They are in effect for all lookups, and in the journal, when this returns.
    pub fn apply<'r>(&self, records: impl IntoIterator<Item = Record<'r>>) -> Report {
        let (now, edition) = (self.shared.clock.now(), self.shared.library.edition());
        let mut state = self.shared.lock();
        let next_end = state.bans.next_end();
        let (mut report, mut lines) = (Report::default(), Vec::new());
        for (number, record) in records.into_iter().enumerate() {
            let done = resolve(record, &edition, now)
                .and_then(|record| state.apply(&self.shared, &record, now, &mut report, &mut lines));
            if let Err(reason) = done {
                report.refused.push((number, reason));
            }
        }
        report.unsaved = state.save(report.added + report.replaced + report.removed, &lines).err();
        if state.bans.next_end() != next_end {
            self.shared.woken.notify_one();
        }
        report
    }

    /// Returns at most `max` bans after a position; only those of a list, and only those that contain an address, if these are given.
    pub fn page(
        &self,
        after: Option<&Cursor>,
        list: Option<&str>,
        address: Option<IpAddr>,
        max: usize,
    ) -> Page<'static> {
        let (state, index) = (self.shared.lock(), self.shared.index());
        let after = after.map(|cursor| {
            let list = index.find_list(&cursor.list).unwrap_or(ListId::FIRST);
            Key { prefix: cursor.address.0, list }
        });
        let record = |(key, ban): (Key, &Ban)| {
            let name = index.list_name(key.list);
            ban.record(key, &name).into_owned()
        };
        let list = list.map(|list| index.find_list(list));
        let is_wanted = |(key, _): &(Key, &Ban)| {
            list.is_none_or(|list| list == Some(key.list))
                && address.is_none_or(|address| Prefix::of(address, key.prefix.bits()) == key.prefix)
        };
        let mut found = state.bans.after(after, None).filter(is_wanted).map(record);
        let bans: Vec<_> = found.by_ref().take(max).collect();
        let next = found
            .next()
            .and(bans.last())
            .map(|last| Cursor { address: last.address, list: last.list.as_deref().unwrap_or_default().to_owned() });
        Page { bans, next }
    }

    /// Returns the ban of exactly this prefix in a list.
    pub fn get(&self, prefix: Prefix, list: &str) -> Option<Record<'static>> {
        let key = Key { prefix, list: self.shared.index().find_list(list)? };
        self.shared.lock().bans.get(key).map(|ban| ban.record(key, list).into_owned())
    }

    /// Returns at most `max` changes after a position in the sequence of changes, each as a JSON object, and the position after
    /// them. Returns `None` if the changes are not known any more; without a position, no changes and the present one.
    pub fn changes(&self, after: Option<&str>, max: usize) -> Option<(Vec<String>, String)> {
        let state = self.shared.lock();
        match after {
            None => Some((Vec::new(), state.feed.position())),
            Some(position) => state.feed.after(position, max),
        }
    }

    /// Brings everything to the disk. After this, bans do not end any more.
    pub fn close(&self) {
        self.shared.lock().is_stopped = true;
        self.shared.woken.notify_one();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            let _ = keeper.join();
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index(&self) -> &BanIndex {
        self.library.bans()
    }
}

impl State {
    /// Applies a change that was checked.
    fn apply(
        &mut self,
        shared: &Shared,
        record: &Record<'_>,
        now: Moment,
        report: &mut Report,
        lines: &mut Vec<u8>,
    ) -> Result<(), String> {
        if record.action == Action::Remove {
            self.remove(shared, record, report, lines);
            return Ok(());
        }
        let name = record.list.as_deref().unwrap_or_default();
        let key = Key { prefix: record.address.0, list: shared.index().list(name) };
        let ban = ban_of(record, &mut self.notes, None, now);
        let before = self.bans.get(key);
        if before.is_some_and(|before| before.is_same_as(&ban)) {
            report.unchanged += 1;
            return Ok(());
        }
        if before.is_none() && self.bans.len() >= shared.max {
            return Err(format!("there are {} bans already, as many as are possible", self.bans.len()));
        }
        shared.index().insert(key.prefix, key.list, ban.score);
        journal::push(lines, record, ban.end.map(|end| end.boot));
        self.feed.push(json(record));
        let replaced = self.bans.insert(key, ban.clone());
        self.counts.added(key, &ban, replaced.as_ref());
        *if replaced.is_some() { &mut report.replaced } else { &mut report.added } += 1;
        Ok(())
    }

    /// Removes the bans of a prefix: from one list or, if none is given, from all but those that allow.
    fn remove(&mut self, shared: &Shared, record: &Record<'_>, report: &mut Report, lines: &mut Vec<u8>) {
        let wanted = record.list.as_deref().map(|name| shared.index().find_list(name));
        let is_wanted = |(key, ban): &(Key, &Ban)| wanted.map_or(!ban.is_allowed, |list| list == Some(key.list));
        let keys: Vec<_> = self.bans.on(record.address.0).filter(is_wanted).map(|(key, _)| key).collect();
        report.missing += u64::from(keys.is_empty());
        for key in keys {
            let Some(ban) = self.bans.remove(key) else { continue };
            let removal = removal(shared, key, lines);
            self.feed.push(json(&removal));
            self.counts.removed(key, &ban);
            report.removed += 1;
        }
    }

    /// Writes lines with this number of changes to the journal.
    ///
    /// # Errors
    /// They cannot be written; a text for people says why. The keeper tries again.
    pub(crate) fn save(&mut self, changes: u64, lines: &[u8]) -> Result<(), String> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(since) = &mut self.since_compaction {
            since.extend_from_slice(lines);
        }
        self.is_dirty = true;
        self.journal.append(changes, lines).map_err(|error| {
            self.unsaved += changes;
            let text = format!("cannot write to {}: {error}", self.journal.path().display());
            tracing::error!("{text}; bans are in effect, but a restart undoes them");
            text
        })
    }
}

/// Removes a ban from lookups, and appends the line of its removal.
pub(crate) fn removal(shared: &Shared, key: Key, lines: &mut Vec<u8>) -> Record<'static> {
    shared.index().remove(key.prefix, key.list);
    let list = Some(Cow::Owned(shared.index().list_name(key.list)));
    let removal = Record { list, ..Record::new(Action::Remove, key.prefix) };
    journal::push(lines, &removal, None);
    removal
}

/// Returns the ban that a change adds. Its end in milliseconds since the start of the system is `end` if that is known.
fn ban_of(record: &Record<'_>, notes: &mut Notes, end: Option<u64>, now: Moment) -> Ban {
    let created = record.created.unwrap_or(crate::Timestamp(now.wall));
    let boot_at = |until: u64| {
        // If the clock of the day is not set yet after a start of the system, a ban lasts no longer than it was meant to.
        let longest = until.saturating_sub(created.0);
        now.boot.saturating_add(until.saturating_sub(now.wall).min(longest))
    };
    let end = record.until.map(|until| End { boot: end.unwrap_or_else(|| boot_at(until.0)), until });
    Ban {
        score: record.score,
        is_allowed: record.action == Action::Allow,
        created,
        end,
        note: notes.share(&record.reason, &record.origin),
    }
}

fn json(record: &Record<'_>) -> String {
    serde_json::to_string(record).expect("a record has no maps, whose keys could be no strings")
}

fn log_replay(journal: &Journal, replay: Replay, bans: usize) {
    let path = journal.path().display();
    tracing::info!(bans, "{} from {path}", spoa_runtime::text::Count(bans as u64, "ban"));
    if replay.torn_bytes > 0 {
        tracing::warn!("{path}: removed {} bytes of a change that was not completely written", replay.torn_bytes);
    }
    if replay.damaged > 0 {
        let (count, first) = (spoa_runtime::text::Count(replay.damaged, "line"), replay.first_damaged);
        tracing::error!(
            "{path}: {count} damaged, the first is line {first}; all others count, and the file is kept as {path}.damaged"
        );
    }
}

/// The number of bans, and the state of the journal.
impl Source for BanStore {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let state = self.shared.lock();
        state.counts.write(&state.notes, self.shared.index(), families)?;
        let help = "Changes of bans that are in effect but could not be written, so that a restart undoes them.";
        families.gauge("bans_unsaved", help, state.unsaved)?;
        families.measure(
            "bans_journal",
            "Size of the file that keeps bans.",
            Some(Unit::Bytes),
            state.journal.len() as f64,
        )
    }
}
