//! Checks of addresses in headers: a client must not be able to leave them out, or to write them itself.

use super::addresses::{header, is_no_address, judged};
use super::values::refuses;
use crate::catalogue::{
    FORWARDED_FIRST_VALUE, FORWARDED_HOPS_UNCHECKED, FORWARDED_LAST_LINE_ONLY, FORWARDED_MORE_LINES,
    HEADER_MAY_BE_ABSENT, Kind, SESSION_SCOPE_OF_HEADER_ADDRESS,
};
use crate::config::Proxy;
use crate::finding::Finding;
use crate::rules::{Rule, TermAcl, Test};
use crate::setup::{Deployed, Sent, Setup};
use crate::spoe::{Argument, Event, Message};
use spoa_reputation::MessageRule;
use spoa_runtime::Scope;
use spoa_runtime::text::Count;

/// The addresses of a message that are in headers.
struct Headers<'h> {
    proxy: &'h Proxy,
    message: &'h Message,
    /// Each argument, with the name of its header and the number of the value or line.
    all: Vec<(&'h Argument, &'h str, Option<i64>)>,
}

pub(super) fn check(
    setup: &Setup<'_>,
    deployed: &Deployed<'_>,
    sent: &Sent<'_>,
    rule: &MessageRule,
    findings: &mut Vec<Finding>,
) {
    let message = sent.message;
    let Ok(judged) = judged(message, rule) else { return };
    let of_header = |argument| header(argument).map(|(name, number)| (argument, name, number));
    let all: Vec<_> = judged.into_iter().filter(|argument| !is_no_address(argument)).filter_map(of_header).collect();
    if all.is_empty() {
        return;
    }
    let headers = Headers { proxy: setup.proxy(sent.proxy), message, all };
    headers.absent(deployed, findings);
    headers.values(findings);
    headers.lines(findings);
    let is_kept = rule.scope() == Scope::Session && message.event.as_ref().is_some_and(Event::reads_a_variable);
    if let Some(event) = message.event.as_ref().filter(|_| is_kept) {
        findings.push(Finding::new(&SESSION_SCOPE_OF_HEADER_ADDRESS, &event.place, &[]));
    }
}

fn is_forwarded(name: &str) -> bool {
    name.eq_ignore_ascii_case("x-forwarded-for")
}

impl Headers<'_> {
    /// True if a rule refuses requests by a test like this one.
    fn is_refused_by(&self, holds: impl Fn(&Test) -> bool) -> bool {
        let tests = |rule: &Rule| {
            rule.terms().any(|term| match &term.acl {
                TermAcl::Inline(test) => holds(test),
                TermAcl::Named(name) => {
                    self.proxy.acls.get(name).is_some_and(|acls| acls.iter().any(|acl| holds(&acl.test)))
                }
            })
        };
        self.proxy.rules.iter().any(|rule| refuses(rule) && tests(rule))
    }

    /// True if a rule refuses requests by the number of values or lines of a header.
    fn is_counted(&self, fetch: &str) -> bool {
        self.is_refused_by(|test| test.expression.contains(fetch))
    }

    fn found(&self, kind: &'static Kind, values: &[(&str, &str)]) -> Finding {
        Finding::new(kind, &self.message.arguments_at, values)
    }

    /// Requests without the header.
    fn absent(&self, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
        let (_, name, _) = self.all[0];
        // The client's own address may be in another message.
        let mut arguments = deployed.engine.messages.iter().flat_map(|message| &message.arguments);
        let has_source = arguments.any(|argument| argument.fetch() == "src");
        let is_refused = || {
            self.is_counted("hdr_cnt(")
                || self.is_refused_by(|test| test.expression == "src")
                || self.is_refused_by(|test| test.method == "found" && test.expression.starts_with("req."))
        };
        if !has_source && !is_refused() {
            findings.push(self.found(&HEADER_MAY_BE_ABSENT, &[("header", name)]));
        }
    }

    /// Values of a header to which proxies add addresses at the end.
    fn values(&self, findings: &mut Vec<Finding>) {
        let of_values = self.all.iter().filter(|(argument, _, _)| argument.fetch().ends_with("hdr_ip"));
        for (_, name, number) in of_values.clone() {
            if *number == Some(1) && is_forwarded(name) {
                findings.push(self.found(&FORWARDED_FIRST_VALUE, &[]));
            }
        }
        let hops = of_values.filter_map(|(_, name, number)| Some((number.and_then(i64::checked_neg)?, *name)));
        if let Some((hops, name)) = hops.max().filter(|(hops, _)| *hops > 1 && !self.is_counted("hdr_cnt(")) {
            findings.push(self.found(&FORWARDED_HOPS_UNCHECKED, &[("header", name), ("count", &hops.to_string())]));
        }
    }

    /// Checks arguments that read one line of a header, because a client may send several.
    fn lines(&self, findings: &mut Vec<Finding>) {
        let of_lines = self.all.iter().filter(|(argument, _, _)| argument.fetch().ends_with("fhdr"));
        if of_lines.clone().next().is_none() || self.is_counted("fhdr_cnt(") {
            return;
        }
        for (argument, _, _) in of_lines.clone().filter(|(_, name, number)| number.is_none() && is_forwarded(name)) {
            findings.push(self.found(&FORWARDED_LAST_LINE_ONLY, &[("expression", &argument.expression)]));
        }
        let last = of_lines.filter_map(|(_, name, number)| Some((u64::try_from((*number)?).ok()?, *name))).max();
        if let Some((number, name)) = last.filter(|(number, _)| *number > 0) {
            let values =
                [("header", name), ("count", &*Count(number, "line").to_string()), ("number", &number.to_string())];
            findings.push(self.found(&FORWARDED_MORE_LINES, &values));
        }
    }
}
