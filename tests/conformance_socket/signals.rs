//! X09, X10: the way down.

use rustix::process::Signal;
use spoa_tests::agent::Agent;
use spoa_tests::bytes::{ACK, Frame, Value};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, agent_disconnect, check_client_ip, disconnect, notify};

/// A connection with three NOTIFYs in work.
fn busy(agent: &Agent) -> Client {
    let mut client = Client::ready(agent.addr());
    client.send(&(0..3).flat_map(|sid| notify(sid, 1, &[])).collect::<Vec<_>>());
    agent.wait_for_line("NOTIFY sid=2");
    client
}

#[test]
fn x09_what_is_in_flight_is_answered_before_the_end() {
    let mut agent = Agent::spawn(&["-d", "-t", "1s", "--grace", "30s"]);
    let mut client = busy(&agent);
    agent.terminate();
    agent.wait_for_line("draining");
    // A NOTIFY that arrives in time is answered too: empty once its worker knows of the drain, which the log does not say.
    client.send(&notify(9, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]));
    assert!(Client::connect(agent.addr()).is_err(), "nobody listens any more");
    let said = client.rest().expect("no reset");
    let last = agent_disconnect(0);
    assert!(said.ends_with(&last), "{said:02x?}");
    let mut rest = &said[..said.len() - last.len()];
    let frames = std::iter::from_fn(|| (!rest.is_empty()).then(|| Frame::take(&mut rest).expect("whole frames")));
    let mut acks: Vec<_> = frames.map(|frame| (frame.kind, frame.sid)).collect();
    acks.sort_unstable();
    assert_eq!(acks[..3], [0, 1, 2].map(|sid| (ACK, sid)));
    assert!(acks[3..].iter().all(|late| *late == (ACK, 9)) && acks.len() <= 4, "{acks:?}");
    assert!(agent.wait().success());
}

#[test]
fn x09_the_grace_period_ends_what_takes_too_long() {
    let mut agent = Agent::spawn(&["-d", "-t", "3600s", "--grace", "1s"]);
    let mut client = busy(&agent);
    agent.terminate();
    assert_eq!(client.rest().expect("no reset"), agent_disconnect(0));
    assert!(agent.wait().success());
}

/// The linger counts from the last word, however long after the signal that was: what crosses it is still read.
#[test]
fn x09_a_late_answer_has_its_linger() {
    let mut agent = Agent::spawn(&["-d", "-t", "1500ms", "--grace", "30s"]);
    let mut client = busy(&agent);
    agent.terminate();
    for _ in 0..3 {
        assert_eq!(client.frame().kind, 103);
    }
    assert_eq!(client.frame().encode(), agent_disconnect(0));
    client.send(&notify(9, 1, &[]).repeat(10_000));
    assert_eq!(client.rest().expect("no reset"), []);
    drop(client);
    assert!(agent.wait().success());
}

#[test]
fn x10_idle_connections_end_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut agent = Agent::spawn(&["--grace", "3600s"]);
        let mut clients: Vec<_> = (0..10).map(|_| Client::ready(agent.addr())).collect();
        for client in &mut clients {
            client.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
        }
        agent.signal(signal);
        for client in &mut clients {
            assert_eq!(client.rest().expect("no reset"), agent_disconnect(0));
        }
        drop(clients);
        assert!(agent.wait().success());
    }
}

/// HAProxy answers nothing to our DISCONNECT when it has its own under way.
#[test]
fn x10_both_sides_may_end_it_at_once() {
    let mut agent = Agent::spawn(&[]);
    let mut client = Client::ready(agent.addr());
    agent.terminate();
    client.send(&disconnect(0));
    assert_eq!(client.rest().expect("no reset"), agent_disconnect(0));
    assert!(agent.wait().success());
}

#[test]
fn a_connection_without_hello_is_turned_away() {
    let mut agent = Agent::spawn(&["-d"]);
    let mut client = Client::fresh(agent.addr());
    client.send(&Hello::mux().encode()[..50]);
    agent.wait_for_line("connected");
    agent.terminate();
    assert_eq!(client.rest().expect("no reset"), agent_disconnect(13));
    assert!(agent.wait().success());
}

#[test]
fn a_refusal_that_waits_is_brought_forward() {
    let mut agent = Agent::spawn(&["-d", "--refuse-delay", "3600s", "--grace", "3600s"]);
    let mut client = Client::fresh(agent.addr());
    client.send(&Hello::mux().without("capabilities").encode());
    agent.wait_for_line("HAPROXY-HELLO");
    agent.terminate();
    assert_eq!(client.rest().expect("no reset"), agent_disconnect(7));
    drop(client);
    assert!(agent.wait().success());
}

#[test]
fn an_agent_without_connections_ends_at_once() {
    let mut agent = Agent::spawn(&["--grace", "3600s"]);
    agent.terminate();
    assert!(agent.wait().success());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut agent = Agent::spawn(&["-d", "-t", "3600s", "--grace", "3600s"]);
    let _busy = busy(&agent);
    agent.terminate();
    agent.wait_for_line("draining");
    agent.signal(Signal::INT);
    agent.wait();
}

/// A peer that does not read our last words does not keep the agent from ending.
#[test]
fn a_stuck_peer_does_not_outlast_the_grace_period() {
    let mut agent = Agent::spawn(&["--grace", "1s"]);
    let mut client = Client::ready(agent.addr());
    client.send_until_stuck(&notify(1, 1, &[]).repeat(1000), 64 << 20);
    agent.terminate();
    assert!(agent.wait().success());
}
