//! Results of a run as JSON, JUnit XML, a table and one HTML page.

mod html;
mod junit;
mod table;

use serde::{Deserialize, Serialize};

pub use html::page;
pub use junit::junit;
pub use table::{Difference, matrix, result_lines, summary};

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
    /// What the agent announces; `None` if it has not completed a handshake.
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
