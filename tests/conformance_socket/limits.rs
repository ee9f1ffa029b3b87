//! Limits that all connections share, and the limit of open files.

use spoa_tests::admin::Admin;
use spoa_tests::agent::Agent;
use spoa_tests::bytes::{ACK, AGENT_HELLO, Value};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, agent_disconnect, check_client_ip, disconnect, notify};

use crate::operations::with_admin;
use crate::options::wait_until_accepted;

const IN_FLIGHT: &str = "spoa_notifies_in_flight{worker=\"0\"}";
const HELD: &str = "spoa_held_bytes{worker=\"0\"}";

/// Waits until the only worker has processed everything that was sent before: it answers a health check only after
/// that.
fn wait_for_worker(agent: &Agent) {
    let mut check = Client::fresh(agent.addr());
    check.send(&Hello::health_check().encode());
    check.frame();
}

/// Encodes a NOTIFY of the stream `sid`.
fn notify_of(sid: u64) -> Vec<u8> {
    notify(sid, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))])
}

#[test]
fn a_notify_waits_while_other_connections_have_all_permits() {
    let (agent, admin) = with_admin(&["-n", "1", "--total-in-flight-max", "2", "--delay", "1h"]);
    let [mut first, mut second, mut third] = [(); 3].map(|()| Client::ready(agent.addr()));
    first.send(&notify_of(1));
    second.send(&notify_of(1));
    admin.wait_for(IN_FLIGHT, 2.0);
    third.send(&notify_of(1));
    admin.wait_for("spoa_connections_on_hold", 1.0);
    second.send(&notify_of(2));
    admin.wait_for("spoa_connections_on_hold", 2.0);
    assert_eq!([admin.sample("spoa_notifies_total"), admin.sample(IN_FLIGHT)], [2.0, 2.0]);
    agent.wait_for_line(
        "WARN 1 connection queued on one worker: its share of --total-in-flight-max allows no more than the 2 NOTIFYs in flight",
    );
    // A permit that becomes free is granted to the connection that has been queued longest and still needs one.
    drop(first);
    admin.wait_for("spoa_notifies_total", 3.0);
    third.send(&disconnect(0));
    third.frame();
    admin.wait_for("spoa_notifies_total", 4.0);
    assert_eq!(admin.sample(IN_FLIGHT), 2.0);
    drop(second);
    admin.wait_for(IN_FLIGHT, 0.0);
}

#[test]
fn a_closed_connection_leaves_the_queue() {
    let (agent, admin) = with_admin(&["-n", "1", "--total-in-flight-max", "1", "--delay", "1h"]);
    let mut clients: Vec<_> = (0..6).map(|_| Client::ready(agent.addr())).collect();
    for (queued, client) in clients.iter_mut().enumerate() {
        client.send(&notify_of(1));
        admin.wait_for("spoa_connections_on_hold", queued as f64);
    }
    // Close all queued connections but the last one, then the one that has the permit: the last one gets it.
    let last = clients.pop();
    clients.drain(1..);
    admin.wait_for("spoa_connections_on_hold", 1.0);
    clients.clear();
    admin.wait_for("spoa_notifies_total", 2.0);
    assert_eq!([admin.sample(IN_FLIGHT), admin.sample("spoa_connections_on_hold")], [1.0, 0.0]);
    drop((last, agent));
}

/// A free permit is granted to the connection that has been queued longest, not to the one that had it before.
#[test]
fn a_connection_with_many_notifys_does_not_starve_others() {
    const MANY: u64 = 3000;
    let (agent, admin) = with_admin(&["-n", "1", "--total-in-flight-max", "1", "--delay", "1ms"]);
    let mut greedy = Client::ready(agent.addr());
    greedy.send(&(1..=MANY).flat_map(notify_of).collect::<Vec<_>>());
    greedy.frame();
    let mut modest = Client::ready(agent.addr());
    for sid in 1..=3 {
        modest.send(&notify_of(sid));
        assert_eq!(modest.frame().kind, ACK);
    }
    let answered = admin.sample("spoa_acks_total{kind=\"deferred\"}");
    assert!(answered < MANY as f64, "expected fewer than {MANY} answers before, got {answered}");
}

/// No queued connection is forgotten, however few permits there are.
#[test]
fn all_queued_notifys_are_answered() {
    let (agent, admin) = with_admin(&["-n", "1", "--total-in-flight-max", "3", "--delay", "1ms"]);
    let mut clients = [(); 20].map(|()| Client::ready(agent.addr()));
    for client in &mut clients {
        client.send(&(1..=20).flat_map(notify_of).collect::<Vec<_>>());
    }
    for client in &mut clients {
        (0..20).for_each(|_| assert_eq!(client.frame().kind, ACK));
    }
    assert_eq!(admin.sample("spoa_acks_total{kind=\"deferred\"}"), 400.0);
}

#[test]
fn the_connection_that_has_held_bytes_longest_is_shed_first() {
    const MAX: u32 = 400_000;
    let total = MAX.to_string();
    let (agent, admin) = with_admin(
        &[
            &["-n", "1", "--total-bytes-max", &total, "--in-flight-max", "1", "--deferred-max", "65536"][..],
            &["--reassembly-max", "65536", "--refuse-delay", "0"],
        ]
        .concat(),
    );
    let part = &notify(1, 1, &[check_client_ip(Value::String(vec![b'x'; 16_000]))])[..9_000];
    let mut stalled = Client::ready(agent.addr());
    stalled.send(part);
    admin.wait_for(HELD, 16_384.0);
    let mut others: Vec<_> = (0..40).map(|_| Client::ready(agent.addr())).collect();
    for other in &mut others {
        other.send(part);
    }
    stalled.expect_disconnect(&[], 13);
    wait_for_worker(&agent);
    let shed = admin.sample("spoa_connections_ended_total{reason=\"no_memory\"}");
    // When the limit is exceeded, connections are shed until a quarter of it is free.
    let held = admin.sample(HELD);
    assert!(held <= f64::from(MAX) && (1.0..=24.0).contains(&shed), "{held} bytes held, {shed} connections shed");
    agent.wait_for_line("hold more than 400000 bytes, this one 16384");
    let mut new = Client::ready(agent.addr());
    new.send(&notify_of(1));
    assert_eq!(new.frame().kind, ACK);
    // Neither idle connections nor closed ones hold bytes.
    drop(others);
    admin.wait_for(HELD, 0.0);
}

/// Back-pressure is the time in which NOTIFYs are held back, whatever limit it is and however few they are.
#[test]
fn the_time_of_back_pressure_is_counted() {
    let (agent, admin) = with_admin(&["-n", "1", "--in-flight-max", "1", "--delay", "20ms"]);
    let mut client = Client::ready(agent.addr());
    client.send(&(1..=3).flat_map(notify_of).collect::<Vec<_>>());
    (0..3).for_each(|_| assert_eq!(client.frame().kind, ACK));
    let time = admin.sample("spoa_backpressure_seconds_total");
    assert!(time >= 0.039, "expected the third NOTIFY to wait twice 20 ms, got {time} s");
}

/// Connections that are being rejected do not count against the limit of connections.
#[test]
fn rejected_connections_do_not_count_against_the_limit() {
    let (agent, admin) = with_admin(&["--connections-max", "1", "--refuse-delay", "1h"]);
    let first = Client::ready(agent.addr());
    let rejected: Vec<_> = (0..30)
        .map(|_| {
            let mut client = Client::fresh(agent.addr());
            client.send(&Hello::mux().encode());
            client
        })
        .collect();
    admin.wait_for("spoa_connections_dropped_total", 14.0);
    drop(first);
    admin.wait_for("spoa_connections", 0.0);
    Client::ready(agent.addr()).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    assert!(agent.log().contains("8 connections closed without an answer so far: 1 are open"), "{}", agent.log());
    drop(rejected);
}

/// A peer that holds every place does not take the agent out of HAProxy, however many connections are being rejected.
#[test]
fn health_checks_are_answered_above_the_limit() {
    let (agent, admin) =
        with_admin(&["-n", "1", "--connections-max", "1", "--refuse-delay", "1h", "--hello-timeout", "1h"]);
    let first = Client::ready(agent.addr());
    let mut rejected: Vec<_> = (0..40).map(|_| Client::fresh(agent.addr())).collect();
    admin.wait_for("spoa_connections_dropped_total", 24.0);
    for mut oldest in rejected.drain(..24) {
        assert_eq!(oldest.read_to_end().expect("the connection is not reset"), [0; 0], "16 are being rejected at most");
    }
    let mut check = Client::fresh(agent.addr());
    check.send(&Hello::health_check().encode());
    assert_eq!(check.frame().kind, AGENT_HELLO);
    drop((first, rejected));
}

/// After a second, a connection that has sent no NOTIFY gives way to another, with or without a HELLO.
#[test]
fn unused_connections_give_way_to_others() {
    let (agent, admin) = with_admin(&["--connections-max", "3", "--refuse-delay", "0s", "--hello-timeout", "1h"]);
    let mut busy = Client::ready(agent.addr());
    busy.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    let (silent, greeted) = (Client::fresh(agent.addr()), Client::ready(agent.addr()));
    let mut served: Vec<_> = (0..2).map(|_| wait_until_accepted(&agent)).collect();
    for mut evicted in [silent, greeted] {
        assert_eq!(evicted.read_to_end().expect("the connection is not reset"), agent_disconnect(13));
    }
    admin.wait_for("spoa_connections_ended_total{reason=\"evicted\"}", 2.0);
    served.push(busy);
    served.iter_mut().for_each(|client| client.exchange(&notify(3, 1, &[]), &ack(3, 1, &[])));
}

#[test]
fn the_limit_of_open_files_bounds_the_connections() {
    let options = ["--admin", "127.0.0.1:0"];
    let agent = Agent::spawn_with_files(1024, &options);
    agent.wait_for_line("at most 768 connections (the limit of open files is 1024)");
    assert_eq!(Admin::of(&agent).sample("spoa_connections_limit"), 768.0);
    let agent = Agent::spawn_with_files(1024, &[&options[..], &["--connections-max", "5000"]].concat());
    agent
        .wait_for_line("WARN 768 connections at most, not 5000: the limit of open files is 1024, and cannot be raised");
    assert_eq!(Admin::of(&agent).sample("spoa_connections_limit"), 768.0);
    let agent = Agent::spawn_with_files(1024, &[&options[..], &["--connections-max", "500"]].concat());
    assert_eq!(Admin::of(&agent).sample("spoa_connections_limit"), 500.0);
    assert!(agent.log().contains("at most 500 connections") && !agent.log().contains("WARN 500"), "{}", agent.log());
}

#[test]
fn limits_are_metrics() {
    let (_agent, admin) = with_admin(&["-n", "1", "--idle-timeout", "90s", "--total-in-flight-max", "70"]);
    for (name, wanted) in [
        ("spoa_notifies_in_flight_limit{of=\"connection\"}", 64.0),
        ("spoa_notifies_in_flight_limit{of=\"worker\"}", 70.0),
        ("spoa_held_limit_bytes{of=\"worker\"}", f64::from(64 << 20)),
        ("spoa_timeout_seconds{of=\"hello\"}", 5.0),
        ("spoa_timeout_seconds{of=\"idle\"}", 90.0),
        ("spoa_timeout_seconds{of=\"ack\"}", 10.0),
        ("spoa_timeout_seconds{of=\"send\"}", 30.0),
    ] {
        let value = admin.sample(name);
        assert!((value - wanted).abs() < 0.001, "expected {wanted} for {name}, got {value}");
    }
}
