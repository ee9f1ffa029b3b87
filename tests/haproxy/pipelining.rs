//! How many NOTIFYs share a connection, with and without pipelining.

use spoa_core::Config;
use spoa_core::wire::{Capabilities, FrameType, HaproxyHello};

use crate::agent::{TestAgent, gate, gated};
use crate::client::Request;
use crate::haproxy::{Engine, Install, Setup};
use crate::tap::Tap;

const CLIENTS: usize = 6;

/// NOTIFYs go out before the ACKs of earlier ones on their connection.
pub(crate) fn on(install: &Install) {
    let server = match install.engine() {
        Engine::Applet => " maxconn 1", // else it may open a connection for each
        Engine::Mux => "",              // here that would be one NOTIFY at a time
    };
    let tap = several_at_once(install, "", server, Config::default());
    assert!(offered(&tap).contains(Capabilities::PIPELINING));
    let most = tap.in_flight_max().into_values().max();
    assert!(most >= Some(2), "no connection had two in flight: {}", tap.describe());
}

/// One NOTIFY at a time on each connection, because HAProxy was told so.
pub(crate) fn off(install: &Install) {
    let tap = several_at_once(install, "no option pipelining", "", Config::default());
    assert!(!offered(&tap).contains(Capabilities::PIPELINING));
    one_at_a_time(&tap);
}

/// One NOTIFY at a time on each connection, because the agent does not offer more.
pub(crate) fn refused_by_agent(install: &Install) {
    let tap = several_at_once(install, "", "", Config { capabilities: Capabilities::default(), ..Config::default() });
    assert!(offered(&tap).contains(Capabilities::PIPELINING));
    one_at_a_time(&tap);
}

/// Asks once, then several times at once, while the agent holds its answers back until it has been asked them all.
fn several_at_once(install: &Install, option: &str, server: &str, config: Config) -> Tap {
    let (opener, gate) = gate();
    let agent = TestAgent::start(config, gated(gate));
    let tap = Tap::before(&agent.addr);
    let mut setup =
        Setup::asking(&tap.addr, "on-frontend-http-request", "path=path").header("x-path", "%[var(txn.t.path)]");
    setup.agent += &format!("\n    {option}");
    setup.global = "    nbthread 1\n".into(); // up to 3.0 each thread has connections of its own
    setup.servers[0] += server;
    let haproxy = setup.start(install);

    assert_eq!(Request::get("/first").send(haproxy.addr).header("x-path"), "/first");
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let path = format!("/wait/{n}");
                scope.spawn(move || (Request::get(&path).send(haproxy.addr), path))
            })
            .collect();
        opener.wait_for(CLIENTS);
        opener.open();
        for client in clients {
            let (response, path) = client.join().expect("a client");
            assert_eq!(response.header("x-path"), path, "answers are not mixed up");
        }
    });
    tap
}

fn one_at_a_time(tap: &Tap) {
    let in_flight = tap.in_flight_max();
    assert!(in_flight.values().all(|&most| most == 1), "{in_flight:?}: {}", tap.describe());
    assert!(in_flight.len() >= CLIENTS, "all {CLIENTS} were in flight: {}", tap.describe());
}

/// What HAProxy's first HELLO offered.
fn offered(tap: &Tap) -> Capabilities {
    let hello = tap.wait_count(FrameType::HAPROXY_HELLO, 1);
    let hello = HaproxyHello::decode(hello.frame().payload).expect("a HELLO");
    Capabilities::parse(hello.capabilities.expect("HAProxy always sends them"))
}
