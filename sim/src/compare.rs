//! Compares a connection of the core with the checker.

use spoa_core::wire::Capabilities;
use spoa_core::{CloseReason, Connection, Event, Instant, LocalReason, Memory, Stats};
use spoa_sim_checker::{Counts, Event as Expected, Oracle, Reason};

use crate::wording::{self, BufferWords};

/// A difference: the name of the check, and a description.
pub(crate) type Difference = (&'static str, String);

/// Returns the first difference between the state of a connection and the checker. `dropped_actions` did not fit into the
/// ACKs that were sent on it.
pub(crate) fn state(connection: &Connection, oracle: &Oracle, dropped_actions: usize) -> Option<Difference> {
    let deadline = connection.poll_timeout().map(Instant::as_nanos);
    let (blocked, usage) = (connection.blocked(), connection.usage());
    let flags = [
        ("closed", "is_closed", connection.is_closed(), oracle.is_closed()),
        ("back-pressure", "wants_input", connection.wants_input(), oracle.wants_input()),
        ("finished", "is_send_finished", connection.is_send_finished(), oracle.is_send_finished()),
        ("admission", "needs_permit", blocked.needs_permit(), oracle.needs_permit()),
        ("stalled", "waits_for_peer", blocked.waits_for_peer(), oracle.waits_for_peer()),
        ("idle", "is_idle", connection.is_idle(), oracle.is_idle()),
        ("refusal", "refusal", connection.refusal().is_some(), oracle.is_refusing()),
    ];
    // Iterates by reference, because this runs after every step and moving the array costs more than comparing it.
    if let Some((check, name, actual, expected)) = flags.iter().find(|(.., actual, expected)| actual != expected) {
        return Some((check, format!("expected {name} to be {expected}, got {actual}")));
    }
    if deadline != oracle.deadline() {
        return Some(("deadline", wording::deadlines(connection, oracle.deadline())));
    }
    let numbers =
        [("", usage.in_flight, oracle.in_flight()), ("bytes ", usage.in_flight_bytes, oracle.in_flight_bytes())];
    if let Some((unit, actual, expected)) = numbers.iter().find(|(_, actual, expected)| actual != expected) {
        return Some(("in-flight", format!("expected {expected} {unit}in flight, got {actual}")));
    }
    if dropped_actions != oracle.dropped_actions() {
        let detail = format!("expected {} actions that do not fit, got {dropped_actions}", oracle.dropped_actions());
        return Some(("dropped", detail));
    }
    let (memory, most) = (by_buffer(usage.memory), oracle.memory_max());
    if memory.iter().zip(most).any(|(memory, most)| *memory > most) {
        return Some(("memory", format!("expected at most {}, got {}", BufferWords(most), BufferWords(memory))));
    }
    let stats = connection.stats();
    counts_difference(&counts(stats), oracle.counts()).map(|detail| ("stats", detail))
}

/// Returns the memory for input, output, NOTIFYs in flight and fragments, in bytes.
pub(crate) const fn by_buffer(memory: Memory) -> [usize; 4] {
    let Memory { recv, send, in_flight, reassembly } = memory;
    [recv, send, in_flight, reassembly]
}

macro_rules! counts {
    ($(#[doc = $doc:literal] $name:ident $metric:ident;)*) => {
        /// Returns the counters of the core as those of the checker: each needs a counterpart, or this does not compile.
        const fn counts(stats: Stats) -> Counts {
            Counts { $($name: stats.$name,)* }
        }

        /// Describes the first counter that differs.
        fn counts_difference(actual: &Counts, expected: &Counts) -> Option<String> {
            $(if actual.$name != expected.$name {
                let name = stringify!($name).replace('_', " ");
                return Some(format!("expected {} as the counter of {name}, got {}", expected.$name, actual.$name));
            })*
            None
        }
    };
}
spoa_core::connection_counters!(counts);

/// The capabilities, in the order of the checker.
const CAPABILITIES: [Capabilities; 3] = [Capabilities::PIPELINING, Capabilities::FRAGMENTATION, Capabilities::ASYNC];

/// Converts an event of the core to the type of the checker. `delivered` NOTIFYs were handed out before it.
pub(crate) fn event<'e>(event: &Event<'e>, delivered: u64) -> Expected<&'e [u8]> {
    match event {
        Event::Ready { negotiated, engine_id } => Expected::Ready {
            max_frame_size: negotiated.max_frame_size,
            engine_id: *engine_id,
            capabilities: CAPABILITIES.map(|one| negotiated.capabilities.contains(one)),
            offered: CAPABILITIES.map(|one| negotiated.offered.contains(one)),
        },
        Event::Notify(notify) => Expected::Notify {
            ids: (notify.stream_id().0, notify.frame_id().0),
            index: delivered,
            payload: notify.payload(),
        },
        &Event::Closed(CloseReason::Eof { in_flight, unprocessed }) => Expected::Eof { in_flight, unprocessed },
        Event::Closed(reason) => Expected::Closed(match reason {
            CloseReason::HealthCheck => Reason::HealthCheck,
            CloseReason::Peer(status) => Reason::Peer(status.0),
            CloseReason::Error(error) => Reason::Error(error.status().0),
            CloseReason::Eof { .. } => unreachable!("it is converted above"),
            CloseReason::Local(reason) => match reason {
                LocalReason::Requested => Reason::Requested,
                LocalReason::ConnectionLimit => Reason::ConnectionLimit,
                LocalReason::HealthCheckRefused => Reason::HealthCheckRefused,
                LocalReason::NotifyMax => Reason::NotifyMax,
                LocalReason::Idle => Reason::Idle,
                LocalReason::SendTimeout => Reason::SendTimeout,
                LocalReason::NoMemory => Reason::NoMemory,
                LocalReason::Evicted => Reason::Evicted,
            },
        }),
    }
}
