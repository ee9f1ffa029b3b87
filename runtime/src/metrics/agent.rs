//! The metrics of an agent itself: a row for each family, and a loop that writes them.

use std::fmt;
use std::time::Duration;

use super::{Families, Source, Times, Unit};
use crate::counter::{Counter, Gauge};
use crate::counters::{BUCKETS, Capability, Code, Counters, End, Fault, Hello, Histogram, Label, SAMPLE, Tally};
use crate::pool::Pool;
use crate::settings::Settings;

/// A family of metrics.
struct Row {
    /// The name, without the prefix `spoa_` and the suffixes of units and counters.
    name: &'static str,
    help: &'static str,
    value: Value,
}

/// The place where the values of a family are read.
enum Value {
    /// A gauge of the pool.
    Gauge(fn(&Pool) -> u64),
    /// A counter of the pool.
    PoolCounter(fn(&Pool) -> u64),
    /// A counter of all workers.
    Counter(OfCounter),
    /// A counter of nanoseconds of all workers, written in seconds.
    Seconds(OfCounter),
    /// Counters of all workers: a label, and its value for each of them.
    Counters(&'static str, &'static [(&'static str, OfCounter)]),
    /// A tally of all workers: a label, and its values. Those that are 0 are written too: a rate that begins is then seen.
    Tally(&'static str, &'static [&'static str], OfTally),
    /// Tallies of all workers: a label, and its value for each of them; the label of the tally, and its values.
    Tallies(&'static str, &'static [(&'static str, OfTally)], &'static str, &'static [&'static str]),
    /// A gauge that is summed over all workers.
    Sum(OfGauge),
    /// A gauge of each worker.
    Each(Option<Unit>, OfGauge),
    /// Histograms of all workers, by the label `answer`.
    Histograms(&'static [(&'static str, OfHistogram)]),
    /// Settings, by the label `of`.
    Settings(Option<Unit>, fn(&Settings) -> Vec<(&'static str, f64)>),
}

type OfCounter = fn(&Counters) -> &Counter;
type OfGauge = fn(&Counters) -> &Gauge;
type OfTally = fn(&Counters) -> &Tally;
type OfHistogram = fn(&Counters) -> &Histogram;

const ROWS: [Row; 25] = [
    Row {
        name: "healthy",
        help: "1 while all threads respond, 0 otherwise; as /healthz.",
        value: Value::Gauge(|pool| u64::from(pool.hung_threads().is_empty())),
    },
    Row {
        name: "up",
        help: "1 until a stop begins, then 0; as /readyz.",
        value: Value::Gauge(|pool| u64::from(pool.is_ready())),
    },
    Row { name: "workers", help: "Threads that serve connections.", value: Value::Gauge(|pool| pool.workers() as u64) },
    Row {
        name: "connections",
        help: "Connections open and served.",
        value: Value::Gauge(|pool| pool.connections() as u64),
    },
    Row {
        name: "connections_limit",
        help: "The limit of open connections, --connections-max.",
        value: Value::Gauge(|pool| pool.settings().connections_max as u64),
    },
    Row {
        name: "notifies_in_flight_limit",
        help: "The limit of NOTIFYs in flight: of a connection, --in-flight-max, and of a worker, its share of \
               --total-in-flight-max.",
        value: Value::Settings(None, |settings| {
            let worker = settings.worker_in_flight_max();
            vec![("connection", settings.connection.in_flight_max as f64), ("worker", worker as f64)]
        }),
    },
    Row {
        name: "held_limit",
        help: "The limit of bytes held: of a connection with everything that it may hold, and of a worker, its share of \
               --total-bytes-max.",
        value: Value::Settings(Some(Unit::Bytes), |settings| {
            let (connection, worker) = (settings.connection_bytes_max(), settings.worker_bytes_max());
            vec![("connection", connection as f64), ("worker", worker as f64)]
        }),
    },
    Row {
        name: "timeout",
        help: "Timeouts of connections; idle only if one is set.",
        value: Value::Settings(Some(Unit::Seconds), |settings| {
            let config = &settings.connection;
            let seconds = |number: u64| Duration::from_nanos(number).as_secs_f64();
            let times = config.limits().filter_map(|limit| Some((limit.name.strip_suffix("_timeout")?, limit.value)));
            times.filter_map(|(name, time)| Some((name, seconds(time?)))).collect()
        }),
    },
    Row { name: "connections_accepted", help: "Connections accepted.", value: Value::Counter(|of| &of.accepted) },
    Row {
        name: "connections_turned_away",
        help: "Connections rejected with code 13 because --connections-max was reached.",
        value: Value::Counter(|of| &of.turned_away),
    },
    Row {
        name: "connections_dropped",
        help: "Connections closed without an answer because too many were being rejected already.",
        value: Value::PoolCounter(Pool::dropped),
    },
    Row {
        name: "connections_ended",
        help: "Connections that ended, by reason.",
        value: Value::Tally("reason", End::NAMES, |of| &of.ended),
    },
    Row {
        name: "hellos",
        help: "HELLOs received, by outcome.",
        value: Value::Tally("kind", Hello::NAMES, |of| &of.hellos),
    },
    Row {
        name: "capabilities",
        help: "Connections that agreed on a capability.",
        value: Value::Tally("capability", Capability::NAMES, |of| &of.capabilities),
    },
    Row {
        name: "protocol_errors",
        help: "Protocol errors of peers, by kind.",
        value: Value::Tally("kind", Fault::NAMES, |of| &of.faults),
    },
    Row {
        name: "connections_on_hold",
        help: "Connections queued because a limit of all connections together is reached.",
        value: Value::Sum(|of| &of.on_hold),
    },
    Row {
        name: "notifies_in_flight",
        help: "NOTIFYs in flight: received and not answered yet.",
        value: Value::Each(None, |of| &of.in_flight),
    },
    Row {
        name: "held",
        help: "Bytes that connections hold: parts of frames, copies of NOTIFYs in flight, unsent output.",
        value: Value::Each(Some(Unit::Bytes), |of| &of.held_bytes),
    },
    Row {
        name: "acks",
        help: "ACKs sent, by kind: with an immediate or a deferred answer (in_place, deferred), or empty because the handler \
               gave none (unanswered), gave it too late (expired), or the agent was draining (declined).",
        value: Value::Counters(
            "kind",
            &[
                ("in_place", |of| &of.acks_in_place),
                ("deferred", |of| &of.acks_deferred),
                ("unanswered", |of| &of.core.acks_unanswered),
                ("expired", |of| &of.core.acks_expired),
                ("declined", |of| &of.core.acks_declined),
            ],
        ),
    },
    Row {
        name: "notifies_aborted",
        help: "Fragmented NOTIFYs that one side cancelled.",
        value: Value::Counters(
            "by",
            &[("agent", |of| &of.core.aborted_by_agent), ("haproxy", |of| &of.core.aborted_by_haproxy)],
        ),
    },
    Row {
        name: "handler",
        help: "Time to an answer. One in 64 immediate answers is measured, and each deferred one.",
        value: Value::Histograms(&[("in_place", |of| &of.in_place), ("deferred", |of| &of.deferred)]),
    },
    Row {
        name: "backpressure",
        help: "Seconds that connections spent with NOTIFYs held back by a limit.",
        value: Value::Seconds(|of| &of.held_nanos),
    },
    Row {
        name: "frames",
        help: "Frames, by direction.",
        value: Value::Counters(
            "direction",
            &[("received", |of| &of.core.frames_received), ("sent", |of| &of.frames_sent)],
        ),
    },
    Row {
        name: "bytes",
        help: "Bytes received and sent, by direction.",
        value: Value::Counters("direction", &[("received", |of| &of.bytes_received), ("sent", |of| &of.bytes_sent)]),
    },
    Row {
        name: "disconnects",
        help: "DISCONNECTs, by direction and status code.",
        value: Value::Tallies(
            "direction",
            &[("received", |of| &of.disconnects_received), ("sent", |of| &of.disconnects_sent)],
            "status",
            Code::NAMES,
        ),
    },
];

macro_rules! core_rows {
    ($(#[doc = $doc:literal] $name:ident $metric:ident;)*) => {
        &[$(core_row!($metric $doc $name)),*]
    };
}

macro_rules! core_row {
    (metric $doc:literal $name:ident) => {
        Some(Row { name: stringify!($name), help: $doc.trim_ascii_start(), value: Value::Counter(|of| &of.core.$name) })
    };
    ($labelled_or_derived:ident $doc:literal $name:ident) => {
        None
    };
}

/// The counters of the core that are a family each.
const CORE_ROWS: &[Option<Row>] = spoa_core::connection_counters!(core_rows);

/// The help of `handler` names it, and the status page of `spoa` multiplies by it.
const _: () = assert!(SAMPLE == 64);

impl Source for Pool {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let workers = self.counters();
        ROWS.iter().chain(CORE_ROWS.iter().flatten()).try_for_each(|row| row.write(self, &workers, families))
    }
}

impl Row {
    fn write(&self, pool: &Pool, workers: &[&Counters], families: &mut Families<'_>) -> fmt::Result {
        let Self { name, help, value } = self;
        let sum = |of: &OfCounter| workers.iter().map(|worker| of(worker).get()).sum::<u64>();
        let tally = |of: &OfTally, at: usize| workers.iter().map(|worker| of(worker).at(at)).sum::<u64>();
        match value {
            Value::Gauge(of) => families.gauge(name, help, of(pool)),
            Value::PoolCounter(of) => families.counter(name, help, of(pool)),
            Value::Counter(of) => families.counter(name, help, sum(of)),
            Value::Seconds(of) => families.seconds(name, help, Duration::from_nanos(sum(of))),
            Value::Counters(label, all) => {
                let all = all.iter().map(|(text, of)| ([(*label, (*text).to_owned())], sum(of)));
                families.counters(name, help, all)
            }
            Value::Tally(label, texts, of) => {
                let all = texts.iter().enumerate().map(|(at, text)| ([(*label, (*text).to_owned())], tally(of, at)));
                families.counters(name, help, all)
            }
            Value::Tallies(label, all, inner, texts) => {
                let of_each = |(outer, of): &'static (&'static str, OfTally)| {
                    texts.iter().enumerate().map(move |(at, text)| {
                        ([(*label, (*outer).to_owned()), (*inner, (*text).to_owned())], tally(of, at))
                    })
                };
                families.counters(name, help, all.iter().flat_map(of_each))
            }
            Value::Sum(of) => families.gauge(name, help, workers.iter().map(|worker| of(worker).get()).sum()),
            Value::Each(unit, of) => {
                let all = workers.iter().enumerate();
                let all = all.map(|(number, worker)| ([("worker", number.to_string())], of(worker).get() as f64));
                families.gauges(name, help, *unit, all)
            }
            Value::Histograms(all) => {
                let all: Vec<_> = all.iter().map(|(text, of)| (*text, times(workers, *of))).collect();
                families.histograms(name, help, &all)
            }
            Value::Settings(unit, of) => {
                let all = of(pool.settings()).into_iter();
                families.gauges(name, help, *unit, all.map(|(text, value)| ([("of", text.to_owned())], value)))
            }
        }
    }
}

/// Returns the sum of a histogram of all workers.
fn times(workers: &[&Counters], of: OfHistogram) -> Times {
    let mut times = Times { counts: [0; BUCKETS.len() + 1], nanos: 0 };
    for (counts, nanos) in workers.iter().map(|worker| of(worker).get()) {
        times.counts.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
        times.nanos += nanos;
    }
    times
}

#[cfg(test)]
mod tests {
    macro_rules! labelled {
        ($(#[doc = $doc:literal] $name:ident $metric:ident;)*) => {
            [$((stringify!($metric), stringify!($name))),*]
        };
    }

    #[test]
    fn every_labelled_counter_of_the_core_is_in_a_family() {
        let rows = include_str!("agent.rs");
        for (kind, name) in spoa_core::connection_counters!(labelled) {
            let is_shown = rows.contains(&format!("&of.core.{name})"));
            assert!(kind != "labelled" || is_shown, "{name} is in no family");
        }
    }
}
