//! What is counted of a connection, and what those who run the agent are told of it.

use std::fmt;
use std::mem;

use spoa_core::{CloseReason, LocalReason, OtherProtocol, Status};

use super::Driver;
use crate::handler::Handler;
use crate::name::tell;
use crate::shared::Shared;

impl Driver {
    /// Counts what has happened, and tells of answers that HAProxy did not get, each kind once for each time its count was
    /// seen to rise.
    pub(super) fn count<H: Handler>(&mut self, shared: &Shared<H>) {
        let (before, now) = (self.seen, self.connection.stats());
        self.came = before.notifies < now.notifies;
        if before == now {
            return;
        }
        self.seen = now;
        self.heed_refusal(shared);
        shared.counters.rise(&before, &now, mem::take(&mut self.sent_late));
        if now.acks_expired > before.acks_expired {
            let (count, time) = (now.acks_expired - before.acks_expired, shared.settings.connection.ack_timeout);
            self.warn(shared, &format_args!("{count} NOTIFYs were not answered within {time:?}: empty ACKs"));
        }
        if now.aborted_by_agent > before.aborted_by_agent {
            let max = shared.settings.connection.reassembly_max;
            self.warn(shared, &format_args!("a NOTIFY in fragments grew above {max} bytes: aborted"));
        }
    }

    /// Counts and tells of a refusal once, when it is decided: HAProxy may be gone before it hears of it.
    pub(super) fn heed_refusal<H: Handler>(&mut self, shared: &Shared<H>) {
        if let Some(reason) = self.connection.refusal()
            && !self.refused
        {
            self.refused = true;
            shared.counters.refused(reason);
            match reason {
                CloseReason::Error(error) => {
                    self.warn(shared, &format_args!("a HELLO is refused with {}: {error}", error.status()));
                }
                _ => {
                    let max = shared.settings.connections_max;
                    self.warn(shared, &format_args!("turned away, {max} connections are open"));
                }
            }
        }
    }

    pub(super) fn warn<H: Handler>(&self, shared: &Shared<H>, what: &dyn fmt::Display) {
        if shared.log_limit.allows(shared.clock.now()) {
            tell!(warn, self.name, "{what}");
        }
    }

    /// How HAProxy ends a conversation in the normal course of things is nobody's concern; the rest is.
    pub(super) fn log_close<H: Handler>(&self, shared: &Shared<H>, reason: CloseReason) {
        let name = &self.name;
        tell!(debug, name, "{:?}", self.connection.stats());
        match reason {
            CloseReason::HealthCheck => tell!(debug, name, "health check answered"),
            CloseReason::Peer(Status::NORMAL | Status::IO | Status::TIMEOUT) | CloseReason::Eof { .. } => {
                tell!(debug, name, "closed by HAProxy: {reason:?}");
            }
            CloseReason::Peer(status) => self.warn(shared, &format_args!("HAProxy ended the connection: {status}")),
            // Told as it was done.
            CloseReason::Local(LocalReason::NoMemory) => {}
            CloseReason::Local(LocalReason::SendTimeout) => {
                self.warn(shared, &"closed: the peer leaves what it is sent unread");
            }
            CloseReason::Local(reason) => tell!(debug, name, "closed: {reason:?}"),
            // Told as it was decided.
            CloseReason::Error(error) if self.refused => tell!(debug, name, "refused: {error}"),
            CloseReason::Error(error) => match error.other_protocol() {
                Some(other) => {
                    self.warn(shared, &format_args!("{other} came where SPOP is spoken; likely: {}", mistake(other)));
                }
                None => self.warn(shared, &format_args!("closed with {}: {error}", error.status())),
            },
        }
    }
}

/// What is likely to be wrong in HAProxy's configuration, or elsewhere.
const fn mistake(other: OtherProtocol) -> &'static str {
    match other {
        OtherProtocol::Tls => "a server line with \"ssl\", or a browser; SPOP has no TLS",
        OtherProtocol::Proxy => "a server line with \"send-proxy\", which has to go",
        OtherProtocol::Http => {
            "a backend in \"mode http\", or its \"option httpchk\"; it takes \"mode spop\" (\"tcp\" up to HAProxy 3.0) and \
             \"option spop-check\""
        }
    }
}
