//! HAProxy's configuration: the proxies, with the lines that they inherit.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::limits::INHERITED_MAX;
use crate::rules::{Moment, Rule, Test};
use crate::source::{Line, Place, ProxyKind, Section, SourceFile, sections};
use crate::version::Version;
use crate::words::{Environment, is_known};

/// HAProxy's configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) global: Vec<Rc<Line>>,
    pub(crate) proxies: Vec<Proxy>,
    /// Indices of backends by name.
    backends: BTreeMap<String, usize>,
}

/// A frontend, a backend, or both.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) kind: ProxyKind,
    pub(crate) name: String,
    pub(crate) place: Place,
    /// The lines that are inherited from `defaults`, followed by its own.
    pub(crate) lines: Vec<Rc<Line>>,
    pub(crate) filters: Vec<Filter>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) acls: BTreeMap<String, Vec<Acl>>,
    /// It is in HTTP mode; `None` if the mode depends on something unknown.
    pub(crate) is_http: Option<bool>,
    /// The index of the first `tcp-request content accept` rule that depends on the protocol alone.
    pub(crate) accepting: Option<usize>,
}

/// A `filter spoe` line.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) engine: String,
    pub(crate) file: SpoeFile,
    pub(crate) place: Place,
}

/// An SPOE file, as filters name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SpoeFile {
    pub(crate) name: String,
    /// The folder of the configuration file with the filter: names may be relative to it.
    folder: String,
}

/// An `acl` line.
#[derive(Debug)]
pub(crate) struct Acl {
    pub(crate) test: Rc<Test>,
    pub(crate) place: Place,
}

impl Config {
    pub(crate) fn read(files: &[SourceFile], environment: &mut Environment<'_>, version: Version) -> Self {
        let (mut global, mut proxies) = (Vec::new(), Vec::new());
        let mut defaults = BTreeMap::<String, Rc<[Rc<Line>]>>::new();
        let (mut last, mut inherited_count) = (Rc::<[Rc<Line>]>::from([]), 0);
        for section in files.iter().flat_map(|file| sections(file, environment, version)) {
            let kind = match section.head.word(0) {
                "global" => {
                    global.extend(section.lines);
                    continue;
                }
                "defaults" => {
                    let inherited = section.head.after("from").and_then(|name| defaults.get(name));
                    let lines = inherited.map_or(&[][..], |lines| lines);
                    inherited_count += lines.len();
                    let lines = if inherited_count > INHERITED_MAX { &[] } else { lines };
                    last = lines.iter().cloned().chain(section.lines).collect();
                    defaults.insert(section.head.word(1).to_owned(), Rc::clone(&last));
                    continue;
                }
                word => match ProxyKind::of(word) {
                    Some(kind) => kind,
                    None => continue,
                },
            };
            let inherited = section.head.after("from").map_or(Some(&last), |name| defaults.get(name));
            let inherited = inherited.map_or(&[][..], |lines| lines);
            inherited_count += inherited.len();
            proxies.push(Proxy::new(kind, section, if inherited_count > INHERITED_MAX { &[] } else { inherited }));
        }
        let mut backends = BTreeMap::new();
        for (at, proxy) in proxies.iter().enumerate().filter(|(_, proxy)| proxy.kind != ProxyKind::Frontend) {
            backends.entry(proxy.name.clone()).or_insert(at);
        }
        Self { global, proxies, backends }
    }

    /// Returns the index of the backend of this name.
    pub(crate) fn backend(&self, name: &str) -> Option<usize> {
        self.backends.get(name).copied()
    }

    /// Returns the names of backends that a proxy leads to; `None` if one depends on the request.
    pub(crate) fn targets<'c>(&'c self, proxy: &'c Proxy) -> Option<Vec<&'c str>> {
        let lines = proxy.lines.iter().filter(|line| matches!(line.word(0), "use_backend" | "default_backend"));
        lines.map(|line| Some(line.word(1)).filter(|name| is_known(name) && !name.contains("%["))).collect()
    }

    /// True if the program loads something that may read variables anywhere.
    pub(crate) fn has_lua(&self) -> bool {
        self.global.iter().any(|line| line.word(0).starts_with("lua-"))
    }
}

impl Proxy {
    fn new(kind: ProxyKind, section: Section, inherited: &[Rc<Line>]) -> Self {
        let name = section.head.word(1).to_owned();
        let lines: Vec<_> = inherited.iter().cloned().chain(section.lines).collect();
        let filter = |line: &Rc<Line>| {
            let is_spoe = line.word(0) == "filter" && line.word(1) == "spoe";
            let words = || (line.after("engine").unwrap_or_default(), line.after("config").unwrap_or_default());
            is_spoe.then(words).map(|(engine, file)| Filter {
                engine: engine.to_owned(),
                file: SpoeFile {
                    name: file.to_owned(),
                    folder: line.place.file.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned(),
                },
                place: line.place.clone(),
            })
        };
        let filters = lines.iter().filter_map(filter).collect();
        let mut acls = BTreeMap::<String, Vec<Acl>>::new();
        for line in lines.iter().filter(|line| line.word(0) == "acl" && line.words.len() > 2) {
            let acl = Acl { test: Rc::new(Test::of(&line.words[2..])), place: line.place.clone() };
            acls.entry(line.word(1).to_owned()).or_default().push(acl);
        }
        let rules: Vec<_> = lines.iter().filter_map(|line| Rule::of(line, kind)).collect();
        let accepts = |rule: &Rule| {
            rule.moment == Moment::FrontendContentRules && rule.action == "accept" && rule.is_about_protocol()
        };
        let mode = lines.iter().rev().find(|line| line.word(0) == "mode").map(|line| line.word(1));
        Self {
            kind,
            name,
            place: section.head.place,
            filters,
            accepting: rules.iter().position(accepts),
            rules,
            acls,
            is_http: mode.map_or(Some(false), |mode| is_known(mode).then_some(mode == "http")),
            lines,
        }
    }

    /// True if a line is in its own section and not inherited from `defaults`.
    pub(crate) fn has_own(&self, place: &Place) -> bool {
        place.file == self.place.file && place.line > self.place.line
    }

    /// Returns the last line with this first word, or with these first two.
    pub(crate) fn last(&self, keyword: &str) -> Option<&Rc<Line>> {
        let (first, second) = keyword.split_once(' ').map_or((keyword, None), |(first, second)| (first, Some(second)));
        let is_it = |line: &&Rc<Line>| line.word(0) == first && second.is_none_or(|second| line.word(1) == second);
        self.lines.iter().rev().find(is_it)
    }

    /// Returns the line that turns an option on, unless a later one turns it off.
    pub(crate) fn option(&self, name: &str) -> Option<&Rc<Line>> {
        let is_it = |line: &&Rc<Line>| {
            line.word(0) == "option" && line.word(1) == name
                || line.word(0) == "no" && line.word(1) == "option" && line.word(2) == name
        };
        self.lines.iter().rev().find(is_it).filter(|line| line.word(0) == "option")
    }

    /// Returns a timeout in milliseconds, with its line.
    pub(crate) fn timeout(&self, name: &str) -> Option<(u64, &Rc<Line>)> {
        let line = self.last(&format!("timeout {name}"))?;
        Some((milliseconds(line.word(2))?, line))
    }

    /// Returns the servers.
    pub(crate) fn servers(&self) -> impl Iterator<Item = Server<'_>> {
        let mut defaults = [None; KEYWORDS.len()];
        self.lines.iter().filter_map(move |line| match line.word(0) {
            "default-server" => {
                for (keyword, default) in KEYWORDS.iter().zip(&mut defaults) {
                    if sets(line, keyword) {
                        *default = Some(&**line);
                    }
                }
                None
            }
            "server" => Some(Server { line, defaults }),
            _ => None,
        })
    }
}

/// The keywords of servers that are asked for.
const KEYWORDS: [&str; 16] = [
    "check",
    "disabled",
    "fall",
    "init-addr",
    "inter",
    "maxconn",
    "pool-max-conn",
    "resolvers",
    "send-proxy",
    "send-proxy-v2",
    "ssl",
    "track",
    "backup",
    "addr",
    "fastinter",
    "port",
];

/// Returns the words after the name and the address of a server.
fn keywords(line: &Line) -> &[String] {
    let start = if line.word(0) == "server" { 3 } else { 1 };
    line.words.get(start..).unwrap_or_default()
}

/// True if a line sets a keyword, or turns it off with `no-` before it.
fn sets(line: &Line, keyword: &str) -> bool {
    keywords(line).iter().any(|word| word.strip_prefix("no-").unwrap_or(word) == keyword)
}

/// A server, with the `default-server` lines before it.
pub(crate) struct Server<'p> {
    pub(crate) line: &'p Line,
    /// For each keyword the last line that sets it.
    defaults: [Option<&'p Line>; KEYWORDS.len()],
}

impl<'p> Server<'p> {
    pub(crate) fn name(&self) -> &'p str {
        self.line.word(1)
    }

    /// Returns the line that turns a keyword on, unless a more important one has `no-` before it.
    pub(crate) fn keyword(&self, keyword: &str) -> Option<&'p Line> {
        let at = KEYWORDS.iter().position(|known| *known == keyword)?;
        let own = Some(self.line).filter(|line| sets(line, keyword));
        own.or(self.defaults[at]).filter(|line| keywords(line).iter().any(|word| word == keyword))
    }

    /// Returns the value after a keyword.
    pub(crate) fn value(&self, keyword: &str) -> Option<(&'p str, &'p Line)> {
        let line = self.keyword(keyword)?;
        let at = keywords(line).iter().position(|word| word == keyword)?;
        Some((keywords(line).get(at + 1)?, line))
    }
}

/// Returns a time of HAProxy in milliseconds, which is the unit of a plain number.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse::<u64>().ok()?;
    let (numerator, denominator) = match &text[digits..] {
        "us" => (1, 1000),
        "" | "ms" => (1, 1),
        "s" => (1000, 1),
        "m" => (60_000, 1),
        "h" => (3_600_000, 1),
        "d" => (86_400_000, 1),
        _ => return None,
    };
    Some(number.checked_mul(numerator)? / denominator)
}
