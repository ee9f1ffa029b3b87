//! The service as a handler of NOTIFYs.

use std::pin::Pin;
use std::time::Duration;

use smol::Timer;
use spoa_core::Notify;
use spoa_core::wire::{Actions, Messages, Scope};

use super::address::client_address;
use super::scores::Scores;
use crate::handler::{Handler, HandlerError, Reply};

/// The messages it answers: that of HAProxy's example agent, and that of SPOE.txt section 2.5.
const MESSAGES: [&[u8]; 2] = [b"check-client-ip", b"get-ip-reputation"];

/// The variable it sets, in session scope: `var(sess.PREFIX.ip_score)` in HAProxy.
pub const VARIABLE: &str = "ip_score";

/// Scores the client of each message it knows; others, and messages without an address, get no score.
#[derive(Clone, Debug)]
pub struct Service {
    scores: Scores,
    delay: Duration,
}

impl Service {
    /// Answers with `scores`, each after `delay`: zero to answer at once, more to see what a slow agent does.
    pub const fn new(scores: Scores, delay: Duration) -> Self {
        Self { scores, delay }
    }

    fn scores_of(&self, messages: Messages<'_>) -> impl Iterator<Item = u32> {
        messages
            .filter(|message| MESSAGES.contains(&message.name()))
            .filter_map(|message| client_address(&message))
            .map(|address| self.scores.score(address))
    }
}

impl Handler for Service {
    type Later = Pin<Box<dyn Future<Output = Result<Actions, HandlerError>>>>;

    fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError> {
        let messages = notify.messages();
        if self.delay.is_zero() {
            let mut ack = notify.ack();
            for score in self.scores_of(messages) {
                ack.set_var(Scope::Session, VARIABLE, score)?;
            }
            ack.finish()?;
            return Ok(Reply::Done);
        }
        let (mut actions, max) = (Actions::new(), notify.max_frame_size() as usize);
        for score in self.scores_of(messages) {
            actions.set_var(Scope::Session, VARIABLE, score)?;
            // Nothing behind that would fit into the ACK; keeping it would cost memory for nothing.
            if actions.as_bytes().len() > max {
                break;
            }
        }
        let delay = self.delay;
        Ok(Reply::Later(
            notify.defer(),
            Box::pin(async move {
                Timer::after(delay).await;
                Ok(actions)
            }),
        ))
    }
}
