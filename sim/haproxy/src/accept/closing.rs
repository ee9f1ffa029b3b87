//! How and when HAProxy closes.

use super::{Judge, Judgement, Phase};
use crate::time::Time;

impl Judge<'_> {
    pub(super) fn haproxy_closes(&mut self, at: usize, now: Time, reset: bool) -> Judgement {
        if !self.links[at].haproxy_input.is_empty() && !reset && !self.variant.exits {
            return Err("FIN inside a frame".into());
        }
        self.note_retry(at);
        let judgement = match self.links[at].phase {
            Phase::Closed => return Err("closed twice".into()),
            Phase::Check => self.check_closes(at, now),
            _ if self.is_mux() => self.mux_closes(at, now, reset),
            _ => self.applet_closes(at, now, reset),
        };
        self.links[at].phase = Phase::Closed;
        judgement
    }

    /// A health check's connection goes as soon as the reply is there, or not at all.
    fn check_closes(&self, at: usize, now: Time) -> Judgement {
        let link = &self.links[at];
        let late = now.saturating_add(self.variant.slack) >= link.opened.saturating_add(self.settings().check_timeout);
        if link.agent_spoke || link.agent_fin || late || self.variant.exits {
            Ok(())
        } else {
            Err("a health check closes before there is a reply".into())
        }
    }

    /// The mux resets without a word; FIN only answers the agent's.
    fn mux_closes(&self, at: usize, now: Time, reset: bool) -> Judgement {
        let (link, settings) = (&self.links[at], self.settings());
        if link.agent_fin || self.variant.exits {
            return Ok(());
        }
        if !reset {
            return Err("the mux closes by RST as long as the agent has not closed".into());
        }
        let provoked = link.agent_disconnect.is_some() || link.earned != 0 || link.may_reset;
        if provoked || matches!(link.phase, Phase::Refused(_) | Phase::Disconnected) {
            return Ok(());
        }
        if link.in_flight(now, settings.processing_timeout, self.variant.slack) > 0 && !self.variant.aborts {
            return Err("the mux resets while a NOTIFY waits that has not timed out".into());
        }
        // The pool is purged in rounds, so an idle connection may go after a third of the time that is usual.
        let idle = now.saturating_add(self.variant.slack) >= link.used.saturating_add(settings.pool_purge / 3);
        if idle || self.variant.stops || self.variant.aborts || !settings.reuse {
            Ok(())
        } else {
            Err("the mux resets a connection that was in use just now".into())
        }
    }

    /// The applet engine says DISCONNECT first, and waits for the answer.
    fn applet_closes(&self, at: usize, now: Time, reset: bool) -> Judgement {
        let (link, settings) = (&self.links[at], self.settings());
        if link.agent_reset || self.variant.exits {
            return Ok(());
        }
        let torn = reset || settings.defects.error_exit_fins;
        let past = |since: Time, span: Time| now.saturating_add(self.variant.slack) >= since.saturating_add(span);
        match (link.agent_disconnect, link.phase) {
            // 2.6 and 3.0 differ in what a 0 is followed by, and a byte behind it turns FIN into RST.
            (Some(_), _) => Ok(()),
            // If the agent just closes, HAProxy sends it an I/O error, though it will not answer that.
            (None, Phase::Disconnected) if link.agent_fin => Ok(()),
            (None, Phase::Greeting | Phase::Fresh) if torn && past(link.opened, settings.hello_timeout) => Ok(()),
            // A length that was refused is still in the buffer, and ends the wait for an answer at once.
            (None, Phase::Disconnected) if torn && (link.earned != 0 || past(link.used, settings.idle_timeout)) => {
                Ok(())
            }
            (None, Phase::Disconnected) => Err("closed before the agent answered the DISCONNECT".into()),
            (None, _) => Err("closed without a DISCONNECT".into()),
        }
    }
}
