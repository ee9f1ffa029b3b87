//! The service as a handler of NOTIFYs.

use std::pin::Pin;
use std::time::Duration;

use smol::Timer;
use spoa_core::Notify;
use spoa_core::wire::{Actions, Message, Scope};

use super::address::client_address;
use super::scores::Scores;
use crate::handler::{Handler, HandlerError, Reply};

/// True for the messages it answers: that of HAProxy's example agent, and that of SPOE.txt section 2.5.
pub(super) fn is_known(message: &Message<'_>) -> bool {
    // Not a list to look through: a comparison with a name of known length is two instructions.
    message.name() == b"check-client-ip" || message.name() == b"get-ip-reputation"
}

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

    #[inline]
    fn score(&self, message: &Message<'_>) -> Option<u32> {
        if !is_known(message) {
            return None;
        }
        client_address(message).map(|address| self.scores.score(address))
    }
}

impl Handler for Service {
    type Later = Pin<Box<dyn Future<Output = Result<Actions, HandlerError>>>>;

    fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError> {
        let messages = notify.messages();
        if self.delay.is_zero() {
            let mut ack = notify.ack();
            for message in messages {
                if let Some(score) = self.score(&message) {
                    ack.set_var(Scope::Session, VARIABLE, score)?;
                }
            }
            ack.finish()?;
            return Ok(Reply::Done);
        }
        let (mut actions, max) = (Actions::new(), notify.max_frame_size() as usize);
        for score in messages.filter_map(|message| self.score(&message)) {
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
