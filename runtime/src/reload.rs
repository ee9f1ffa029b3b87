//! New lists at SIGHUP.

use std::io;
use std::thread;

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use spoa_runtime::reputation::Library;

use crate::check::summary;

/// The last of all: Linux gives it what others leave.
const PRIORITY_LOWEST: i32 = 19;

/// SIGHUPs, caught from when this is made: until then, or without it, one ends the process.
pub(crate) struct Hangups(Signals);

impl Hangups {
    /// Catches them.
    ///
    /// # Errors
    /// The signal cannot be caught.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Signals::new([Signal::Hup])?))
    }

    /// Loads the lists anew at each SIGHUP, if there are any, on a thread of its own: whoever asks meanwhile is answered
    /// from those in use.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn reload(self, library: Option<Library>) -> io::Result<()> {
        let Self(mut signals) = self;
        let reload = move || {
            // Those who are answered meanwhile come first. It may not be allowed, and goes on without.
            let _ = setpriority_process(Some(gettid()), PRIORITY_LOWEST);
            smol::block_on(async {
                while let Some(Ok(_)) = signals.next().await {
                    match &library {
                        Some(library) => load_anew(library),
                        None => tracing::info!("SIGHUP: there are no lists to load anew"),
                    }
                }
            });
        };
        thread::Builder::new().name("spoa-lists".into()).spawn(reload)?;
        Ok(())
    }
}

fn load_anew(library: &Library) {
    match library.reload() {
        Ok(generation) => {
            summary(&library.edition().lists).for_each(|list| tracing::info!("{list}"));
            tracing::info!("SIGHUP: lists are loaded, generation {generation}");
        }
        Err(error) => tracing::error!("SIGHUP: the lists in use stay: {error}"),
    }
}
