//! The places where a setup reads variables.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::config::Proxy;
use crate::limits::{COMPARED_MAX, READS_MAX};
use crate::rules::{Moment, Rule, Term, TermAcl, Test, variables};
use crate::setup::Setup;
use crate::source::Place;

/// A place where a variable is read.
pub(super) struct Read<'s> {
    /// The name with its scope: `txn.iprep.ip_score`.
    pub(super) name: String,
    pub(super) proxy: usize,
    pub(super) moment: Moment,
    /// The rule with its index among those of its proxy; `None` for an ACL that no rule uses, and for other lines.
    pub(super) rule: Option<(usize, &'s Rule)>,
    /// The test, if the variable is compared with something, and the term with it.
    pub(super) test: Option<(Rc<Test>, bool)>,
    pub(super) place: Place,
    /// The name of the ACL if no rule uses it.
    pub(super) unused_acl: Option<&'s str>,
}

/// Returns every place where a variable is read.
pub(super) fn all<'s>(setup: &Setup<'s>) -> Vec<Read<'s>> {
    let mut reads = Vec::new();
    for at in 0..setup.config.proxies.len() {
        let proxy = setup.proxy(at);
        for (number, rule) in proxy.rules.iter().enumerate() {
            of_rule(at, proxy, number, rule, &mut reads);
        }
        of_unused_acls(at, proxy, &mut reads);
        of_other_lines(at, proxy, &mut reads);
    }
    reads
}

fn of_rule<'s>(proxy_at: usize, proxy: &'s Proxy, number: usize, rule: &'s Rule, reads: &mut Vec<Read<'s>>) {
    let room = reads.len() + READS_MAX;
    let mut read = |name: &str, test: Option<(Rc<Test>, bool)>| {
        if reads.len() == room {
            return;
        }
        reads.push(Read {
            name: name.to_owned(),
            proxy: proxy_at,
            moment: rule.moment,
            rule: Some((number, rule)),
            test,
            place: rule.place.clone(),
            unused_acl: None,
        });
    };
    for word in &rule.words {
        variables(word).for_each(|name| read(name, None));
    }
    let mut known = BTreeSet::new();
    for Term { is_negated, acl } in rule.terms() {
        if let TermAcl::Named(name) = acl
            && !known.insert((name, *is_negated))
        {
            continue;
        }
        let tests: Vec<_> = match acl {
            TermAcl::Inline(test) => vec![Rc::clone(test)],
            TermAcl::Named(name) => {
                proxy.acls.get(name).into_iter().flatten().take(COMPARED_MAX).map(|acl| Rc::clone(&acl.test)).collect()
            }
        };
        for test in tests {
            test.variables.iter().for_each(|name| read(name, Some((Rc::clone(&test), *is_negated))));
        }
    }
}

fn of_unused_acls<'s>(proxy_at: usize, proxy: &'s Proxy, reads: &mut Vec<Read<'s>>) {
    // Lines that are no rules here may use an ACL too, such as `monitor fail if`.
    let others = proxy.lines.iter().filter(|line| line.word(0) != "acl").flat_map(|line| &line.words);
    let used: BTreeSet<_> = others.map(|word| word.trim_start_matches('!')).collect();
    for (name, acls) in proxy.acls.iter().filter(|(name, _)| !used.contains(name.as_str())) {
        for acl in acls {
            for variable in variables(&acl.test.expression) {
                reads.push(Read {
                    name: variable.to_owned(),
                    proxy: proxy_at,
                    moment: Moment::End,
                    rule: None,
                    test: None,
                    place: acl.place.clone(),
                    unused_acl: Some(name),
                });
            }
        }
    }
}

/// Adds reads of lines such as `stick on` and `balance hash`, whose moment does not matter.
fn of_other_lines(proxy_at: usize, proxy: &Proxy, reads: &mut Vec<Read<'_>>) {
    const RULES: [&str; 14] = [
        "acl",
        "tcp-request",
        "tcp-response",
        "http-request",
        "http-response",
        "http-after-response",
        "redirect",
        "use_backend",
        "default_backend",
        "use-server",
        "log-format",
        "log-format-sd",
        "error-log-format",
        "unique-id-format",
    ];
    for line in proxy.lines.iter().filter(|line| !RULES.contains(&line.word(0))) {
        for name in line.words.iter().flat_map(|word| variables(word)) {
            let (name, place) = (name.to_owned(), line.place.clone());
            reads.push(Read {
                name,
                proxy: proxy_at,
                moment: Moment::End,
                rule: None,
                test: None,
                place,
                unused_acl: None,
            });
        }
    }
}
