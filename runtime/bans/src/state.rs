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
use crate::texts::{ORIGINS_MAX, Origins, Reasons};

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
    /// The changes without an effect: the ban was there already, or a later change of it was made before.
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
}

impl State {
    /// Applies a change that was checked.
    ///
    /// # Errors
    /// It is refused; a text for people says why.
    pub(crate) fn apply(
        &mut self,
        index: &BanIndex,
        record: Record<'_>,
        now: Moment,
        batch: &mut Batch,
    ) -> Result<(), String> {
        if record.action == Action::Remove {
            self.remove(index, &record, now, batch);
            return Ok(());
        }
        self.add(index, record, now, batch)
    }

    /// Writes a batch to the journal.
    pub(crate) fn save(&mut self, batch: Batch) -> Report {
        let Batch { mut report, lines } = batch;
        report.unsaved = self.saving.save(report.added + report.replaced + report.removed, &lines).err();
        report
    }

    fn add(&mut self, index: &BanIndex, record: Record<'_>, now: Moment, batch: &mut Batch) -> Result<(), String> {
        let list = index.list(record.list.as_deref().unwrap_or_default());
        let origin = self.origins.id(record.origin.as_deref().unwrap_or_default()).ok_or_else(|| {
            format!("there are {ORIGINS_MAX} origins already, as many as are possible: write details into the reason")
        })?;
        let key = Key { prefix: record.address.0, list, origin };
        let (before, removed) = (self.bans.get(key), self.removals.time(key));
        let created = record.created.unwrap_or_else(|| time_after(before.map(|ban| ban.created).max(removed), now));
        let end = record.until.map(|until| End::by_day(until, created, now));
        let ban = Ban::new(&record, created, end, self.reasons.share(&record.reason));
        let has_later = before.is_some_and(|before| match record.created {
            // The time counts too, because a removal of another agent is compared with it.
            Some(_) => before.order() >= ban.order(),
            None => before.is_same_as(&ban),
        });
        if has_later || removed.is_some_and(|removed| removed >= created) {
            batch.report.unchanged += 1;
            return Ok(());
        }
        if end.is_some_and(|end| end.boot <= now.boot) {
            // A copy from another agent that arrives after its end. What it replaced there has ended too.
            let is_removed = before.is_some();
            if is_removed {
                self.remove_one(index, key, created, batch);
            }
            batch.report.unchanged += u64::from(!is_removed);
            return Ok(());
        }
        if before.is_none() && self.bans.len() >= self.max {
            return Err(format!("there are {} bans already, as many as are possible", self.bans.len()));
        }
        let is_new = before.is_none();
        let json = Record { created: Some(created), ..record }.json();
        journal::push(&mut batch.lines, &json, end.map(|end| end.boot));
        self.feed.push(json);
        self.bans.insert(key, ban);
        self.show(index, key.prefix, key.list);
        self.counts.added(key, is_new);
        *if is_new { &mut batch.report.added } else { &mut batch.report.replaced } += 1;
        Ok(())
    }

    /// Removes the bans of a prefix: from one list or, if none is given, from all but those that allow; of one origin or of all.
    fn remove(&mut self, index: &BanIndex, record: &Record<'_>, now: Moment, batch: &mut Batch) {
        let prefix = record.address.0;
        let list = record.list.as_deref().map(|name| index.find_list(name));
        let origin = record.origin.as_deref().map(|name| self.origins.find(name));
        let is_wanted = |(key, ban): &(Key, &Ban)| {
            list.map_or(!ban.is_allowed, |list| list == Some(key.list))
                && origin.is_none_or(|origin| origin == Some(key.origin))
        };
        let found: Vec<_> = self.bans.on(prefix).filter(is_wanted).map(|(key, ban)| (key, ban.created)).collect();
        batch.report.missing += u64::from(found.is_empty());
        for (key, added) in found {
            let time = record.created.unwrap_or_else(|| added.max(Timestamp(now.wall)));
            if time < added {
                batch.report.unchanged += 1;
                continue;
            }
            self.remove_one(index, key, time, batch);
        }
        if let (Some(time), Some(Some(list)), Some(Some(origin))) = (record.created, list, origin) {
            // Also if there was no ban: an older change that adds it may be on its way.
            self.removals.note(Key { prefix, list, origin }, time);
        }
    }

    fn remove_one(&mut self, index: &BanIndex, key: Key, time: Timestamp, batch: &mut Batch) {
        let json = self.take(index, key, Some(time), batch);
        self.removals.note(key, time);
        self.feed.push(json);
        self.counts.removed(key);
        batch.report.removed += 1;
    }

    /// Ends some of the bans whose time is over at `boot`, in milliseconds since the system started. Returns true if there may be
    /// more.
    pub(crate) fn expire(&mut self, index: &BanIndex, boot: u64) -> bool {
        let (mut batch, mut count) = (Batch::default(), 0);
        while count < BATCH
            && let Some(key) = self.bans.next_ended(boot)
        {
            self.take(index, key, None, &mut batch);
            self.counts.expired(key);
            count += 1;
        }
        // An error is logged, and the journal is rewritten.
        let _ = self.saving.save(count, &batch.lines);
        count == BATCH
    }

    /// Removes a ban from memory and lookups. Returns the change as JSON, after writing its line to the batch.
    fn take(&mut self, index: &BanIndex, key: Key, created: Option<Timestamp>, batch: &mut Batch) -> String {
        self.bans.remove(key);
        self.show(index, key.prefix, key.list);
        let (list, origin) = (Some(Cow::Owned(index.list_name(key.list))), Some(self.origins.name(key.origin).into()));
        let json = Record { list, created, origin, ..Record::new(Action::Remove, key.prefix) }.json();
        journal::push(&mut batch.lines, &json, None);
        json
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
