//! The handler that answers with the verdicts of lists.

use std::fmt::Write;
use std::sync::Arc;

use spoa_core::wire::{Message, SetVars};
use spoa_core::{Ack, Notify};

use crate::judge::Judge;
use crate::library::Library;
use crate::lists::Verdict;
use crate::message_counts::Counts;
use crate::message_rule::{MessageRule, rule_for};
use crate::observer::{Decision, Judged, Observer};
use crate::verdict_counts::{Mode, WorkerVerdicts};
use spoa_runtime::{Context, Handler, HandlerError, Reply};

/// Answers each message that a [`MessageRule`] serves with the verdict on its address, in variables of the names and the
/// scope that the rule has:
///
/// | variable | type | value |
/// |---|---|---|
/// | `ip_score` | integer | 0 (bad) to 100 (trusted): the list's, or the default |
/// | `ip_listed` | boolean | true if the verdict is `listed` |
/// | `ip_verdict` | string | `allow`, `listed` or `unknown` |
/// | `ip_list`, `ip_category` | string | the list that decided, and its category; empty if none did |
/// | `ip_prefix` | string | the prefix in that list, `192.0.2.0/24`; empty if there is none |
/// | `ip_generation` | integer | the generation of the lists, from 1 |
/// | `ip_shadow_score`, `ip_shadow_verdict`, `ip_shadow_list` | as above | the same if everything in shadow mode were enforced |
///
/// All of them are always set, but those of shadow mode only if any list or any message rule is in shadow mode; without an address the verdict is
/// `unknown`. If a message has several addresses, a
/// listed one has precedence, then an unknown one, then an allowed one; among equals the lowest score decides. So a client
/// cannot get a better verdict by adding addresses, for example in X-Forwarded-For.
#[derive(Debug)]
pub struct ListScores {
    library: Library,
    counts: Arc<Counts>,
    verdicts: Arc<WorkerVerdicts>,
    observers: Vec<Arc<dyn Observer>>,
    /// The text of a prefix, kept so that no answer allocates one.
    prefix: String,
}

impl ListScores {
    /// Answers with the lists of `library`.
    pub fn new(library: Library) -> Self {
        let (counts, verdicts) = (library.counts().worker(), library.verdicts().worker());
        Self { library, counts, verdicts, observers: Vec::new(), prefix: String::new() }
    }

    /// Reports each verdict to `observer` too; it may be called several times.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Answers a message. Returns the verdict if everything in shadow mode were enforced.
    fn serve<'e>(
        &mut self,
        judge: Judge<'e>,
        message: &Message<'_>,
        ack: &mut Ack<'_>,
        context: Context<'_>,
    ) -> Result<Judged<'e>, HandlerError> {
        self.counts.served(judge.rule);
        let (judged, would) = judge.judge(&self.library, message);
        self.answer(judge, judged, ack)?;
        self.verdicts.add(Mode::Enforced, judge.rule, judged);
        for observer in &self.observers {
            let Judge { edition, rule, policy_name: policy, .. } = judge;
            observer.decided(&Decision { edition, rule, policy, judged, would, context });
        }
        Ok(would)
    }

    fn answer(&mut self, judge: Judge<'_>, judged: Judged<'_>, ack: &mut Ack<'_>) -> Result<(), HandlerError> {
        let (scope, names) = (judge.rule.scope(), judge.rule.names());
        let Judged { verdict, score, .. } = judged;
        let (list, category) = verdict.matched().map_or(("", ""), |matched| {
            let config = matched.list().config();
            (config.name.as_str(), config.category.as_str())
        });
        self.prefix.clear();
        if let Some(matched) = verdict.matched() {
            write!(self.prefix, "{}", matched.prefix())?;
        }
        ack.set_var(scope, &names.score, score)?
            .set_var(scope, &names.listed, matches!(verdict, Verdict::Listed(_)))?
            .set_var(scope, &names.verdict, verdict.name())?
            .set_var(scope, &names.list, list)?
            .set_var(scope, &names.category, category)?
            .set_var(scope, &names.prefix, self.prefix.as_str())?
            .set_var(scope, &names.generation, judge.edition.generation)?;
        Ok(())
    }
}

/// Sets the variables of shadow mode.
fn answer_shadow(rule: &MessageRule, would: Judged<'_>, ack: &mut Ack<'_>) -> Result<(), HandlerError> {
    let (scope, names) = (rule.scope(), rule.names());
    let list = would.verdict.matched().map_or("", |matched| matched.list().config().name.as_str());
    ack.set_var(scope, &names.shadow_score, would.score)?
        .set_var(scope, &names.shadow_verdict, would.verdict.name())?
        .set_var(scope, &names.shadow_list, list)?;
    Ok(())
}

/// Each worker has its own counters, so a clone begins new ones.
impl Clone for ListScores {
    fn clone(&self) -> Self {
        Self { observers: self.observers.clone(), ..Self::new(self.library.clone()) }
    }
}

impl Handler for ListScores {
    fn handle(&mut self, notify: Notify<'_>, context: Context<'_>) -> Result<Reply, HandlerError> {
        let edition = self.library.edition();
        let messages = notify.messages();
        let mut ack = notify.ack();
        let mut shadows = Vec::new();
        for message in messages {
            if let Some(rule) = rule_for(&edition.config.message_rules, &message) {
                let would = self.serve(Judge::of(&edition, rule, &message), &message, &mut ack, context)?;
                if edition.has_shadow() {
                    shadows.push((rule, would));
                }
            } else {
                self.counts.unknown();
                self.library.counts().report_unknown(&edition.config.message_rules, &message);
            }
        }
        // After the variables of all messages: an ACK that is too large loses its last actions.
        for (rule, would) in shadows {
            answer_shadow(rule, would, &mut ack)?;
            self.verdicts.add(Mode::Shadow, rule, would);
        }
        ack.finish()?;
        Ok(Reply::Done)
    }
}
