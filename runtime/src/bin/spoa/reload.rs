//! Lists and configuration that change while it serves.

use std::io;
use std::thread;

use async_signal::Signal;
use futures_lite::{StreamExt, future};
use spoa_runtime::reputation::{Change, Library, Watch};

use crate::check::summary;
use crate::cli::Given;
use crate::log::Log;
use crate::options::Options;
use crate::systemd;

/// SIGHUP and SIGUSR1, caught from when this is made: until then, or without it, one ends the process.
pub(crate) struct Signals(async_signal::Signals);

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// The signal cannot be caught.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(async_signal::Signals::new([Signal::Hup, Signal::Usr1])?))
    }

    /// Reads the configuration and loads all lists anew at each SIGHUP, and lists whose files change when they do, on a
    /// thread of its own: whoever asks meanwhile is answered from those in use. SIGUSR1 changes what the `log` tells.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn heed(self, log: Log, given: Given, started: Options, library: Option<Library>) -> io::Result<()> {
        let Self(mut signals) = self;
        let reload = move || {
            #[cfg(target_os = "linux")]
            come_last();
            let mut watch = (library.is_some() && !started.no_watch).then(Watch::new);
            let reloads = Reloads { given, started, library };
            smol::block_on(async {
                loop {
                    // Watched first: what changes from now on is told, what did before is seen.
                    if let Some(watch) = &mut watch {
                        reloads.watch(watch);
                        reloads.refresh();
                    }
                    let signal = async {
                        match signals.next().await {
                            Some(Ok(Signal::Usr1)) => log.toggle(),
                            Some(Ok(_)) => {
                                systemd::reloading();
                                reloads.replace();
                                systemd::ready();
                            }
                            Some(Err(_)) | None => {}
                        }
                    };
                    let changed = async {
                        match &mut watch {
                            Some(watch) => watch.changed().await,
                            None => future::pending().await,
                        }
                    };
                    future::or(signal, changed).await;
                }
            });
        };
        thread::Builder::new().name("spoa-lists".into()).spawn(reload)?;
        Ok(())
    }
}

/// Those who are answered meanwhile come first. That is, on Linux, a thread's own priority.
#[cfg(target_os = "linux")]
fn come_last() {
    const PRIORITY_LOWEST: i32 = 19;
    // It may not be allowed, and goes on without.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), PRIORITY_LOWEST);
}

struct Reloads {
    given: Given,
    /// The options it was started with.
    started: Options,
    library: Option<Library>,
}

impl Reloads {
    /// Watches the files of the lists in use.
    fn watch(&self, watch: &mut Watch) {
        if let Some(library) = &self.library {
            watch.files(library.edition().config.lists.iter().map(|list| list.path.as_path()));
        }
    }

    /// At a SIGHUP.
    fn replace(&self) {
        let options = match self.given.options() {
            Ok(options) => options,
            Err(wrong) => {
                self.library.iter().for_each(Library::configuration_was_refused);
                return tracing::error!("SIGHUP: the configuration in use stays: {wrong}");
            }
        };
        let later = options.fixed_differences(&self.started);
        if !later.is_empty() {
            tracing::warn!("SIGHUP: some of what has changed counts from the next start on: {}", later.join(", "));
        }
        match &self.library {
            Some(library) if options.is_by_lists() => match library.replace(options.reputation()) {
                Ok(change) => {
                    tell(library, &change);
                    tracing::info!("SIGHUP: generation {}", change.generation);
                }
                Err(error) => tracing::error!("SIGHUP: the configuration in use stays: {error}"),
            },
            _ => tracing::info!("SIGHUP: there are no lists to load anew, scores are random"),
        }
    }

    /// Loads the lists whose files have changed.
    fn refresh(&self) {
        let Some(library) = &self.library else { return };
        match library.refresh() {
            Ok(change) => {
                tell(library, &change);
                if !change.loaded.is_empty() {
                    tracing::info!("files have changed: generation {}", change.generation);
                }
            }
            Err(error) => tracing::error!("the lists in use stay: {error}"),
        }
    }
}

/// Tells what became of each list.
fn tell(library: &Library, change: &Change) {
    let edition = library.edition();
    for list in edition.lists.iter() {
        let name = &list.config().name;
        if change.loaded.contains(name) {
            tracing::info!("{}", summary(list));
        }
        if let Some((_, error)) = change.kept.iter().find(|(kept, _)| kept == name) {
            tracing::error!("{error}; it stays as it was: {}", summary(list));
        }
    }
}
