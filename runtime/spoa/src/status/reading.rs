//! One reading of the agent's metrics and engines, and those before it, from which rates are computed.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spoa_runtime::{Engine, PageRequest};

/// One reading. It is taken from the text of `/metrics`, so that nothing is counted twice.
#[derive(Debug)]
pub(crate) struct Reading {
    families: BTreeMap<String, Vec<Sample>>,
    pub(super) engines: Vec<Engine>,
    at: Instant,
    pub(super) time: SystemTime,
}

/// A value with its labels.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

impl Sample {
    /// Returns the value of a label; empty if it has none of this name.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn fits(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, value)| self.label(name) == *value)
    }
}

impl Reading {
    pub(super) fn take(request: &PageRequest<'_>) -> Self {
        Self::new(&request.metrics(), request.engines())
    }

    /// Returns the reading with the metrics in `text`, in the text format of Prometheus.
    pub(crate) fn new(text: &str, engines: Vec<Engine>) -> Self {
        let mut families = BTreeMap::<String, Vec<Sample>>::new();
        for (name, sample) in text.lines().filter_map(sample) {
            match families.get_mut(name) {
                Some(samples) => samples.push(sample),
                None => _ = families.insert(name.to_owned(), vec![sample]),
            }
        }
        Self { families, engines, at: Instant::now(), time: SystemTime::now() }
    }

    pub(super) fn has(&self, family: &str) -> bool {
        self.families.contains_key(family)
    }

    pub(crate) fn all(&self, family: &str) -> &[Sample] {
        self.families.get(family).map_or(&[], Vec::as_slice)
    }

    /// Returns the sum of the values that have these labels.
    pub(crate) fn sum(&self, family: &str, wanted: &[(&str, &str)]) -> f64 {
        self.all(family).iter().filter(|sample| sample.fits(wanted)).map(|sample| sample.value).sum()
    }

    /// Returns the values by two labels, of which the second may be empty.
    pub(super) fn by(&self, family: &str, labels: [&str; 2]) -> BTreeMap<[&str; 2], f64> {
        self.all(family).iter().map(|sample| (labels.map(|label| sample.label(label)), sample.value)).collect()
    }

    /// Returns the number of seconds since the start of the agent.
    pub(crate) fn uptime(&self) -> f64 {
        self.age(self.sum("process_start_time_seconds", &[]))
    }

    /// Returns the number of seconds since a time in seconds since 1970.
    pub(super) fn age(&self, time: f64) -> f64 {
        self.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() - time
    }
}

/// Reads a line of the text format: the name of the family, and a sample.
fn sample(line: &str) -> Option<(&str, Sample)> {
    if line.starts_with('#') {
        return None;
    }
    let (head, value) = line.rsplit_once(' ')?;
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? };
    let (name, labels) = match head.split_once('{') {
        Some((name, labels)) => (name, labels_of(labels)?),
        None => (head, Vec::new()),
    };
    Some((name, Sample { labels, value }))
}

/// Reads `a="b",c="d"}`.
fn labels_of(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while text != "}" {
        let (name, rest) = text.trim_start_matches(',').split_once("=\"")?;
        let (value, rest) = quoted(rest)?;
        labels.push((name.to_owned(), value));
        text = rest;
    }
    Some(labels)
}

/// Reads a value up to its closing quote. Returns it, and the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.chars());
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                char => value.push(char),
            },
            char => value.push(char),
        }
    }
}

/// The time over which rates are computed.
const SPAN: Duration = Duration::from_secs(30);

/// The least time between two readings that are kept, and over which rates are computed.
const STEP: Duration = Duration::from_secs(1);

/// The last readings, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Readings(VecDeque<Reading>);

impl Readings {
    /// Returns what `show` makes of this reading and the one before it, which is [`SPAN`] old if somebody has asked so long ago.
    /// After a pause it is older.
    pub(super) fn show<T>(&mut self, now: Reading, show: impl FnOnce(&Reading, Option<Rise<'_>>) -> T) -> T {
        while self.0.len() > 1 && self.0.front().is_some_and(|oldest| now.at - oldest.at > SPAN) {
            self.0.pop_front();
        }
        let before = self.0.front().filter(|before| now.at - before.at >= STEP);
        let shown = show(&now, before.map(|before| Rise { now: &now, before }));
        if self.0.back().is_none_or(|last| now.at - last.at >= STEP) {
            self.0.push_back(now.without_lists());
        }
        shown
    }
}

impl Reading {
    /// Drops the families with a value for each list, because nothing asks for their rates and there may be thousands.
    fn without_lists(mut self) -> Self {
        self.families.retain(|name, _| !name.starts_with("spoa_list_"));
        self
    }
}

/// Two readings, and what rose between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rise<'r> {
    pub(super) now: &'r Reading,
    pub(super) before: &'r Reading,
}

impl Rise<'_> {
    /// Returns the time between both in seconds.
    pub(super) fn seconds(self) -> f64 {
        (self.now.at - self.before.at).as_secs_f64()
    }

    /// Returns the rise of the counters with these labels.
    pub(super) fn of(self, family: &str, wanted: &[(&str, &str)]) -> f64 {
        self.now.sum(family, wanted) - self.before.sum(family, wanted)
    }

    /// Returns the rise per second of the counters with these labels.
    pub(super) fn rate(self, family: &str, wanted: &[(&str, &str)]) -> f64 {
        self.of(family, wanted) / self.seconds()
    }

    /// Returns the NOTIFYs per second of an engine; `None` if it was not shown before and is not new.
    pub(super) fn engine_rate(self, engine: &Engine) -> Option<f64> {
        let is_same = |other: &&Engine| (&other.id, &other.peer) == (&engine.id, &engine.peer);
        let before = match self.before.engines.iter().find(is_same) {
            Some(before) => before.notifies,
            None if engine.first_seen >= self.before.time => 0,
            None => return None,
        };
        Some(engine.notifies.saturating_sub(before) as f64 / self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use spoa_runtime::Versions;

    use super::*;

    const TEXT: &str = concat!(
        "# HELP a_total Help with {braces} and a \"quote\".\n# TYPE a_total counter\n",
        "a_total{list=\"x\",mode=\"enforced\"} 3\n",
        "a_total{list=\"a \\\"b\\\\ {}=,\\n\",mode=\"shadow\"} 4.5\n",
        "b 7\nb_bucket{le=\"+Inf\"} 2\nc +Inf\nnot a sample\n{\n\nd{x=\"y} 1\n",
    );

    #[test]
    fn values_are_found_by_family_and_labels() {
        let reading = Reading::new(TEXT, Vec::new());
        assert_eq!(reading.sum("a_total", &[]), 7.5);
        assert_eq!(reading.sum("a_total", &[("mode", "shadow")]), 4.5);
        assert_eq!(reading.sum("a_total", &[("mode", "shadow"), ("list", "x")]), 0.0);
        assert_eq!(reading.all("a_total")[1].label("list"), "a \"b\\ {}=,\n");
        assert_eq!(reading.by("a_total", ["list", "mode"])[&["x", "enforced"]], 3.0);
        assert_eq!((reading.sum("b", &[]), reading.sum("c", &[])), (7.0, f64::INFINITY));
        assert_eq!(reading.all("b_bucket")[0].label("le"), "+Inf");
        assert!(reading.has("b") && !reading.has("d"));
    }

    #[test]
    fn an_engine_has_a_rate_if_it_was_shown_before_or_is_new() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let engine = |id: &str, notifies, first_seen| Engine {
            id: Some(id.into()),
            peer: "192.0.2.1".into(),
            versions: Versions::Since3_1,
            connections: 1,
            notifies,
            first_seen: at(first_seen),
            last_change: at(first_seen),
        };
        let read = |engines, second| {
            let mut reading = Reading::new("", engines);
            reading.time = at(second);
            reading
        };
        let (mut now, before) = (read(Vec::new(), 110), read(vec![engine("shown", 100, 1)], 100));
        now.at = before.at + Duration::from_secs(10);
        let rise = Rise { now: &now, before: &before };
        let rates = [engine("shown", 150, 1), engine("new", 20, 105), engine("forgotten", 1_000_000, 1)];
        assert_eq!(rates.map(|engine| rise.engine_rate(&engine)), [Some(5.0), Some(2.0), None]);
    }

    #[test]
    fn rates_are_those_since_the_reading_30_seconds_ago() {
        let mut readings = Readings::default();
        let start = Instant::now();
        let mut read = |second: u64, count: u64| {
            let mut now = Reading::new(&format!("n {count}\nspoa_list_x 1\n"), Vec::new());
            now.at = start + Duration::from_secs(second);
            readings.show(now, |now, rise| {
                assert!(now.has("spoa_list_x"));
                rise.map(|rise| (rise.seconds(), rise.rate("n", &[])))
            })
        };
        assert_eq!(read(0, 5), None);
        assert_eq!(read(2, 9), Some((2.0, 2.0)));
        assert_eq!(read(30, 65), Some((30.0, 2.0)));
        assert_eq!(read(32, 95), Some((30.0, (95.0 - 9.0) / 30.0)));
        // After a pause, the last reading serves.
        assert_eq!(read(132, 295), Some((100.0, 2.0)));
        assert_eq!(read(133, 295), Some((1.0, 0.0)));
    }
}
