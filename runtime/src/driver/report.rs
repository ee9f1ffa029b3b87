//! Counts what happens on a connection, and logs what its operator has to know.

use std::fmt;
use std::mem;

use spoa_core::{CloseReason, LocalReason, OtherProtocol, Stats, Status};

use super::Driver;
use crate::handler::Handler;
use crate::name::tell;
use crate::shared::Shared;
use crate::text::{Count, Span};

impl Driver {
    /// Counts what has happened since the last call, and warns of answers that HAProxy did not get: one line for each kind
    /// whose count has risen.
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
            let late = Count(now.acks_expired - before.acks_expired, "NOTIFY");
            let time = Span(shared.settings.connection.ack_timeout);
            self.warn(
                shared,
                "deadline",
                &format_args!("{late} not answered within {time}, so HAProxy gets empty ACKs"),
            );
        }
        if now.aborted_by_agent > before.aborted_by_agent {
            let max = shared.settings.connection.reassembly_max;
            self.warn(shared, "too_large", &format_args!("cancelled a fragmented NOTIFY of more than {max} bytes"));
        }
    }

    /// Counts and logs a refusal when it is decided, because HAProxy may leave before it is sent.
    pub(super) fn heed_refusal<H: Handler>(&mut self, shared: &Shared<H>) {
        if let Some(reason) = self.connection.refusal()
            && !self.refused
        {
            self.refused = true;
            shared.counters.refused(reason);
            match reason {
                CloseReason::Error(error) => {
                    let status = error.status();
                    self.warn(shared, "hello_refused", &format_args!("refused a HELLO with {status}: {error}"));
                }
                _ => {
                    let max = Count(shared.settings.connections_max as u64, "connection");
                    let what = format_args!("rejected a connection: {max} open, which is the limit");
                    self.warn(shared, "rejected", &what);
                }
            }
        }
    }

    /// Logs a warning of this kind, unless there were too many.
    pub(super) fn warn<H: Handler>(&self, shared: &Shared<H>, kind: &'static str, what: &dyn fmt::Display) {
        if shared.log_limit.allows() {
            tell!(warn, self.name, kind, "{what}");
        }
    }

    /// Logs the end of a connection: at debug level if HAProxy closed it as it usually does, else as a warning.
    pub(super) fn log_close<H: Handler>(&self, shared: &Shared<H>, reason: CloseReason) {
        let name = &self.name;
        let Stats { frames_received, notifies, acks, .. } = self.connection.stats();
        tell!(debug, name, frames_received, notifies, acks, "received {notifies} NOTIFYs, sent {acks} ACKs");
        match reason {
            CloseReason::HealthCheck => tell!(debug, name, "answered a health check"),
            CloseReason::Peer(status @ (Status::NORMAL | Status::IO | Status::TIMEOUT)) => {
                tell!(debug, name, status = status.0, "closed by HAProxy: {status}");
            }
            CloseReason::Eof { in_flight, unprocessed } => {
                let place = if unprocessed { "inside a frame" } else { "between two frames" };
                let count = Count(in_flight as u64, "NOTIFY");
                tell!(debug, name, in_flight, "closed by HAProxy {place}, with {count} in flight");
            }
            CloseReason::Peer(status) => {
                self.warn(shared, "disconnected", &format_args!("HAProxy closed the connection: {status}"));
            }
            // Logged when it was done.
            CloseReason::Local(LocalReason::NoMemory) => {}
            CloseReason::Local(LocalReason::SendTimeout) => {
                let time = Span(shared.settings.connection.send_timeout);
                self.warn(shared, "send_timeout", &format_args!("closed: the peer has read nothing for {time}"));
            }
            CloseReason::Local(reason) => tell!(debug, name, "closed: {}", local_reason(reason)),
            // Logged when it was decided.
            CloseReason::Error(error) if self.refused => tell!(debug, name, "refused: {error}"),
            CloseReason::Error(error) => match error.other_protocol() {
                Some(other) => {
                    let mistake = mistake(other);
                    let what = format_args!("received {other} instead of SPOP; the likely cause is {mistake}");
                    self.warn(shared, "other_protocol", &what);
                }
                None => {
                    let status = error.status();
                    self.warn(shared, "protocol_error", &format_args!("closed with {status}: {error}"));
                }
            },
        }
    }
}

const fn local_reason(reason: LocalReason) -> &'static str {
    match reason {
        LocalReason::Requested => "the agent is stopping",
        LocalReason::ConnectionLimit => "the limit of connections is reached",
        LocalReason::HealthCheckRefused => "a health check, refused because the agent is stopping",
        LocalReason::NotifyMax => "the number of NOTIFYs per connection is reached",
        LocalReason::Idle => "no NOTIFY within the idle timeout",
        LocalReason::SendTimeout => "the peer does not read",
        LocalReason::NoMemory => "connections hold too many bytes",
    }
}

/// Returns what is likely to be wrong in HAProxy's configuration, or elsewhere.
const fn mistake(other: OtherProtocol) -> &'static str {
    match other {
        OtherProtocol::Tls => "\"ssl\" on HAProxy's server line, or a browser; the agent does not speak TLS",
        OtherProtocol::Proxy => "\"send-proxy\" on HAProxy's server line; remove it",
        OtherProtocol::Http => {
            "\"option httpchk\" in HAProxy's backend, which needs \"option spop-check\" instead, or a browser"
        }
    }
}
