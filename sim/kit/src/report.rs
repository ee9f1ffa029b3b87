//! Results of a run as JSON, JUnit XML, a table and one HTML page.

mod html;
mod junit;
mod table;

use serde::{Deserialize, Serialize};

pub use html::page;
pub use junit::junit;
pub use table::{matrix, result_lines, summary};

use crate::conformance::{Announced, CaseResult, Status};

/// The results of a run against one agent. Its JSON can be read again, to compare several agents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of this format: 1.
    pub format: u32,
    /// The name of the agent.
    pub agent: String,
    /// The command or the address of the agent.
    pub subject: String,
    /// The content of its AGENT-HELLO; `None` if it has not completed a handshake.
    pub announced: Option<Announced>,
    /// The results, in the order in which the cases ran.
    pub results: Vec<CaseResult>,
}

/// The version of the format of reports.
pub const FORMAT: u32 = 1;

impl Report {
    /// Reads a report from JSON.
    ///
    /// # Errors
    /// If the text is no report, or one of another version.
    pub fn parse(text: &str) -> Result<Self, String> {
        let report: Self = serde_json::from_str(text).map_err(|error| format!("not a report: {error}"))?;
        if report.format == FORMAT {
            Ok(report)
        } else {
            Err(format!("a report of version {}, expected {FORMAT}", report.format))
        }
    }

    /// Writes the report as JSON.
    pub fn to_json(&self) -> String {
        // Serializing fails only for maps whose keys are no strings.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Returns the number of results with this status.
    pub fn count(&self, status: Status) -> usize {
        self.results.iter().filter(|result| result.status == status).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Judged, Level, Outcome};

    /// Returns a report with a result of each kind.
    pub(super) fn report(agent: &str) -> Report {
        let result = |id: &str, status, outcome, note: Option<&str>| CaseResult {
            id: id.into(),
            level: Level::Must,
            rule: "A rule.".into(),
            source: "SPOE.txt".into(),
            status,
            outcome,
            note: note.map(str::to_owned),
            millis: 3,
            recording: "spop-recording 1\n".into(),
        };
        let outcome = |answer| Some(Outcome { answer, end: Judged::good("open") });
        let results = vec![
            result("3.2.4/hello", Status::Pass, outcome(Judged::good("AGENT-HELLO")), None),
            result("3.2.4/no-hello", Status::Tolerated, outcome(Judged::tolerated("RST", "FIN")), None),
            result("3.2.6/fragments", Status::Unsupported, None, Some("the agent does not announce fragmentation")),
            result("3.2.7/ack", Status::Fail, outcome(Judged::wrong("nothing", "ACK 1/1")), Some("it ended")),
        ];
        let announced = Some(Announced { max_frame_size: 16380, capabilities: Vec::new() });
        Report { format: FORMAT, agent: agent.into(), subject: "a & b".into(), announced, results }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let text = report("agent").to_json();
        let read = Report::parse(&text).expect("a report");
        assert_eq!((read.to_json(), read.count(Status::Fail)), (text.clone(), 1));
        let error = Report::parse(&text.replace("\"format\": 1", "\"format\": 2")).expect_err("another version");
        assert_eq!(error, "a report of version 2, expected 1");
        assert!(Report::parse("{}").expect_err("no report").starts_with("not a report"));
    }

    #[test]
    fn junit_has_a_suite_per_section_and_a_case_per_case() {
        let xml = junit(&report("agent"));
        for part in [
            "tests=\"4\" failures=\"1\"",
            "<testsuite name=\"SPOE.txt 3.2.4\" tests=\"2\"",
            "<skipped message=\"the agent does not announce fragmentation\"",
            "<failure message=\"expected ACK 1/1, got nothing; then open; it ended\"",
        ] {
            assert!(xml.contains(part), "expected {part} in {xml}");
        }
    }

    #[test]
    fn a_matrix_has_a_row_per_case_and_a_column_per_agent() {
        let text = matrix(&[report("a|b"), report("other")]);
        assert!(text.starts_with("| case | level | a\\|b | other |\n|---|---|---|---|\n"), "{text}");
        assert!(text.contains("| `3.2.7/ack` | must | **✗** | **✗** |"), "{text}");
        assert!(text.ends_with("| 1, 1, 1, 1 | 1, 1, 1, 1 |\n"), "{text}");
    }

    #[test]
    fn the_lines_of_a_failure_say_what_was_expected() {
        let report = report("agent");
        let lines = result_lines(&report.results[3]);
        assert!(lines.contains("must: A rule.") && lines.contains("expected answer: ACK 1/1"), "{lines}");
        assert_eq!(summary(&report), "agent: 1 pass, 1 tolerated, 1 unsupported, 1 fail");
    }
}
