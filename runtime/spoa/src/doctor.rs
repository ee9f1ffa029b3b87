//! `spoa doctor`: reads the configuration of HAProxy and of the agent, and reports what makes it protect nothing.

mod log;
mod report;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs, io};

use spoa_doctor::{AgentConfig, Input, Live, SourceFile, Version, diagnose};
use spoa_runtime::ListenAddr;
use spoa_runtime::text::{Count, Escaped};

use crate::cli::{DEFAULT_FILE, DoctorArgs};
use crate::status::Reading;
use crate::{Failure, file, http, print};

pub(crate) use report::findings;

/// HAProxy's configuration if none is given.
const HAPROXY_FILE: &str = "/etc/haproxy/haproxy.cfg";

/// Prints the findings of a setup.
///
/// # Errors
/// There are findings that are more than advice, a file cannot be read, or standard output cannot be written to.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    if let Some(path) = &args.log {
        return log::explain(path, args.json);
    }
    let live = args.live.as_ref().map(live).transpose()?;
    let Files { haproxy, spoe, agent } = Files::read(&args.files)?;
    let is_agent_known = agent.is_some();
    let diagnosis = diagnose(Input {
        haproxy,
        spoe: &mut |name, from| spoe_file(name, Path::new(from), &spoe),
        agent,
        live,
        environment: &|name| env::var(name).ok(),
        version: args.haproxy_version.or_else(installed_version),
    });
    print(if args.json { report::json(&diagnosis) } else { report::text(&diagnosis, is_agent_known) })?;
    if let Some((place, name)) = diagnosis.unread.first() {
        let name = Escaped(name);
        return Err(format!("{place}: cannot read the SPOE file {name}; name it after the configuration").into());
    }
    if let Some((place, name)) = diagnosis.unknown.first() {
        let name = Escaped(name);
        return Err(format!("{place}: the SPOE file has no engine [{name}], so HAProxy does not start").into());
    }
    if diagnosis.engines == 0 {
        return Err("no filter uses SPOE: HAProxy never asks an agent".into());
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
                if files.agent.is_some() {
                    return Err(Failure::Usage("doctor reads one configuration of the agent (.toml)".into()));
                }
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
    if paths.is_empty() {
        return Err(Failure::Other(format!("{} has no file that ends with .cfg", folder.display()).into()));
    }
    Ok(paths)
}

fn source(path: &Path) -> Result<SourceFile, Failure> {
    let name = path.display().to_string();
    let bytes = file::read_bytes(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    // HAProxy accepts any bytes in comments and texts.
    Ok(SourceFile { name, text: String::from_utf8_lossy(&bytes).into_owned() })
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

/// Returns the SPOE file that a filter in the file `from` names: by its path, from the folder of that file, or one that was given.
fn spoe_file(name: &str, from: &Path, given: &[SourceFile]) -> Option<SourceFile> {
    let beside = from.parent().unwrap_or(Path::new("")).join(name);
    let is_given = |path: &Path| given.iter().find(|file| Path::new(&file.name) == path).cloned();
    let exact = || is_given(&beside).or_else(|| is_given(Path::new(name)));
    let is_same = |file: &&SourceFile| Path::new(&file.name).file_name() == Path::new(name).file_name();
    let read = || source(Path::new(name)).or_else(|_| source(&beside)).ok();
    let only = || if let [only] = given { Some(only.clone()) } else { None };
    exact().or_else(|| given.iter().find(is_same).cloned()).or_else(read).or_else(only)
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
        uptime: Duration::from_secs(metrics.uptime() as u64),
        notifies: sum("spoa_notifies_total", &[]),
        health_checks: sum("spoa_hellos_total", &[("kind", "health_check")]),
        messages: messages.filter(|(name, _)| name != "(other)").collect(),
        without_address: without.collect(),
    })
}

/// Returns the version of the installed HAProxy.
fn installed_version() -> Option<Version> {
    let output = Command::new("haproxy").arg("-v").output().ok()?;
    Version::find(&String::from_utf8_lossy(&output.stdout))
}
