//! Rules of proxies, their conditions, and the variables that they read.

use std::rc::Rc;

use crate::limits::COMPARED_MAX;
use crate::source::{Line, Place, ProxyKind};

/// The moment at which rules run and events occur, in their order within one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    ConnectionRules,
    SessionRules,
    OnClientSession,
    OnFrontendTcpRequest,
    FrontendContentRules,
    OnFrontendHttpRequest,
    FrontendRequestRules,
    UseBackend,
    OnBackendTcpRequest,
    BackendContentRules,
    OnBackendHttpRequest,
    BackendRequestRules,
    UseServer,
    OnServerSession,
    OnTcpResponse,
    ResponseContentRules,
    OnHttpResponse,
    ResponseRules,
    /// The log, and headers that are added at the end.
    End,
}

impl Moment {
    /// Returns the moment of an event in an SPOE file.
    pub(crate) fn of_event(name: &str) -> Option<Self> {
        Some(match name {
            "on-client-session" => Self::OnClientSession,
            "on-frontend-tcp-request" => Self::OnFrontendTcpRequest,
            "on-frontend-http-request" => Self::OnFrontendHttpRequest,
            "on-backend-tcp-request" => Self::OnBackendTcpRequest,
            "on-backend-http-request" => Self::OnBackendHttpRequest,
            "on-server-session" => Self::OnServerSession,
            "on-tcp-response" => Self::OnTcpResponse,
            "on-http-response" => Self::OnHttpResponse,
            _ => return None,
        })
    }

    fn of_rule(line: &Line, kind: ProxyKind) -> Option<Self> {
        let is_backend = kind == ProxyKind::Backend;
        let of = |frontend, backend| Some(if is_backend { backend } else { frontend });
        match (line.word(0), line.word(1)) {
            ("tcp-request", "connection") => Some(Self::ConnectionRules),
            ("tcp-request", "session") => Some(Self::SessionRules),
            ("tcp-request", "content") => of(Self::FrontendContentRules, Self::BackendContentRules),
            ("http-request", _) | ("redirect", _) => of(Self::FrontendRequestRules, Self::BackendRequestRules),
            ("use_backend" | "default_backend", _) => Some(Self::UseBackend),
            ("use-server", _) => Some(Self::UseServer),
            ("tcp-response", _) => Some(Self::ResponseContentRules),
            ("http-response", _) => Some(Self::ResponseRules),
            ("http-after-response" | "log-format" | "log-format-sd" | "error-log-format" | "unique-id-format", _) => {
                Some(Self::End)
            }
            _ => None,
        }
    }
}

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) moment: Moment,
    /// `deny`, `set-var(txn.x)`, `send-spoe-group` and so on; empty for `use_backend`.
    pub(crate) action: String,
    /// The words of the action, without the condition.
    pub(crate) words: Vec<String>,
    /// It is an `unless` rule.
    pub(crate) is_unless: bool,
    /// Alternatives, of each of which all terms have to hold; empty without a condition.
    pub(crate) condition: Vec<Vec<Term>>,
    pub(crate) place: Place,
}

/// A term of a condition.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) is_negated: bool,
    pub(crate) acl: TermAcl,
}

/// The ACL of a term.
#[derive(Clone, Debug)]
pub(crate) enum TermAcl {
    /// The name of an `acl` line.
    Named(String),
    /// Written in braces.
    Inline(Rc<Test>),
}

/// A test: a sample expression, and what it is compared with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Test {
    /// The sample expression, such as `var(txn.x),lower`.
    pub(crate) expression: String,
    /// The method after `-m`; empty if there is none.
    pub(crate) method: String,
    /// The words after the flags: an operator and values.
    pub(crate) patterns: Vec<String>,
    /// The first variables that it reads.
    pub(crate) variables: Vec<String>,
    /// Case does not matter.
    pub(crate) is_caseless: bool,
    /// Values are in a file.
    pub(crate) has_file: bool,
}

impl Test {
    /// Reads `EXPRESSION [-m METHOD] [FLAGS] [OPERATOR] VALUE ...`.
    pub(crate) fn of(words: &[String]) -> Self {
        let mut rest = words.iter();
        let expression = rest.next().cloned().unwrap_or_default();
        let mut test = Self { expression, ..Self::default() };
        while let Some(word) = rest.next() {
            let is_flag = test.patterns.is_empty() && word.len() == 2 && word.starts_with('-');
            match word.as_str() {
                "-m" if is_flag => test.method = rest.next().cloned().unwrap_or_default(),
                "-f" | "-M" if is_flag => {
                    test.has_file = true;
                    rest.next();
                }
                "-u" if is_flag => _ = rest.next(),
                "-i" if is_flag => test.is_caseless = true,
                "--" => test.patterns.extend(rest.by_ref().cloned()),
                flag if is_flag && !flag.ends_with(|char: char| char.is_ascii_digit()) => {}
                _ => test.patterns.push(word.clone()),
            }
        }
        let texts = [&test.expression].into_iter().chain(&test.patterns);
        let read = texts.flat_map(|text| variables(text)).take(COMPARED_MAX).map(str::to_owned);
        test.variables = read.collect();
        test
    }

    /// Returns the name of the variable if the expression is nothing else: `txn.x`.
    pub(crate) fn variable(&self) -> Option<&str> {
        let inner = self.expression.strip_prefix("var(")?;
        let inner = inner.strip_suffix(')')?;
        (!inner.contains([')', ','])).then_some(inner)
    }
}

impl Rule {
    pub(crate) fn of(line: &Line, kind: ProxyKind) -> Option<Self> {
        let moment = Moment::of_rule(line, kind)?;
        let words = &line.words;
        let start = words.iter().position(|word| word == "if" || word == "unless").unwrap_or(words.len());
        let action_at = match line.word(0) {
            "tcp-request" | "tcp-response" if line.word(1) != "inspect-delay" => 2,
            "use_backend" | "default_backend" | "use-server" => words.len(),
            _ => 1,
        };
        Some(Self {
            moment,
            action: line.word(action_at).to_owned(),
            words: words[..start].to_vec(),
            is_unless: words.get(start).is_some_and(|word| word == "unless"),
            condition: condition(words.get(start + 1..).unwrap_or_default()),
            place: line.place.clone(),
        })
    }

    /// Returns the engine and the group of a `send-spoe-group` rule.
    pub(crate) fn sent_group(&self) -> Option<(&str, &str)> {
        let at = self.words.iter().position(|word| word == "send-spoe-group")?;
        Some((self.words.get(at + 1)?, self.words.get(at + 2)?))
    }

    /// Returns the name of the variable that the rule sets: `txn.x`.
    pub(crate) fn set_variable(&self) -> Option<&str> {
        let inner = self.action.strip_prefix("set-var(").or_else(|| self.action.strip_prefix("set-var-fmt("))?;
        inner.split([',', ')']).next()
    }

    /// True if the condition is about the protocol of the client alone, or there is none.
    pub(crate) fn is_about_protocol(&self) -> bool {
        const PROTOCOLS: [&str; 6] = ["HTTP", "HTTP_1.0", "HTTP_1.1", "HTTP_2.0", "RDP_COOKIE", "REQ_CONTENT"];
        self.terms().all(|term| match &term.acl {
            TermAcl::Named(name) => PROTOCOLS.contains(&name.as_str()),
            TermAcl::Inline(test) => test.expression.starts_with("req.ssl") || test.expression.starts_with("req_ssl"),
        })
    }

    /// Returns the terms of its condition.
    pub(crate) fn terms(&self) -> impl Iterator<Item = &Term> {
        self.condition.iter().flatten()
    }
}

/// Reads the words after `if` or `unless`.
pub(crate) fn condition(words: &[String]) -> Vec<Vec<Term>> {
    let (mut alternatives, mut words) = (vec![Vec::new()], words.iter());
    while let Some(word) = words.next() {
        if matches!(word.as_str(), "or" | "||") {
            alternatives.push(Vec::new());
            continue;
        }
        let name = word.trim_start_matches('!');
        let mut is_negated = (word.len() - name.len()) % 2 == 1;
        let mut name = name;
        if name.is_empty() {
            // A `!` before the name, with a space.
            match words.next() {
                Some(next) => name = next,
                None => break,
            }
            if let Some(rest) = name.strip_prefix('!') {
                (name, is_negated) = (rest, !is_negated);
            }
        }
        let acl = if name == "{" {
            let inner: Vec<_> = words.by_ref().take_while(|word| *word != "}").cloned().collect();
            TermAcl::Inline(Rc::new(Test::of(&inner)))
        } else {
            TermAcl::Named(name.to_owned())
        };
        if let Some(all) = alternatives.last_mut() {
            all.push(Term { is_negated, acl });
        }
    }
    alternatives.retain(|terms| !terms.is_empty());
    alternatives
}

/// Returns the names of variables that a text reads by `var(NAME)`.
pub(crate) fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("var(").filter_map(|(at, _)| {
        let before = text[..at].chars().next_back();
        // Not `set-var(`.
        let is_read = before.is_none_or(|char| !char.is_ascii_alphanumeric() && !matches!(char, '-' | '_'));
        let name = text[at + 4..].split([',', ')']).next()?;
        is_read.then_some(name.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn tests_have_an_expression_a_method_and_patterns() {
        for (text, expression, method, patterns) in [
            ("var(txn.a) -m int lt 20", "var(txn.a)", "int", "lt 20"),
            ("var(txn.a) -m found", "var(txn.a)", "found", ""),
            ("var(txn.a),lower -i -m str x y", "var(txn.a),lower", "str", "x y"),
            ("src -f /etc/list 192.0.2.1", "src", "", "192.0.2.1"),
            ("var(txn.a) -m int -- -1", "var(txn.a)", "int", "-1"),
            ("var(txn.a) -m int -1", "var(txn.a)", "int", "-1"),
            ("", "", "", ""),
        ] {
            let test = Test::of(&words(text));
            assert_eq!((&*test.expression, &*test.method, &*test.patterns.join(" ")), (expression, method, patterns));
        }
        assert_eq!(Test::of(&words("var(txn.a)")).variable(), Some("txn.a"));
        assert_eq!(Test::of(&words("var(txn.a),lower")).variable(), None);
    }

    #[test]
    fn conditions_are_alternatives_of_terms() {
        let shape = |text: &str| -> Vec<Vec<String>> {
            let term = |term: &Term| {
                let name = match &term.acl {
                    TermAcl::Named(name) => name.clone(),
                    TermAcl::Inline(test) => format!("{{{}}}", test.expression),
                };
                format!("{}{name}", if term.is_negated { "!" } else { "" })
            };
            condition(&words(text)).iter().map(|terms| terms.iter().map(term).collect()).collect()
        };
        assert_eq!(
            shape("a !b or { src 1 } !{ var(txn.x) -m bool } || ! c"),
            [vec!["a", "!b"], vec!["{src}", "!{var(txn.x)}"], vec!["!c"]]
        );
        assert_eq!(shape("{ src"), [["{src}"]]);
        assert!(shape("").is_empty() && shape("or").is_empty() && shape("!").is_empty());
    }

    #[test]
    fn variables_are_read_and_not_set() {
        let found = |text| variables(text).collect::<Vec<_>>();
        assert_eq!(found("%[var(txn.a)] !{var(sess.b,5)} set-var(txn.c) unset-var(txn.d)"), ["txn.a", "sess.b"]);
        assert_eq!(found("var("), [""]);
    }
}
