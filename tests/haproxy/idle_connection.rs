//! Idle connections.

use crate::agent::Spoa;
use crate::client::Request;
use crate::haproxy::{Engine, Install, Setup};

/// After HAProxy has closed an idle connection, with DISCONNECT or with RST depending on its engine, the agent logs no
/// warning and the next event gets its score.
pub(crate) fn closed_by_haproxy(install: &Install) {
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--seed", "6", "--debug"], 1);
    let mut setup = Setup::scoring(spoa.addr());
    match install.engine() {
        Engine::Applet => setup.agent += "\n    timeout idle 100ms",
        Engine::Mux => setup.servers[0] += " pool-purge-delay 100ms",
    }
    let haproxy = setup.start(install);
    let first = Request::get("/").send(haproxy.addr).header("x-score").to_owned();
    assert_ne!(first, "");
    spoa.process.lines.wait(0, "closed by HAProxy", |line| line.contains("closed by HAProxy").then_some(()));
    assert_eq!(Request::get("/").send(haproxy.addr).header("x-score"), first);
    assert_eq!(haproxy.log.failed(), [""; 0]);
    drop(haproxy);
    assert!(spoa.stop().success());
}
