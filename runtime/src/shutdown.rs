//! Stops an agent, by a call or by a signal.

use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use smol::channel::{Receiver, Sender, unbounded};

use crate::error::Error;

/// Stops a [`Server`](crate::Server) from anywhere.
#[derive(Clone, Debug)]
pub struct Stopper {
    calls: Sender<Stop>,
}

/// How the agent stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// After the [lame-duck period](crate::Agent::drain).
    AfterLameDuck,
    /// Without the lame-duck period, because SIGINT is sent by a person who waits.
    Promptly,
}

impl Stopper {
    pub(crate) fn new() -> (Self, Receiver<Stop>) {
        let (calls, called) = unbounded();
        (Self { calls }, called)
    }

    /// Stops the agent. The first call refuses health checks for the time of [`drain`](crate::Agent::drain); then no
    /// connection is accepted, NOTIFYs in flight are answered, and each connection ends with AGENT-DISCONNECT 0. A second
    /// call ends everything at once.
    pub fn stop(&self) {
        self.call(Stop::AfterLameDuck);
    }

    fn call(&self, stop: Stop) {
        // An error means that the server has ended.
        let _ = self.calls.try_send(stop);
    }

    /// Stops the agent at SIGTERM, and at SIGINT without the lame-duck period, while the returned future is polled.
    ///
    /// A SIGTERM within [`REPEAT_TIME`] of another is a repetition of it: a supervisor may send one to the process and
    /// another to its group.
    pub(crate) fn at_signals(self) -> Result<impl Future<Output = ()>, Error> {
        let mut signals = Signals::new([Signal::Int, Signal::Term]).map_err(Error::Signals)?;
        let mut terminations = Terminations::default();
        Ok(async move {
            while let Some(signal) = signals.next().await {
                let (name, stop) = match signal {
                    Ok(Signal::Int) => ("SIGINT", Stop::Promptly),
                    Ok(_) => ("SIGTERM", Stop::AfterLameDuck),
                    Err(_) => continue,
                };
                if stop == Stop::AfterLameDuck && terminations.is_repetition(Instant::now()) {
                    tracing::info!("{name} received again within a second, which counts as one");
                    continue;
                }
                tracing::info!("{name} received");
                self.call(stop);
            }
        })
    }
}

/// The time after a SIGTERM in which another one counts as its repetition.
const REPEAT_TIME: Duration = Duration::from_secs(1);

/// The time of the last SIGTERM.
#[derive(Debug, Default)]
struct Terminations(Option<Instant>);

impl Terminations {
    /// Records a SIGTERM. Returns true if it repeats the previous one.
    fn is_repetition(&mut self, now: Instant) -> bool {
        self.0.replace(now).is_some_and(|last| now.saturating_duration_since(last) < REPEAT_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_is_sent_twice_counts_once() {
        let (mut terminations, start) = (Terminations::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(!terminations.is_repetition(at(0)));
        assert!(terminations.is_repetition(at(0)) && terminations.is_repetition(at(999)));
        assert!(!terminations.is_repetition(at(1999)));
    }
}
