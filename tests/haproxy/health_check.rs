//! `option spop-check`.

use crate::agent::Spoa;
use crate::client::Request;
use crate::haproxy::{Haproxy, Install, Setup};

/// The agent's server goes UP and DOWN with the agent, and requests get scores again once it is back.
pub(crate) fn follows_the_agent(install: &Install) {
    let spoa = Spoa::with_seed(1);
    let addr = spoa.addr().to_owned();
    let haproxy = checking(&addr).start(install);
    wait(&haproxy, 0, "Health check for server agents/agent1 succeeded");
    let score = Request::get("/").send(haproxy.addr).header("x-score").to_owned();
    assert_ne!(score, "");

    let mark = haproxy.log.lines.mark();
    assert!(spoa.stop().success(), "checks or not, it stops in good order");
    wait(&haproxy, mark, "Server agents/agent1 is DOWN");
    let response = Request::get("/").send(haproxy.addr);
    assert_eq!((response.status, response.header("x-score")), (200, ""));
    // 2: no server up; since 3.1 that is 257, a failed connection.
    assert!([2, 257].contains(&haproxy.log.status(response.sid())));

    let mark = haproxy.log.lines.mark();
    let _spoa = Spoa::start(&["--listen", &addr, "--seed", "1"], 1);
    wait(&haproxy, mark, "Server agents/agent1 is UP");
    assert_eq!(Request::get("/").send(haproxy.addr).header("x-score"), score);
}

/// Since 3.1 a check offers 16380 bytes whatever the buffers hold and fails on an answer above them. The remedy in the
/// README, a maximum of the agent's that suits the buffers, works; and events with it.
pub(crate) fn small_buffers(install: &Install) {
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--max-frame-size", "8188"], 1);
    let mut setup = checking(spoa.addr());
    setup.global = "    tune.bufsize 8192\n".into();
    let haproxy = setup.start(install);
    wait(&haproxy, 0, "Health check for server agents/agent1 succeeded");
    assert_ne!(Request::get("/").send(haproxy.addr).header("x-score"), "");
}

fn checking(agent: &str) -> Setup {
    let mut setup = Setup::scoring(&format!("{agent} check inter 100ms fall 1 rise 1"));
    setup.backend = "    option spop-check\n    option log-health-checks\n".into();
    setup
}

fn wait(haproxy: &Haproxy, mark: usize, what: &str) {
    haproxy.log.lines.wait(mark, what, |line| line.contains(what).then_some(()));
}
