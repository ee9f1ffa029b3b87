//! Checks that the agent keeps serving and can be monitored, even if nobody reads its log or its notifications to
//! systemd.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process};
use spoa_tests::admin::{Admin, sample};
use spoa_tests::agent::{Agent, LIMIT, binary};
use spoa_tests::bytes::{ACK, Value};
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::{Hello, ack, check_client_ip, notify};
use spoa_tests::process;

use crate::operations::with_admin;

/// An agent whose output is read only until it listens: its log, and standard output, which goes to the same pipe.
struct UnreadLog {
    child: Child,
    addr: String,
    admin: Admin,
    /// Keeps the pipe open, so that it becomes full and writes to it do not fail.
    _output: BufReader<ChildStdout>,
}

impl UnreadLog {
    fn start(options: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" 2>&1"#]).arg(binary()).stdout(Stdio::piped());
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(options);
        let mut child = command.spawn().expect("there is a shell");
        let output = child.stdout.take().expect("standard output is piped");
        fcntl_setpipe_size(&output, 4096).expect("a pipe can have one page");
        let mut output = BufReader::new(output);
        let mut read_after = |text: &str| loop {
            let mut line = String::new();
            assert!(output.read_line(&mut line).expect("the text is UTF-8") > 0, "expected {text:?} in the log");
            if let Some((_, addr)) = line.trim().split_once(text) {
                break addr.to_owned();
            }
        };
        let (addr, admin) = (read_after("listening on "), Admin::at(&read_after("metrics and health on ")));
        Self { child, addr, admin, _output: output }
    }
}

impl Drop for UnreadLog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_costs_only_log_lines() {
    let mut agent = UnreadLog::start(&["--log-level", "debug"]);
    let mut client = Client::ready(&agent.addr);
    let deadline = Instant::now() + LIMIT;
    for sid in 1.. {
        client.exchange(&notify(sid, 1, &[]), &ack(sid, 1, &[]));
        if sid % 500 == 0 && agent.admin.sample("spoa_log_lines_dropped_total") > 0.0 {
            break;
        }
        assert!(Instant::now() < deadline, "expected the agent to drop log lines");
    }
    assert_eq!(agent.admin.get("/healthz").0, 200);
    client.send(&notify(7, 7, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]));
    assert_eq!(client.frame().kind, ACK);
    drop(client);
    kill_process(Pid::from_child(&agent.child), Signal::TERM).expect("the agent runs");
    let deadline = Instant::now() + LIMIT;
    while agent.child.try_wait().expect("spoa is a child process").is_none() {
        assert!(Instant::now() < deadline, "spoa is still running");
        std::thread::yield_now();
    }
}

/// A service manager that does not read notifications does not block the agent, and gets the newest state when it reads again.
#[test]
fn a_manager_that_does_not_read_does_not_block_the_agent() {
    let folder = Folder::with(&[("l", b"192.0.2.1\n")]);
    let path = folder.path("notify");
    let manager = UnixDatagram::bind(&path).expect("the path is new");
    let filler = UnixDatagram::unbound().expect("a socket can be created");
    filler.set_nonblocking(true).expect("a socket can be non-blocking");
    while filler.send_to(b"x", &path).is_ok() {}
    let mut command = Command::new(binary());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut agent = Agent::spawn_by(command, &["--list", &folder.list("l", ""), "--no-watch"]);
    for _ in 0..40 {
        agent.signal(Signal::HUP);
        agent.signal(Signal::USR1);
        agent.wait_for_line("SIGUSR1: the log level is debug");
        agent.wait_for_line("SIGHUP: generation");
    }
    let mut client = Client::ready(agent.addr());
    client.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    drop(client);
    manager.set_read_timeout(Some(LIMIT)).expect("the timeout is above zero");
    let (mut states, mut beats) = (Vec::new(), 0);
    while beats < 3 || states.last().is_none_or(|state| state == "RELOADING=1") {
        let mut bytes = [0; 256];
        let len = manager.recv(&mut bytes).expect("the agent sends signs of life");
        let text = String::from_utf8_lossy(&bytes[..len]);
        states.extend(text.lines().filter(|line| *line == "READY=1" || *line == "RELOADING=1").map(str::to_owned));
        beats += u32::from(text.contains("WATCHDOG=1"));
        assert!(states.len() < 8, "older states are replaced, got {states:?}");
    }
    agent.terminate();
    assert!(agent.wait().success());
}

/// At log level debug, a connection holds no memory for the log between two frames.
#[test]
fn debug_logs_hold_no_memory_between_frames() {
    const CONNECTIONS: u64 = 500;
    let (agent, admin) = with_admin(&["--log-level", "debug", "-n", "1"]);
    let connect = || {
        let mut client = Client::ready(agent.addr());
        client.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
        client
    };
    let _warm: Vec<_> = (0..20).map(|_| connect()).collect();
    let before = process::memory(agent.pid());
    let _idle: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    assert_eq!(admin.sample("spoa_held_bytes{worker=\"0\"}"), 0.0);
    let each = process::memory(agent.pid()).saturating_sub(before) / CONNECTIONS;
    assert!(each < 8 << 10, "expected less than 8 KiB per connection, got {each} bytes");
}

/// An incomplete frame is held twice at log level debug, by the connection and for the log, and both are counted.
#[test]
fn the_copy_of_a_frame_for_the_log_is_counted() {
    const HALF: usize = 0x2000;
    let held = |level: &str| {
        let (agent, admin) = with_admin(&["--log-level", level, "-n", "1"]);
        let (hello, half) = (Hello::mux().encode(), [&0x3000_u32.to_be_bytes()[..], &[3; HALF]].concat());
        let mut client = Client::ready(agent.addr());
        client.send(&half);
        let received = (hello.len() + half.len()) as f64;
        admin.wait_for("spoa_bytes_total{direction=\"received\"}", received);
        // The next turn of the worker comes after the one that has read all of it.
        Client::ready(agent.addr()).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
        admin.sample("spoa_held_bytes{worker=\"0\"}")
    };
    let (without, with) = (held("info"), held("debug"));
    assert!(with >= without + HALF as f64, "expected {HALF} bytes more than {without}, got {with}");
}

#[test]
fn a_scraper_gets_the_format_that_it_requests() {
    let (_agent, admin) = with_admin(&[]);
    let openmetrics =
        "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
    let text = admin.exchange(&format!("{openmetrics}\r\nhost: x\r\nconnection: close\r\n\r\n"));
    assert!(text.contains("content-type: application/openmetrics-text; version=1.0.0"), "{text}");
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE spoa_notifies counter\n"), "{text}");
    let (_, text) = admin.get("/metrics");
    assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
    assert!(!text.contains("# EOF") && text.contains("# TYPE spoa_notifies_total counter\n"), "{text}");
    assert!(sample(&text, "process_resident_memory_bytes") > 0.0 && sample(&text, "process_open_fds") > 3.0);
    assert!(text.contains(&format!("spoa_build_info{{version=\"{}\",commit=\"", env!("CARGO_PKG_VERSION"))), "{text}");
}

/// Checks metrics and alerts with Prometheus' own `promtool`, which `.ci/run` installs.
#[test]
fn promtool_finds_no_problem() {
    if !process::is_installed("promtool", "SPOA_REQUIRE_PROMTOOL") {
        return;
    }
    let folder = Folder::with(&[("l", b"192.0.2.1\n"), (".l.checked", b"")]);
    let (agent, admin) = with_admin(&["--list", &folder.list("l", "")]);
    let mut check = Client::fresh(agent.addr());
    check.send(&Hello::health_check().encode());
    check.frame();
    let (_, text) = admin.get("/metrics");
    let (_, body) = text.split_once("\r\n\r\n").expect("the response has a body");
    folder.write("metrics", body.as_bytes());
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/package");
    let metrics = OwnedFd::from(File::open(folder.path("metrics")).expect("the file exists"));
    for (args, input) in [
        (&["check", "metrics"][..], Stdio::from(metrics)),
        (&["check", "rules", "alerts.yml"], Stdio::null()),
        (&["test", "rules", "alerts_test.yml"], Stdio::null()),
    ] {
        let output = Command::new("promtool")
            .args(args)
            .stdin(input)
            .current_dir(package)
            .output()
            .expect("promtool can be run");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && (args[1] != "metrics" || text.trim().is_empty()), "{args:?}: {text}");
    }
    let text = std::fs::read_to_string(format!("{package}/alerts_test.yml")).expect("the file exists");
    let alerts = std::fs::read_to_string(format!("{package}/alerts.yml")).expect("the file exists");
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(text.contains(&format!("alertname: {name}")), "alerts_test.yml has no test of {name}");
    }
}
