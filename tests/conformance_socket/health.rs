//! What must not stop the agent, nor blind those who watch it: a log that nobody reads, a manager that does not listen, scrapes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStderr, Command, Stdio};
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

/// An agent whose log is read until it listens, and then not any more.
struct Unread {
    child: Child,
    addr: String,
    admin: Admin,
    /// Open, so that the pipe fills instead of breaking.
    _stderr: BufReader<ChildStderr>,
}

impl Unread {
    fn start(options: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(options).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let stderr = child.stderr.take().expect("it is piped");
        fcntl_setpipe_size(&stderr, 4096).expect("a pipe");
        let mut stderr = BufReader::new(stderr);
        let mut after = |what: &str| loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).expect("text") > 0, "it ended");
            if let Some((_, addr)) = line.trim().split_once(what) {
                break addr.to_owned();
            }
        };
        let (addr, admin) = (after("listening on "), Admin::at(&after("metrics and health on ")));
        Self { child, addr, admin, _stderr: stderr }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_costs_log_lines_alone() {
    let mut agent = Unread::start(&["--log-level", "debug"]);
    let mut client = Client::ready(&agent.addr);
    let deadline = Instant::now() + LIMIT;
    for sid in 1.. {
        client.exchange(&notify(sid, 1, &[]), &ack(sid, 1, &[]));
        if sid % 500 == 0 && agent.admin.sample("spoa_log_lines_dropped_total") > 0.0 {
            break;
        }
        assert!(Instant::now() < deadline, "it drops no lines");
    }
    assert_eq!(agent.admin.get("/healthz").0, 200);
    client.send(&notify(7, 7, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]));
    assert_eq!(client.frame().kind, ACK);
    drop(client);
    kill_process(Pid::from_child(&agent.child), Signal::TERM).expect("it runs");
    let deadline = Instant::now() + LIMIT;
    while agent.child.try_wait().expect("it is our child").is_none() {
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::yield_now();
    }
}

/// A notification that systemd does not read keeps nothing from being done.
#[test]
fn a_manager_that_does_not_read_holds_nothing_up() {
    let folder = Folder::with(&[("l", b"192.0.2.1\n")]);
    let path = folder.path("notify");
    let _manager = UnixDatagram::bind(&path).expect("a socket");
    let filler = UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("a socket");
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
    agent.terminate();
    assert!(agent.wait().success());
}

/// With debug lines on, a connection between two frames holds no memory for them.
#[test]
fn frames_in_the_log_hold_no_memory_between_frames() {
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
    assert!(each < 8 << 10, "{each} bytes for each connection");

    // A frame that does not end is held twice, by the connection and for the log, and both are counted.
    let mut half = connect();
    half.send(&[&0x3000_u32.to_be_bytes()[..], &[3; 0x2000]].concat());
    let deadline = Instant::now() + LIMIT;
    while admin.sample("spoa_held_bytes{worker=\"0\"}") < 2.0 * f64::from(0x2000) {
        assert!(Instant::now() < deadline, "the log's part is not counted");
    }
}

#[test]
fn a_scraper_gets_the_format_that_it_asks_for() {
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

/// What Prometheus itself says of metrics and alerts. Its program is brought by `.ci/run`.
#[test]
fn promtool_finds_nothing() {
    if Command::new("promtool").arg("--version").output().is_err() {
        assert!(std::env::var_os("SPOA_REQUIRE_PROMTOOL").is_none(), "there is no promtool");
        eprintln!("no promtool at hand (Debian: prometheus): metrics and alerts are not checked");
        return;
    }
    let folder = Folder::with(&[("l", b"192.0.2.1\n"), (".l.checked", b"")]);
    let (agent, admin) = with_admin(&["--list", &folder.list("l", "")]);
    let mut check = Client::fresh(agent.addr());
    check.send(&Hello::health_check().encode());
    check.frame();
    let (_, text) = admin.get("/metrics");
    let (_, body) = text.split_once("\r\n\r\n").expect("a body");
    folder.write("metrics", body.as_bytes());
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/package");
    let metrics = OwnedFd::from(File::open(folder.path("metrics")).expect("it was written"));
    for (args, input) in [
        (&["check", "metrics"][..], Stdio::from(metrics)),
        (&["check", "rules", "alerts.yml"], Stdio::null()),
        (&["test", "rules", "alerts_test.yml"], Stdio::null()),
    ] {
        let output = Command::new("promtool").args(args).stdin(input).current_dir(package).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && (args[1] != "metrics" || said.trim().is_empty()), "{args:?}: {said}");
    }
    let text = std::fs::read_to_string(format!("{package}/alerts_test.yml")).expect("it is there");
    let alerts = std::fs::read_to_string(format!("{package}/alerts.yml")).expect("it is there");
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(text.contains(&format!("alertname: {name}")), "no test of {name}");
    }
}
