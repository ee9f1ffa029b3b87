//! Handlers that take too long, by HAProxy's measure or by the agent's.

use std::time::Duration;

use spoa_core::Config;
use spoa_core::wire::FrameType;

use crate::agent::{TestAgent, gate, gated};
use crate::client::Request;
use crate::haproxy::{Engine, Install, Setup};
use crate::tap::Tap;

/// The slow event ends at `timeout processing` (st=1), those beside it on the same connection are answered at once,
/// and the ACK that comes too late does no harm.
pub(crate) fn beyond_processing_timeout(install: &Install) {
    let (opener, gate) = gate();
    let agent = TestAgent::start(Config::default(), gated(gate));
    let tap = Tap::before(&agent.addr);
    let mut setup =
        Setup::asking(&tap.addr, "on-frontend-http-request", "path=path").header("x-path", "%[var(txn.t.path)]");
    setup.agent += "\n    timeout processing 1s";
    setup.global = "    nbthread 1\n".into();
    if install.engine() == Engine::Applet {
        setup.servers[0] += " maxconn 1"; // else it opens further connections when it likes
    }
    let haproxy = setup.start(install);

    let fine = |path| {
        let response = Request::get(path).send(haproxy.addr);
        assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), (path, 0));
    };
    fine("/before");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| Request::get("/wait").send(haproxy.addr));
        opener.wait_for(1);
        (0..4).for_each(|_| fine("/beside"));
        let response = slow.join().expect("a client");
        assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), ("", 1));
    });
    opener.open();
    tap.wait_count(FrameType::ACK, 6);
    fine("/after");

    let frames = tap.frames();
    let connections = frames.iter().filter(|passed| passed.is(FrameType::NOTIFY)).map(|passed| passed.connection);
    assert!(connections.eq([0; 7]), "{}", tap.describe());
    let ended = [FrameType::HAPROXY_DISCONNECT, FrameType::AGENT_DISCONNECT];
    assert!(!frames.iter().any(|passed| ended.contains(&passed.frame().frame_type)), "{}", tap.describe());
}

/// With the agent's own limit below HAProxy's, the event ends in good order and without a variable.
pub(crate) fn beyond_ack_timeout(install: &Install) {
    let (_opener, gate) = gate();
    let config = Config { ack_timeout: Duration::from_millis(100), ..Config::default() };
    let agent = TestAgent::start(config, gated(gate));
    let haproxy = Setup::asking(&agent.addr, "on-frontend-http-request", "path=path")
        .header("x-path", "%[var(txn.t.path)]")
        .start(install);
    let response = Request::get("/wait").send(haproxy.addr);
    assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), ("", 0));
}
