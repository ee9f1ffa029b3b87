//! Results as JUnit XML, which CI systems show.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Xml, TestCase, TestCaseStatus, TestSuite};

use super::Report;
use crate::conformance::{CaseResult, Status};

/// Returns the report as JUnit XML: a suite per section of SPOE.txt.
pub fn junit(report: &Report) -> String {
    let mut xml = Xml::new(format!("SPOP conformance of {}", report.agent));
    let mut sections: Vec<(&str, TestSuite)> = Vec::new();
    for result in &report.results {
        let (section, name) = result.id.split_once('/').unwrap_or(("", &result.id));
        let at = sections.iter().position(|(known, _)| *known == section).unwrap_or_else(|| {
            sections.push((section, TestSuite::new(format!("SPOE.txt {section}"))));
            sections.len() - 1
        });
        sections[at].1.add_test_case(case(name, section, result));
    }
    xml.add_test_suites(sections.into_iter().map(|(_, suite)| suite));
    // It fails only if the writer fails, and a string does not.
    xml.to_string().unwrap_or_default()
}

fn case(name: &str, section: &str, result: &CaseResult) -> TestCase {
    let [answer, end] = result.words();
    let mut status = match result.status {
        Status::Pass | Status::Tolerated => TestCaseStatus::success(),
        Status::Unsupported => TestCaseStatus::skipped(),
        Status::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    match result.status {
        Status::Fail => {
            status.set_message(format!("{answer}; then {end}"));
            status.set_description(format!("{} ({})", result.rule, result.source));
        }
        Status::Unsupported => {
            status.set_message(answer);
        }
        Status::Pass | Status::Tolerated => {}
    }
    let mut case = TestCase::new(name, status);
    case.set_classname(section).set_time(Duration::from_millis(result.millis));
    case
}
