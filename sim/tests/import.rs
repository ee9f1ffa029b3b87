//! The command line of `spoa-sim import`.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, process};

use spoa_sim_haproxy::recording::Recording;
use spoa_sim_kit::capture::write_pcapng;

fn import(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_spoa-sim")).arg("import").args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("spoa-sim prints UTF-8");
    (output.status.code().expect("spoa-sim exits"), text(output.stdout), text(output.stderr))
}

/// Writes a recording of real HAProxy as a capture, and returns its folder and its path.
fn capture(scene: &str) -> (PathBuf, String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recordings").join(scene).with_extension("rec");
    let recording = Recording::parse(&fs::read_to_string(path).expect("a recording")).expect("a recording");
    let folder = env::temp_dir().join(format!("spoa-sim-{}-{}", process::id(), scene.replace('/', "-")));
    fs::create_dir(&folder).expect("the name is new");
    let mut bytes = Vec::new();
    write_pcapng(&recording, &mut bytes).expect("a buffer can be written");
    let path = folder.join("incident.pcapng");
    fs::write(&path, bytes).expect("the folder can be written");
    (folder, path.to_str().expect("a plain path").to_owned())
}

#[test]
fn an_incident_becomes_scripts_that_name_the_broken_rules() {
    let (folder, path) = capture("3.0/acks_bad");
    let scripts = folder.join("scripts");
    let (code, text, _) = import(&[&path, "-o", scripts.to_str().expect("a plain path")]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("3.2.7/ack: a frame with the length 2147483647"), "{text}");
    let first = fs::read_to_string(scripts.join("connection-0.spop")).expect("a script");
    assert!(first.contains("# The agent of the capture broke 3.2.7/ack: a frame with the length"), "{first}");
    assert!(first.contains("send c1 notify sid=0 fid=1 m(path=") && !first.contains("192.0.2.1"), "{first}");
    fs::remove_dir_all(folder).expect("the folder exists");
}

/// The trace of a script as a capture has the same conversation.
#[test]
fn a_trace_is_a_capture() {
    let folder = env::temp_dir().join(format!("spoa-sim-{}-trace", process::id()));
    fs::create_dir(&folder).expect("the name is new");
    let script = format!("{}/corpus/several-events-on-one-stream.spop", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_spoa-sim")).args(["script", &script, "--trace", "pcapng"]).output();
    let path = folder.join("trace.pcapng");
    fs::write(&path, output.expect("it runs").stdout).expect("the folder can be written");
    let (code, text, _) = import(&[path.to_str().expect("a plain path")]);
    assert!(code == 0 && text.contains("1 connection, 3 NOTIFYs, 3 answered, 0 open at the end"), "{code} {text}");
    fs::remove_dir_all(folder).expect("the folder exists");
}

#[test]
fn a_correct_agent_broke_no_rule() {
    let (folder, path) = capture("3.2/scores");
    let (code, text, _) = import(&[&path]);
    assert!(code == 0 && text.contains("the agent broke no rule"), "{code} {text}");
    let (code, _, error) = import(&[&path, "--port", "1"]);
    assert!(code == 2 && error.contains("has no TCP segment of port 1 (--port)"), "{code} {error}");
    fs::remove_dir_all(folder).expect("the folder exists");
}

#[test]
fn a_file_that_is_no_capture_is_refused() {
    for (path, part) in
        [("/nonexistent", "cannot read /nonexistent"), ("Cargo.toml", "not a capture in pcap or pcapng format")]
    {
        let (code, _, error) = import(&[path]);
        assert!(code == 2 && error.contains(part) && error.lines().count() == 1, "{code} {error}");
    }
}
