//! Number of NOTIFYs in flight on a connection, with and without pipelining.

use spoa_core::Config;
use spoa_core::wire::{Capabilities, FrameType, HaproxyHello};

use crate::agent::{TestAgent, gate, gated};
use crate::client::Request;
use crate::haproxy::{Engine, Install, Setup};
use crate::tap::Tap;

const CLIENTS: usize = 6;

/// HAProxy sends NOTIFYs before it has received the ACKs of earlier ones on their connection.
pub(crate) fn on(install: &Install) {
    let server = match install.engine() {
        Engine::Applet => " maxconn 1", // without this it may open a connection per NOTIFY
        Engine::Mux => "",              // here `maxconn 1` would mean one NOTIFY at a time
    };
    let tap = several_at_once(install, "", server, Config::default());
    assert!(offered(&tap).contains(Capabilities::PIPELINING));
    let most = tap.in_flight_max().into_values().max();
    assert!(most >= Some(2), "expected two NOTIFYs in flight on a connection, got {most:?}: {}", tap.describe());
}

/// One NOTIFY at a time on each connection, because HAProxy's configuration disables pipelining.
pub(crate) fn off(install: &Install) {
    let tap = several_at_once(install, "no option pipelining", "", Config::default());
    assert!(!offered(&tap).contains(Capabilities::PIPELINING));
    one_at_a_time(&tap);
}

/// One NOTIFY at a time on each connection, because the agent does not offer pipelining.
pub(crate) fn refused_by_agent(install: &Install) {
    let tap = several_at_once(install, "", "", Config { capabilities: Capabilities::default(), ..Config::default() });
    assert!(offered(&tap).contains(Capabilities::PIPELINING));
    one_at_a_time(&tap);
}

/// Sends one request, and then several at the same time, which the agent answers once it has received all of their
/// NOTIFYs.
fn several_at_once(install: &Install, option: &str, server: &str, config: Config) -> Tap {
    let (opener, gate) = gate();
    let agent = TestAgent::start(config, gated(gate));
    let tap = Tap::start(&agent.addr);
    let mut setup =
        Setup::with_message(&tap.addr, "on-frontend-http-request", "path=path").header("x-path", "%[var(txn.t.path)]");
    setup.agent += &format!("\n    {option}");
    setup.global = "    nbthread 1\n".into(); // up to 3.0 each thread has its own connections
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
            let (response, path) = client.join().expect("the client does not panic");
            assert_eq!(response.header("x-path"), path, "the answer belongs to another request");
        }
    });
    tap
}

fn one_at_a_time(tap: &Tap) {
    let in_flight = tap.in_flight_max();
    assert!(
        in_flight.values().all(|&most| most == 1),
        "expected at most 1 NOTIFY in flight per connection, got {in_flight:?}: {}",
        tap.describe()
    );
    assert!(in_flight.len() >= CLIENTS, "expected {CLIENTS} connections, got {}: {}", in_flight.len(), tap.describe());
}

/// Returns the capabilities that HAProxy's first HELLO offers.
fn offered(tap: &Tap) -> Capabilities {
    let hello = tap.wait_count(FrameType::HAPROXY_HELLO, 1);
    let hello = HaproxyHello::decode(hello.frame().payload).expect("the frame is a HELLO");
    Capabilities::parse(hello.capabilities.expect("HAProxy always sends capabilities"))
}
