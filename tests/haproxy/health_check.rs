//! Health checks with `option spop-check`.

use crate::agent::Spoa;
use crate::client::Request;
use crate::haproxy::{Haproxy, Install, Setup};

/// HAProxy marks the server as DOWN when the agent stops and as UP when it is started again, and requests then get
/// scores again.
pub(crate) fn follows_the_agent(install: &Install) {
    let spoa = Spoa::with_seed(1);
    let addr = spoa.addr().to_owned();
    let haproxy = setup(&addr).start(install);
    wait(&haproxy, 0, "Health check for server agents/agent1 succeeded");
    let score = Request::get("/").send(haproxy.addr).header("x-score").to_owned();
    assert_ne!(score, "");

    let mark = haproxy.log.lines.mark();
    assert!(spoa.stop().success(), "health checks must not disturb the stop");
    wait(&haproxy, mark, "Server agents/agent1 is DOWN");
    let response = Request::get("/").send(haproxy.addr);
    assert_eq!((response.status, response.header("x-score")), (200, ""));
    // Without a server that is up, the status is 2 up to 3.0, and 257, a failed connection, since 3.1.
    assert!([2, 257].contains(&haproxy.log.status(response.sid())));

    let mark = haproxy.log.lines.mark();
    let _spoa = Spoa::start(&["--listen", &addr, "--seed", "1"], 1);
    wait(&haproxy, mark, "Server agents/agent1 is UP");
    assert_eq!(Request::get("/").send(haproxy.addr).header("x-score"), score);
}

/// Health checks and events work with small buffers in HAProxy if the agent's maximum frame size fits them. With a
/// larger one they would fail: since 3.1, health checks offer 16380 bytes whatever the size of the buffers, but fail if
/// the agent agrees to more than the buffers hold.
pub(crate) fn small_buffers(install: &Install) {
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--max-frame-size", "8188"], 1);
    let mut setup = setup(spoa.addr());
    setup.global = "    tune.bufsize 8192\n".into();
    let haproxy = setup.start(install);
    wait(&haproxy, 0, "Health check for server agents/agent1 succeeded");
    assert_ne!(Request::get("/").send(haproxy.addr).header("x-score"), "");
}

/// Returns a setup in which HAProxy checks the agent.
fn setup(agent: &str) -> Setup {
    let mut setup = Setup::scoring(&format!("{agent} check inter 100ms fall 1 rise 1"));
    setup.backend = "    option spop-check\n    option log-health-checks\n".into();
    setup
}

fn wait(haproxy: &Haproxy, mark: usize, what: &str) {
    haproxy.log.lines.wait(mark, what, |line| line.contains(what).then_some(()));
}
