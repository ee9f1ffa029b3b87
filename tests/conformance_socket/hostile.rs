//! Peers that are hostile, slow or close their connection at any time: others are still served, and memory is bounded.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use spoa_tests::agent::{Agent, binary};
use spoa_tests::bytes::{AGENT_HELLO, FIN, Frame, NOTIFY, UNSET, Value, hex, message};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, check_client_ip, disconnect, documented_notify, notify};
use spoa_tests::process;

const MIB: u64 = 1 << 20;
/// Far more than the kernel buffers for one connection.
const FLOOD: usize = 128 << 20;

/// Returns an agent with one worker, so that a peer that could block its worker would block all others.
fn one_worker(options: &[&str]) -> Agent {
    Agent::spawn(&[&["-n", "1"], options].concat())
}

/// Checks that the agent serves a NOTIFY of a new connection.
fn check_serves(agent: &Agent) {
    Client::ready(agent.addr()).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
}

#[test]
fn a_peer_that_never_reads_does_not_block_others() {
    let agent = one_worker(&[]);
    check_serves(&agent);
    let before = process::memory(agent.pid());
    let mut stuck: Vec<_> = (0..2).map(|_| Client::ready(agent.addr())).collect();
    let input = notify(1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]).repeat(1000);
    for client in &mut stuck {
        assert!(client.send_until_stuck(&input, FLOOD) < FLOOD, "expected the agent to stop reading");
        check_serves(&agent);
    }
    let grown = process::memory(agent.pid()).saturating_sub(before);
    assert!(grown < 8 * MIB, "expected less than 8 MiB for two connections, got {grown} bytes");
}

#[test]
fn a_peer_that_never_reads_is_closed_after_the_send_timeout() {
    let agent = one_worker(&["--send-timeout", "500ms"]);
    let mut client = Client::ready(agent.addr());
    let input = notify(1, 1, &[]).repeat(1000);
    let error = loop {
        if let Err(error) = client.try_send(&input) {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    agent.wait_for_line("closed: the peer has read nothing for 500 ms");
    check_serves(&agent);
}

/// If handlers take long and a peer keeps sending NOTIFYs, those that are not in flight wait in the socket.
#[test]
fn endless_notifys_are_bounded() {
    let agent = one_worker(&["-t", "3600s"]);
    let before = process::memory(agent.pid());
    let mut client = Client::ready(agent.addr());
    let large = notify(1, 1, &[message("m", &[("", Value::String(vec![b'x'; 16000]))])]);
    assert!(client.send_until_stuck(&large, FLOOD) < FLOOD, "expected the agent to stop reading");
    let grown = process::memory(agent.pid()).saturating_sub(before);
    assert!(grown < 8 * MIB, "expected less than 8 MiB for one connection, got {grown} bytes");
    let mut other = Client::ready(agent.addr());
    other.expect_disconnect(&disconnect(0), 0);
}

#[test]
fn endless_fragments_are_bounded() {
    let agent = one_worker(&["-d"]);
    check_serves(&agent);
    let before = process::memory(agent.pid());
    let mut client = Client::ready(agent.addr());
    let piece = vec![0; 16000];
    client.send(&Frame::new(NOTIFY, (7, 1), piece.clone()).flags(0).encode());
    let more = Frame::new(UNSET, (7, 1), piece).flags(0).encode();
    for _ in 0..4000 {
        client.send(&more);
    }
    let end = Frame::new(UNSET, (7, 1), []).encode();
    let refusal = hex("00000007 67 00000003 07 01");
    client.exchange(&[end, notify(1, 1, &[])].concat(), &[refusal, ack(1, 1, &[])].concat());
    let grown = process::memory(agent.pid()).saturating_sub(before);
    assert!(grown < 8 * MIB, "expected less than 8 MiB for one connection, got {grown} bytes");
    check_serves(&agent);
}

/// Connections with an incomplete HELLO are closed after the HELLO timeout, and others are served meanwhile.
#[test]
fn connections_without_a_hello_do_not_block_others() {
    let agent = one_worker(&["--hello-timeout", "3s"]);
    let mut silent: Vec<_> = (0..200).map(|_| Client::fresh(agent.addr())).collect();
    for client in &mut silent {
        client.send(&[0]);
    }
    check_serves(&agent);
    for mut client in silent {
        client.expect_disconnect(&[], 2);
    }
}

/// Idle connections hold no buffers, however large their frames were.
#[test]
fn idle_connections_are_small() {
    let agent = one_worker(&[]);
    let large = notify(1, 1, &[message("m", &[("", Value::String(vec![b'x'; 16000]))])]);
    let exchange = |client: &mut Client| client.exchange(&large, &ack(1, 1, &[]));
    exchange(&mut Client::ready(agent.addr()));
    let before = process::memory(agent.pid());
    let mut idle: Vec<_> = (0..400).map(|_| Client::ready(agent.addr())).collect();
    idle.iter_mut().for_each(exchange);
    let each = process::memory(agent.pid()).saturating_sub(before) / 400;
    assert!(each < 8192, "expected less than 8 KiB per connection, got {each} bytes");
}

/// If the agent can open no more files, it serves its connections and accepts others as soon as files are closed.
#[test]
fn an_agent_without_free_file_descriptors_keeps_serving() {
    let agent = Agent::spawn(&[]);
    let mut served = Client::ready(agent.addr());
    agent.limit_files(60);
    let mut waiting: Vec<_> = (0..100).map(|_| Client::fresh(agent.addr())).collect();
    for client in &mut waiting {
        client.send(&Hello::mux().encode());
    }
    agent.wait_for_line("cannot accept");
    served.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    // Each connection is dropped after its answer, which lets the agent accept another one.
    for mut client in waiting {
        assert_eq!(client.frame().kind, AGENT_HELLO);
    }
}

#[test]
fn closing_a_connection_after_any_byte_leaves_the_agent_serving() {
    let agent = Agent::spawn(&[]);
    let fragments = [Frame::new(NOTIFY, (3, 1), *b"ab").flags(0), Frame::new(UNSET, (3, 1), []).flags(FIN | 2)];
    let fragments: Vec<u8> = fragments.iter().flat_map(Frame::encode).collect();
    let whole = [Hello::mux().encode(), documented_notify(), fragments, disconnect(0)].concat();
    for cut in 0..=whole.len() {
        for reset in [false, true] {
            let mut client = Client::fresh(agent.addr());
            client.send(&whole[..cut]);
            if reset {
                client.reset();
            }
        }
        if cut % 50 == 0 {
            check_serves(&agent);
        }
    }
    check_serves(&agent);
    assert_eq!(agent.warnings(), [""; 0], "expected no warnings about peers that close their connection");
}

#[test]
fn closing_a_connection_with_notifys_in_flight_leaves_the_agent_serving() {
    let agent = Agent::spawn(&["-t", "1ms"]);
    for round in 0..100_u64 {
        let mut client = Client::ready(agent.addr());
        client.send(&(0..50).flat_map(|sid| notify(sid, 1, &[])).collect::<Vec<_>>());
        for _ in 0..round % 50 {
            client.frame();
        }
        if round % 2 == 0 {
            client.reset();
        }
    }
    check_serves(&agent);
    assert_eq!(agent.warnings(), [""; 0], "expected no warnings about peers that close their connection");
}

#[test]
fn many_connections_in_parallel_are_served() {
    let agent = Agent::spawn(&["-n", "2"]);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let addr = agent.addr().to_owned();
            thread::spawn(move || {
                for _ in 0..25 {
                    let mut clients: Vec<_> = (0..8).map(|_| Client::ready(&addr)).collect();
                    for client in &mut clients {
                        client.exchange(&notify(1, 1, &[]).repeat(20), &ack(1, 1, &[]).repeat(20));
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("every connection is served");
    }
}

/// The agent survives the end of the process that reads its log, and still counts its open connections correctly.
#[test]
fn a_log_whose_reader_has_exited_does_no_harm() {
    let mut command = Command::new(binary());
    command.args(["--listen", "127.0.0.1:0", "--connections-max", "16"]).stderr(Stdio::piped());
    let mut child = KillOnDrop(command.spawn().expect("spoa can be run"));
    let lines = BufReader::new(child.0.stderr.take().expect("standard error is piped")).lines().map_while(Result::ok);
    let addr = lines
        .filter_map(|line| Some(line.split_once("listening on ")?.1.to_owned()))
        .next()
        .expect("the agent listens");
    // More connections than the limit, one after the other. Each must stop counting against the limit when it is
    // closed.
    for _ in 0..20 {
        Client::fresh(&addr).expect_disconnect(b"GET / HTTP/1.1\r\n", 3);
    }
    Client::ready(&addr).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    kill_process(Pid::from_child(&child.0), Signal::TERM).expect("the agent runs");
    assert!(child.0.wait().expect("spoa is a child process").success());
}

/// A child process, which is killed when dropped.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
