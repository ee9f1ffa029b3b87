//! Loads the bans of a journal at the start.

use spoa_reputation::BanIndex;
use spoa_runtime::text::Count;

use crate::ban::{Ban, End, Key};
use crate::bans::Bans;
use crate::clock::Moment;
use crate::counts::Counts;
use crate::feed::Feed;
use crate::journal::{Journal, JournalError, Replay};
use crate::record::{Action, Record, Timestamp};
use crate::removals::Removals;
use crate::saving::Saving;
use crate::state::State;
use crate::store::Settings;
use crate::texts::{OriginId, Origins, Reasons};

/// Opens the journal, and shows its bans to lookups.
pub(crate) fn load(settings: &Settings, index: &BanIndex, now: Moment, boot_id: &str) -> Result<State, JournalError> {
    let mut loading = Loading {
        index,
        now,
        changes: Vec::new(),
        origins: Origins::default(),
        reasons: Reasons::default(),
        removals: Removals::default(),
    };
    let (journal, replay) = Journal::open(&settings.path, boot_id, |record, end| loading.change(&record, end))?;
    let Loading { changes, origins, reasons, removals, .. } = loading;
    let (mut bans, mut has_ended) = (Bans::of(changes), false);
    while let Some(key) = bans.next_ended(now.boot) {
        bans.remove(key);
        has_ended = true;
    }
    log(&journal, &replay, bans.len());
    let mut counts = Counts::default();
    index.reserve(bans.after(None).map(|(key, _)| key.prefix));
    bans.after(None).for_each(|(key, _)| counts.loaded(key));
    bans.show_all(index);
    let (saving, feed) = (Saving::new(journal, &replay, has_ended), Feed::new(now.wall));
    Ok(State { bans, max: settings.max, origins, reasons, removals, counts, saving, feed, is_stopped: false })
}

/// The changes of a journal that were read.
struct Loading<'i> {
    index: &'i BanIndex,
    now: Moment,
    /// The bans, or `None` for a ban that was removed.
    changes: Vec<(Key, Option<Ban>)>,
    origins: Origins,
    reasons: Reasons,
    removals: Removals,
}

impl Loading<'_> {
    /// Takes a change. Its ban ends at `end`, in milliseconds since the start of the system, if the journal has that.
    fn change(&mut self, record: &Record<'_>, end: Option<u64>) {
        let Some(list) = &record.list else { return };
        let origin = self.origins.id(record.origin.as_deref().unwrap_or_default()).unwrap_or(OriginId::LAST);
        let key = Key { prefix: record.address.0, list: self.index.list(list), origin };
        if record.action == Action::Remove {
            if let Some(time) = record.changed {
                self.removals.note(key, time);
            }
            self.changes.push((key, None));
            return;
        }
        let created = record.created.unwrap_or(Timestamp(self.now.wall));
        let end = record.until.map(|until| match end {
            Some(boot) => End { boot, until },
            None => End::by_day(until, created, self.now),
        });
        let times = (created, record.changed.unwrap_or(created));
        let ban = Ban::new(record, times, end, self.reasons.share(&record.reason));
        self.changes.push((key, Some(ban)));
    }
}

fn log(journal: &Journal, replay: &Replay, bans: usize) {
    let path = journal.path().display();
    tracing::info!(bans, "{} from {path}", Count(bans as u64, "ban"));
    if replay.torn_bytes > 0 {
        tracing::warn!("{path}: removed {} bytes of a change that was not completely written", replay.torn_bytes);
    }
    if replay.damaged > 0 {
        let (count, first) = (Count(replay.damaged, "line"), replay.first_damaged);
        tracing::error!(
            "{path}: {count} damaged, the first is line {first}; all others count, and the file is kept as {path}.damaged"
        );
    }
    if let Some(error) = &replay.write_error {
        tracing::error!("cannot write to {path}: {error}; until that is possible, a restart undoes all changes");
    }
}
