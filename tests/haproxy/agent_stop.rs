//! The agent is stopped while HAProxy uses it.

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

/// A TERM under load: the agent ends with status 0, each connection with AGENT-DISCONNECT 0, and what comes later fails
/// without waiting for the processing timeout.
pub(crate) fn under_load(install: &Install) {
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--seed", "5", "--delay", "20ms"], 1);
    let tap = Tap::before(spoa.addr());
    // Checks find out soon that there is nobody left to ask.
    let mut setup = Setup::scoring(&format!("{} check inter 100ms fall 1", tap.addr));
    setup.backend = "    option spop-check\n    retries 1\n".into();
    setup.agent += "\n    timeout processing 5s";
    let haproxy = setup.start(install);
    let load = Load::start(8, haproxy.addr);
    load.wait("100 answers", |answers| answers.len() >= 100);
    assert_eq!(haproxy.log.failed(), [""; 0], "until then all is well");
    assert!(spoa.stop().success());
    let ended = load.count();
    load.wait("answers without the agent", |answers| answers.len() >= ended + 16);
    for answer in load.stop() {
        assert_eq!(answer.expect("HAProxy answers all the same").status, 200);
    }

    let frames = tap.frames();
    for line in haproxy.log.failed() {
        let SpoeLine { sid, status } = SpoeLine::parse(&line).expect("an event");
        // 2.6 is at times too busy with connections that fail to notice that it cannot ask at all. Up to 3.0 the
        // number of the stream is on the wire, and tells whether it was asked.
        let notified = || frames.iter().any(|passed| passed.is(FrameType::NOTIFY) && passed.frame().stream_id.0 == sid);
        let never_asked = status == 1 && install.engine() == Engine::Applet && !notified();
        assert!(never_asked || [2, 256, 257].contains(&status), "{line}: {}", tap.describe());
    }
    for passed in frames.iter().filter(|passed| passed.is(FrameType::AGENT_DISCONNECT)) {
        // 13 before the handshake.
        assert!([0, 13].contains(&passed.status()), "{}: {}", passed.status(), tap.describe());
    }
}

/// Events the agent works on when it is stopped are answered in full before it goes.
pub(crate) fn in_flight(install: &Install) {
    let (opener, gate) = gate();
    let agent = TestAgent::start(Config::default(), gated(gate));
    let tap = Tap::before(&agent.addr);
    let haproxy = Setup::asking(&tap.addr, "on-frontend-http-request", "path=path")
        .header("x-path", "%[var(txn.t.path)]")
        .start(install);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(|| Request::get("/wait").send(haproxy.addr))).collect();
        opener.wait_for(3);
        agent.stopper.stop();
        let until = Instant::now() + WAIT_MAX;
        while TcpStream::connect(agent.addr.to_string()).is_ok() {
            assert!(Instant::now() < until, "it still takes connections");
        }
        opener.open();
        for client in clients {
            let response = client.join().expect("a client");
            assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), ("/wait", 0));
        }
    });
    let connections: std::collections::BTreeSet<_> = tap.frames().iter().map(|passed| passed.connection).collect();
    let last = tap.wait_count(FrameType::AGENT_DISCONNECT, connections.len());
    assert_eq!(last.status(), 0, "{}", tap.describe());
}
