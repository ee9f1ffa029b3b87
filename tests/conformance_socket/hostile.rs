//! Peers that mean no good, or break off: the others are served, and memory is bounded.

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

/// One worker, so that whoever is blocked blocks all.
fn one_worker(options: &[&str]) -> Agent {
    Agent::spawn(&[&["-n", "1"], options].concat())
}

fn serves(agent: &Agent) {
    Client::ready(agent.addr()).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
}

#[test]
fn a_peer_that_never_reads_is_held_up_alone() {
    let agent = one_worker(&[]);
    serves(&agent);
    let before = process::memory(agent.pid());
    let mut stuck: Vec<_> = (0..2).map(|_| Client::ready(agent.addr())).collect();
    let input = notify(1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]).repeat(1000);
    for client in &mut stuck {
        assert!(client.send_until_stuck(&input, FLOOD) < FLOOD, "the agent stops reading");
        serves(&agent);
    }
    let grown = process::memory(agent.pid()).saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} bytes for two connections");
}

#[test]
fn a_peer_that_never_reads_is_given_up() {
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
    serves(&agent);
}

/// Handlers that take long, and a peer that asks on and on: what is not in work waits in the socket.
#[test]
fn endless_questions_are_bounded() {
    let agent = one_worker(&["-t", "3600s"]);
    let before = process::memory(agent.pid());
    let mut client = Client::ready(agent.addr());
    let large = notify(1, 1, &[message("m", &[("", Value::String(vec![b'x'; 16000]))])]);
    assert!(client.send_until_stuck(&large, FLOOD) < FLOOD, "the agent stops reading");
    let grown = process::memory(agent.pid()).saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} bytes for one connection");
    let mut other = Client::ready(agent.addr());
    other.is_disconnected(&disconnect(0), 0);
}

#[test]
fn endless_fragments_are_bounded() {
    let agent = one_worker(&["-d"]);
    serves(&agent);
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
    assert!(grown < 8 * MIB, "{grown} bytes for one connection");
    serves(&agent);
}

/// A byte at a time, slower than the time a HELLO may take, does not keep a place for ever; meanwhile others are served.
#[test]
fn many_connections_that_say_nothing_are_served_around() {
    let agent = one_worker(&["--hello-timeout", "3s"]);
    let mut silent: Vec<_> = (0..200).map(|_| Client::fresh(agent.addr())).collect();
    for client in &mut silent {
        client.send(&[0]);
    }
    serves(&agent);
    for mut client in silent {
        client.is_disconnected(&[], 2);
    }
}

/// Connections that have nothing to do hold no buffers, however large their frames were.
#[test]
fn idle_connections_are_small() {
    let agent = one_worker(&[]);
    let large = notify(1, 1, &[message("m", &[("", Value::String(vec![b'x'; 16000]))])]);
    let ask = |client: &mut Client| client.exchange(&large, &ack(1, 1, &[]));
    ask(&mut Client::ready(agent.addr()));
    let before = process::memory(agent.pid());
    let mut idle: Vec<_> = (0..400).map(|_| Client::ready(agent.addr())).collect();
    idle.iter_mut().for_each(ask);
    let each = process::memory(agent.pid()).saturating_sub(before) / 400;
    assert!(each < 8192, "{each} bytes for each connection");
}

/// Nothing helps against too few files but to wait for one; those who have theirs are served meanwhile.
#[test]
fn an_agent_out_of_files_goes_on() {
    let agent = Agent::spawn(&[]);
    let mut served = Client::ready(agent.addr());
    agent.limit_files(60);
    let mut waiting: Vec<_> = (0..100).map(|_| Client::fresh(agent.addr())).collect();
    for client in &mut waiting {
        client.send(&Hello::mux().encode());
    }
    agent.wait_for_line("cannot accept");
    served.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    // The first ones have a file; when they are done it is the others' turn.
    for mut client in waiting {
        assert_eq!(client.frame().kind, AGENT_HELLO);
    }
}

#[test]
fn breaking_off_at_any_byte_leaves_the_agent_serving() {
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
            serves(&agent);
        }
    }
    serves(&agent);
    assert_eq!(agent.warnings(), [""; 0], "this is routine");
}

#[test]
fn breaking_off_with_answers_under_way_leaves_the_agent_serving() {
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
    serves(&agent);
    assert_eq!(agent.warnings(), [""; 0], "this is routine");
}

#[test]
fn a_crowd_is_served() {
    let agent = Agent::spawn(&["-n", "2"]);
    let crowd: Vec<_> = (0..8)
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
    for one in crowd {
        one.join().expect("each was served");
    }
}

/// Nobody reads the log any more: its reader died. That is no reason to die too, nor to forget what was taken.
#[test]
fn a_log_that_nobody_reads_does_no_harm() {
    let mut command = Command::new(binary());
    command.args(["--listen", "127.0.0.1:0", "--connections-max", "16"]).stderr(Stdio::piped());
    let mut child = Killed(command.spawn().expect("it runs"));
    let lines = BufReader::new(child.0.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let addr =
        lines.filter_map(|line| Some(line.split_once("listening on ")?.1.to_owned())).next().expect("an address");
    // More than there may be at once: each has to be counted out again.
    for _ in 0..20 {
        Client::fresh(&addr).is_disconnected(b"GET / HTTP/1.1\r\n", 3);
    }
    Client::ready(&addr).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    kill_process(Pid::from_child(&child.0), Signal::TERM).expect("it runs");
    assert!(child.0.wait().expect("it is our child").success());
}

/// A child that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
