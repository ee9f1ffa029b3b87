//! `spoa doctor`: what it finds in each case, and that it finds nothing in configurations without a fault.
//!
//! `tests/haproxy/doctor` shows the symptom of each case with real HAProxy.

mod command;

use std::path::Path;
use std::process::{Command, Output};

use spoa_doctor::KINDS;
use spoa_tests::agent::binary;
use spoa_tests::case::{Case, Version, sane};
use spoa_tests::folder::Folder;
use spoa_tests::symptom::Agent;

/// The agent of cases without a configuration of their own.
const AGENT: (&str, &str) = ("spoa.toml", "[[list]]\nname = \"bad\"\npath = \"bad.txt\"\nscore = 5\n");

/// A finding: its id, the file and the line.
type Found = (String, String, u64);

/// Runs `spoa doctor` on these files, of which `configs` are HAProxy's.
fn doctor(files: &[(String, String)], configs: &[&str], version: Version) -> (Output, Vec<Found>) {
    let folder = Folder::with(&[]);
    files.iter().for_each(|(name, text)| folder.write(name, text.as_bytes()));
    let toml = files.iter().map(|(name, _)| name.as_str()).filter(|name| name.ends_with(".toml"));
    let (major, minor) = version;
    let mut command = Command::new(binary());
    command.args(["doctor", "--json", "--haproxy-version", &format!("{major}.{minor}")]);
    command.args(configs.iter().copied().chain(toml).map(|name| folder.path(name)));
    for (name, value) in
        [("FRONTEND", "127.0.0.1:1"), ("FRONTEND2", "127.0.0.1:2"), ("AGENT", "127.0.0.1:3"), ("AGENT2", "127.0.0.1:4")]
    {
        command.env(name, value);
    }
    for (name, value) in
        [("AGENT_PORT", "3"), ("BACKEND", "127.0.0.1:5"), ("LOG", "127.0.0.1:6"), ("STATS", "/run/stats")]
    {
        command.env(name, value);
    }
    command.env("SPOE", folder.path("spoe.conf")).env("DIR", folder.path(""));
    let output = command.output().expect("spoa can be run");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = lines.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let text = |key: &str| line[key].as_str().unwrap_or_else(|| panic!("expected {key} in {line}")).to_owned();
        let is_filled =
            |text: &str| !text.split('{').skip(1).any(|rest| rest.starts_with(|char: char| char.is_ascii_lowercase()));
        assert!(is_filled(&text("happens")) && is_filled(&text("cure")), "{line}");
        let file = text("file").rsplit('/').next().unwrap_or_default().to_owned();
        (text("id"), file, line["line"].as_u64().expect("a line is a number"))
    });
    let found = found.collect();
    (output, found)
}

/// The versions of HAProxy that cases name.
const VERSIONS: [Version; 3] = [(2, 6), (3, 0), (3, 2)];

/// Runs `spoa doctor` on the files of a case.
fn on_case(case: &Case, files: &[(String, String)], version: Version) -> Vec<Found> {
    let mut files = files.to_vec();
    let has_agent = files.iter().any(|(name, _)| name == AGENT.0);
    // A recorder is an agent of somebody else.
    if !has_agent && case.symptom.agent != Agent::Recorder {
        files.push((AGENT.0.to_owned(), AGENT.1.to_owned()));
        files.push(("bad.txt".to_owned(), "127.0.0.66\n".to_owned()));
    }
    let (output, found) = doctor(&files, &["haproxy.cfg"], version);
    let is_advice = |id: &str| KINDS.iter().any(|kind| kind.id == id && kind.severity.is_advice());
    let expected = i32::from(found.iter().any(|(id, _, _)| !is_advice(id)));
    assert_eq!(output.status.code(), Some(expected), "{}: {}", case.name, String::from_utf8_lossy(&output.stderr));
    found
}

/// A fault is found with each version of HAProxy that shows its symptom, and with no version that does not.
#[test]
fn each_fault_is_found_and_nothing_else() {
    for case in Case::all() {
        let (file, line) = &case.at;
        let expected = (case.finding.clone(), file.clone(), *line as u64);
        for version in VERSIONS {
            let mut found = on_case(&case, &case.faulty, version);
            found.retain(|(id, _, _)| !case.also.contains(id));
            match case.is_shown_by(version) {
                Some(true) => assert_eq!(found, std::slice::from_ref(&expected), "{} with {version:?}", case.name),
                Some(false) => assert_eq!(found, [], "{} with {version:?}", case.name),
                None => {}
            }
        }
    }
}

#[test]
fn a_cured_configuration_has_no_finding() {
    for case in Case::all() {
        for version in VERSIONS {
            let mut found = on_case(&case, &case.cured, version);
            found.retain(|(id, _, _)| !case.also.contains(id));
            assert_eq!(found, [], "{} with {version:?}", case.name);
        }
    }
}

#[test]
fn sane_configurations_have_no_finding() {
    for sane in sane() {
        let configs: Vec<_> = sane.configs.iter().map(String::as_str).collect();
        for version in VERSIONS {
            let (output, mut found) = doctor(&sane.files, &configs, version);
            found.retain(|(id, _, _)| !sane.advice.contains(id));
            assert!(output.status.success() && found.is_empty(), "{} with {version:?}: {found:?}", sane.name);
        }
    }
}

/// The shipped examples have no finding with any shipped configuration of the agent.
#[test]
fn our_examples_have_no_finding() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (example, version) in [
        ("haproxy/haproxy.cfg", "3.2"),
        ("haproxy/haproxy-3.0.cfg", "3.0"),
        ("haproxy/haproxy-3.0.cfg", "2.6"),
        ("lists/haproxy.cfg", "3.2"),
        ("lists/haproxy.cfg", "2.6"),
        ("forwarded/haproxy.cfg", "3.2"),
        ("forwarded/haproxy.cfg", "2.6"),
    ] {
        for agent in [None, Some("runtime/package/spoa.toml")] {
            let mut command = Command::new(binary());
            command.args(["doctor", "--haproxy-version", version]).arg(root.join("runtime/examples").join(example));
            let output = command.args(agent.map(|agent| root.join(agent))).output().expect("spoa can be run");
            let report = String::from_utf8_lossy(&output.stdout);
            assert!(report.starts_with("nothing found in the setup of 1 engine\n"), "{example} {agent:?}: {report}");
        }
    }
}

/// Each kind of finding that a configuration alone can show has a case.
#[test]
fn each_kind_of_finding_has_a_case() {
    let cases = Case::all();
    let by_live = ["nothing-arrives", "message-never-arrived", "address-not-found"];
    let missing: Vec<_> = KINDS
        .iter()
        .map(|kind| kind.id)
        .filter(|id| !by_live.contains(id) && !cases.iter().any(|case| case.finding == *id))
        .collect();
    assert_eq!(missing, [""; 0]);
}
