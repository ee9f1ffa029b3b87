//! Options and what becomes of wrong ones.

use std::net::TcpListener;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use spoa_tests::agent::{Agent, LIMIT, RANDOM, run};
use spoa_tests::bytes::AGENT_HELLO;
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::{Hello, ack, agent_disconnect, disconnect, notify};

/// It ended with `code`, having said one line on its standard error and nothing else.
fn says_one_line(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!((text.lines().count(), output.stdout.len()), (1, 0), "{text}");
    text
}

#[test]
fn wrong_options_are_told_in_one_line() {
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
        // If it took the options after all, it must not be on the default port.
        let listen = ["--listen", "127.0.0.1:0"];
        let options = if options.contains(&"--listen") { options.to_vec() } else { [&listen, options].concat() };
        let text = says_one_line(&run(&options), 2);
        assert!(text.starts_with("spoa: "), "{text}");
    }
}

#[test]
fn help_is_no_failure() {
    for option in ["-h", "--help", "--version"] {
        let output = run(&[option]);
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty());
    }
}

#[test]
fn a_port_in_use_is_told_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let text = says_one_line(&run(&["--listen", &addr]), 1);
    assert!(text.contains(&addr), "{text}");
    let port = taken.local_addr().unwrap().port().to_string();
    assert!(says_one_line(&run(&["-p", &port]), 1).contains(&addr));
}

#[test]
fn it_listens_everywhere_it_is_told_to() {
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
fn more_workers_than_processors_are_told_of() {
    let processors = thread::available_parallelism().expect("it can be asked").get();
    let agent = Agent::spawn(&["-n", &(processors + 3).to_string()]);
    agent.wait_for_line(&format!("{processors} workers, not {}", processors + 3));
    Client::ready(agent.addr()).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
}

#[test]
fn connections_above_the_limit_are_turned_away() {
    let agent = Agent::spawn(&["--connections-max", "2"]);
    let mut first = Client::ready(agent.addr());
    let second = Client::ready(agent.addr());
    // It need not say its HELLO to hear that; but it may have.
    Client::fresh(agent.addr()).is_disconnected(&[], 13);
    Client::fresh(agent.addr()).is_disconnected(&Hello::mux().encode(), 13);
    first.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    drop(second);
    accepted_in_time(&agent).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
}

/// A connection once the agent has room for one, which is in its own time.
fn accepted_in_time(agent: &Agent) -> Client {
    let deadline = Instant::now() + LIMIT;
    loop {
        assert!(Instant::now() < deadline, "it has no room for ever");
        let mut client = Client::fresh(agent.addr());
        client.send(&Hello::mux().encode());
        match client.frame() {
            frame if frame.kind == AGENT_HELLO => break client,
            frame => assert_eq!(frame.encode(), agent_disconnect(13)),
        }
    }
}

/// Ours is over with our last word, whether HAProxy closes or not.
#[test]
fn a_peer_that_does_not_close_keeps_its_place_for_a_second_only() {
    let agent = Agent::spawn(&["--connections-max", "1"]);
    let mut lingering = Client::ready(agent.addr());
    let start = Instant::now();
    lingering.is_disconnected(&disconnect(0), 0);
    accepted_in_time(&agent).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    assert!(start.elapsed() >= Duration::from_secs(1), "it had its second");
}

/// The delay is HAProxy's example agent's, in milliseconds.
#[test]
fn t_delays_answers() {
    let agent = Agent::spawn(&["-t", "50"]);
    let mut client = Client::ready(agent.addr());
    let start = Instant::now();
    client.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[test]
fn d_shows_each_frame() {
    let agent = Agent::spawn(&["-d"]);
    let mut client = Client::ready(agent.addr());
    client.exchange(&notify(77, 1, &[]), &ack(77, 1, &[]));
    agent.wait_for_line("HAPROXY-HELLO");
    agent.wait_for_line("AGENT-HELLO");
    agent.wait_for_line("NOTIFY sid=77 fid=1");
    agent.wait_for_line("ACK sid=77 fid=1");
}

#[test]
fn the_log_begins_with_what_is_served() {
    let agent = Agent::spawn(&["-n", "1", "--connections-max", "7"]);
    let log = agent.log();
    let mut lines = log.lines();
    let first = lines.next().expect("a line");
    let version = format!("INFO spoa {} (", env!("CARGO_PKG_VERSION"));
    assert!(
        first.contains(&version) && first.contains("): 1 worker, at most 7 connections (the limit of open"),
        "{first}"
    );
    assert!(first.ends_with("serves the messages check-client-ip, get-ip-reputation, check-request"), "{first}");
    assert!(lines.next().is_some_and(|line| line.contains("WARN") && line.contains(RANDOM)), "{log}");
    assert_eq!(agent.warnings(), [""; 0], "a loopback address is no reason to warn");
}

#[test]
fn other_hosts_are_a_reason_to_warn() {
    let agent = Agent::spawn(&["--listen", "0.0.0.0:0", "--admin", "0.0.0.0:0"]);
    agent.wait_for_lines("is not a loopback address, and", 2);
    assert!(agent.log().contains("SPOP has no authentication"), "{}", agent.log());
    let agent = Agent::spawn(&["--listen", "[::ffff:127.0.0.1]:0"]);
    assert_eq!(agent.warnings(), [""; 0], "{}", agent.log());
}

#[test]
fn wrong_options_are_explained() {
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
        let said = says_one_line(&run(options), code);
        assert!(said.contains(wanted), "{options:?}: {said}");
    }
}
