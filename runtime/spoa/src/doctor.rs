//! `spoa doctor`: reads the configuration of HAProxy and of the agent, and reports what makes it protect nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use serde::Serialize;
use spoa_doctor::{
    AgentConfig, Diagnosis, Explained, Finding, Input, KINDS, Kind, Live, Log, Severity, SourceFile, Version, diagnose,
};
use spoa_runtime::ListenAddr;
use spoa_runtime::text::{Count, Escaped};

use crate::cli::{DEFAULT_FILE, DoctorArgs};
use crate::status::Reading;
use crate::{Failure, complain, file, http, print};

/// HAProxy's configuration if none is given.
const HAPROXY_FILE: &str = "/etc/haproxy/haproxy.cfg";

/// Prints the findings of a setup.
///
/// # Errors
/// There are findings that are more than advice, a file cannot be read, or standard output cannot be written to.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    if let Some(path) = &args.log {
        return explain_log(path, args.json);
    }
    let live = args.live.as_ref().map(live).transpose()?;
    let Files { haproxy, spoe, agent } = Files::read(&args.files)?;
    let folder = haproxy.first().and_then(|file| Path::new(&file.name).parent()).unwrap_or(Path::new("")).to_owned();
    let is_agent_known = agent.is_some() || live.is_some();
    let diagnosis = diagnose(Input {
        haproxy,
        spoe: &mut |name| spoe_file(name, &folder, &spoe),
        agent,
        live,
        environment: &|name| env::var(name).ok(),
        version: args.haproxy_version.or_else(installed_version),
    });
    print(if args.json { json(&diagnosis) } else { text(&diagnosis) })?;
    if diagnosis.engines > 0 && !is_agent_known && !args.json {
        print("note: without the agent's configuration (.toml) its variables and arguments are not checked\n")?;
    }
    if let Some((place, name)) = diagnosis.unread.first() {
        let name = Escaped(name);
        return Err(format!("{place}: cannot read the SPOE file {name}; name it after the configuration").into());
    }
    match diagnosis.findings.iter().filter(|finding| !finding.kind.severity.is_advice()).count() as u64 {
        0 => Ok(()),
        count => Err(Count(count, "finding").to_string().into()),
    }
}

/// The files of a setup.
struct Files {
    haproxy: Vec<SourceFile>,
    /// SPOE files that were named, which filters may name in another way.
    spoe: Vec<SourceFile>,
    agent: Option<AgentConfig>,
}

impl Files {
    fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut files = Self { haproxy: Vec::new(), spoe: Vec::new(), agent: None };
        for path in paths {
            if path.is_dir() {
                for path in configurations(path)? {
                    files.haproxy.push(source(&path)?);
                }
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                files.agent = Some(agent(path)?);
            } else {
                let file = source(path)?;
                if is_spoe(&file.text) { files.spoe.push(file) } else { files.haproxy.push(file) }
            }
        }
        if files.haproxy.is_empty() {
            files.haproxy.push(source(Path::new(HAPROXY_FILE))?);
            let default = Path::new(DEFAULT_FILE);
            if files.agent.is_none() && default.exists() {
                files.agent = Some(agent(default)?);
            }
        }
        Ok(files)
    }
}

/// Returns the files of a folder that HAProxy reads: those that end with `.cfg`, in the order of their names.
fn configurations(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: io::Error| format!("cannot read {}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let is_read = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".cfg") && !name.starts_with('.')
    };
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(is_read).collect();
    paths.sort();
    Ok(paths)
}

fn source(path: &Path) -> Result<SourceFile, Failure> {
    let name = path.display().to_string();
    let text = file::read_text(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    Ok(SourceFile { name, text })
}

fn agent(path: &Path) -> Result<AgentConfig, Failure> {
    let options = file::read(path)?;
    options.check().map_err(|wrong| Failure::Usage(format!("{}: {wrong}", path.display())))?;
    Ok(AgentConfig { file: source(path)?, reputation: options.reputation(), connection: options.connection() })
}

/// True if a text is an SPOE file.
fn is_spoe(text: &str) -> bool {
    let mut words = text.lines().filter_map(|line| line.split_whitespace().next());
    words.any(|word| matches!(word, "spoe-agent" | "spoe-message" | "spoe-group"))
}

/// Returns the SPOE file that a filter names: by its path, from the folder of the configuration, or one that was given.
fn spoe_file(name: &str, folder: &Path, given: &[SourceFile]) -> Option<SourceFile> {
    let is_same = |file: &&SourceFile| Path::new(&file.name).file_name() == Path::new(name).file_name();
    let only = || if let [only] = given { Some(only) } else { None };
    let named = given.iter().find(is_same).cloned();
    let read = || source(Path::new(name)).or_else(|_| source(&folder.join(name))).ok();
    named.or_else(read).or_else(|| only().cloned())
}

/// Asks a running agent which messages have arrived.
fn live(agent: &ListenAddr) -> Result<Live, String> {
    let metrics = Reading::new(&http::get_text(agent, "/metrics", "no metrics: it is another program")?, Vec::new());
    let sum = |family, wanted: &[_]| metrics.sum(family, wanted) as u64;
    let messages =
        metrics.all("spoa_messages_total").iter().map(|of| (of.label("message").to_owned(), of.value as u64));
    let without = metrics.all("spoa_strings_without_address_total").iter().filter(|of| of.value > 0.0);
    let without = without.map(|of| (of.label("message").to_owned(), of.label("argument").to_owned(), of.value as u64));
    Ok(Live {
        notifies: sum("spoa_notifies_total", &[]),
        health_checks: sum("spoa_hellos_total", &[("kind", "health_check")]),
        messages: messages.filter(|(name, _)| name != "(other)").collect(),
        without_address: without.collect(),
    })
}

/// The longest line of a log that is read, in bytes.
const LINE_MAX: u64 = 64 << 10;

/// Explains the statuses in a log of HAProxy.
///
/// # Errors
/// Events have failed, the log cannot be read, or it has no line about SPOE.
fn explain_log(path: &Path, as_json: bool) -> Result<(), Failure> {
    let shown = path.display();
    let failed = |error: io::Error| format!("cannot read {shown}: {error}");
    let input: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(path).map_err(failed)?) };
    let (mut log, mut input, mut line) = (Log::default(), BufReader::new(input), Vec::new());
    loop {
        line.clear();
        if input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        log.add(&String::from_utf8_lossy(&line));
    }
    let explained = log.explained();
    print(explained.iter().map(|one| if as_json { json_status(one) } else { status(one) }).collect::<String>())?;
    if log.unread() > 0 {
        complain(&format!("{} about SPOE cannot be read", Count(log.unread(), "line")));
    }
    let failed = explained.iter().filter(|one| one.status != 0).map(|one| one.count).sum::<u64>();
    match (explained.is_empty(), failed) {
        (true, _) => {
            Err(format!("{shown} has no line about SPOE: does the `spoe-agent` section have a `log` line?").into())
        }
        (false, 0) => Ok(()),
        (false, failed) => Err(format!("{} not answered", Count(failed, "event")).into()),
    }
}

/// Returns the lines about a status.
fn status(one: &Explained) -> String {
    let Explained { agent, cause, status, count, happens, cure } = one;
    let count = Count(*count, "event");
    let mut text = format!("{}\n", Escaped(format_args!("{agent} {cause} st={status}: {count}, {happens}")));
    if !cure.is_empty() {
        text += &format!("  What to do: {cure}\n");
    }
    text
}

/// Returns a status as a line of JSON.
fn json_status(one: &Explained) -> String {
    let Explained { agent, cause, status, count, happens, cure } = one;
    let value = serde_json::json!({
        "agent": agent, "cause": cause, "status": status, "count": count, "happens": happens, "cure": cure
    });
    format!("{value}\n")
}

/// Returns the version of the installed HAProxy.
fn installed_version() -> Option<Version> {
    let output = Command::new("haproxy").arg("-v").output().ok()?;
    Version::find(&String::from_utf8_lossy(&output.stdout))
}

/// Returns the report: findings by severity, the worst first.
fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    let mut by_severity = BTreeMap::<_, Vec<&Finding>>::new();
    for finding in &diagnosis.findings {
        by_severity.entry(finding.kind.severity).or_default().push(finding);
    }
    for (severity, findings) in by_severity {
        text += &format!("{}:\n", severity.name());
        for Finding { kind, place, happens, cure } in findings {
            let lines = [
                format!("  {place}: {} [{}]", kind.title, kind.id),
                format!("    {happens}"),
                format!("    What to do: {cure}"),
            ];
            lines.iter().for_each(|line| text += &format!("{}\n", Escaped(line)));
        }
    }
    if diagnosis.findings.is_empty() && diagnosis.unread.is_empty() {
        text += &match diagnosis.engines as u64 {
            0 => "no filter uses SPOE: HAProxy never asks an agent\n".to_owned(),
            engines => format!("nothing found in the setup of {}\n", Count(engines, "engine")),
        };
    }
    text
}

/// Returns all kinds of findings as Markdown.
pub(crate) fn findings() -> String {
    let mut text = String::new();
    for severity in Severity::ALL {
        text += &format!("\n{}:\n\n", upper_first(severity.name()));
        for kind in KINDS.iter().filter(|kind| kind.severity == severity) {
            let (title, happens, cure) = (kind.title, Kind::general(kind.happens), Kind::general(kind.cure));
            text += &format!("- `{}`: {}. {happens} {cure}\n", kind.id, upper_first(title));
        }
    }
    text
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A finding as JSON.
#[derive(Serialize)]
struct Line<'f> {
    id: &'f str,
    severity: &'f str,
    file: &'f str,
    line: usize,
    title: &'f str,
    happens: &'f str,
    cure: &'f str,
}

/// Returns a line of JSON per finding, in the order of files and lines.
fn json(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for Finding { kind, place, happens, cure } in &diagnosis.findings {
        let (file, line) = (&*place.file, place.line);
        let severity = kind.severity.name();
        let line = Line { id: kind.id, severity, file, line, title: kind.title, happens, cure };
        text += &serde_json::to_string(&line).expect("a line has no maps, whose keys could be no strings");
        text.push('\n');
    }
    text
}
