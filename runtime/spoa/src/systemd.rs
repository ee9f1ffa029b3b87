//! Uses sockets that systemd has opened, and notifies systemd. Does nothing without systemd.

use std::io;
use std::mem;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use spoa_runtime::Agent;

/// Adds the sockets that systemd has opened (`spoa.socket`) to the agent. Also returns false if there are none.
///
/// # Errors
/// A socket is not a stream socket.
pub(crate) fn add_sockets(mut agent: Agent) -> io::Result<(Agent, bool)> {
    let mut sockets = ListenFd::from_env();
    for number in 0..sockets.len() {
        agent = match sockets.take_tcp_listener(number) {
            Ok(Some(socket)) => agent.listen_on_tcp(socket),
            _ => match sockets.take_unix_listener(number)? {
                Some(socket) => agent.listen_on_unix(socket),
                None => agent,
            },
        };
    }
    Ok((agent, sockets.len() > 0))
}

/// Sends notifications to systemd on a separate thread, because sending blocks while systemd does not read. A newer state
/// replaces an unsent one, so that systemd receives the newest state as soon as it reads again.
#[derive(Default)]
struct Notifier {
    unsent: Mutex<Unsent>,
    /// Notified when `unsent` changes.
    changed: Condvar,
}

#[derive(Default)]
struct Unsent {
    state: Option<State>,
    watchdog: bool,
    is_sending: bool,
    /// True once the agent is stopping. From then on no other state is reported.
    is_stopping: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Reloading,
    Stopping,
}

/// The longest time that the process waits before it exits until the last state is sent.
const FLUSH_TIME: Duration = Duration::from_millis(200);

/// The notifier; `None` without systemd, or if its thread cannot be started.
static NOTIFIER: LazyLock<Option<Arc<Notifier>>> = LazyLock::new(Notifier::start);

impl Notifier {
    fn start() -> Option<Arc<Self>> {
        std::env::var_os("NOTIFY_SOCKET")?;
        let notifier = Arc::<Self>::default();
        let sender = Arc::clone(&notifier);
        let body = move || {
            loop {
                let (state, watchdog) = sender.next();
                if let Err(error) = send(state, watchdog) {
                    tracing::warn!("cannot notify systemd: {error}");
                }
            }
        };
        let started = thread::Builder::new().name("spoa-systemd".into()).spawn(body);
        started.map_err(|error| tracing::warn!("cannot start the thread that notifies systemd: {error}")).ok()?;
        Some(notifier)
    }

    fn lock(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        let mut unsent = self.lock();
        if !unsent.is_stopping {
            unsent.is_stopping = state == State::Stopping;
            unsent.state = Some(state);
            self.changed.notify_all();
        }
    }

    fn beat(&self) {
        self.lock().watchdog = true;
        self.changed.notify_all();
    }

    /// Marks the previously returned notification as sent. Then waits for the next state or watchdog notification to send.
    fn next(&self) -> (Option<State>, bool) {
        let mut unsent = self.lock();
        unsent.is_sending = false;
        self.changed.notify_all();
        let is_nothing = |unsent: &mut Unsent| unsent.state.is_none() && !unsent.watchdog;
        unsent = self.changed.wait_while(unsent, is_nothing).unwrap_or_else(PoisonError::into_inner);
        unsent.is_sending = true;
        (unsent.state.take(), mem::take(&mut unsent.watchdog))
    }

    /// Waits until no state is unsent, for at most `time`.
    fn flush(&self, time: Duration) {
        let is_unsent = |unsent: &mut Unsent| unsent.is_sending || unsent.state.is_some();
        drop(self.changed.wait_timeout_while(self.lock(), time, is_unsent));
    }
}

fn send(state: Option<State>, watchdog: bool) -> io::Result<()> {
    let mut states = match state {
        Some(State::Ready) => vec![NotifyState::Ready],
        Some(State::Stopping) => vec![NotifyState::Stopping],
        Some(State::Reloading) => vec![NotifyState::Reloading, NotifyState::monotonic_usec_now()?],
        None => vec![],
    };
    states.extend(watchdog.then_some(NotifyState::Watchdog));
    sd_notify::notify(&states)
}

/// Reports that the agent accepts connections.
pub(crate) fn ready() {
    NOTIFIER.iter().for_each(|notifier| notifier.set(State::Ready));
}

/// Reports that the configuration is being read again. Call [`ready`] when this is done.
pub(crate) fn reloading() {
    NOTIFIER.iter().for_each(|notifier| notifier.set(State::Reloading));
}

fn stopping() {
    NOTIFIER.iter().for_each(|notifier| notifier.set(State::Stopping));
}

/// Waits until the last state is sent, for at most [`FLUSH_TIME`].
pub(crate) fn flush() {
    NOTIFIER.iter().for_each(|notifier| notifier.flush(FLUSH_TIME));
}

/// Makes the agent notify systemd when it begins to stop. If systemd has a watchdog, a healthy agent also notifies it twice per
/// watchdog period.
pub(crate) fn notify_from(agent: Agent) -> Agent {
    let agent = agent.when_stopping(stopping);
    match sd_notify::watchdog_enabled() {
        Some(time) => agent.heartbeat(time / 2, || NOTIFIER.iter().for_each(|notifier| notifier.beat())),
        None => agent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_state_replaces_an_unsent_one() {
        let notifier = Notifier::default();
        for _ in 0..60 {
            notifier.set(State::Reloading);
            notifier.set(State::Ready);
            notifier.beat();
        }
        assert_eq!(notifier.next(), (Some(State::Ready), true));
        notifier.set(State::Reloading);
        assert_eq!(notifier.next(), (Some(State::Reloading), false));
        notifier.set(State::Stopping);
        notifier.set(State::Ready);
        assert_eq!(
            notifier.next(),
            (Some(State::Stopping), false),
            "expected a stopping agent not to report that it is ready"
        );
        notifier.flush(Duration::ZERO);
        assert!(notifier.lock().is_sending, "expected the last state to be unsent until the next call");
    }
}
