//! Files, their sections and their lines.

use std::fmt;
use std::rc::Rc;

use crate::conditional::Blocks;
use crate::version::Version;
use crate::words::{Environment, split};

/// A configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path, as in the report.
    pub name: String,
    /// The content.
    pub text: String,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The path of the file.
    pub file: Rc<str>,
    /// The number of the line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A line of a section.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) words: Vec<String>,
    pub(crate) place: Place,
}

impl Line {
    /// Returns a word; empty if the line is shorter.
    pub(crate) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// Returns the word after `keyword`.
    pub(crate) fn after(&self, keyword: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word == keyword)?;
        self.words.get(at + 1).map(String::as_str)
    }
}

/// A section: its first line and the others.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) head: Line,
    pub(crate) lines: Vec<Rc<Line>>,
    /// The text in brackets before it, in an SPOE file.
    pub(crate) scope: String,
}

/// The words that begin a section, in HAProxy's files and in SPOE files.
const SECTIONS: [&str; 26] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "resolvers",
    "mailers",
    "userlist",
    "program",
    "cache",
    "ring",
    "log-forward",
    "log-profile",
    "http-errors",
    "fcgi-app",
    "crt-store",
    "crt-list",
    "traces",
    "acme",
    "haterm",
    "healthcheck",
    "namespace_list",
    "spoe-agent",
    "spoe-message",
    "spoe-group",
];

/// Reads the sections of a file. Unknown lines belong to the section that they are in.
pub(crate) fn sections(file: &SourceFile, environment: &mut Environment<'_>, version: Version) -> Vec<Section> {
    let (name, mut blocks) = (Rc::<str>::from(file.name.as_str()), Blocks::default());
    let (mut sections, mut scope) = (Vec::<Section>::new(), String::new());
    for (number, text) in file.text.lines().enumerate() {
        let words = split(text, environment);
        let line = Line { words, place: Place { file: Rc::clone(&name), line: number + 1 } };
        if line.words.is_empty() || !blocks.reads(&line.words, environment, version) {
            continue;
        }
        let first = line.word(0);
        if first.starts_with('[') && first.ends_with(']') {
            scope = first.trim_matches(['[', ']']).to_owned();
        } else if SECTIONS.contains(&first) {
            sections.push(Section { head: line, lines: Vec::new(), scope: scope.clone() });
        } else if let Some(section) = sections.last_mut() {
            if section.head.word(0) == "global" {
                environment.apply(&line.words);
            }
            section.lines.push(Rc::new(line));
        }
    }
    sections
}

/// The kind of a section that is a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyKind {
    Frontend,
    Backend,
    Listen,
}

impl ProxyKind {
    /// Returns the kind of the section that begins with this word.
    pub(crate) fn of(word: &str) -> Option<Self> {
        match word {
            "frontend" => Some(Self::Frontend),
            "backend" => Some(Self::Backend),
            "listen" => Some(Self::Listen),
            _ => None,
        }
    }

    /// True if clients connect to it.
    pub(crate) const fn has_clients(self) -> bool {
        matches!(self, Self::Frontend | Self::Listen)
    }
}
