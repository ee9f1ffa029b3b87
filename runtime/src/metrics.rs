//! Metrics, as Prometheus reads them.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::counters::{
    BUCKETS, Capability, Code, Counter, Counters, End, Fault, Gauge, Hello, Histogram, Label, SAMPLE, Tally,
};
use crate::pool::Pool;
use crate::settings::Settings;

/// Adds its own to the metrics of an agent; see [`Agent::metrics`](crate::Agent::metrics).
pub trait Source: Debug + Send + Sync + 'static {
    /// Writes families. Their names get the prefix `spoa_`, counters the suffix `_total`.
    ///
    /// # Errors
    /// Those of the writer.
    fn write(&self, families: &mut Families<'_>) -> fmt::Result;
}

/// Where families are written to, each with what it is and how it is measured. What they are of is read when it is written:
/// nobody counts twice, and nobody waits.
#[derive(Debug)]
pub struct Families<'e>(DescriptorEncoder<'e>);

/// Labels and a value.
type Sample<'l, const LABELS: usize, V> = ([(&'l str, String); LABELS], V);

impl Families<'_> {
    /// A count that only rises.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// Seconds that only rise.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn seconds(&mut self, name: &str, help: &str, value: Duration) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value.as_secs_f64(), None)
    }

    /// A value that rises and falls.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// Counts that only rise, apart by labels.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn counters<'l, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = Sample<'l, LABELS, u64>>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&Labels(labels))?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// Values that rise and fall, apart by labels; with a unit, which is a suffix of the name.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn gauges<'l, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl Iterator<Item = Sample<'l, LABELS, f64>>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&Labels(labels))?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn histograms(&mut self, name: &str, help: &str, of: &[(&'static str, Times)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (label, times) in of {
            let bounds = BUCKETS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(times.counts).collect();
            let (sum, count) = (times.nanos as f64 / 1e9, times.counts.iter().sum());
            let labels = [("answer", *label)];
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// Labels whose values are only known now.
#[derive(Debug)]
struct Labels<'l, const COUNT: usize>([(&'l str, String); COUNT]);

impl<const COUNT: usize> EncodeLabelSet for Labels<'_, COUNT> {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

/// A histogram of all workers.
struct Times {
    counts: [u64; BUCKETS.len() + 1],
    nanos: u64,
}

/// All metrics of an agent.
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Those of the agent itself, and of these.
    pub(crate) fn new(pool: Arc<Pool>, sources: Vec<Arc<dyn Source>>) -> Self {
        let mut registry = Registry::with_prefix("spoa");
        registry.register_collector(Box::new(Collector(pool)));
        for source in sources {
            registry.register_collector(Box::new(Collector(source)));
        }
        Self { registry }
    }

    /// All of them, as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[derive(Debug)]
struct Collector<S: ?Sized>(Arc<S>);

impl<S: Source + ?Sized> prometheus_client::collector::Collector for Collector<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(&mut Families(encoder))
    }
}

impl Source for Pool {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let all = self.counters();
        let sum = |of: fn(&Counters) -> &Counter| all.iter().map(|worker| of(worker).get()).sum::<u64>();

        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        families.gauges("build_info", "Which version it is.", None, [(version, 1.0)].into_iter())?;
        families.gauge("up", "1 while connections are accepted, 0 on the way out.", u64::from(self.is_ready()))?;
        families.gauge("workers", "Threads that serve connections.", self.workers() as u64)?;
        families.gauge("connections", "Connections that are served.", self.connections() as u64)?;
        write_limits(self.settings(), families)?;
        families.counter("connections_accepted", "Connections that were accepted.", sum(|of| &of.accepted))?;
        let help = "Connections above the limit, which are told so if they wait.";
        families.counter("connections_turned_away", help, sum(|of| &of.turned_away))?;
        let help = "Connections that were closed at once, far above the limit.";
        families.counter("connections_dropped", help, self.dropped())?;
        tally::<End>(families, "connections_ended", "Connections that ended, by how.", "reason", &all, |of| &of.ended)?;
        tally::<Hello>(families, "hellos", "HELLOs of HAProxy, by what became of them.", "kind", &all, |of| {
            &of.hellos
        })?;
        let help = "Connections that agreed on a capability.";
        tally::<Capability>(families, "capabilities", help, "capability", &all, |of| &of.capabilities)?;
        tally::<Fault>(families, "protocol_errors", "What peers did wrong, by kind.", "kind", &all, |of| &of.faults)?;

        families.counter("notifies", "NOTIFYs that came in full.", sum(|of| &of.notifies))?;
        let now = |of: fn(&Counters) -> &Gauge| all.iter().map(|worker| of(worker).get()).sum::<u64>();
        let help = "Connections that wait for NOTIFYs of others to be answered.";
        families.gauge("connections_on_hold", help, now(|of| &of.on_hold))?;
        let each = |of: fn(&Counters) -> &Gauge| {
            let workers = all.iter().enumerate();
            workers.map(move |(number, worker)| ([("worker", number.to_string())], of(worker).get() as f64))
        };
        let help = "NOTIFYs that wait for their answer.";
        families.gauges("notifies_in_flight", help, None, each(|of| &of.in_flight))?;
        let help = "Bytes that connections hold: parts of frames, copies of NOTIFYs in flight, what waits to be sent.";
        families.gauges("held", help, Some(&Unit::Bytes), each(|of| &of.held_bytes))?;
        let (in_place, deferred) = (sum(|of| &of.acks_in_place), sum(|of| &of.acks_deferred));
        let (unanswered, expired) = (sum(|of| &of.acks_unanswered), sum(|of| &of.acks_expired));
        let declined = sum(|of| &of.acks_declined);
        let help = "ACKs: answers given in place and deferred; and empty ones, for a handler that gave none (unanswered), gave \
                    it too late (expired), or for NOTIFYs on the way out (declined).";
        let kinds = [
            ("in_place", in_place),
            ("deferred", deferred),
            ("unanswered", unanswered),
            ("expired", expired),
            ("declined", declined),
        ];
        families.counters("acks", help, kinds.into_iter().map(|(kind, count)| ([("kind", kind.into())], count)))?;
        families.counter("acks_cut", "ACKs without their last actions, which did not fit.", sum(|of| &of.acks_cut))?;
        let aborted = [("agent", sum(|of| &of.aborted_by_agent)), ("haproxy", sum(|of| &of.aborted_by_haproxy))];
        let help = "NOTIFYs in fragments that one side gave up.";
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
        let help = format!(
            "How long answers took. Of those given in place one in {SAMPLE} is measured, of those deferred each."
        );
        let of = [("in_place", times(|of| &of.in_place)), ("deferred", times(|of| &of.deferred))];
        families.histograms("handler", &help, &of)?;
        let held = Duration::from_nanos(sum(|of| &of.held_nanos));
        let help = "How long connections had NOTIFYs that were not taken: as much as may be was in flight or unsent.";
        families.seconds("backpressure", help, held)?;

        let directions = |received, sent| {
            [("received", received), ("sent", sent)]
                .into_iter()
                .map(|(way, count)| ([("direction", way.to_owned())], count))
        };
        let frames = directions(sum(|of| &of.frames_received), sum(|of| &of.frames_sent));
        families.counters("frames", "Frames, by direction.", frames)?;
        let bytes = directions(sum(|of| &of.bytes_received), sum(|of| &of.bytes_sent));
        families.counters("bytes", "Bytes on sockets, by direction.", bytes)?;
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

/// Writes what is allowed, beside what is used of it.
fn write_limits(settings: &Settings, families: &mut Families<'_>) -> fmt::Result {
    let connection = &settings.connection;
    let help = "Connections that may be open; --connections-max.";
    families.gauge("connections_limit", help, settings.connections_max as u64)?;
    let of = |connection: usize, worker: usize| {
        let each = [("connection", connection), ("worker", worker)].into_iter();
        each.map(|(of, max)| ([("of", of.to_owned())], max as f64))
    };
    let help =
        "NOTIFYs that may wait for their answer; --in-flight-max, and a worker's share of --total-in-flight-max.";
    let in_flight = of(connection.in_flight_max, settings.worker_in_flight_max());
    families.gauges("notifies_in_flight_limit", help, None, in_flight)?;
    let help = "Bytes that may be held, by a connection with all that it may have, and by all of a worker: its share of --total-bytes-max.";
    let held = of(settings.connection_bytes_max(), settings.worker_bytes_max());
    families.gauges("held_limit", help, Some(&Unit::Bytes), held)?;
    let times = [
        ("hello", Some(connection.hello_timeout)),
        ("idle", connection.idle_timeout),
        ("ack", Some(connection.ack_timeout)),
        ("send", Some(connection.send_timeout)),
    ];
    let times = times.into_iter().filter_map(|(of, time)| Some(([("of", of.to_owned())], time?.as_secs_f64())));
    families.gauges(
        "timeout",
        "How long may be waited for what; idle only if it is limited.",
        Some(&Unit::Seconds),
        times,
    )
}

/// Writes what is counted apart, also what has not come to pass yet: a rate that begins is seen.
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
