//! Reloads lists and the configuration while the agent serves.

use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_signal::Signal;
use futures_lite::{StreamExt, future};
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use spoa_reputation::{Change, FileAccess, Library, Watch};
use spoa_runtime::text::{Count, Span};
use spoa_runtime::{Heartbeat, lower_priority};

use crate::bans::ServedBans;
use crate::capture::Capture;
use crate::cli::Given;
use crate::log::Log;
use crate::options::Options;
use crate::summary::{log_list, log_refused};
use crate::systemd;
use crate::verdict_log::VerdictLog;

/// SIGHUP, SIGUSR1 and SIGUSR2, caught from the moment that this is made: before that, each of them ends the process.
pub(crate) struct Signals(async_signal::Signals);

/// The period in which the signal thread records its heartbeat and checks the log and the loader.
const TICK: Duration = Duration::from_secs(1);

/// The time that loading may take before a warning, and the time between two warnings.
const SLOW: Duration = Duration::from_secs(60);

/// The time that one file operation may take before the agent counts as unhealthy: an unreachable network file system never
/// answers, and lists would never be reloaded again. Loading as a whole has no such limit, because it only gets the processor
/// time that workers do not use.
const FILE_WAIT_MAX: Duration = Duration::from_secs(60);

/// The logs that signals concern.
pub(crate) struct Logs {
    pub(crate) log: Log,
    pub(crate) verdicts: Option<Arc<VerdictLog>>,
    pub(crate) capture: Option<Arc<Capture>>,
}

impl Logs {
    /// Reopens the file of the verdict log.
    fn reopen(&self) {
        if let Some(verdicts) = &self.verdicts {
            verdicts.reopen();
        }
    }

    /// Reports what could not be written.
    fn report_lost(&self) {
        self.log.report_dropped();
        if let Some(verdicts) = &self.verdicts {
            verdicts.report_lost();
        }
        if let Some(capture) = &self.capture {
            capture.report_lost();
        }
    }
}

impl Signals {
    /// Catches the signals.
    ///
    /// # Errors
    /// A signal cannot be caught.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(async_signal::Signals::new([Signal::Hup, Signal::Usr1, Signal::Usr2])?))
    }

    /// Handles the signals on a separate thread, which always responds, and loads lists on another, the loader. SIGHUP
    /// reads the configuration again and reloads all lists. A change of a file reloads its list. SIGUSR1 switches the level of
    /// the log. SIGUSR2 opens the verdict log again, as SIGHUP does too. `heartbeat` stands for both threads.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn handle(
        self,
        logs: Logs,
        heartbeat: Heartbeat,
        given: Given,
        started: Options,
        library: Option<Library>,
        bans: Option<ServedBans>,
    ) -> io::Result<()> {
        // More than one SIGHUP that waits would load the same files again.
        let (hangups, waiting) = bounded(1);
        let loading = Loading::default();
        let loader = Loader { given, started, library, bans, hangups: waiting, loading: loading.clone() };
        thread::Builder::new().name("spoa-lists".into()).spawn(move || loader.run())?;
        let Self(signals) = self;
        let body = move || smol::block_on(handle_signals(signals, &logs, &heartbeat, &hangups, &loading));
        thread::Builder::new().name("spoa-signals".into()).spawn(body)?;
        Ok(())
    }
}

async fn handle_signals(
    mut signals: async_signal::Signals,
    logs: &Logs,
    heartbeat: &Heartbeat,
    hangups: &Sender<()>,
    loading: &Loading,
) {
    // Loading the lists of the start may have taken longer than a thread may be silent.
    heartbeat.beat();
    let mut supervision = Supervision::default();
    loop {
        let signal = async { signals.next().await };
        let tick = async {
            Timer::after(TICK).await;
            None
        };
        match future::or(signal, tick).await {
            Some(Ok(Signal::Usr1)) => logs.log.toggle(),
            Some(Ok(Signal::Usr2)) => logs.reopen(),
            Some(Ok(_)) => {
                logs.reopen();
                // If a SIGHUP is queued already, its reload is enough for this one too.
                let _ = hangups.try_send(());
            }
            Some(Err(_)) | None => {}
        }
        logs.report_lost();
        let (is_healthy, warning) = supervision.look(loading.state(Instant::now()), hangups.is_closed());
        if is_healthy {
            heartbeat.beat();
        }
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
    }
}

/// Watches over the loader.
#[derive(Default)]
struct Supervision {
    /// The time that the current loading had taken at the last warning.
    warned: Duration,
    is_end_reported: bool,
}

impl Supervision {
    /// Returns true while the loader is healthy, and a warning to log, if any. If its thread `has_ended`, it has panicked.
    fn look(&mut self, state: State, has_ended: bool) -> (bool, Option<String>) {
        if has_ended {
            let text = "lists and the configuration will not be reloaded until a restart: the thread that loads them has ended";
            return (false, (!mem::replace(&mut self.is_end_reported, true)).then(|| text.into()));
        }
        if state.loading < self.warned {
            self.warned = Duration::ZERO;
        }
        let is_due = state.loading >= self.warned + SLOW;
        if is_due {
            self.warned = state.loading;
        }
        let waiting = state.waiting.filter(|(_, time)| *time >= FILE_WAIT_MAX);
        let seconds = |time: Duration| Span(Duration::from_secs(time.as_secs()));
        let warning = is_due.then(|| match &waiting {
            Some((path, time)) => format!(
                "cannot reload lists or the configuration: reading {} has taken {}; the previous versions stay in use",
                path.display(),
                seconds(*time)
            ),
            None => format!(
                "lists or the configuration have been loading for {}; the previous versions stay in use",
                seconds(state.loading)
            ),
        });
        (waiting.is_none(), warning)
    }
}

/// The state of the loader at one time.
#[derive(Default)]
struct State {
    /// The time since loading began; zero if nothing is being loaded.
    loading: Duration,
    /// The file that the loader waits for, and the time that it has waited.
    waiting: Option<(PathBuf, Duration)>,
}

/// The start of loading and the file that the loader waits for, shared between threads by clones.
#[derive(Clone, Default)]
struct Loading {
    /// The time when loading began; `None` if nothing is being loaded.
    began: Arc<Mutex<Option<Instant>>>,
    /// The file that the loader waits for.
    files: FileAccess,
}

impl Loading {
    fn run<T>(&self, load: impl FnOnce() -> T) -> T {
        self.set(Some(Instant::now()));
        let loaded = load();
        self.set(None);
        loaded
    }

    fn set(&self, began: Option<Instant>) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = began;
    }

    fn state(&self, now: Instant) -> State {
        let began = *self.began.lock().unwrap_or_else(PoisonError::into_inner);
        let loading = began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        State { loading, waiting: self.files.waiting_for(now) }
    }
}

/// Loads lists and the configuration. Reading a file may take long; nothing else waits for it.
struct Loader {
    given: Given,
    /// The options of the start.
    started: Options,
    library: Option<Library>,
    bans: Option<ServedBans>,
    /// A SIGHUP was received.
    hangups: Receiver<()>,
    loading: Loading,
}

impl Loader {
    fn run(self) {
        self.loading.files.record_this_thread();
        lower_priority(true);
        let mut watch = (self.library.is_some() && !self.started.no_watch).then(Watch::new);
        smol::block_on(async {
            loop {
                self.loading.run(|| {
                    if let Some(watch) = &mut watch {
                        // Watched before it is read: a later change is reported, an earlier one is seen.
                        self.watch(watch);
                        self.refresh();
                    }
                    if let Some(library) = &self.library {
                        library.look_up_checks();
                    }
                });
                let hangup = async {
                    match self.hangups.recv().await {
                        Ok(()) => true,
                        // The process is ending.
                        Err(_) => future::pending().await,
                    }
                };
                let changed = async {
                    match &mut watch {
                        Some(watch) => watch.changed().await,
                        None => _ = Timer::after(spoa_reputation::POLL).await,
                    }
                    false
                };
                if future::or(hangup, changed).await {
                    systemd::reloading();
                    self.loading.run(|| self.replace());
                    systemd::ready();
                }
            }
        });
    }

    /// Watches the files of the lists in use.
    fn watch(&self, watch: &mut Watch) {
        if let Some(library) = &self.library {
            watch.files(library.edition().config.lists.iter().flat_map(|list| list.path.as_deref()));
        }
    }

    /// Handles a SIGHUP.
    fn replace(&self) {
        let options = match self.given.options() {
            Ok(options) => options,
            Err(error) => {
                self.library.iter().for_each(Library::count_refused_configuration);
                return tracing::error!(
                    "SIGHUP: the configuration cannot be used, and the previous one stays in use: {error}"
                );
            }
        };
        let later = options.fixed_differences(&self.started);
        if !later.is_empty() {
            tracing::warn!("SIGHUP: some changes take effect at the next start: {}", later.join(", "));
        }
        match &self.library {
            Some(library) if options.has_lists() => match library.replace(options.reputation()) {
                Ok(change) => {
                    report(library, &change);
                    self.bans.iter().for_each(ServedBans::warn_of_unused);
                    let generation = change.generation;
                    match change.failed.len() {
                        0 => tracing::info!(generation, "SIGHUP: generation {generation} of the lists is in use"),
                        failed => tracing::warn!(
                            generation,
                            failed,
                            "SIGHUP: generation {generation} of the lists is in use, but not the new version of {}",
                            Count(failed as u64, "list")
                        ),
                    }
                }
                Err(error) => tracing::error!("SIGHUP: the previous configuration stays in use: {error}"),
            },
            Some(_) => tracing::warn!(
                "SIGHUP: the configuration has no list any more; the lists stay in use until the next start"
            ),
            None => tracing::info!("SIGHUP: there are no lists to reload, scores are random"),
        }
    }

    /// Loads the lists whose files have changed.
    fn refresh(&self) {
        let Some(library) = &self.library else { return };
        match library.refresh() {
            Ok(change) => {
                report(library, &change);
                if !change.loaded.is_empty() {
                    tracing::info!(
                        generation = change.generation,
                        "files have changed: generation {} of the lists is in use",
                        change.generation
                    );
                }
            }
            Err(error) => tracing::error!("the previous lists stay in use: {error}"),
        }
    }
}

/// Logs the lists of the start.
pub(crate) fn log_lists(library: &Library) {
    let refused = library.refused();
    for list in library.edition().lists.iter() {
        match refused.iter().find(|(refused, _)| *refused == list.config().name) {
            Some((_, error)) => log_refused(list, error),
            None => log_list(list),
        }
    }
}

/// Logs the outcome for each list.
fn report(library: &Library, change: &Change) {
    for list in library.edition().lists.iter() {
        let name = &list.config().name;
        if change.loaded.contains(name) {
            log_list(list);
        }
        if let Some((_, error)) = change.failed.iter().find(|(failed, _)| failed == name) {
            log_refused(list, &error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn slow_loading_is_warned_of_and_is_no_fault() {
        let mut supervision = Supervision::default();
        let mut look = |loading| supervision.look(State { loading: seconds(loading), waiting: None }, false);
        assert_eq!([look(0), look(59)], [(true, None), (true, None)]);
        let (is_healthy, warning) = look(60);
        assert!(is_healthy && warning.is_some_and(|text| text.contains("have been loading for 1 min;")));
        assert_eq!(look(119), (true, None));
        assert!(look(120).1.is_some());
        assert_eq!(look(1), (true, None));
        assert!(look(61).1.is_some(), "the next loading has its own minute");
    }

    #[test]
    fn a_file_that_never_answers_is_a_fault() {
        let mut supervision = Supervision::default();
        let mut look = |loading, waiting| {
            let waiting = Some((PathBuf::from("/mnt/list"), seconds(waiting)));
            supervision.look(State { loading: seconds(loading), waiting }, false)
        };
        assert_eq!(look(59, 59), (true, None));
        let (is_healthy, warning) = look(60, 60);
        let wanted = "cannot reload lists or the configuration: reading /mnt/list has taken 1 min; the previous versions stay in use";
        assert!(!is_healthy && warning.as_deref() == Some(wanted), "{warning:?}");
        assert_eq!(look(119, 119), (false, None));
        assert_eq!(look(119, 0), (true, None), "it goes on");
    }

    #[test]
    fn the_end_of_the_loader_is_a_fault() {
        let mut supervision = Supervision::default();
        let (is_healthy, warning) = supervision.look(State::default(), true);
        assert!(!is_healthy && warning.is_some_and(|text| text.contains("until a restart")));
        assert_eq!(supervision.look(State::default(), true), (false, None), "it is reported once");
    }
}
