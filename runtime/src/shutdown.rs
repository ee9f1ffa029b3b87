//! How an agent is stopped.

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use smol::channel::{Receiver, Sender, unbounded};

use crate::error::Error;

/// Stops a [`Server`](crate::Server) from anywhere.
#[derive(Clone, Debug)]
pub struct Stopper {
    calls: Sender<Stop>,
}

/// How it is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// HAProxy is to ask others first, if there is [time for that](crate::Agent::drain).
    Leave,
    /// Somebody is waiting for it.
    Promptly,
}

impl Stopper {
    pub(crate) fn new() -> (Self, Receiver<Stop>) {
        let (calls, called) = unbounded();
        (Self { calls }, called)
    }

    /// The first call starts the way down: health checks are refused for the time of [`drain`](crate::Agent::drain), then
    /// nothing new is accepted, what is in flight is answered, and each connection ends with AGENT-DISCONNECT 0. The second
    /// one ends everything at once.
    pub fn stop(&self) {
        self.call(Stop::Leave);
    }

    fn call(&self, stop: Stop) {
        // Nobody hears it when the server has ended.
        let _ = self.calls.try_send(stop);
    }

    /// Stops at SIGTERM, and at SIGINT without the time for HAProxy to ask others, from now on and as long as the returned
    /// future is polled.
    pub(crate) fn at_signals(self) -> Result<impl Future<Output = ()>, Error> {
        let mut signals = Signals::new([Signal::Int, Signal::Term]).map_err(Error::Signals)?;
        Ok(async move {
            while let Some(signal) = signals.next().await {
                let (name, stop) = match signal {
                    Ok(Signal::Int) => ("SIGINT", Stop::Promptly),
                    Ok(_) => ("SIGTERM", Stop::Leave),
                    Err(_) => continue,
                };
                tracing::info!("{name} received");
                self.call(stop);
            }
        })
    }
}
