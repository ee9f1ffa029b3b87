//! The handler that answers with random scores.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smol::Timer;
use spoa_core::Notify;
use spoa_core::wire::{Actions, Message, Scope, SetVars, VarName};

use crate::address::{addresses, canonical};
use crate::message_counts::{Counts, MessageCounts};
use crate::message_rule::{MessageRule, rule_for};
use crate::scores::Scores;
use spoa_runtime::{Context, Families, Handler, HandlerError, Reply, Source};

/// Scores the client of each message that a [`MessageRule`] serves. Other messages, and messages without an address, get no
/// score. Of several addresses in one message the lowest score counts.
#[derive(Debug)]
pub struct RandomScores {
    scores: Scores,
    delay: Duration,
    rules: Vec<MessageRule>,
    all_counts: Arc<MessageCounts>,
    counts: Arc<Counts>,
}

impl RandomScores {
    /// Answers the messages of `rules` with `scores`, each after `delay`: zero answers at once, more shows what a slow agent
    /// does.
    pub fn new(scores: Scores, delay: Duration, mut rules: Vec<MessageRule>) -> Self {
        let all_counts = Arc::<MessageCounts>::default();
        all_counts.assign(&mut rules);
        Self { scores, delay, rules, counts: all_counts.worker(), all_counts }
    }

    /// Returns the counts of messages by name.
    pub fn metrics(&self) -> Arc<dyn Source> {
        Arc::new(Messages(Arc::clone(&self.all_counts)))
    }

    /// Returns the score for a message, and the variable to set.
    // Inlined into the path of immediate answers, which must not call a function because deferred answers share it.
    #[inline(always)]
    fn score(&self, message: &Message<'_>) -> Option<(Scope, &VarName, u32)> {
        let Some(rule) = rule_for(&self.rules, message) else {
            self.counts.unknown();
            self.all_counts.report_unknown(&self.rules, message);
            return None;
        };
        self.counts.served(rule);
        let mut lowest = None::<u32>;
        let each = |address| {
            let score = self.scores.score(canonical(address));
            lowest = Some(lowest.map_or(score, |lowest| lowest.min(score)));
        };
        let has_argument = addresses(message, rule.arguments(), each, |name| self.all_counts.count_lost(rule, name));
        if !has_argument {
            self.all_counts.report_no_argument(rule, message);
        } else if lowest.is_none() {
            self.all_counts.report_no_address(rule, message);
        }
        Some((rule.scope(), &rule.names().score, lowest?))
    }
}

/// Each worker has its own counters, so a clone begins new ones.
impl Clone for RandomScores {
    fn clone(&self) -> Self {
        let Self { scores, delay, rules, all_counts, .. } = self;
        let (rules, all_counts) = (rules.clone(), Arc::clone(all_counts));
        Self { scores: *scores, delay: *delay, rules, counts: all_counts.worker(), all_counts }
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
    fn handle(&mut self, notify: Notify<'_>, _context: Context<'_>) -> Result<Reply, HandlerError> {
        let messages = notify.messages();
        if self.delay.is_zero() {
            let mut ack = notify.ack();
            for (scope, name, score) in messages.filter_map(|message| self.score(&message)) {
                ack.set_var(scope, name, score)?;
            }
            ack.finish()?;
            return Ok(Reply::Done);
        }
        let (mut actions, max) = (Actions::new(), notify.max_frame_size() as usize);
        for (scope, name, score) in messages.filter_map(|message| self.score(&message)) {
            actions.set_var(scope, name, score)?;
            // Further actions would not fit into the ACK, so keeping them would waste memory.
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
