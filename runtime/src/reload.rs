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

/// From now on loads the lists anew at each SIGHUP, on a thread of its own: whoever asks meanwhile is answered from those
/// in use.
///
/// # Errors
/// The signal cannot be caught, or no thread be started.
pub(crate) fn at_hangup(library: Library) -> io::Result<()> {
    let mut signals = Signals::new([Signal::Hup])?;
    let reload = move || {
        // Those who are answered meanwhile come first. It may not be allowed, and goes on without.
        let _ = setpriority_process(Some(gettid()), PRIORITY_LOWEST);
        smol::block_on(async {
            while signals.next().await.is_some() {
                match library.reload() {
                    Ok(generation) => {
                        summary(&library.edition().lists).for_each(|list| tracing::info!("{list}"));
                        tracing::info!("SIGHUP: lists are loaded, generation {generation}");
                    }
                    Err(error) => tracing::error!("SIGHUP: the lists in use stay: {error}"),
                }
            }
        });
    };
    thread::Builder::new().name("spoa-lists".into()).spawn(reload)?;
    Ok(())
}
