//! Stopping the agent while HAProxy uses it.

use std::net::TcpStream;
use std::time::Instant;

use spoa_core::Config;
use spoa_core::wire::FrameType;

use crate::agent::{Spoa, TestAgent, gate, gated};
use crate::client::Request;
use crate::haproxy::{Engine, Install, Setup};
use crate::load::Load;
use crate::log::{SpoeLine, WAIT_MAX};
use crate::tap::Tap;

/// After a SIGTERM under load, the agent exits with status 0 and ends each connection with AGENT-DISCONNECT 0. Later
/// events fail without waiting for the processing timeout.
pub(crate) fn under_load(install: &Install) {
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--seed", "5", "--delay", "20ms"], 1);
    let tap = Tap::start(spoa.addr());
    // A failed health check marks the server as down soon.
    let mut setup = Setup::scoring(&format!("{} check inter 100ms fall 1", tap.addr));
    setup.backend = "    option spop-check\n    retries 1\n".into();
    setup.agent += "\n    timeout processing 5s";
    let haproxy = setup.start(install);
    let load = Load::start(8, haproxy.addr);
    load.wait("100 answers", |answers| answers.len() >= 100);
    assert_eq!(haproxy.log.failed(), [""; 0], "events failed before the stop");
    assert!(spoa.stop().success());
    let answers_before = load.count();
    load.wait("answers without the agent", |answers| answers.len() >= answers_before + 16);
    for answer in load.stop() {
        assert_eq!(answer.expect("HAProxy responds without an agent too").status, 200);
    }

    let frames = tap.frames();
    for line in haproxy.log.failed() {
        let SpoeLine { sid, status } = SpoeLine::parse(&line).expect("the line has an event");
        // With so many failing connections, HAProxy 2.6 sometimes notices too late that it cannot send a NOTIFY at all,
        // and the event runs into the timeout (st=1). Up to 3.0 the stream-id is HAProxy's own, so it shows whether a
        // NOTIFY was sent.
        let notified =
            || frames.iter().any(|relayed| relayed.is(FrameType::NOTIFY) && relayed.frame().stream_id.0 == sid);
        let was_never_sent = status == 1 && install.engine() == Engine::Applet && !notified();
        assert!(
            was_never_sent || [2, 256, 257].contains(&status),
            "expected st=2, st=256 or st=257, got {line}: {}",
            tap.describe()
        );
    }
    for relayed in frames.iter().filter(|relayed| relayed.is(FrameType::AGENT_DISCONNECT)) {
        // Before the handshake the code is 13.
        assert!(
            [0, 13].contains(&relayed.status()),
            "expected code 0 or 13, got {}: {}",
            relayed.status(),
            tap.describe()
        );
    }
}

/// NOTIFYs that are in flight when the agent is stopped are answered before it closes their connections.
pub(crate) fn in_flight(install: &Install) {
    let (opener, gate) = gate();
    let agent = TestAgent::start(Config::default(), gated(gate));
    let tap = Tap::start(&agent.addr);
    let haproxy = Setup::with_message(&tap.addr, "on-frontend-http-request", "path=path")
        .header("x-path", "%[var(txn.t.path)]")
        .start(install);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(|| Request::get("/wait").send(haproxy.addr))).collect();
        opener.wait_for(3);
        agent.stopper.stop();
        let until = Instant::now() + WAIT_MAX;
        while TcpStream::connect(agent.addr.to_string()).is_ok() {
            assert!(Instant::now() < until, "the agent still accepts connections");
        }
        opener.open();
        for client in clients {
            let response = client.join().expect("the client does not panic");
            assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), ("/wait", 0));
        }
    });
    let connections: std::collections::BTreeSet<_> = tap.frames().iter().map(|relayed| relayed.connection).collect();
    let last = tap.wait_count(FrameType::AGENT_DISCONNECT, connections.len());
    assert_eq!(last.status(), 0, "{}", tap.describe());
}
