//! Metrics, as Prometheus reads them.

mod agent;
mod process;
mod text;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{self, Registry};

use crate::counters::BUCKETS;
use crate::page::Page;
use crate::pool::Pool;

pub(crate) use text::TextFormat;

/// The unit of a metric, which is a suffix of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `_seconds`
    Seconds,
    /// `_bytes`
    Bytes,
}

impl From<Unit> for registry::Unit {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Seconds => Self::Seconds,
            Unit::Bytes => Self::Bytes,
        }
    }
}

/// Metrics that an agent serves together with its own; see [`Agent::metrics`](crate::Agent::metrics).
pub trait Source: Debug + Send + Sync + 'static {
    /// Writes families. All names get the prefix `spoa_`, and names of counters also get the suffix `_total`.
    ///
    /// # Errors
    /// The writer returns an error.
    fn write(&self, families: &mut Families<'_>) -> fmt::Result;
}

/// Receives families of metrics. Values are read while they are written, so nothing is counted twice and no thread waits.
#[derive(Debug)]
pub struct Families<'e>(DescriptorEncoder<'e>);

/// Labels and a value.
type Sample<'l, const LABELS: usize, V> = ([(&'l str, String); LABELS], V);

impl Families<'_> {
    /// Writes a counter.
    ///
    /// # Errors
    /// The writer returns an error.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// Writes a counter of seconds.
    ///
    /// # Errors
    /// The writer returns an error.
    pub fn seconds(&mut self, name: &str, help: &str, value: Duration) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&registry::Unit::Seconds), MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value.as_secs_f64(), None)
    }

    /// Writes a gauge.
    ///
    /// # Errors
    /// The writer returns an error.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// Writes a gauge with a unit.
    ///
    /// # Errors
    /// The writer returns an error.
    pub fn measure(&mut self, name: &str, help: &str, unit: Option<Unit>, value: f64) -> fmt::Result {
        let unit = unit.map(registry::Unit::from);
        self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&value)
    }

    /// Writes a counter for each set of labels.
    ///
    /// # Errors
    /// The writer returns an error.
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

    /// Writes a gauge for each set of labels.
    ///
    /// # Errors
    /// The writer returns an error.
    pub fn gauges<'l, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl Iterator<Item = Sample<'l, LABELS, f64>>,
    ) -> fmt::Result {
        let unit = unit.map(registry::Unit::from);
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&Labels(labels))?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Writes a histogram: the upper bound and the count of each bucket, the last with [`f64::INFINITY`], and the sum of all values.
    ///
    /// # Errors
    /// The writer returns an error.
    pub fn histogram(&mut self, name: &str, help: &str, buckets: &[(f64, u64)], sum: f64) -> fmt::Result {
        let count = buckets.iter().map(|(_, count)| count).sum();
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }

    fn histograms(&mut self, name: &str, help: &str, of: &[(&'static str, Times)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, Some(&registry::Unit::Seconds), MetricType::Histogram)?;
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

/// Labels whose values are not constant.
#[derive(Debug)]
struct Labels<'l, const COUNT: usize>([(&'l str, String); COUNT]);

impl<const COUNT: usize> EncodeLabelSet for Labels<'_, COUNT> {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

/// A histogram over all workers.
struct Times {
    counts: [u64; BUCKETS.len() + 1],
    nanos: u64,
}

/// The metrics and pages of an application, and the version of its program.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// The metrics.
    pub(crate) own: Vec<Arc<dyn Source>>,
    /// The pages, with their paths.
    pub(crate) pages: Vec<(&'static str, Arc<dyn Page>)>,
    /// The version and the commit of the program.
    pub(crate) build: (String, String),
}

impl Default for Sources {
    fn default() -> Self {
        Self { own: Vec::new(), pages: Vec::new(), build: (env!("CARGO_PKG_VERSION").into(), "unknown".into()) }
    }
}

#[derive(Debug)]
struct Build(String, String);

impl Source for Build {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let Self(version, commit) = self;
        let help = "1, with the version and the commit that the agent was built from.";
        let build = [("version", version.clone()), ("commit", commit.clone())];
        families.gauges("build_info", help, None, [(build, 1.0)].into_iter())
    }
}

/// All metrics of an agent.
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Returns the metrics of the agent, of its process, and of `sources`.
    pub(crate) fn new(pool: Arc<Pool>, sources: Sources) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Collector(Arc::new(process::Process::default()))));
        let own = registry.sub_registry_with_prefix("spoa");
        let (version, commit) = sources.build;
        own.register_collector(Box::new(Collector(Arc::new(Build(version, commit)))));
        own.register_collector(Box::new(Collector(pool)));
        for source in sources.own {
            own.register_collector(Box::new(Collector(source)));
        }
        Self { registry }
    }

    /// Returns all of them as text.
    pub(crate) fn text(&self, format: TextFormat) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        format.of(text)
    }
}

#[derive(Debug)]
struct Collector<S: ?Sized>(Arc<S>);

impl<S: Source + ?Sized> prometheus_client::collector::Collector for Collector<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(&mut Families(encoder))
    }
}
