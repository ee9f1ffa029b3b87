//! X09 and X10: stops by a signal.

use rustix::process::Signal;
use spoa_tests::agent::Agent;
use spoa_tests::bytes::{ACK, Frame, Value};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, agent_disconnect, check_client_ip, disconnect, notify};

/// Returns a connection with three NOTIFYs in flight.
fn busy(agent: &Agent) -> Client {
    let mut client = Client::ready(agent.addr());
    client.send(&(0..3).flat_map(|sid| notify(sid, 1, &[])).collect::<Vec<_>>());
    agent.wait_for_line("NOTIFY sid=2");
    client
}

#[test]
fn x09_notifys_in_flight_are_answered_before_the_disconnect() {
    let mut agent = Agent::spawn(&["-d", "-t", "1s", "--grace", "30s"]);
    let mut client = busy(&agent);
    agent.terminate();
    agent.wait_for_line("draining");
    // A NOTIFY that arrives during the drain is answered too, empty as soon as its worker knows of the drain. The log
    // does not show when that is.
    client.send(&notify(9, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]));
    assert!(Client::connect(agent.addr()).is_err(), "expected the listener to be closed");
    let sent = client.read_to_end().expect("the connection is not reset");
    let last = agent_disconnect(0);
    assert!(sent.ends_with(&last), "expected an AGENT-DISCONNECT at the end, got {sent:02x?}");
    let mut rest = &sent[..sent.len() - last.len()];
    let frames =
        std::iter::from_fn(|| (!rest.is_empty()).then(|| Frame::take(&mut rest).expect("frames are complete")));
    let mut acks: Vec<_> = frames.map(|frame| (frame.kind, frame.sid)).collect();
    acks.sort_unstable();
    assert_eq!(acks[..3], [0, 1, 2].map(|sid| (ACK, sid)));
    assert!(acks[3..].iter().all(|late| *late == (ACK, 9)) && acks.len() <= 4, "{acks:?}");
    assert!(agent.wait().success());
}

#[test]
fn x09_the_grace_period_bounds_the_drain() {
    let mut agent = Agent::spawn(&["-d", "-t", "3600s", "--grace", "1s"]);
    let mut client = busy(&agent);
    agent.terminate();
    assert_eq!(client.read_to_end().expect("the connection is not reset"), agent_disconnect(0));
    assert!(agent.wait().success());
}

/// The linger time starts when the DISCONNECT is sent, even if that is long after the signal. Bytes that arrive before
/// its end are read.
#[test]
fn x09_a_connection_lingers_after_a_late_answer() {
    let mut agent = Agent::spawn(&["-d", "-t", "1500ms", "--grace", "30s"]);
    let mut client = busy(&agent);
    agent.terminate();
    for _ in 0..3 {
        assert_eq!(client.frame().kind, 103);
    }
    assert_eq!(client.frame().encode(), agent_disconnect(0));
    client.send(&notify(9, 1, &[]).repeat(10_000));
    assert_eq!(client.read_to_end().expect("the connection is not reset"), b"");
    drop(client);
    assert!(agent.wait().success());
}

#[test]
fn x10_idle_connections_are_closed_immediately() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut agent = Agent::spawn(&["--grace", "3600s"]);
        let mut clients: Vec<_> = (0..10).map(|_| Client::ready(agent.addr())).collect();
        for client in &mut clients {
            client.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
        }
        agent.signal(signal);
        for client in &mut clients {
            assert_eq!(client.read_to_end().expect("the connection is not reset"), agent_disconnect(0));
        }
        drop(clients);
        assert!(agent.wait().success());
    }
}

/// HAProxy does not answer our DISCONNECT if it has just sent its own. The agent sends only one in that case, too.
#[test]
fn x10_both_sides_may_disconnect_at_the_same_time() {
    let mut agent = Agent::spawn(&[]);
    let mut client = Client::ready(agent.addr());
    agent.terminate();
    client.send(&disconnect(0));
    assert_eq!(client.read_to_end().expect("the connection is not reset"), agent_disconnect(0));
    assert!(agent.wait().success());
}

#[test]
fn a_connection_without_a_hello_is_rejected() {
    let mut agent = Agent::spawn(&["-d"]);
    let mut client = Client::fresh(agent.addr());
    client.send(&Hello::mux().encode()[..50]);
    agent.wait_for_line("connected");
    agent.terminate();
    assert_eq!(client.read_to_end().expect("the connection is not reset"), agent_disconnect(13));
    assert!(agent.wait().success());
}

#[test]
fn a_stop_sends_a_delayed_refusal_at_once() {
    let mut agent = Agent::spawn(&["-d", "--refuse-delay", "3600s", "--grace", "3600s"]);
    let mut client = Client::fresh(agent.addr());
    client.send(&Hello::mux().without("capabilities").encode());
    agent.wait_for_line("HAPROXY-HELLO");
    agent.terminate();
    assert_eq!(client.read_to_end().expect("the connection is not reset"), agent_disconnect(7));
    drop(client);
    assert!(agent.wait().success());
}

#[test]
fn an_agent_without_connections_exits_immediately() {
    let mut agent = Agent::spawn(&["--grace", "3600s"]);
    agent.terminate();
    assert!(agent.wait().success());
}

#[test]
fn a_second_signal_stops_the_agent_immediately() {
    let mut agent = Agent::spawn(&["-d", "-t", "3600s", "--grace", "3600s"]);
    let _busy = busy(&agent);
    agent.terminate();
    agent.wait_for_line("draining");
    agent.signal(Signal::INT);
    agent.wait();
}

/// A peer that does not read the last frames does not delay the stop beyond the grace period.
#[test]
fn a_stuck_peer_does_not_extend_the_grace_period() {
    let mut agent = Agent::spawn(&["--grace", "1s"]);
    let mut client = Client::ready(agent.addr());
    client.send_until_stuck(&notify(1, 1, &[]).repeat(1000), 64 << 20);
    agent.terminate();
    assert!(agent.wait().success());
}
