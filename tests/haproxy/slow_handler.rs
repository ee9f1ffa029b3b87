//! Handlers that take longer than a timeout of HAProxy or of the agent.

use std::time::Duration;

use spoa_core::Config;
use spoa_core::wire::FrameType;

use crate::agent::{TestAgent, gate, gated};
use crate::client::Request;
use crate::haproxy::{Engine, Install, Setup};
use crate::tap::Tap;

/// The slow event fails at `timeout processing` (st=1). Other events on the same connection are answered meanwhile, and
/// the late ACK does no harm.
pub(crate) fn beyond_processing_timeout(install: &Install) {
    let (opener, gate) = gate();
    let agent = TestAgent::start(Config::default(), gated(gate));
    let tap = Tap::start(&agent.addr);
    let mut setup =
        Setup::with_message(&tap.addr, "on-frontend-http-request", "path=path").header("x-path", "%[var(txn.t.path)]");
    setup.agent += "\n    timeout processing 1s";
    setup.global = "    nbthread 1\n".into();
    if install.engine() == Engine::Applet {
        setup.servers[0] += " maxconn 1"; // without this it may open further connections
    }
    let haproxy = setup.start(install);

    let check = |path| {
        let response = Request::get(path).send(haproxy.addr);
        assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), (path, 0));
    };
    check("/before");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| Request::get("/wait").send(haproxy.addr));
        opener.wait_for(1);
        (0..4).for_each(|_| check("/beside"));
        let response = slow.join().expect("the client does not panic");
        assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), ("", 1));
    });
    opener.open();
    tap.wait_count(FrameType::ACK, 6);
    check("/after");

    let frames = tap.frames();
    let connections = frames.iter().filter(|relayed| relayed.is(FrameType::NOTIFY)).map(|relayed| relayed.connection);
    assert!(connections.eq([0; 7]), "{}", tap.describe());
    let disconnects = [FrameType::HAPROXY_DISCONNECT, FrameType::AGENT_DISCONNECT];
    assert!(!frames.iter().any(|relayed| disconnects.contains(&relayed.frame().frame_type)), "{}", tap.describe());
}

/// If the agent's timeout is shorter than HAProxy's, the event succeeds without setting a variable.
pub(crate) fn beyond_ack_timeout(install: &Install) {
    let (_opener, gate) = gate();
    let config = Config { ack_timeout: Duration::from_millis(100), ..Config::default() };
    let agent = TestAgent::start(config, gated(gate));
    let haproxy = Setup::with_message(&agent.addr, "on-frontend-http-request", "path=path")
        .header("x-path", "%[var(txn.t.path)]")
        .start(install);
    let response = Request::get("/wait").send(haproxy.addr);
    assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), ("", 0));
}
