//! Watches files for changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_lite::future;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, recommended_watcher};
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};

use crate::file_access::recorded;

/// Files that may change, in place or by replacement.
///
/// Their folders are watched: a replaced file is noticed there, and so is the link that changes in a volume of
/// Kubernetes. If the system cannot report changes (network file systems, too many watches, a folder that was itself
/// replaced), a change is noticed within [`POLL`].
#[derive(Debug)]
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    events: Receiver<()>,
    /// Keeps the channel open if there is no watcher: a closed channel returns at once.
    _told: Sender<()>,
}

/// The time within which a change is noticed that the system does not report.
pub const POLL: Duration = Duration::from_secs(30);

/// A change is reported once no other has followed for this time, because files often change together.
const QUIET: Duration = Duration::from_millis(100);

/// A change is reported after this time, even if others keep following.
const QUIET_MAX: Duration = Duration::from_secs(1);

impl Watch {
    /// Returns a watch without files.
    pub fn new() -> Self {
        let (told, events) = bounded(1);
        let teller = told.clone();
        let tell = move |event: notify::Result<Event>| {
            // An error may be a lost event. One pending report is enough.
            if event.is_ok_and(|event| !is_change(event.kind)) {
                return;
            }
            let _ = teller.try_send(());
        };
        let watcher = recommended_watcher(tell).map_err(|error| {
            tracing::warn!("cannot watch files, so changes are noticed every {} s only: {error}", POLL.as_secs());
        });
        Self { watcher: watcher.ok(), folders: BTreeSet::new(), events, _told: told }
    }

    /// Watches these files and no others. Call it again after each change, because a path may name another file by
    /// then.
    pub fn files<'p>(&mut self, paths: impl Iterator<Item = &'p Path>) {
        let Some(watcher) = &mut self.watcher else { return };
        let folders: BTreeSet<_> = paths.flat_map(folders).collect();
        for gone in self.folders.difference(&folders) {
            let _ = recorded(gone, || watcher.unwatch(gone)); // it may be gone itself
        }
        for folder in &folders {
            // Folders that are watched stay so, and a replaced folder is watched again.
            if let Err(error) = recorded(folder, || watcher.watch(folder, RecursiveMode::NonRecursive)) {
                tracing::debug!(
                    "cannot watch {}, so changes in it are noticed every {} s only: {error}",
                    folder.display(),
                    POLL.as_secs()
                );
            }
        }
        self.folders = folders;
    }

    /// Waits until a file may have changed.
    pub async fn changed(&mut self) {
        let told = async { self.events.recv().await.is_ok() };
        let poll = async {
            Timer::after(POLL).await;
            false
        };
        if !future::or(told, poll).await {
            return;
        }
        let end = Instant::now() + QUIET_MAX;
        let is_quiet = |until: Instant| async move {
            Timer::at(until).await;
            false
        };
        while future::or(async { self.events.recv().await.is_ok() }, is_quiet(end.min(Instant::now() + QUIET))).await {}
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the folders in which a file, or the link that it is, can be replaced.
fn folders(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let folder = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_owned),
    };
    let target = recorded(path, || path.canonicalize()).ok().as_deref().and_then(folder);
    folder(path).into_iter().chain(target)
}

/// False for events that do not change a file, and for incomplete changes: on Linux the end of writing is reported too.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => !cfg!(target_os = "linux"),
        _ => true,
    }
}
