//! Results of one or several agents as one HTML page without scripts and without other files.

use std::fmt::Write as _;

use super::{Report, table};
use crate::conformance::{CaseResult, Judged, Status, Verdict};

const STYLE: &str = include_str!("page.css");

/// Returns a page with a matrix of agents and cases, and below it what was sent in each case.
pub fn page(reports: &[Report]) -> String {
    let names: Vec<_> = reports.iter().map(|report| report.agent.as_str()).collect();
    let title = escaped(&format!("SPOP conformance of {}", names.join(", ")));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n"
    );
    // Writing to a string does not fail.
    let _ = write_agents(&mut page, reports);
    let _ = write_matrix(&mut page, reports);
    let _ = write_cases(&mut page, reports);
    page.push_str("</body></html>\n");
    page
}

type Written = Result<(), std::fmt::Error>;

fn write_agents(page: &mut String, reports: &[Report]) -> Written {
    page.push_str("<table><thead><tr><th>agent<th>command or address<th>announces");
    for status in Status::ALL {
        write!(page, "<th class=\"number\">{status}")?;
    }
    page.push_str("</thead><tbody>\n");
    for report in reports {
        let announced = announced(report);
        write!(
            page,
            "<tr><td>{}<td><code>{}</code><td>{}",
            escaped(&report.agent),
            escaped(&report.subject),
            escaped(&announced)
        )?;
        for status in Status::ALL {
            write!(page, "<td class=\"number\">{}", report.count(status))?;
        }
        page.push('\n');
    }
    page.push_str("</tbody></table>\n");
    Ok(())
}

fn announced(report: &Report) -> String {
    let Some(announced) = &report.announced else { return "nothing: no handshake".into() };
    let capabilities = match &announced.capabilities[..] {
        [] => "no capabilities".into(),
        capabilities => capabilities.join(", "),
    };
    format!("{} bytes, {capabilities}", announced.max_frame_size)
}

fn write_matrix(page: &mut String, reports: &[Report]) -> Written {
    page.push_str("<h2>Results</h2>\n<table class=\"matrix\"><thead><tr><th>case<th>level");
    for report in reports {
        write!(page, "<th>{}", escaped(&report.agent))?;
    }
    page.push_str("</thead><tbody>\n");
    for (id, level) in table::rows(reports) {
        write!(page, "<tr><td><a href=\"#{0}\">{0}</a><td>{level}", escaped(id))?;
        for report in reports {
            match report.results.iter().find(|result| result.id == id) {
                Some(result) => write!(page, "<td class=\"{0}\">{0}", result.status)?,
                None => page.push_str("<td>"),
            }
        }
        page.push('\n');
    }
    page.push_str("</tbody></table>\n");
    Ok(())
}

fn write_cases(page: &mut String, reports: &[Report]) -> Written {
    page.push_str(
        "<h2>Cases</h2>\n<p class=\"source\">A line of a conversation has the time in seconds, the number of the connection, \
         &gt; for HAProxy or &lt; for the agent, and the bytes of one read: pairs of hexadecimal digits, or text in quotes. \
         $1 stands for bytes that were shown before.</p>\n",
    );
    for (id, level) in table::rows(reports) {
        let of_case = |report: &'_ Report| report.results.iter().position(|result| result.id == id);
        let Some(first) = reports.iter().find_map(|report| Some(&report.results[of_case(report)?])) else { continue };
        let (rule, source) = (escaped(&first.rule), escaped(&first.source));
        write!(page, "<section id=\"{0}\"><h3>{0}</h3>\n<p>{rule}</p>\n", escaped(id))?;
        writeln!(page, "<p class=\"source\">{level} · {source}</p>")?;
        for report in reports {
            if let Some(at) = of_case(report) {
                write_result(page, &report.agent, &report.results[at])?;
            }
        }
        page.push_str("</section>\n");
    }
    Ok(())
}

fn write_result(page: &mut String, agent: &str, result: &CaseResult) -> Written {
    let status = result.status;
    writeln!(page, "<details><summary><span class=\"{status}\">{status}</span> {}</summary>", escaped(agent))?;
    page.push_str("<table><tbody>\n");
    if let Some(outcome) = &result.outcome {
        write_judged(page, "answer", &outcome.answer)?;
        write_judged(page, "end", &outcome.end)?;
    }
    if let Some(note) = &result.note {
        writeln!(page, "<tr><th>note<td>{}", escaped(note))?;
    }
    writeln!(page, "<tr><th>time<td>{} ms", result.millis)?;
    page.push_str("</tbody></table>\n");
    if !result.recording.is_empty() {
        writeln!(page, "<pre>{}</pre>", escaped(&result.recording))?;
    }
    page.push_str("</details>\n");
    Ok(())
}

fn write_judged(page: &mut String, what: &str, judged: &Judged) -> Written {
    write!(page, "<tr><th>{what}<td>{}", escaped(&judged.got))?;
    match &judged.verdict {
        Verdict::Good => page.push('\n'),
        Verdict::Tolerated(better) => writeln!(page, "<td class=\"tolerated\">better: {}", escaped(better))?,
        Verdict::Wrong(expected) => writeln!(page, "<td class=\"fail\">expected: {}", escaped(expected))?,
    }
    Ok(())
}

/// Escapes text for HTML, also within attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn a_page_shows_every_case_and_runs_no_text_of_an_agent() {
        let page = page(&[report("<script>alert(1)</script>"), report("other")]);
        assert!(!page.contains("<script"), "an agent's text is markup");
        for part in [
            "&lt;script&gt;alert(1)",
            "id=\"3.2.7/ack\"",
            "expected: ACK 1/1",
            "<td class=\"fail\">fail",
            "no capabilities",
        ] {
            assert!(page.contains(part), "expected {part} in the page");
        }
    }
}
