//! How an agent is stopped.

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use smol::channel::{Receiver, Sender, unbounded};

use crate::error::Error;

/// Stops a [`Server`](crate::Server) from anywhere.
#[derive(Clone, Debug)]
pub struct Stopper {
    calls: Sender<()>,
}

impl Stopper {
    pub(crate) fn new() -> (Self, Receiver<()>) {
        let (calls, called) = unbounded();
        (Self { calls }, called)
    }

    /// The first call starts the drain: nothing new is accepted, what is in flight is answered, and each connection
    /// ends with AGENT-DISCONNECT 0. The second one ends everything at once.
    pub fn stop(&self) {
        // Nobody hears it when the server has ended.
        let _ = self.calls.try_send(());
    }

    /// Stops at SIGINT or SIGTERM, from now on and as long as the returned future is polled.
    pub(crate) fn at_signals(self) -> Result<impl Future<Output = ()>, Error> {
        let mut signals = Signals::new([Signal::Int, Signal::Term]).map_err(Error::Signals)?;
        Ok(async move {
            while let Some(signal) = signals.next().await {
                if let Ok(signal) = signal {
                    tracing::info!("{} received", name(signal));
                    self.stop();
                }
            }
        })
    }
}

const fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::Int => "SIGINT",
        _ => "SIGTERM",
    }
}
