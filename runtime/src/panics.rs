//! Panics of handlers: caught, and reported through the log instead of standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

/// The number of bytes of a panic's message that are kept.
const MESSAGE_MAX: usize = 300;

/// The shortest time between two backtraces that a thread logs.
const BACKTRACE_PERIOD: Duration = Duration::from_secs(1);

thread_local! {
    static IS_CAPTURED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    static BACKTRACE_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// From now on keeps the message of each panic of this thread for [`take`], instead of writing it to standard error: a handler
/// that panics at every NOTIFY would write without limit, and wait for the reader of standard error.
///
/// If `RUST_BACKTRACE` is set, one backtrace per second is logged. The panic hook of before still gets the panics of all
/// other threads.
pub(crate) fn capture_on_this_thread() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_CAPTURED.get() {
                LAST.set(Some(describe(info)));
                log_backtrace();
            } else {
                previous(info);
            }
        }));
    });
    IS_CAPTURED.set(true);
}

/// Logs a panic and, if `RUST_BACKTRACE` is set, its backtrace. A panic hook for programs whose log does not wait for its
/// reader, as standard error does: `std::panic::set_hook(Box::new(spoa_runtime::log_panic))`.
pub fn log_panic(info: &PanicHookInfo<'_>) {
    let (panic, thread) = (describe(info), thread::current());
    let thread = thread.name().unwrap_or("unnamed");
    tracing::error!(panic, thread, "the thread {thread} ended in a panic: {panic}; please report it");
    log_backtrace();
}

fn log_backtrace() {
    if BACKTRACE_AT.get().is_some_and(|last| last.elapsed() < BACKTRACE_PERIOD) {
        return;
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        BACKTRACE_AT.set(Some(Instant::now()));
        // A line for each: the log escapes ends of lines.
        backtrace.to_string().lines().for_each(|line| tracing::error!("backtrace: {line}"));
    }
}

/// Returns the message and place of the panic that was just caught on this thread.
#[cold]
pub(crate) fn take() -> String {
    LAST.take().unwrap_or_else(|| "no message".into())
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let message = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
    let end = (0..=message.len().min(MESSAGE_MAX)).rfind(|at| message.is_char_boundary(*at)).unwrap_or_default();
    let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    format!("{}{place}", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::process::Command;

    #[test]
    fn a_panic_is_kept_with_its_place() {
        let body = || {
            capture_on_this_thread();
            assert!(panic::catch_unwind(|| panic!("of {}", "a handler")).is_err());
            (take(), take())
        };
        let (first, second) = thread::spawn(body).join().unwrap();
        assert!(first.starts_with("of a handler at ") && first.contains("panics.rs:"), "{first}");
        assert_eq!(second, "no message", "it is reported once");
    }

    /// Standard error may not be read, so nothing writes to it, with or without backtraces.
    #[test]
    fn a_captured_panic_writes_nothing_to_standard_error() {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "panics::tests::panics_in_a_child_process", "--nocapture"]);
        let output = child.env("RUST_BACKTRACE", "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn panics_in_a_child_process() {
        let body = || {
            capture_on_this_thread();
            assert!(panic::catch_unwind(|| panic!("of a handler")).is_err());
        };
        thread::spawn(body).join().unwrap();
    }
}
