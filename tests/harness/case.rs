//! Cases for `spoa doctor`: faulty and cured configurations of HAProxy and the agent, from files in `tests/doctor`.
//! `tests/doctor/README.md` describes their format.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::symptom::Symptom;

/// The major and minor version number of a HAProxy.
pub type Version = (u32, u32);

/// The versions of HAProxy that the cases name, oldest first.
const KNOWN: [Version; 3] = [(2, 6), (3, 0), (3, 2)];

/// A fault of a configuration: the configuration with the fault and without it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of its file, without `.case`.
    pub name: String,
    /// The id of the finding.
    pub finding: String,
    /// The file and the line, counted from 1, of the faulty configuration that the finding points to.
    pub at: (String, usize),
    /// Ids of other findings of the faulty configuration that cannot be separated from this one.
    pub also: Vec<String>,
    /// The versions of HAProxy in which the fault has its symptom.
    pub versions: Vec<Version>,
    /// The versions of HAProxy in which the symptom depends on chance, so that nothing is expected.
    pub varies: Vec<Version>,
    /// The symptom of the faulty configuration, which the cured one does not have.
    pub symptom: Symptom,
    /// The files of the faulty configuration: names and texts.
    pub faulty: Vec<(String, String)>,
    /// All files of the cured configuration, including those that are equal in both.
    pub cured: Vec<(String, String)>,
}

/// A configuration without a fault.
#[derive(Clone, Debug)]
pub struct Sane {
    /// The name of its file, without `.case`.
    pub name: String,
    /// The names of HAProxy's configuration files, in the order in which HAProxy reads them.
    pub configs: Vec<String>,
    /// All files: names and texts.
    pub files: Vec<(String, String)>,
    /// Ids of findings that are advice: the configuration works and could be better.
    pub advice: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseHeader {
    finding: String,
    at: String,
    #[serde(default)]
    also: Vec<String>,
    versions: Vec<String>,
    #[serde(default)]
    varies: Vec<String>,
    symptom: Symptom,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaneHeader {
    #[serde(default = "SaneHeader::default_configs")]
    configs: Vec<String>,
    #[serde(default)]
    advice: Vec<String>,
}

impl SaneHeader {
    fn default_configs() -> Vec<String> {
        vec!["haproxy.cfg".to_owned()]
    }
}

impl Case {
    /// Returns all cases, sorted by name.
    ///
    /// # Panics
    /// If a file cannot be read or has a mistake.
    pub fn all() -> Vec<Self> {
        texts("cases").iter().map(|(path, text)| Self::parse(path, text)).collect()
    }

    /// Parses the text of a case file. `path` is used for the name of the case and for messages.
    ///
    /// # Panics
    /// If the text has a mistake. The message names the file and the line.
    pub fn parse(path: &Path, text: &str) -> Self {
        let parts = Parts { path, text };
        let header: CaseHeader = parts.header();
        let (mut faulty, mut changed) = (Vec::new(), BTreeMap::new());
        for (line, name, text) in parts.files() {
            match name.split_once('/') {
                Some(("faulty", name)) => faulty.push((name.to_owned(), text)),
                Some(("cured", name)) => drop(changed.insert(name.to_owned(), text)),
                _ => parts.fail(line, "expected `faulty/NAME` or `cured/NAME`"),
            }
        }
        let mut cured: Vec<_> = faulty.clone();
        for (name, text) in &mut cured {
            if let Some(new) = changed.remove(name) {
                *text = new;
            }
        }
        cured.extend(changed);
        if cured == faulty {
            parts.fail(1, "the cured files are equal to the faulty ones");
        }
        let at = parts.place(&header.at, &faulty);
        let versions = |names: &[String]| names.iter().map(|name| parts.version(name)).collect();
        Self {
            name: parts.name(),
            at,
            versions: versions(&header.versions),
            varies: versions(&header.varies),
            finding: header.finding,
            also: header.also,
            symptom: header.symptom,
            faulty,
            cured,
        }
    }

    /// Returns whether the faulty configuration has its symptom with this HAProxy, or `None` if that depends on chance.
    /// A HAProxy between two versions that the cases name behaves like the older one of them.
    pub fn is_shown_by(&self, version: Version) -> Option<bool> {
        let known = KNOWN.into_iter().rev().find(|known| *known <= version).unwrap_or(KNOWN[0]);
        if self.varies.contains(&known) { None } else { Some(self.versions.contains(&known)) }
    }
}

/// Returns all configurations without a fault, sorted by name.
///
/// # Panics
/// If a file cannot be read or has a mistake.
pub fn sane() -> Vec<Sane> {
    let parse = |(path, text): &(PathBuf, String)| {
        let parts = Parts { path, text };
        let SaneHeader { configs, advice } = parts.header();
        let files: Vec<_> = parts.files().into_iter().map(|(_, name, text)| (name.to_owned(), text)).collect();
        if let Some(missing) = configs.iter().find(|config| files.iter().all(|(name, _)| name != *config)) {
            parts.fail(1, &format!("there is no file {missing}"));
        }
        Sane { name: parts.name(), configs, files, advice }
    };
    texts("sane").iter().map(parse).collect()
}

/// Returns the paths and texts of all case files in a folder of `tests/doctor`, sorted by name.
fn texts(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("doctor").join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "case"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// The text of a case file: a header in TOML, and files, each after a line `=== NAME`.
struct Parts<'t> {
    path: &'t Path,
    text: &'t str,
}

/// The start of the line before each file.
const MARK: &str = "=== ";

impl<'t> Parts<'t> {
    fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns the header.
    fn header<T: DeserializeOwned>(&self) -> T {
        let end = if self.text.starts_with(MARK) { Some(0) } else { self.text.find("\n=== ") };
        let header = &self.text[..end.unwrap_or(self.text.len())];
        toml::from_str(header).unwrap_or_else(|error: toml::de::Error| {
            let Range { start, .. } = error.span().unwrap_or_default();
            self.fail(header[..start].matches('\n').count() + 1, error.message())
        })
    }

    /// Returns the files: the line of the mark, counted from 1, the name and the text. Empty lines at the end of a text
    /// are left out.
    fn files(&self) -> Vec<(usize, &'t str, String)> {
        let mut files: Vec<(usize, &str, String)> = Vec::new();
        for (line, text) in (1..).zip(self.text.lines()) {
            if let Some(name) = text.strip_prefix(MARK) {
                if files.iter().any(|(_, known, _)| *known == name) {
                    self.fail(line, "a file of this name is above");
                }
                files.push((line, name, String::new()));
            } else if let Some((.., file)) = files.last_mut() {
                file.push_str(text);
                file.push('\n');
            }
        }
        for (line, _, text) in &mut files {
            text.truncate(text.trim_end().len());
            if text.is_empty() {
                self.fail(*line, "the file is empty");
            }
            text.push('\n');
        }
        files
    }

    /// Parses `FILE:LINE`.
    fn place(&self, place: &str, files: &[(String, String)]) -> (String, usize) {
        let (name, line) = place.split_once(':').unwrap_or((place, ""));
        let count = files.iter().find(|(file, _)| file == name).map_or(0, |(_, text)| text.lines().count());
        match line.parse() {
            Ok(line) if (1..=count).contains(&line) => (name.to_owned(), line),
            _ => self.fail(self.line_of("at ="), &format!("{place} is no line of a faulty file")),
        }
    }

    /// Parses a version that the cases may name.
    fn version(&self, name: &str) -> Version {
        let known = KNOWN.into_iter().find(|(major, minor)| *name == format!("{major}.{minor}"));
        known.unwrap_or_else(|| self.fail(self.line_of(name), &format!("{name} is not one of the known versions")))
    }

    fn line_of(&self, text: &str) -> usize {
        self.text.lines().position(|line| line.contains(text)).unwrap_or_default() + 1
    }

    fn fail(&self, line: usize, what: &str) -> ! {
        panic!("{}:{line}: {what}", self.path.display())
    }
}
