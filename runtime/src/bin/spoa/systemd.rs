//! Sockets from systemd, and notifications to it. Without systemd nothing happens.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use spoa_runtime::Agent;

/// Listens on the sockets that systemd has opened (`spoa.socket`); false if there are none.
///
/// # Errors
/// One of them is not a stream socket.
pub(crate) fn sockets(mut agent: Agent) -> io::Result<(Agent, bool)> {
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

/// The thread that notifies systemd. It may wait for a socket that nobody reads; nothing else does.
struct Notifier {
    states: SyncSender<State>,
}

#[derive(Clone, Copy)]
enum State {
    Ready,
    Reloading,
    Stopping,
    Watchdog,
}

/// Notifications that wait to be sent; further ones are dropped.
const QUEUE_MAX: usize = 16;

/// How long the end of the process waits for the last of them.
const FLUSH_TIME: Duration = Duration::from_millis(200);

static NOTIFIER: OnceLock<Option<Notifier>> = OnceLock::new();

/// The number of notifications that are queued or being sent.
static UNSENT: AtomicU64 = AtomicU64::new(0);

/// Set once the agent is stopping: from then on it never reports to be ready.
static IS_STOPPING: AtomicBool = AtomicBool::new(false);

impl Notifier {
    fn start() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        let (states, queue) = sync_channel::<State>(QUEUE_MAX);
        let body = move || {
            for state in queue {
                state.send();
                UNSENT.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let started = thread::Builder::new().name("spoa-systemd".into()).spawn(body);
        started.map_err(|error| tracing::warn!("cannot start the thread that notifies systemd: {error}")).ok()?;
        Some(Self { states })
    }
}

impl State {
    fn send(self) {
        let sent = match self {
            Self::Ready => sd_notify::notify(&[NotifyState::Ready]),
            Self::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
            Self::Watchdog => sd_notify::notify(&[NotifyState::Watchdog]),
            Self::Reloading => {
                NotifyState::monotonic_usec_now().and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]))
            }
        };
        if let Err(error) = sent {
            tracing::warn!("cannot notify systemd: {error}");
        }
    }

    fn queue(self) {
        if let Some(notifier) = NOTIFIER.get_or_init(Notifier::start) {
            UNSENT.fetch_add(1, Ordering::SeqCst);
            if notifier.states.try_send(self).is_err() {
                UNSENT.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

/// Reports that the agent serves.
pub(crate) fn ready() {
    if !IS_STOPPING.load(Ordering::SeqCst) {
        State::Ready.queue();
    }
}

/// Reports that the configuration is being read again; [`ready`] follows.
pub(crate) fn reloading() {
    if !IS_STOPPING.load(Ordering::SeqCst) {
        State::Reloading.queue();
    }
}

fn stopping() {
    IS_STOPPING.store(true, Ordering::SeqCst);
    State::Stopping.queue();
}

/// Waits until all notifications are sent, for a short time.
pub(crate) fn flush() {
    let end = Instant::now() + FLUSH_TIME;
    while UNSENT.load(Ordering::SeqCst) > 0 && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Has the agent notify systemd of its stop and, if there is a watchdog, of its health twice in the watchdog's time.
pub(crate) fn follow(agent: Agent) -> Agent {
    let agent = agent.when_stopping(stopping);
    match sd_notify::watchdog_enabled() {
        Some(time) => agent.heartbeat(time / 2, || State::Watchdog.queue()),
        None => agent,
    }
}
