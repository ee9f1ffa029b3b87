//! The two text formats of metrics, and the choice between them.

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// The format of Prometheus, version 0.0.4: for people, `promtool` and old scrapers.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl TextFormat {
    /// Returns the format that a request prefers, by its Accept headers (RFC 9110 section 12.5.1). OpenMetrics has to be
    /// named in them.
    pub(crate) fn accepted<'h>(headers: impl Iterator<Item = &'h str>) -> Self {
        let (mut openmetrics, mut plain, mut wildcard) = (0.0, None, 0.0_f64);
        for range in headers.flat_map(|header| header.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok()).unwrap_or(1.0);
            match kind.as_str() {
                "application/openmetrics-text" => openmetrics = quality.max(openmetrics),
                "text/plain" => plain = Some(quality.max(plain.unwrap_or(0.0))),
                "text/*" | "*/*" => wildcard = wildcard.max(quality),
                _ => {}
            }
        }
        if openmetrics > 0.0 && openmetrics >= plain.unwrap_or(wildcard) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Returns the value of the Content-Type header.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Converts text of the OpenMetrics format. That of Prometheus names counters with their suffix `_total` in comments,
    /// and has neither units nor an end mark.
    pub(super) fn of(self, openmetrics: String) -> String {
        if self == Self::OpenMetrics {
            return openmetrics;
        }
        let mut text = String::with_capacity(openmetrics.len());
        let mut help = None;
        for line in openmetrics.lines() {
            let comment = line.strip_prefix("# ").and_then(|comment| comment.split_once(' '));
            match comment {
                // It comes before the type, which says what the family is called here.
                Some(("HELP", rest)) => help = rest.split_once(' '),
                Some(("TYPE", rest)) => {
                    let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
                    let suffix = if kind == "counter" { "_total" } else { "" };
                    if let Some((_, help)) = help.take() {
                        text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
                    }
                    text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
                }
                Some(("UNIT", _)) => {}
                _ if line == "# EOF" => {}
                _ => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_chooses() {
        use TextFormat::{OpenMetrics, Prometheus};
        let scraper = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                       text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let plain_first = "text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.8";
        for (headers, wanted) in [
            (&[][..], Prometheus),
            (&["*/*"], Prometheus),
            (&["text/plain;version=0.0.4"], Prometheus),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], Prometheus),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["application/openmetrics-text; version=1.0.0; q=0.5", "*/*;q=0.1"], OpenMetrics),
            (&[scraper], OpenMetrics),
            (&[plain_first], Prometheus),
            (&["application/openmetrics-text;q=0, */*"], Prometheus),
            (&["application/openmetrics-text;q=x, ;;,"], OpenMetrics),
        ] {
            assert_eq!(TextFormat::accepted(headers.iter().copied()), wanted, "{headers:?}");
        }
    }

    #[test]
    fn the_text_of_prometheus_names_counters_in_full() {
        let openmetrics = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1\n\
                           # HELP b Size # x.\n# TYPE b gauge\nb{c=\"# HELP d\"} 2\n# EOF\n";
        let wanted = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\na_seconds_total 1\n\
                      # HELP b Size # x.\n# TYPE b gauge\nb{c=\"# HELP d\"} 2\n";
        assert_eq!(TextFormat::Prometheus.of(openmetrics.into()), wanted);
        assert_eq!(TextFormat::OpenMetrics.of(openmetrics.into()), openmetrics);
    }
}
