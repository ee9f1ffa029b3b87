//! The service as a handler of NOTIFYs.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use smol::Timer;
use spoa_core::Notify;
use spoa_core::wire::{Actions, Message, Scope, VarName};

use super::address::client_address;
use super::message_counts::{Counts, MessageCounts};
use super::message_rule::{MessageRule, message_rule};
use super::scores::Scores;
use crate::handler::{Handler, HandlerError, Reply};
use crate::metrics::{Families, Source};

/// Scores the client of each message that is a [`MessageRule`]; others, and messages without an address, get no score.
#[derive(Debug)]
pub struct RandomScores {
    scores: Scores,
    delay: Duration,
    message_rules: Vec<MessageRule>,
    asked: Arc<MessageCounts>,
    counts: Arc<Counts>,
}

impl RandomScores {
    /// Answers `message_rules` with `scores`, each after `delay`: zero to answer at once, more to see what a slow agent does.
    pub fn new(scores: Scores, delay: Duration, mut message_rules: Vec<MessageRule>) -> Self {
        let asked = Arc::<MessageCounts>::default();
        asked.number(&mut message_rules);
        Self { scores, delay, message_rules, counts: asked.worker(), asked }
    }

    /// How often each message was asked.
    pub fn metrics(&self) -> Arc<dyn Source> {
        Arc::new(Messages(Arc::clone(&self.asked)))
    }

    /// The score a message asks for, and the variable it goes to.
    // Always: that a delayed answer calls it too is no reason to have all others call it.
    #[inline(always)]
    fn score(&self, message: &Message<'_>) -> Option<(Scope, &VarName, u32)> {
        let rule = message_rule(&self.message_rules, message);
        self.counts.add(rule);
        let rule = rule?;
        let score = self.scores.score(client_address(message)?);
        Some((rule.scope(), &rule.names().score, score))
    }
}

/// Each worker counts by itself.
impl Clone for RandomScores {
    fn clone(&self) -> Self {
        let Self { scores, delay, message_rules, asked, .. } = self;
        let (message_rules, asked) = (message_rules.clone(), Arc::clone(asked));
        Self { scores: *scores, delay: *delay, message_rules, counts: asked.worker(), asked }
    }
}

#[derive(Debug)]
struct Messages(Arc<MessageCounts>);

impl Source for Messages {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        self.0.write(families)
    }
}

impl Handler for RandomScores {
    type Later = Pin<Box<dyn Future<Output = Result<Actions, HandlerError>>>>;

    fn handle(&mut self, notify: Notify<'_>) -> Result<Reply<Self::Later>, HandlerError> {
        let messages = notify.messages();
        if self.delay.is_zero() {
            let mut ack = notify.ack();
            for message in messages {
                if let Some((scope, name, score)) = self.score(&message) {
                    ack.set_var(scope, name, score)?;
                }
            }
            ack.finish()?;
            return Ok(Reply::Done);
        }
        let (mut actions, max) = (Actions::new(), notify.max_frame_size() as usize);
        for (scope, name, score) in messages.filter_map(|message| self.score(&message)) {
            actions.set_var(scope, name, score)?;
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
