//! Panics of handlers: caught, and reported through the log instead of standard error.

use std::cell::{Cell, RefCell};
use std::env;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::time::{Duration, Instant};

/// How much of a panic's message is kept, in bytes.
const MESSAGE_MAX: usize = 300;

/// With `RUST_BACKTRACE` set, how often a thread lets the hook of before print one.
const BACKTRACE_PERIOD: Duration = Duration::from_secs(1);

thread_local! {
    static IS_CAPTURED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    static BACKTRACE_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// From now on keeps the message of each panic of this thread for [`take`], instead of writing it to standard error: a handler
/// that panics at every NOTIFY would write without limit, and wait for the reader of standard error.
///
/// The panic hook of before still gets the panics of all other threads and, if `RUST_BACKTRACE` is set, one panic per second
/// of this one.
pub(crate) fn capture_on_this_thread() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_CAPTURED.get() {
                previous(info);
                return;
            }
            LAST.set(Some(describe(info)));
            let is_due = BACKTRACE_AT.get().is_none_or(|last| last.elapsed() >= BACKTRACE_PERIOD);
            if is_due && env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
                BACKTRACE_AT.set(Some(Instant::now()));
                previous(info);
            }
        }));
    });
    IS_CAPTURED.set(true);
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
    use std::thread;

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
}
