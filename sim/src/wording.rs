//! Words for what a check compares: events, payloads and deadlines.

use std::fmt::{self, Formatter, Write as _};

use spoa_core::table::Timer;
use spoa_core::{CloseReason, Connection, Instant, Negotiated};
use spoa_sim_checker::{Event, Reason};

use crate::script::Nanos;
use crate::text::Time;

/// The largest number of bytes of a payload that are shown.
const SHOWN_MAX: usize = 48;
/// The smallest number of printable bytes that are shown as text.
const TEXT_MIN: usize = 3;

/// The names of the capabilities, in the order of the checker.
const CAPABILITIES: [&str; 3] = ["pipelining", "fragmentation", "async"];

/// Displays an event.
pub(crate) struct EventWords<'e>(pub(crate) Option<&'e Event<&'e [u8]>>);

impl fmt::Display for EventWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("no event"),
            Some(Event::Ready { max_frame_size, capabilities, offered, engine_id }) => {
                write!(f, "ready with frames up to {max_frame_size} bytes, capabilities {}", List(capabilities))?;
                write!(f, " of those that HAProxy lists, {}", List(offered))?;
                engine_id.map_or(Ok(()), |id| write!(f, ", engine-id {}", Payload(id)))
            }
            Some(Event::Notify { ids: (stream, frame), index, payload }) => {
                write!(f, "NOTIFY number {index} with the ids {stream}/{frame} and the payload {}", Payload(payload))
            }
            Some(Event::Eof { in_flight, unprocessed }) => {
                let place = if *unprocessed { " inside a frame" } else { "" };
                let notifys = if *in_flight == 1 { "NOTIFY" } else { "NOTIFYs" };
                write!(f, "end of what HAProxy sends{place}, with {in_flight} {notifys} in flight")
            }
            Some(Event::Closed(reason)) => ReasonWords(*reason).fmt(f),
        }
    }
}

/// Displays the reason why the agent has closed a connection.
struct ReasonWords(Reason);

impl fmt::Display for ReasonWords {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reason::Error(status) => write!(f, "error of HAProxy, closed with status {status}"),
            Reason::Peer(status) => write!(f, "DISCONNECT of HAProxy with status {status}"),
            Reason::HealthCheck => f.write_str("health check was answered"),
            Reason::HealthCheckRefused => f.write_str("health check was refused"),
            Reason::ConnectionLimit => f.write_str("limit of connections, closed"),
            Reason::Requested => f.write_str("agent stops, closed"),
            Reason::NotifyMax => f.write_str("limit of NOTIFYs, closed"),
            Reason::Idle => f.write_str("idle timeout, closed"),
            Reason::SendTimeout => f.write_str("send timeout, closed"),
            Reason::NoMemory => f.write_str("shed to free memory"),
            Reason::Evicted => f.write_str("evicted for another connection"),
        }
    }
}

/// Displays capabilities.
struct List<'c>(&'c [bool; 3]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = CAPABILITIES.iter().zip(self.0).filter(|(_, has)| **has).map(|(name, _)| *name).collect();
        if names.is_empty() { f.write_str("none") } else { f.write_str(&names.join(",")) }
    }
}

/// Displays bytes: in hexadecimal, but text in quotes.
pub(crate) struct Payload<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Payload<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("of 0 bytes");
        }
        let shown = &self.0[..self.0.len().min(SHOWN_MAX)];
        let is_text = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        for part in shown.chunk_by(|one, other| is_text(one) == is_text(other)) {
            if part.len() >= TEXT_MIN && part.iter().all(is_text) {
                f.write_char('"')?;
                part.iter().try_for_each(|byte| f.write_char(char::from(*byte)))?;
                f.write_char('"')?;
            } else {
                part.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            }
        }
        match self.0.len() - shown.len() {
            0 => Ok(()),
            1 => f.write_str(" and 1 more byte"),
            more => write!(f, " and {more} more bytes"),
        }
    }
}

/// Displays the bytes of the four buffers of a connection.
pub(crate) struct BufferWords(pub(crate) [usize; 4]);

impl fmt::Display for BufferWords {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [received, unsent, in_flight, fragments] = self.0;
        write!(
            f,
            "{received} bytes received, {unsent} unsent, {in_flight} of NOTIFYs in flight, {fragments} of fragments"
        )
    }
}

/// Describes two deadlines that differ: their times, the name of the timer, and the difference.
pub(crate) fn deadlines(connection: &Connection, expected: Option<Nanos>) -> String {
    let actual = connection.poll_timeout().map(Instant::as_nanos);
    let name = Timer::ALL.into_iter().find(|timer| connection.deadline(*timer) == connection.poll_timeout());
    let name = name.map_or("a timer", timer_name);
    match (expected, actual) {
        (Some(expected), Some(actual)) => {
            let (early_or_late, difference) =
                if actual > expected { ("late", actual - expected) } else { ("early", expected - actual) };
            format!(
                "expected the next deadline at {}, got {name} at {}, which is {} too {early_or_late}",
                Time(expected),
                Time(actual),
                Time(difference)
            )
        }
        (None, Some(actual)) => format!("expected no deadline, got {name} at {}", Time(actual)),
        (Some(expected), None) => format!("expected a deadline at {}, got no deadline", Time(expected)),
        (None, None) => "the deadlines are equal".into(),
    }
}

/// Describes the next deadline of an endpoint that is later than that of its connections.
pub(crate) fn timers(expected: Nanos, actual: Option<Nanos>) -> String {
    let actual = actual.map_or("no deadline".into(), |actual| format!("the next deadline at {}", Time(actual)));
    format!("expected a deadline at {}, got {actual}", Time(expected))
}

const fn timer_name(timer: Timer) -> &'static str {
    match timer {
        Timer::Hello => "the time for the HELLO",
        Timer::Refusal => "the delay of a refusal",
        Timer::Answer => "the time for the answer to a NOTIFY",
        Timer::Send => "the time for HAProxy to read",
        Timer::Idle => "the idle timeout",
        Timer::Grace => "the grace period of a stop",
        Timer::Linger => "the time for HAProxy to close",
    }
}

/// Describes what was negotiated.
pub(crate) fn negotiated(ready: Option<Negotiated>) -> String {
    ready.map_or("no handshake".into(), |Negotiated { max_frame_size, capabilities, offered }| {
        format!("frames up to {max_frame_size} bytes, capabilities \"{capabilities}\" of \"{offered}\"")
    })
}

/// Describes the end of a connection of the core.
pub(crate) fn closed(reason: Option<CloseReason>) -> String {
    let event = reason.map(spoa_core::Event::Closed);
    let event = event.as_ref().map(|event| crate::compare::event(event, 0));
    EventWords(event.as_ref()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_described_in_words() {
        let notify =
            Event::Notify { ids: (13, 1), index: 5, payload: &b"\x0fcheck-client-ip\x01\x00\x06\xc0\x00\x02\x01"[..] };
        let words = |event: &Event<&[u8]>| EventWords(Some(event)).to_string();
        let expected = r#"NOTIFY number 5 with the ids 13/1 and the payload 0f"check-client-ip"010006c0000201"#;
        assert_eq!(words(&notify), expected);
        assert_eq!(words(&Event::Closed(Reason::NotifyMax)), "limit of NOTIFYs, closed");
        let long = [b'a'; 50];
        assert_eq!(Payload(&long).to_string(), format!("\"{}\" and 2 more bytes", "a".repeat(48)));
        assert_eq!(Payload(b"").to_string(), "of 0 bytes");
        let ready = Event::Ready {
            max_frame_size: 256,
            capabilities: [true, false, false],
            offered: [true, false, true],
            engine_id: None,
        };
        let expected =
            "ready with frames up to 256 bytes, capabilities pipelining of those that HAProxy lists, pipelining,async";
        assert_eq!(words(&ready), expected);
    }
}
