//! The bans in memory, and each change of them. Time is an argument.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use spoa_reputation::{BanIndex, ListId, Prefix};

use crate::ban::{Ban, End, Key};
use crate::bans::Bans;
use crate::clock::Moment;
use crate::counts::Counts;
use crate::feed::Feed;
use crate::journal;
use crate::record::{Action, Record, Timestamp};
use crate::removals::Removals;
use crate::saving::Saving;
use crate::texts::{ORIGINS_MAX, OriginId, Origins, Reasons};

/// The number of bans that end at a time, so that changes do not wait for long.
const BATCH: u64 = 1000;

/// The bans and everything about them.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) bans: Bans,
    /// The number of bans that are possible.
    pub(crate) max: usize,
    pub(crate) origins: Origins,
    pub(crate) reasons: Reasons,
    pub(crate) removals: Removals,
    pub(crate) counts: Counts,
    pub(crate) saving: Saving,
    pub(crate) feed: Feed,
    pub(crate) is_stopped: bool,
}

/// The result of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Report {
    /// The bans that were added.
    pub added: u64,
    /// The bans that were replaced by others of the same prefix, list and origin.
    pub replaced: u64,
    /// The changes that changed nothing: the ban is there already, or the agent has a later change of it.
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

/// Changes that are applied together: their result, and their lines in the journal.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) report: Report,
    lines: Vec<u8>,
    /// The number of lines.
    count: u64,
}

impl Batch {
    fn push(&mut self, json: &str, end: Option<End>) {
        journal::push(&mut self.lines, json, end.map(|end| end.boot));
        self.count += 1;
    }
}

/// The bans of a prefix that a change removes; `None` stands for all.
struct Wanted {
    list: Option<ListId>,
    origin: Option<OriginId>,
}

impl Wanted {
    /// Without a list, those that allow are not removed.
    fn has(&self, key: Key, ban: &Ban) -> bool {
        self.list.map_or(!ban.is_allowed, |list| list == key.list)
            && self.origin.is_none_or(|origin| origin == key.origin)
    }
}

impl State {
    /// Applies a change that was checked.
    ///
    /// # Errors
    /// It is refused; a text for people says why.
    pub(crate) fn apply(
        &mut self,
        index: &BanIndex,
        record: &Record<'_>,
        now: Moment,
        batch: &mut Batch,
    ) -> Result<(), String> {
        if record.action == Action::Remove {
            self.remove(index, record, now, batch);
            return Ok(());
        }
        self.add(index, record, now, batch)
    }

    /// Writes a batch to the journal.
    pub(crate) fn save(&mut self, batch: Batch) -> Report {
        let Batch { mut report, lines, count } = batch;
        report.unsaved = self.saving.save(count, &lines).err();
        report
    }

    fn add(&mut self, index: &BanIndex, record: &Record<'_>, now: Moment, batch: &mut Batch) -> Result<(), String> {
        let list = index.list(record.list.as_deref().unwrap_or_default());
        let origin = self.origins.id(record.origin.as_deref().unwrap_or_default()).ok_or_else(|| {
            format!("there are {ORIGINS_MAX} origins already, as many as are possible: write details into the reason")
        })?;
        let key = Key { prefix: record.address.0, list, origin };
        let (before, removed) = (self.bans.get(key), self.removals.time(key));
        let given = record.changed.or(record.created);
        let changed = given.unwrap_or_else(|| time_after(before.map(|ban| ban.changed).max(removed), now));
        let created = record.created.unwrap_or(Timestamp(now.wall));
        let end = record.until.map(|until| End::by_day(until, created, now));
        let mut ban = Ban::new(record, (created, changed), end, self.reasons.share(&record.reason));
        let is_late = given.is_some() && before.is_some_and(|before| before.order() >= ban.order());
        if is_late || removed.is_some_and(|removed| removed >= changed) {
            batch.report.unchanged += 1;
            return Ok(());
        }
        if end.is_some_and(|end| end.boot <= now.boot) {
            // A copy from another agent that arrives after its end. What it replaced there has ended too.
            self.remove_one(index, key, changed, batch);
            return Ok(());
        }
        if before.is_none() && self.bans.len() >= self.max {
            return Err(format!("there are {} bans already, as many as are possible", self.bans.len()));
        }
        let is_new = before.is_none();
        let same = before.filter(|before| given.is_none() && before.is_same_as(&ban));
        let is_same = same.is_some();
        if let Some(same) = same {
            // Only the time of the change is another one, because a removal of another agent is compared with it.
            ban.created = same.created;
        }
        let json = ban.record(key.prefix, &index.list_name(list), self.origins.name(origin)).json();
        batch.push(&json, end);
        self.feed.push(json);
        self.bans.insert(key, ban);
        self.show(index, key.prefix, key.list);
        if is_same {
            batch.report.unchanged += 1;
            return Ok(());
        }
        self.counts.added(key, is_new);
        *if is_new { &mut batch.report.added } else { &mut batch.report.replaced } += 1;
        Ok(())
    }

    /// Removes the bans of a prefix: from one list or, if none is given, from all but those that allow; of one origin or of all.
    fn remove(&mut self, index: &BanIndex, record: &Record<'_>, now: Moment, batch: &mut Batch) {
        let prefix = record.address.0;
        let Some(wanted) = self.wanted(index, record) else {
            batch.report.missing += 1;
            return;
        };
        let found: Vec<_> = self
            .bans
            .on(prefix)
            .filter(|(key, ban)| wanted.has(*key, ban))
            .map(|(key, ban)| (key, ban.changed))
            .collect();
        for (key, added) in &found {
            let time = record.changed.unwrap_or_else(|| Timestamp(now.wall).max(*added));
            if time < *added {
                batch.report.unchanged += 1;
            } else {
                self.remove_one(index, *key, time, batch);
            }
        }
        if found.is_empty() {
            batch.report.missing += 1;
            if let (Some(time), Wanted { list: Some(list), origin: Some(origin) }) = (record.changed, wanted) {
                // An older change that adds it may be on its way.
                self.note_removal(index, Key { prefix, list, origin }, time, batch);
            }
        }
    }

    /// Returns what a removal concerns, or `None` if there is no such list or origin.
    fn wanted(&mut self, index: &BanIndex, record: &Record<'_>) -> Option<Wanted> {
        let list = match record.list.as_deref() {
            Some(name) => Some(index.find_list(name)?),
            None => None,
        };
        let origin = match record.origin.as_deref() {
            // A change of another agent may be the first one with this origin.
            Some(name) if record.changed.is_some() => Some(self.origins.id(name)?),
            Some(name) => Some(self.origins.find(name)?),
            None => None,
        };
        Some(Wanted { list, origin })
    }

    /// Removes the ban with this key. Without one, the removal is noted.
    fn remove_one(&mut self, index: &BanIndex, key: Key, time: Timestamp, batch: &mut Batch) {
        if self.bans.remove(key).is_some() {
            self.show(index, key.prefix, key.list);
            self.counts.removed(key);
            batch.report.removed += 1;
        } else {
            batch.report.unchanged += 1;
        }
        self.note_removal(index, key, time, batch);
    }

    /// Notes a removal, for other agents and for older changes that arrive later, unless a later one is known.
    fn note_removal(&mut self, index: &BanIndex, key: Key, time: Timestamp, batch: &mut Batch) {
        if self.removals.note(key, time) {
            let json = self.removal(index, key, Some(time));
            batch.push(&json, None);
            self.feed.push(json);
        }
    }

    /// Ends some of the bans whose time is over at `boot`, in milliseconds since the system started. Returns true if there may be
    /// more.
    pub(crate) fn expire(&mut self, index: &BanIndex, boot: u64) -> bool {
        let mut batch = Batch::default();
        while batch.count < BATCH
            && let Some(key) = self.bans.next_ended(boot)
        {
            self.bans.remove(key);
            self.show(index, key.prefix, key.list);
            self.counts.expired(key);
            let json = self.removal(index, key, None);
            batch.push(&json, None);
        }
        // An error is logged, and the journal is rewritten.
        let _ = self.saving.save(batch.count, &batch.lines);
        batch.count == BATCH
    }

    /// Returns the change that removes a ban, as JSON.
    pub(crate) fn removal(&self, index: &BanIndex, key: Key, changed: Option<Timestamp>) -> String {
        let (list, origin) = (Some(Cow::Owned(index.list_name(key.list))), Some(self.origins.name(key.origin).into()));
        Record { list, changed, origin, ..Record::new(Action::Remove, key.prefix) }.json()
    }

    /// Returns the latest removals, each as JSON.
    pub(crate) fn latest_removals(&self, index: &BanIndex) -> Vec<String> {
        self.removals.iter().map(|(key, time)| self.removal(index, key, Some(time))).collect()
    }

    /// Returns the reason why the journal has to be rewritten, if it has to.
    pub(crate) fn rewrite_reason(&self) -> Option<&'static str> {
        self.saving.rewrite_reason(self.bans.len() + self.removals.len())
    }

    /// Shows lookups the bans of a prefix in a list.
    fn show(&self, index: &BanIndex, prefix: Prefix, list: ListId) {
        let bans = self.bans.on(prefix).filter(|(key, _)| key.list == list);
        index.set(prefix, list, bans.map(|(_, ban)| ban.score));
    }
}

/// Returns the time of a change that is made now: later than the change before, even if the clock was set back in between, or that
/// one is from an agent whose clock is ahead.
fn time_after(before: Option<Timestamp>, now: Moment) -> Timestamp {
    Timestamp(before.map_or(now.wall, |before| now.wall.max(before.0.saturating_add(1))))
}
