//! The command line of `spoa-sim conform` and `matrix`.

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use common::{Folder, sim};

/// Starts an agent that closes every connection, and returns its address.
fn closing_agent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr = listener.local_addr().expect("the socket is bound").to_string();
    thread::spawn(move || listener.incoming().for_each(drop));
    addr
}

#[test]
fn wrong_arguments_are_explained() {
    for (arguments, part) in [
        (&["conform"][..], "expected --addr ADDR or --cmd COMMAND"),
        (&["conform", "--addr", "localhost"], "expected HOST:PORT or unix:PATH"),
        (&["conform", "--explain", "3.2.7/x"], "there is no case 3.2.7/x (--list)"),
        (&["conform", "--list", "-k", "no-such"], "no case has such an id"),
        (&["conform", "--addr", "127.0.0.1:1", "--message", "m("], "invalid value 'm('"),
        (&["conform", "--addr", "127.0.0.1:1", "--timeout", "0s"], "expected a time above zero"),
        (&["conform", "--cmd", "exit 3"], "the agent's process ended: exit status: 3"),
        (&["conform", "--addr", "127.0.0.1:1", "--expected", "/nonexistent"], "cannot read /nonexistent"),
        (&["matrix", "/nonexistent"], "cannot read /nonexistent"),
        (&["conform", "--seeds", "3..3", "--addr", "127.0.0.1:1"], "'3..3' contains no seed"),
        (&["conform", "--script", "/nonexistent", "--addr", "127.0.0.1:1"], "cannot read /nonexistent"),
    ] {
        let (code, _, error) = sim(arguments);
        assert!(code == 2 && error.contains(part) && error.lines().count() == 1, "{arguments:?}: {code} {error}");
    }
}

#[test]
fn an_interrupted_run_ends_the_agent() {
    let folder = Folder::new("interrupted");
    let (pid, started) = (folder.path("pid"), folder.path("started"));
    // It never listens, so the kit waits for it.
    let command = format!("echo $$ > {pid}; mkfifo {started}; echo > {started}; exec sleep 300");
    let arguments = ["conform", "--cmd", &command, "--addr", "127.0.0.1:1"];
    let mut sim = Command::new(env!("CARGO_BIN_EXE_spoa-sim")).args(arguments).spawn().expect("spoa-sim runs");
    while !Path::new(&started).exists() {
        thread::yield_now();
    }
    // Reading waits for the command to write.
    fs::read(&started).expect("the command runs");
    let kill = Command::new("kill").args(["-INT", &sim.id().to_string()]).status().expect("kill runs");
    assert!(kill.success());
    assert_eq!(sim.wait().expect("spoa-sim is a child").code(), Some(130));
    let pid = fs::read_to_string(&pid).expect("the command wrote its id");
    // The signal is on its way. An agent that outlives the run hangs this test.
    let is_gone = || {
        let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        state.is_empty() || state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
    };
    while !is_gone() {
        thread::yield_now();
    }
}

#[test]
fn cases_are_listed_and_explained() {
    let (code, list, _) = sim(&["conform", "--list", "--level", "must", "--engine", "mux", "-k", "3.2.6"]);
    assert!(code == 0 && list.contains("3.2.6/no-messages"), "{list}");
    assert!(!list.contains("3.2.6/fragments ") && !list.contains("3.2.7/"), "{list}");
    let (code, text, _) = sim(&["conform", "--explain", "3.2.6/fragments"]);
    assert!(code == 0 && text.contains("engine  applet") && text.contains("does not announce fragmentation"), "{text}");
}

#[test]
fn an_agent_that_closes_every_connection_fails_in_every_report() {
    let (addr, folder) = (closing_agent(), Folder::new("reports"));
    let [json, junit, html, expected, captures] =
        ["r.json", "r.xml", "r.html", "r.expected", "captures"].map(|name| folder.path(name));
    let run = ["conform", "--addr", &addr, "-k", "3.2.7/ack", "-k", "3.2.4/hello", "--name", "closing"];
    let reports =
        ["--json", &json, "--junit", &junit, "--html", &html, "--pcapng", &captures, "--write-expected", &expected];
    let (code, text, _) = sim(&[&run[..], &reports].concat());
    assert!(code == 1 && text.contains("closing: 0 pass, 0 tolerated, 0 unsupported, 4 fail"), "{code} {text}");
    for (path, part) in
        [(&json, "\"agent\": \"closing\""), (&junit, "failures=\"4\""), (&html, "<h1>SPOP conformance of closing</h1>")]
    {
        assert!(fs::read_to_string(path).expect("a report").contains(part), "expected {part} in {path}");
    }
    assert!(Path::new(&captures).join("3.2.7-ack.pcapng").exists());
    // With its results as the expected ones, the same agent is as expected.
    let (code, text, _) = sim(&[&run[..], &["--expected", &expected]].concat());
    assert!(code == 0 && text.ends_with("every result is as expected\n"), "{code} {text}");
    let known = folder.path("known");
    fs::write(&known, "3.2.7/ack\n").expect("the folder can be written");
    let (code, text, _) = sim(&[&run[..], &["--known-failing", &known]].concat());
    assert!(code == 1 && text.contains("  3.2.4/hello: expected pass, got fail\n"), "{code} {text}");
    let (code, text, _) = sim(&["matrix", &json, &json]);
    assert!(code == 0 && text.contains("| case | level | closing | closing |"), "{text}");
}

#[test]
fn conversations_with_an_agent_that_closes_every_connection_fail() {
    let (addr, folder) = (closing_agent(), Folder::new("seeds"));
    let [scripts, captures, known] = ["scripts", "captures", "known"].map(|name| folder.path(name));
    let run = ["conform", "--addr", &addr, "--timeout", "100ms", "--shrink-time", "1s"];
    let outputs = ["--scripts", &scripts, "--pcapng", &captures];
    let (code, text, error) = sim(&[&run[..], &["--seeds", "0..3", "--engine", "mux"], &outputs].concat());
    assert!(code == 1 && text.contains("3 conversations with 0 NOTIFYs"), "{code} {text} {error}");
    assert!(Path::new(&captures).join("mux-0.pcapng").exists());
    let written: Vec<_> =
        fs::read_dir(&scripts).expect("the folder exists").map(|entry| entry.expect("a file").path()).collect();
    let script = written.first().expect("a script of a failure").to_str().expect("a plain path");
    // The script fails again, unless its rule is known to be broken.
    let (code, text, _) = sim(&[&run[..], &["--script", script]].concat());
    assert!(code == 1 && text.contains("1 conversation with 0 NOTIFYs, 1 failed"), "{code} {text}");
    fs::write(&known, "3.2.4/hello\n3.2.4/health-check\n").expect("the folder can be written");
    let (code, text, _) = sim(&[&run[..], &["--script", script, "--known-failing", &known]].concat());
    assert!(code == 0 && text.contains("0 failed"), "{code} {text}");
}
