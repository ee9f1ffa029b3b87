//! The metrics of an agent itself.

use std::fmt;
use std::time::Duration;

use super::{Families, Source, Times, Unit};
use crate::counters::{
    BUCKETS, Capability, Code, Counter, Counters, End, Fault, Gauge, Hello, Histogram, Label, SAMPLE, Tally,
};
use crate::pool::Pool;
use crate::settings::Settings;

impl Source for Pool {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let all = self.counters();
        let sum = |of: fn(&Counters) -> &Counter| all.iter().map(|worker| of(worker).get()).sum::<u64>();

        let help = "1 while all threads respond, 0 otherwise; as /healthz.";
        families.gauge("healthy", help, u64::from(self.hung_threads().is_empty()))?;
        families.gauge("up", "1 until a stop begins, then 0; as /readyz.", u64::from(self.is_ready()))?;
        families.gauge("workers", "Threads that serve connections.", self.workers() as u64)?;
        families.gauge("connections", "Connections open and served.", self.connections() as u64)?;
        write_limits(self.settings(), families)?;
        families.counter("connections_accepted", "Connections accepted.", sum(|of| &of.accepted))?;
        let help = "Connections rejected with code 13 because --connections-max was reached.";
        families.counter("connections_turned_away", help, sum(|of| &of.turned_away))?;
        let help = "Connections closed without an answer because too many were being rejected already.";
        families.counter("connections_dropped", help, self.dropped())?;
        tally::<End>(families, "connections_ended", "Connections that ended, by reason.", "reason", &all, |of| {
            &of.ended
        })?;
        tally::<Hello>(families, "hellos", "HELLOs received, by outcome.", "kind", &all, |of| &of.hellos)?;
        let help = "Connections that agreed on a capability.";
        tally::<Capability>(families, "capabilities", help, "capability", &all, |of| &of.capabilities)?;
        tally::<Fault>(families, "protocol_errors", "Protocol errors of peers, by kind.", "kind", &all, |of| {
            &of.faults
        })?;

        families.counter("notifies", "NOTIFYs received in full.", sum(|of| &of.notifies))?;
        let now = |of: fn(&Counters) -> &Gauge| all.iter().map(|worker| of(worker).get()).sum::<u64>();
        let help = "Connections queued because a limit of all connections together is reached.";
        families.gauge("connections_on_hold", help, now(|of| &of.on_hold))?;
        let each = |of: fn(&Counters) -> &Gauge| {
            let workers = all.iter().enumerate();
            workers.map(move |(number, worker)| ([("worker", number.to_string())], of(worker).get() as f64))
        };
        let help = "NOTIFYs in flight: received and not answered yet.";
        families.gauges("notifies_in_flight", help, None, each(|of| &of.in_flight))?;
        let help = "Bytes that connections hold: parts of frames, copies of NOTIFYs in flight, unsent output.";
        families.gauges("held", help, Some(Unit::Bytes), each(|of| &of.held_bytes))?;
        let (in_place, deferred) = (sum(|of| &of.acks_in_place), sum(|of| &of.acks_deferred));
        let (unanswered, expired) = (sum(|of| &of.acks_unanswered), sum(|of| &of.acks_expired));
        let declined = sum(|of| &of.acks_declined);
        let help = "ACKs sent, by kind: with an immediate or a deferred answer (in_place, deferred), or empty because the handler \
                    gave none (unanswered), gave it too late (expired), or the agent was draining (declined).";
        let kinds = [
            ("in_place", in_place),
            ("deferred", deferred),
            ("unanswered", unanswered),
            ("expired", expired),
            ("declined", declined),
        ];
        families.counters("acks", help, kinds.into_iter().map(|(kind, count)| ([("kind", kind.into())], count)))?;
        families.counter(
            "acks_cut",
            "ACKs without their last actions, because the frame would have been too large.",
            sum(|of| &of.acks_cut),
        )?;
        let aborted = [("agent", sum(|of| &of.aborted_by_agent)), ("haproxy", sum(|of| &of.aborted_by_haproxy))];
        let help = "Fragmented NOTIFYs that one side cancelled.";
        families.counters(
            "notifies_aborted",
            help,
            aborted.into_iter().map(|(by, count)| ([("by", by.into())], count)),
        )?;
        let times = |of: fn(&Counters) -> &Histogram| {
            let mut times = Times { counts: [0; BUCKETS.len() + 1], nanos: 0 };
            for (counts, nanos) in all.iter().map(|worker| of(worker).get()) {
                times.counts.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
                times.nanos += nanos;
            }
            times
        };
        let help = format!("Time to an answer. One in {SAMPLE} immediate answers is measured, and each deferred one.");
        let of = [("in_place", times(|of| &of.in_place)), ("deferred", times(|of| &of.deferred))];
        families.histograms("handler", &help, &of)?;
        let held = Duration::from_nanos(sum(|of| &of.held_nanos));
        let help = "Seconds that connections spent with NOTIFYs held back by a limit.";
        families.seconds("backpressure", help, held)?;

        let directions = |received, sent| {
            [("received", received), ("sent", sent)]
                .into_iter()
                .map(|(way, count)| ([("direction", way.to_owned())], count))
        };
        let frames = directions(sum(|of| &of.frames_received), sum(|of| &of.frames_sent));
        families.counters("frames", "Frames, by direction.", frames)?;
        let bytes = directions(sum(|of| &of.bytes_received), sum(|of| &of.bytes_sent));
        families.counters("bytes", "Bytes received and sent, by direction.", bytes)?;
        let codes = |way: &'static str, of: fn(&Counters) -> &Tally| {
            let all = &all;
            let sum = move |code: Code| all.iter().map(|worker| of(worker).get(code)).sum::<u64>();
            Code::ALL
                .iter()
                .map(move |(code, name)| ([("direction", way.to_owned()), ("status", (*name).to_owned())], sum(*code)))
        };
        let codes = codes("received", |of| &of.disconnects_received).chain(codes("sent", |of| &of.disconnects_sent));
        families.counters("disconnects", "DISCONNECTs, by direction and status code.", codes)
    }
}

/// Writes the limits.
fn write_limits(settings: &Settings, families: &mut Families<'_>) -> fmt::Result {
    let connection = &settings.connection;
    let help = "The limit of open connections, --connections-max.";
    families.gauge("connections_limit", help, settings.connections_max as u64)?;
    let of = |connection: usize, worker: usize| {
        let each = [("connection", connection), ("worker", worker)].into_iter();
        each.map(|(of, max)| ([("of", of.to_owned())], max as f64))
    };
    let help = "The limit of NOTIFYs in flight: of a connection, --in-flight-max, and of a worker, its share of --total-in-flight-max.";
    let in_flight = of(connection.in_flight_max, settings.worker_in_flight_max());
    families.gauges("notifies_in_flight_limit", help, None, in_flight)?;
    let help = "The limit of bytes held: of a connection with everything that it may hold, and of a worker, its share of --total-bytes-max.";
    let held = of(settings.connection_bytes_max(), settings.worker_bytes_max());
    families.gauges("held_limit", help, Some(Unit::Bytes), held)?;
    let times = [
        ("hello", Some(connection.hello_timeout)),
        ("idle", connection.idle_timeout),
        ("ack", Some(connection.ack_timeout)),
        ("send", Some(connection.send_timeout)),
    ];
    let times = times.into_iter().filter_map(|(of, time)| Some(([("of", of.to_owned())], time?.as_secs_f64())));
    families.gauges("timeout", "Timeouts of connections; idle only if one is set.", Some(Unit::Seconds), times)
}

/// Writes a count for each label, also those that are 0: a rate that begins is then seen.
fn tally<L: Label>(
    families: &mut Families<'_>,
    name: &str,
    help: &str,
    label: &str,
    workers: &[&Counters],
    of: fn(&Counters) -> &Tally,
) -> fmt::Result {
    let sum = |kind: L| workers.iter().map(|worker| of(worker).get(kind)).sum();
    families.counters(name, help, L::ALL.iter().map(|(kind, text)| ([(label, (*text).to_owned())], sum(*kind))))
}
