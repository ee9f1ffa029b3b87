//! Options, and the errors for invalid ones.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use spoa_tests::agent::{Agent, LIMIT, RANDOM, binary, run};
use spoa_tests::bytes::AGENT_HELLO;
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::{Hello, ack, agent_disconnect, disconnect, notify};

/// Checks that `spoa` exited with `code` and printed only one line to its standard error. Returns this line.
fn single_error(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("the text is UTF-8");
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!((text.lines().count(), output.stdout.len()), (1, 0), "{text}");
    text
}

#[test]
fn invalid_options_are_reported_in_one_line() {
    for options in [
        &["--no-such-option"][..],
        &["argument"],
        &["-p"],
        &["-p", "0"],
        &["-p", "65536"],
        &["-p", "http"],
        &["-n", "0"],
        &["-n", "-1"],
        &["-m", "255"],
        &["-m", "4294967296"],
        &["-c", "Pipelining"],
        &["-c", "none,async"],
        &["-c", ""],
        &["-t", "1d"],
        &["-t", "1.5s"],
        &["-f", "many"],
        &["--listen", ""],
        &["--listen", "127.0.0.1"],
        &["--listen", "127.0.0.1:65536"],
        &["--in-flight-max", "0"],
        &["--total-in-flight-max", "0"],
        &["--total-bytes-max", "1000000"],
        &["--seed", "x"],
        &["--list", "x"],
        &["--list", "a=/x,score=101"],
        &["--list", "a=/x", "--seed", "1"],
        &["--default-score", "101"],
        &["--max-shrink", "101"],
        &["--list", "a=/x", "--list", "a=/y"],
        &["check"],
        &["validate"],
        &["check", "192.0.2.1"],
        &["check", "host"],
        &["--grace", "soon"],
    ] {
        // If an agent accepted these options after all, it must not listen on the default port.
        let listen = ["--listen", "127.0.0.1:0"];
        let options = if options.contains(&"--listen") { options.to_vec() } else { [&listen, options].concat() };
        let text = single_error(&run(&options), 2);
        assert!(text.starts_with("spoa: "), "{text}");
    }
}

#[test]
fn help_exits_successfully() {
    for option in ["-h", "--help", "--version"] {
        let output = run(&[option]);
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty());
    }
}

#[test]
fn a_port_in_use_is_reported_in_one_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let text = single_error(&run(&["--listen", &addr]), 1);
    assert!(text.contains(&addr), "{text}");
    let port = listener.local_addr().unwrap().port().to_string();
    assert!(single_error(&run(&["-p", &port]), 1).contains(&addr));
}

#[test]
fn the_agent_listens_on_all_addresses() {
    let mut options = vec!["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
    if TcpListener::bind("[::1]:0").is_ok() {
        options.extend(["--listen", "[::1]:0"]);
    }
    let agent = Agent::spawn(&options);
    assert_eq!(agent.addrs().len(), options.len() / 2);
    for addr in agent.addrs() {
        Client::ready(addr).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    }
}

#[test]
fn more_workers_than_processors_are_reported() {
    let processors = thread::available_parallelism().expect("the number of processors is known").get();
    let agent = Agent::spawn(&["-n", &(processors + 3).to_string()]);
    agent.wait_for_line(&format!("{processors} workers, not {}", processors + 3));
    Client::ready(agent.addr()).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
}

#[test]
fn connections_above_the_limit_are_rejected() {
    let agent = Agent::spawn(&["--connections-max", "2"]);
    let mut first = Client::ready(agent.addr());
    let mut second = Client::ready(agent.addr());
    // A connection that has sent no NOTIFY would give way to another after a second.
    for client in [&mut first, &mut second] {
        client.exchange(&notify(3, 1, &[]), &ack(3, 1, &[]));
    }
    // The agent does not wait for the HELLO, but one may arrive.
    Client::fresh(agent.addr()).expect_disconnect(&[], 13);
    Client::fresh(agent.addr()).expect_disconnect(&Hello::mux().encode(), 13);
    first.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    drop(second);
    wait_until_accepted(&agent).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
}

/// Connects again and again until the agent accepts a connection.
pub(crate) fn wait_until_accepted(agent: &Agent) -> Client {
    let deadline = Instant::now() + LIMIT;
    loop {
        assert!(Instant::now() < deadline, "expected the agent to accept a connection");
        let mut client = Client::fresh(agent.addr());
        client.send(&Hello::mux().encode());
        match client.frame() {
            frame if frame.kind == AGENT_HELLO => break client,
            frame => assert_eq!(frame.encode(), agent_disconnect(13)),
        }
    }
}

/// After its last frame the agent waits a second for HAProxy to close the connection, and then closes it itself.
#[test]
fn a_peer_that_does_not_close_counts_as_connected_for_a_second() {
    let agent = Agent::spawn(&["--connections-max", "1"]);
    let mut lingering = Client::ready(agent.addr());
    let start = Instant::now();
    lingering.expect_disconnect(&disconnect(0), 0);
    wait_until_accepted(&agent).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    assert!(start.elapsed() >= Duration::from_secs(1), "expected the agent to linger for a second");
}

/// The option `-t` means the same as in HAProxy's example agent: a delay in milliseconds.
#[test]
fn t_delays_answers() {
    let agent = Agent::spawn(&["-t", "50"]);
    let mut client = Client::ready(agent.addr());
    let start = Instant::now();
    client.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[test]
fn d_logs_each_frame() {
    let agent = Agent::spawn(&["-d"]);
    let mut client = Client::ready(agent.addr());
    client.exchange(&notify(77, 1, &[]), &ack(77, 1, &[]));
    agent.wait_for_line("HAPROXY-HELLO");
    agent.wait_for_line("AGENT-HELLO");
    agent.wait_for_line("NOTIFY sid=77 fid=1");
    agent.wait_for_line("ACK sid=77 fid=1");
}

/// An option on the command line overrides another one in the file that means the same.
#[test]
fn the_log_level_of_the_command_line_overrides_debug_in_the_file() {
    let folder = Folder::with(&[("spoa.toml", b"debug = true\n")]);
    let path = folder.path("spoa.toml").display().to_string();
    let agent = Agent::spawn(&["--config", &path, "--log-level", "info"]);
    agent.signal(Signal::USR1);
    agent.wait_for_line("SIGUSR1: the log level is debug");
}

/// The command line has precedence over the environment, and that over the configuration file.
#[test]
fn options_come_from_the_environment() {
    let folder = Folder::with(&[("spoa.toml", b"connections-max = 30\ngrace = '7s'\n")]);
    let config = folder.path("spoa.toml").display().to_string();
    let with = |variables: &[(&str, &str)]| {
        let mut command = Command::new(binary());
        command.envs(variables.iter().copied());
        command
    };
    // Kubernetes sets a variable of this name for a service called spoa.
    let kubernetes = ("SPOA_PORT", "tcp://10.0.0.1:12345");
    let command = with(&[("SPOA_CONFIG", &config), ("SPOA_CONNECTIONS_MAX", "20"), kubernetes]);
    Agent::spawn_by(command, &[]).wait_for_line("at most 20 connections");
    let command = with(&[("SPOA_CONNECTIONS_MAX", "20"), ("SPOA_LISTEN", "nowhere")]);
    let listen = ["--connections-max", "10", "--listen", "127.0.0.1:0"];
    Agent::spawn_by(command, &listen).wait_for_line("at most 10 connections");
    let output = with(&[("SPOA_GRACE", "soon")]).output().expect("spoa can be run");
    assert!(single_error(&output, 2).contains("--grace"), "{output:?}");
    let output = with(&[("SPOA_LISTEN", "nowhere")]).args(["check", "--help"]).output().expect("spoa can be run");
    assert!(output.status.success(), "the commands do not read the options of the agent: {output:?}");
}

#[test]
fn the_log_starts_with_version_limits_and_messages() {
    let agent = Agent::spawn(&["-n", "1", "--connections-max", "7"]);
    let log = agent.log();
    let mut lines = log.lines();
    let first = lines.next().expect("the log has a line");
    let version = format!("INFO spoa {} (", env!("CARGO_PKG_VERSION"));
    assert!(
        first.contains(&version) && first.contains("): 1 worker, at most 7 connections (the limit of open"),
        "{first}"
    );
    assert!(first.ends_with("serves the messages check-client-ip, get-ip-reputation, check-request"), "{first}");
    assert!(lines.next().is_some_and(|line| line.contains("WARN") && line.contains(RANDOM)), "{log}");
    assert_eq!(agent.warnings(), [""; 0], "expected no warning about a loopback address");
}

#[test]
fn addresses_that_other_hosts_can_reach_are_reported() {
    let agent = Agent::spawn(&["--listen", "0.0.0.0:0", "--admin", "0.0.0.0:0"]);
    agent.wait_for_lines("is not a loopback address, and", 2);
    assert!(agent.log().contains("SPOP has no authentication"), "{}", agent.log());
    let agent = Agent::spawn(&["--listen", "[::ffff:127.0.0.1]:0"]);
    assert_eq!(agent.warnings(), [""; 0], "{}", agent.log());
}

#[test]
fn errors_name_the_expected_values() {
    let folder = Folder::with(&[("spoa.toml", b"port = 0\n")]);
    let file = folder.path("spoa.toml").display().to_string();
    for (options, code, wanted) in [
        (&["--prot", "7"][..], 2, "did you mean '--port'?"),
        (&["chek", "192.0.2.1"], 2, "did you mean 'check'?"),
        (&["-p", "0"], 2, "expected a whole number from 1 to 65535"),
        (&["-n", "many"], 2, "expected a whole number from 1 on"),
        (&["--connections-max", "0"], 2, "expected a whole number from 1 on"),
        (&["--config", &file], 2, "spoa.toml:1:8: expected a whole number from 1 to 65535"),
        (&["--config", "/missing"], 1, "cannot read /missing: No such file"),
        (&["--config", "/"], 1, "cannot read /: it is not a regular file"),
        (&["--list", "a=/x,max-shrink=101"], 2, "max-shrink is a percentage from 0 to 100"),
        (&["--list", "a=/x,optionl"], 2, "unknown part \"optionl\" of a list; known are score=N"),
        (&["probe", "127.0.0.1:1", "--expect", "x"], 2, "--notify"),
    ] {
        let error = single_error(&run(options), code);
        assert!(error.contains(wanted), "expected {wanted:?} for {options:?}, got {error}");
    }
}
