//! Counts what happens on connections, and logs what an operator has to know.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use spoa_core::endpoint::{Congestion, Report};
use spoa_core::{CloseReason, Instant, LocalReason, OtherProtocol, Stats, Status};

use crate::answers::failed;
use crate::clock::Clock;
use crate::counters::{Counters, How};
use crate::engines::EngineConnection;
use crate::handler::HandlerError;
use crate::log_limit::LogLimit;
use crate::name::{Name, tell};
use crate::settings::Settings;
use crate::text::{Count, Span};

/// The log and the counters of a worker.
pub(crate) struct Reporter {
    pub(crate) settings: Settings,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log_limit: LogLimit,
    /// The last time that a queued connection was logged.
    congestion_logged: Option<Instant>,
}

/// How often queued connections are logged, because congestion may last, or come and go.
const CONGESTION_PERIOD: Duration = Duration::from_secs(60);

impl Reporter {
    pub(crate) const fn new(settings: Settings, log_limit: LogLimit, counters: Arc<Counters>) -> Self {
        Self { settings, counters, log_limit, congestion_logged: None }
    }

    /// Reports what happened on the connection `name`; `engine` is its engine, from the HELLO on.
    pub(crate) fn report(
        &mut self,
        name: &Name,
        engine: &mut Option<EngineConnection>,
        report: &Report<'_, HandlerError>,
        clock: &Clock,
    ) {
        match *report {
            Report::Ready { negotiated, engine_id } => {
                if let Some(id) = engine_id {
                    name.set_engine(id);
                }
                let (size, capabilities) = (negotiated.max_frame_size, negotiated.capabilities);
                tell!(debug, name, "ready: frames of up to {size} bytes, capabilities \"{capabilities}\"");
                self.counters.ready(negotiated.capabilities);
                *engine = Some(self.counters.engines.connected(name, negotiated.offered));
            }
            Report::Refused(reason) => self.refused(name, reason),
            Report::Counted { before, now, deferred } => {
                if let Some(engine) = engine {
                    engine.add_notifies(now.notifies - before.notifies);
                }
                self.counted(name, before, now, deferred);
            }
            Report::Answered(time) => self.counters.deferred.add(time),
            Report::AckCut(ref cut) => self.warn(name, "ack_cut", cut),
            Report::Failed(error) => self.warn(name, "handler_failed", &failed(error)),
            Report::HeldBack(time) => self.counters.held_nanos.add(time.as_nanos() as u64),
            Report::Queued(congestion) => self.queued(congestion, clock.now()),
            Report::Shed { bytes, max } => {
                let what = format_args!(
                    "closed to free memory: the connections of this worker hold more than {max} bytes, this one {bytes}"
                );
                self.warn(name, "shed", &what);
            }
            Report::Closed { reason, was_ready, was_refused, can_send, stats } => {
                self.counters.closed(reason, How { was_ready, was_refused, can_send });
                self.closed(name, reason, was_refused, stats);
            }
        }
    }

    /// Warns of answers that HAProxy did not get: one line for each kind whose count has risen.
    fn counted(&self, name: &Name, before: &Stats, now: &Stats, deferred: u64) {
        self.counters.rise(before, now, deferred);
        if now.acks_expired > before.acks_expired {
            let late = Count(now.acks_expired - before.acks_expired, "NOTIFY");
            let time = Span(self.settings.connection.ack_timeout);
            self.warn(name, "deadline", &format_args!("{late} not answered within {time}, so HAProxy gets empty ACKs"));
        }
        if now.aborted_by_agent > before.aborted_by_agent {
            let max = self.settings.connection.reassembly_max;
            self.warn(name, "too_large", &format_args!("cancelled a fragmented NOTIFY of more than {max} bytes"));
        }
    }

    fn refused(&self, name: &Name, reason: CloseReason) {
        self.counters.refused(reason);
        match reason {
            CloseReason::Error(error) => {
                let status = error.status();
                self.warn(name, "hello_refused", &format_args!("refused a HELLO with {status}: {error}"));
            }
            _ => {
                let max = Count(self.settings.connections_max as u64, "connection");
                self.warn(name, "rejected", &format_args!("rejected a connection: {max} open, which is the limit"));
            }
        }
    }

    fn queued(&mut self, congestion: Congestion, now: Instant) {
        if self.congestion_logged.is_none_or(|last| last + CONGESTION_PERIOD <= now) {
            self.congestion_logged = Some(now);
            let Congestion { queued, in_flight, is_by_number } = congestion;
            let limit = if is_by_number { "--total-in-flight-max" } else { "--total-bytes-max" };
            tracing::warn!(
                "{} queued on one worker: its share of {limit} allows no more than the {} in flight",
                Count(queued as u64, "connection"),
                Count(in_flight as u64, "NOTIFY")
            );
        }
    }

    /// Logs a warning of this kind, unless there were too many.
    pub(crate) fn warn(&self, name: &Name, kind: &'static str, what: &dyn Display) {
        if self.log_limit.allows() {
            tell!(warn, name, kind, "{what}");
        }
    }

    /// Logs the end of a connection: at debug level if HAProxy closed it as it usually does, else as a warning.
    fn closed(&self, name: &Name, reason: CloseReason, was_refused: bool, stats: &Stats) {
        let Stats { frames_received, notifies, acks, .. } = *stats;
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
                self.warn(name, "disconnected", &format_args!("HAProxy closed the connection: {status}"));
            }
            // Logged when it was done.
            CloseReason::Local(LocalReason::NoMemory) => {}
            CloseReason::Local(LocalReason::SendTimeout) => {
                let time = Span(self.settings.connection.send_timeout);
                self.warn(name, "send_timeout", &format_args!("closed: the peer has read nothing for {time}"));
            }
            CloseReason::Local(reason) => tell!(debug, name, "closed: {}", local_reason(reason)),
            // Logged when it was decided.
            CloseReason::Error(error) if was_refused => tell!(debug, name, "refused: {error}"),
            CloseReason::Error(error) => match error.other_protocol() {
                Some(other) => {
                    let mistake = mistake(other);
                    let what = format_args!("received {other} instead of SPOP; the likely cause is {mistake}");
                    self.warn(name, "other_protocol", &what);
                }
                None => {
                    let status = error.status();
                    self.warn(name, "protocol_error", &format_args!("closed with {status}: {error}"));
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
        LocalReason::Evicted => "another connection was above the limit, and this one had sent no NOTIFY",
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
