//! The operator's view of the agent: metrics, health, stops, the log, and `spoa probe`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use spoa_tests::admin::{Admin, sample};
use spoa_tests::agent::{Agent, LIMIT, binary, run};
use spoa_tests::bytes::{ACK, Frame, Value};
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::{Hello, agent_disconnect, check_client_ip, disconnect, notify};
use spoa_tests::process;

/// Starts an agent with `--admin`, and returns it with its admin address.
pub(crate) fn with_admin(options: &[&str]) -> (Agent, Admin) {
    let agent = Agent::spawn(&[options, &["--admin", "127.0.0.1:0"]].concat());
    let admin = Admin::of(&agent);
    (agent, admin)
}

#[test]
fn metrics_count_connections_frames_answers_and_lists() {
    let folder = Folder::with(&[("bad", b"192.0.2.0/24\nnonsense\n")]);
    let (agent, admin) = with_admin(&["--list", &folder.list("bad", "")]);
    let mut client = Client::ready(agent.addr());
    for sid in 1..=130 {
        client.send(&notify(sid, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]));
        assert_eq!(client.frame().kind, ACK);
    }
    client.send(&disconnect(2));
    client.frame();
    let mut check = Client::fresh(agent.addr());
    check.send(&Hello::health_check().encode());
    check.frame();
    let mut http = Client::fresh(agent.addr());
    http.send(b"GET / HTTP/1.1\r\n\r\n");
    http.frame();
    folder.write("bad", b"<html>\n");
    agent.wait_for_line("the previous version stays in use");

    let (status, text) = admin.get("/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("content-type: text/plain; version=0.0.4") && !text.contains("# EOF"), "{text}");
    for (name, wanted) in [
        ("spoa_up", 1.0),
        ("spoa_connections_accepted_total", 3.0),
        ("spoa_connections_ended_total{reason=\"haproxy_disconnect\"}", 1.0),
        ("spoa_connections_ended_total{reason=\"health_check\"}", 1.0),
        ("spoa_hellos_total{kind=\"accepted\"}", 1.0),
        ("spoa_hellos_total{kind=\"health_check\"}", 1.0),
        ("spoa_capabilities_total{capability=\"pipelining\"}", 1.0),
        ("spoa_notifies_total", 130.0),
        ("spoa_messages_total{message=\"check-client-ip\"}", 130.0),
        ("spoa_acks_total{kind=\"in_place\"}", 130.0),
        ("spoa_acks_total{kind=\"unanswered\"}", 0.0),
        ("spoa_handler_seconds_count{answer=\"in_place\"}", 2.0),
        // The HELLO, the NOTIFYs and the DISCONNECT, and the HELLO of the health check.
        ("spoa_frames_total{direction=\"received\"}", 133.0),
        // The answers to these, and the DISCONNECT in answer to HTTP.
        ("spoa_frames_total{direction=\"sent\"}", 134.0),
        ("spoa_disconnects_total{direction=\"received\",status=\"2\"}", 1.0),
        ("spoa_disconnects_total{direction=\"sent\",status=\"2\"}", 1.0),
        ("spoa_disconnects_total{direction=\"sent\",status=\"3\"}", 1.0),
        ("spoa_protocol_errors_total{kind=\"other_protocol\"}", 1.0),
        ("spoa_list_prefixes{list=\"bad\"}", 1.0),
        ("spoa_list_bad_lines{list=\"bad\"}", 1.0),
        ("spoa_list_refused{list=\"bad\"}", 1.0),
        ("spoa_list_reloads_total{result=\"refused\"}", 1.0),
        ("spoa_lists_generation", 1.0),
    ] {
        let value = sample(&text, name);
        assert!((value - wanted).abs() < 0.001, "expected {wanted} for {name}, got {value}");
    }
    // Each family has one HELP line.
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().expect("the family has a name");
        assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1, "wrong number of HELP lines of {name}");
    }
    let lines = text.lines().count();
    assert!(lines < 330, "expected fewer than 330 lines, got {lines}");
}

/// All metrics in the dashboard and the alerts exist.
#[test]
fn every_metric_of_dashboard_and_alerts_exists() {
    let folder = Folder::with(&[("l", b"192.0.2.1\n"), (".l.checked", b"")]);
    let (log, bans) = (folder.path("log").display().to_string(), folder.path("bans").display().to_string());
    let list = folder.list("l", ",shadow");
    let (_agent, admin) = with_admin(&["--list", &list, "--verdict-log", &log, "--bans", &bans]);
    let (_, text) = admin.get("/metrics");
    for file in ["grafana.json", "alerts.yml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/package").join(file);
        let content = fs::read_to_string(path).expect("the file exists");
        let is_in_name = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
        let is_metric = |word: &&str| word.starts_with("spoa_") || word.starts_with("process_");
        let names = content.split(|byte| !is_in_name(byte)).filter(is_metric);
        let names: BTreeSet<_> = names.collect();
        assert!(names.len() >= 6, "expected at least 6 metrics in {file}, got {names:?}");
        for name in names {
            let is_sample = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            assert!(text.lines().any(is_sample), "{file} uses {name}, which does not exist");
        }
    }
}

/// Deferred answers are counted and timed separately from immediate ones.
#[test]
fn deferred_answers_have_their_own_metrics() {
    let (agent, admin) = with_admin(&["--delay", "1ms"]);
    let mut client = Client::ready(agent.addr());
    client.send(&notify(1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]));
    client.frame();
    let (_, text) = admin.get("/metrics");
    assert!((sample(&text, "spoa_acks_total{kind=\"deferred\"}") - 1.0).abs() < 0.001);
    assert!((sample(&text, "spoa_handler_seconds_count{answer=\"deferred\"}") - 1.0).abs() < 0.001);
    assert!(sample(&text, "spoa_handler_seconds_sum{answer=\"deferred\"}") >= 0.001);
}

#[test]
fn the_admin_serves_http_and_refuses_other_requests() {
    let folder = Folder::with(&[]);
    let unix = folder.path("admin").display().to_string();
    let agent = Agent::spawn(&["--admin", &format!("unix:{unix}")]);
    let admin = Admin::of(&agent);
    let status = |request: &str| admin.request(request).0;
    assert_eq!(status("GET /healthz"), 200);
    assert_eq!(status("GET /readyz"), 200);
    assert_eq!(status("HEAD /metrics"), 200);
    assert_eq!(status("GET /"), 200);
    assert_eq!(status("GET /nothing"), 404);
    assert_eq!(status("POST /metrics"), 405);
    assert_eq!(status("nonsense"), 400);
    assert_eq!(status("GET /healthz"), 200, "after an invalid request");
}

#[test]
fn silent_connections_do_not_block_the_admin() {
    let (agent, admin) = with_admin(&[]);
    process::raise_file_limit();
    // If they were handled one after the other, that would take longer than this test waits.
    let silent: Vec<_> = (0..1500).map(|_| Client::fresh(admin.addr())).collect();
    assert_eq!(admin.get("/healthz").0, 200);
    drop((silent, agent));
}

#[test]
fn a_refusal_is_counted_once_whether_its_peer_waits_or_not() {
    let old = Hello::mux().with("supported-versions", Value::text("1.0"));
    let with_delay = |delay: &str| with_admin(&["--connections-max", "1", "--refuse-delay", delay]);
    let (short_delay, long_delay, no_delay) = (with_delay("1ms"), with_delay("1h"), with_delay("0"));
    for (agent, _) in [&short_delay, &no_delay] {
        Client::fresh(agent.addr()).expect_disconnect(&old.encode(), 8);
    }
    let mut client = Client::fresh(long_delay.0.addr());
    client.send(&old.encode());
    long_delay.1.wait_for("spoa_hellos_total{kind=\"refused\"}", 1.0);
    let above_the_limit = Client::fresh(long_delay.0.addr());
    long_delay.1.wait_for("spoa_connections_turned_away_total", 1.0);
    drop((client, above_the_limit));
    for (agent, admin) in [short_delay, long_delay, no_delay] {
        admin.wait_for("spoa_connections", 0.0);
        assert_eq!(admin.sample("spoa_protocol_errors_total{kind=\"bad_version\"}"), 1.0);
        assert_eq!(admin.sample("spoa_hellos_total{kind=\"refused\"}"), 1.0);
        assert_eq!(agent.log().matches("no version 2.x").count(), 1, "{}", agent.log());
    }
}

/// A lame-duck agent refuses health checks, and serves HAProxy until its checks have failed.
#[test]
fn a_lame_duck_refuses_health_checks_and_serves_everything_else() {
    let (mut agent, admin) = with_admin(&["--drain", "1h"]);
    let mut client = Client::ready(agent.addr());
    agent.terminate();
    agent.wait_for_line("stopping: health checks are refused for 1 h");
    assert_eq!(admin.get("/readyz").0, 503);
    assert_eq!(admin.get("/healthz").0, 200);
    let mut check = Client::fresh(agent.addr());
    check.send(&Hello::health_check().encode());
    assert_eq!(check.bytes(agent_disconnect(13).len()), agent_disconnect(13));
    let mut other = Client::ready(agent.addr());
    for client in [&mut client, &mut other] {
        client.send(&notify(1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]));
        assert!(!client.frame().actions().is_empty(), "expected an ordinary answer");
    }
    agent.signal(Signal::INT);
    assert!(agent.wait().success());
}

/// After the lame-duck period, a connection is closed right after an ACK: HAProxy receives the ACK and the DISCONNECT
/// together.
#[test]
fn a_drain_closes_a_connection_together_with_an_ack() {
    let mut agent = Agent::spawn(&["--drain", "1ms", "--grace", "1m"]);
    let client = Client::ready(agent.addr());
    agent.terminate();
    agent.wait_for_line("draining 1 connection");
    // The worker may answer some NOTIFYs before it knows of the drain. The last ACK must arrive in one read with the
    // DISCONNECT: HAProxy could send another NOTIFY between two reads.
    let (mut client, end) = (client.into_tcp(), agent_disconnect(0));
    let last = (1..).find_map(|sid| {
        let mut bytes = vec![0; 4096];
        client.write_all(&notify(sid, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))])).expect("the agent reads");
        let len = client.read(&mut bytes).expect("the agent answers");
        let ack = Frame::take(&mut &bytes[..len]).expect("the frame is complete");
        assert!(ack.kind == ACK && !ack.actions().is_empty(), "expected an ACK with actions, got {ack:?}");
        (ack.encode().len() < len).then(|| bytes[ack.encode().len()..len].to_vec())
    });
    assert_eq!(last, Some(end));
    drop(client);
    assert!(agent.wait().success());
}

/// The agent uses a socket that systemd passes to it, and notifies systemd of its state.
#[test]
fn systemd_passes_a_socket_and_is_notified() {
    let folder = Folder::with(&[("l", b"192.0.2.1\n")]);
    let manager = UnixDatagram::bind(folder.path("notify")).expect("the path is new");
    manager.set_read_timeout(Some(LIMIT)).expect("the timeout is above zero");
    let wait_for = |wanted: &str| {
        let end = Instant::now() + LIMIT;
        loop {
            let mut bytes = [0; 256];
            let len = manager.recv(&mut bytes).unwrap_or_else(|error| panic!("expected {wanted}: {error}"));
            if String::from_utf8_lossy(&bytes[..len]).contains(wanted) {
                break;
            }
            assert!(Instant::now() < end, "expected {wanted}, got other notifications");
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr = listener.local_addr().expect("the socket is bound").to_string();
    // The socket has the address in the configuration file, like spoa.socket and spoa.toml in the package.
    let text = format!("grace = '1s'\nlisten = ['{addr}']\n[[list]]\nname = 'l'\npath = 'l'\n");
    folder.write("spoa.toml", text.as_bytes());
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null"]).arg(binary());
    command.args(["--config", &folder.path("spoa.toml").display().to_string()]).stdin(OwnedFd::from(listener));
    command.env("NOTIFY_SOCKET", folder.path("notify")).env("WATCHDOG_USEC", "100000").stderr(Stdio::null());
    let mut child = command.spawn().expect("there is a shell");
    wait_for("READY=1");
    let mut client = Client::ready(&addr);
    client.send(&notify(1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]));
    assert!(!client.frame().actions().is_empty());
    wait_for("WATCHDOG=1");
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::HUP).expect("the agent runs");
    wait_for("RELOADING=1");
    wait_for("READY=1");
    kill_process(pid, Signal::TERM).expect("the agent runs");
    wait_for("STOPPING=1");
    assert!(child.wait().expect("spoa is a child process").success());
}

#[test]
fn sigint_skips_the_lame_duck_period() {
    let mut agent = Agent::spawn(&["--drain", "1h"]);
    agent.signal(Signal::INT);
    assert!(agent.wait().success());
    assert!(!agent.log().contains("stopping: health checks"), "{}", agent.log());
}

#[test]
fn a_json_log_line_names_its_connection() {
    let agent = Agent::spawn(&["--log-format", "json", "--log-level", "debug"]);
    let mut client = Client::with_hello(agent.addr(), &Hello::mux().and("engine-id", Value::text("engine-7")));
    client.send(&notify(1, 1, &[check_client_ip(Value::Null)]));
    client.frame();
    agent.wait_for_line("ACK sid=1");
    let log = agent.log();
    let line = log.lines().find(|line| line.contains("ACK sid=1")).expect("the line was waited for");
    for part in
        ["{\"timestamp\":", "\"level\":\"DEBUG\"", "\"conn\":1", "\"peer\":\"127.0.0.1:", "\"engine\":\"engine-7\""]
    {
        assert!(line.contains(part), "expected {part}, got {line}");
    }
}

#[test]
fn sigusr1_switches_debug_on_and_off() {
    let agent = Agent::spawn(&[]);
    let mut client = Client::ready(agent.addr());
    let mut exchange = |sid| {
        client.send(&notify(sid, 1, &[check_client_ip(Value::Null)]));
        client.frame();
    };
    agent.signal(Signal::USR1);
    agent.wait_for_line("the log level is debug");
    exchange(1);
    agent.wait_for_line("NOTIFY sid=1");
    agent.signal(Signal::USR1);
    agent.wait_for_line("the log level is info");
    exchange(2);
    let mut http = Client::fresh(agent.addr());
    http.send(b"GET / HTTP/1.1\r\n\r\n");
    agent.wait_for_line("received HTTP instead of SPOP");
    assert!(!agent.log().contains("NOTIFY sid=2"), "{}", agent.log());
}

/// The log names the other protocol and the likely mistake in HAProxy's configuration.
#[test]
fn other_protocols_are_recognized() {
    let agent = Agent::spawn(&[]);
    for (bytes, line) in [
        (
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            "received HTTP instead of SPOP; the likely cause is \"option httpchk\" in HAProxy's backend",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03",
            "received TLS instead of SPOP; the likely cause is \"ssl\" on HAProxy's server line",
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "received the PROXY protocol instead of SPOP; the likely cause is \"send-proxy\" on",
        ),
    ] {
        let mut client = Client::fresh(agent.addr());
        client.send(bytes);
        agent.wait_for_line(line);
    }
    assert_eq!(agent.warnings().len(), 3, "{}", agent.log());
}

#[test]
fn health_checks_without_a_notify_are_reported() {
    let agent = Agent::spawn(&["--silence-warning", "20ms"]);
    let mut check = Client::fresh(agent.addr());
    check.send(&Hello::health_check().encode());
    check.frame();
    agent.wait_for_line("1 health check and no NOTIFY in 20 ms");
}

#[test]
fn probe_does_what_haproxy_does() {
    let folder = Folder::with(&[("bad", b"192.0.2.0/24\n")]);
    let agent = Agent::spawn(&["--list", &folder.list("bad", ",score=7")]);
    let output = run(&["probe", agent.addr()]);
    let text = String::from_utf8(output.stdout).expect("the text is UTF-8");
    assert_eq!((output.status.code(), text.lines().count()), (Some(0), 1), "{text}");
    assert!(text.starts_with("AGENT-HELLO version=\"2.0\" max-frame-size=16380 capabilities="), "{text}");
    let output = run(&["probe", agent.addr(), "--notify", "192.0.2.9"]);
    let text = String::from_utf8(output.stdout).expect("the text is UTF-8");
    assert!(output.status.success() && text.contains("ACK sid=1 fid=1 set sess.ip_score=7 "), "{text}");

    for (options, code, wanted) in [
        (&["--expect", "ip_score"][..], 0, ""),
        (&["--expect", "sess.ip_score=7", "--expect", "ip_list=bad", "--expect", "ip_listed=true"], 0, ""),
        (&["--expect", "ip_score=8"], 1, "expected ip_score=8, got 7"),
        (&["--expect", "txn.ip_score"], 1, "expected the variable txn.ip_score, which the answer does not set"),
        (&["--message", "chek-client-ip"], 1, "the answer sets no variable: the agent does not serve the message"),
        (&["--argument", "src", "--expect", "ip_score=7"], 0, ""),
        (&["--message", "check-request", "--expect", "txn.ip_score=7"], 0, ""),
    ] {
        let output = run(&[&["probe", agent.addr(), "--notify", "192.0.2.9"][..], options].concat());
        let text = String::from_utf8(output.stderr).expect("the text is UTF-8");
        assert!(output.status.code() == Some(code) && text.contains(wanted), "{options:?}: {text}");
    }

    let no_listener = run(&["probe", "127.0.0.1:1"]);
    let (code, text) = (no_listener.status.code(), String::from_utf8(no_listener.stderr).expect("the text is UTF-8"));
    assert!(code == Some(1) && text.starts_with("spoa: cannot connect to 127.0.0.1:1"), "{text}");
    let full = Agent::spawn(&["--connections-max", "1", "--refuse-delay", "0"]);
    let _only = Client::ready(full.addr());
    let refused = run(&["probe", full.addr()]);
    let (code, text) = (refused.status.code(), String::from_utf8(refused.stderr).expect("the text is UTF-8"));
    assert!(code == Some(1) && text.contains("got AGENT-DISCONNECT status=13"), "{text}");
    let (_other, admin) = with_admin(&[]);
    let no_agent = run(&["probe", admin.addr(), "--timeout", "100ms"]);
    assert_eq!(no_agent.status.code(), Some(1));
}

/// The metric has the time at which the downloader last found the list up to date, not the time at which the list was
/// written.
#[test]
fn the_last_check_of_a_list_is_a_metric() {
    let folder = Folder::with(&[("a", b"192.0.2.1\n"), ("b", b"192.0.2.2\n"), (".a.checked", b"url\n")]);
    let set = |name: &str, seconds| {
        let file = fs::File::options().write(true).open(folder.path(name)).expect("the file exists");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("the time can be set");
    };
    set("a", 1_000_000_000);
    set(".a.checked", 1_700_000_000);
    let (agent, admin) = with_admin(&["--list", &folder.list("a", ""), "--list", &folder.list("b", "")]);
    assert_eq!(admin.sample("spoa_list_written_timestamp_seconds{list=\"a\"}"), 1e9);
    assert_eq!(admin.sample("spoa_list_checked_timestamp_seconds{list=\"a\"}"), 1.7e9);
    assert!(
        !admin.get("/metrics").1.contains("checked_timestamp_seconds{list=\"b\"}"),
        "expected no metric for a list without checks"
    );
    folder.write(".a.checked", b"url\n");
    set(".a.checked", 1_700_003_600);
    agent.signal(Signal::HUP);
    admin.wait_for("spoa_list_checked_timestamp_seconds{list=\"a\"}", 1_700_003_600.0);
}
