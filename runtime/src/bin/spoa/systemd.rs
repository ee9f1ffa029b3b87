//! What systemd hands down, and what it is told. Without systemd none of it happens.

use std::io;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use spoa_runtime::Agent;

/// Listens on the sockets that systemd has opened (`spoa.socket`); `None` if there are none.
///
/// # Errors
/// One of them is no stream socket.
pub(crate) fn sockets(mut agent: Agent) -> io::Result<Option<Agent>> {
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
    Ok((sockets.len() > 0).then_some(agent))
}

/// It serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It is on its way out.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// It reads its configuration again; then it is [ready].
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// It is alive.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear that it is alive: twice as often as it gives it up.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|time| time / 2)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd cannot be told: {error}");
    }
}
