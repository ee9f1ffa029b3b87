//! What systemd hands down, and what it is told. Without systemd none of it happens.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use spoa_runtime::Agent;

/// Listens on the sockets that systemd has opened (`spoa.socket`); false if there are none.
///
/// # Errors
/// One of them is no stream socket.
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

/// From when it is stopping on it is not ready any more, whatever else goes on.
static IS_STOPPING: AtomicBool = AtomicBool::new(false);

/// It serves.
pub(crate) fn ready() {
    if !IS_STOPPING.load(Ordering::SeqCst) {
        tell(&[NotifyState::Ready]);
    }
}

/// It is on its way out.
fn stopping() {
    IS_STOPPING.store(true, Ordering::SeqCst);
    tell(&[NotifyState::Stopping]);
}

/// It reads its configuration again; then it is [ready].
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now()
        && !IS_STOPPING.load(Ordering::SeqCst)
    {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Tells systemd what becomes of the agent, and that it is alive: twice as often as it would give it up.
pub(crate) fn follow(agent: Agent) -> Agent {
    let agent = agent.when_stopping(stopping);
    match sd_notify::watchdog_enabled() {
        Some(time) => agent.heartbeat(time / 2, || tell(&[NotifyState::Watchdog])),
        None => agent,
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd cannot be told: {error}");
    }
}
