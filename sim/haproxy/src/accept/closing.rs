//! Checks when and how HAProxy closes a connection.

use super::{Phase, Validation, Validator};
use crate::time::Time;

impl Validator<'_> {
    pub(super) fn haproxy_closes(&mut self, at: usize, now: Time, reset: bool) -> Validation {
        if !self.links[at].haproxy_input.is_empty() && !reset && !self.variant.exits {
            return Err("HAProxy sent FIN inside a frame".into());
        }
        self.note_retry(at);
        let result = match self.links[at].phase {
            Phase::Closed => return Err("HAProxy closed the connection twice".into()),
            Phase::HealthCheck => self.check_closes(at, now),
            _ if self.is_mux() => self.mux_closes(at, now, reset),
            _ => self.applet_closes(at, now, reset),
        };
        self.links[at].phase = Phase::Closed;
        result
    }

    /// Checks the end of a health check: HAProxy closes when the reply arrives, when the agent closes, or after the
    /// timeout.
    fn check_closes(&self, at: usize, now: Time) -> Validation {
        let link = &self.links[at];
        let late = now.saturating_add(self.variant.slack) >= link.opened.saturating_add(self.settings().check_timeout);
        if link.agent_replied || link.agent_fin || late || self.variant.exits {
            Ok(())
        } else {
            Err("a health check closed before it got a reply".into())
        }
    }

    /// Checks the end of a mux connection: a reset without a DISCONNECT, or FIN if the agent has sent FIN before.
    fn mux_closes(&self, at: usize, now: Time, reset: bool) -> Validation {
        let (link, settings) = (&self.links[at], self.settings());
        if link.agent_fin || self.variant.exits {
            return Ok(());
        }
        if !reset {
            return Err("the mux sent FIN before the agent closed; expected RST".into());
        }
        let has_reason = link.agent_disconnect.is_some() || link.allowed_codes != 0 || link.may_reset;
        if has_reason || matches!(link.phase, Phase::Refused(_) | Phase::Disconnected) {
            return Ok(());
        }
        if link.in_flight(now, settings.processing_timeout, self.variant.slack) > 0 && !self.variant.aborts {
            return Err("the mux reset a connection with a NOTIFY in flight that had not timed out".into());
        }
        // The pool is purged in rounds, so an idle connection may be closed after a third of the usual time.
        let idle = now.saturating_add(self.variant.slack) >= link.used.saturating_add(settings.pool_purge / 3);
        if idle || self.variant.stops || self.variant.aborts || !settings.reuse {
            Ok(())
        } else {
            Err("the mux reset a connection that had not been idle for long enough".into())
        }
    }

    /// Checks the end of an applet connection: HAProxy sends DISCONNECT first, and waits for the agent's reply.
    fn applet_closes(&self, at: usize, now: Time, reset: bool) -> Validation {
        let (link, settings) = (&self.links[at], self.settings());
        if link.agent_reset || self.variant.exits {
            return Ok(());
        }
        let is_error_exit = reset || settings.defects.error_exit_fins;
        let has_passed = |since: Time, span: Time| now.saturating_add(self.variant.slack) >= since.saturating_add(span);
        match (link.agent_disconnect, link.phase) {
            // 2.6 and 3.0 close differently after AGENT-DISCONNECT 0, and a byte after it turns FIN into RST.
            (Some(_), _) => Ok(()),
            // HAProxy reports an I/O error to an agent that closes without AGENT-DISCONNECT, and does not wait for a
            // reply.
            (None, Phase::Disconnected) if link.agent_fin => Ok(()),
            (None, Phase::HelloSent | Phase::Fresh)
                if is_error_exit && has_passed(link.opened, settings.hello_timeout) =>
            {
                Ok(())
            }
            // A bad length stays in the buffer and ends the wait for the reply immediately.
            (None, Phase::Disconnected)
                if is_error_exit && (link.allowed_codes != 0 || has_passed(link.used, settings.idle_timeout)) =>
            {
                Ok(())
            }
            (None, Phase::Disconnected) => Err("closed before the agent answered the DISCONNECT".into()),
            (None, _) => Err("closed without a DISCONNECT".into()),
        }
    }
}
