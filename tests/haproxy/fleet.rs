//! Three agents behind one HAProxy that spreads its events over them: what becomes of these when an agent goes.

use std::time::Instant;

use crate::agent::Spoa;
use crate::client::Response;
use crate::haproxy::{Engine, Haproxy, Install, Setup};
use crate::load::Load;
use crate::log::{SpoeLine, WAIT_MAX};
use crate::reload_under_load::{reload_once, workers};

const AGENTS: usize = 3;
const CLIENTS: u8 = 8;

/// An agent that refuses connections is found down at once, one that hangs by two checks; an event that found it so is sent
/// to another.
const SERVER: &str = "check inter 200ms fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down";
const BACKEND: &str = "    option spop-check
    balance roundrobin
    timeout connect 100ms
    timeout check 200ms
    retries 2
    option redispatch 1
";

/// Agents on ports that stay theirs, a HAProxy that checks them, and clients that keep asking.
struct Fleet {
    agents: Vec<Option<Spoa>>,
    haproxy: Haproxy,
    load: Load,
}

impl Fleet {
    fn start(install: &Install, master: bool, server: &str) -> Self {
        let agents: Vec<_> = (0..AGENTS).map(|_| spoa("127.0.0.1:0")).collect();
        let mut setup = Setup::scoring(agents[0].addr());
        setup.servers = agents.iter().map(|spoa| format!("{} {SERVER} {server}", spoa.addr())).collect();
        setup.backend = BACKEND.into();
        setup.agent += "\n    timeout processing 500ms\n    option dontlog-normal";
        setup.master = master;
        let haproxy = setup.start(install);
        let load = Load::start(CLIENTS, haproxy.addr);
        let fleet = Self { agents: agents.into_iter().map(Some).collect(), haproxy, load };
        fleet.go_on();
        fleet
    }

    /// Waits until every agent that runs has had its part of some more events.
    fn go_on(&self) {
        let count = self.load.count();
        self.load.wait("answers", |answers| answers.len() >= count + 400);
    }

    fn agent(&self, at: usize) -> &Spoa {
        self.agents[at].as_ref().expect("it runs")
    }

    /// Takes an agent out, stopped, and starts another in its place.
    fn replace(&mut self, at: usize, stop: impl FnOnce(Spoa)) {
        let addr = self.agent(at).addr().to_owned();
        let up = self.count(at, "UP");
        let down = self.count(at, "DOWN");
        stop(self.agents[at].take().expect("it runs"));
        self.wait(at, "DOWN", down + 1);
        self.go_on();
        self.agents[at] = Some(spoa(&addr));
        self.wait(at, "UP", up + 1);
        self.go_on();
    }

    /// How often HAProxy has found an agent up or down.
    fn count(&self, at: usize, state: &str) -> usize {
        self.haproxy.log.lines.count(&format!("Server agents/agent{} is {state}", at + 1))
    }

    fn wait(&self, at: usize, state: &str, count: usize) {
        self.haproxy.log.lines.wait_count(&format!("Server agents/agent{} is {state}", at + 1), count);
    }

    /// How many events there were, and the statuses of those that failed.
    fn end(self) -> (usize, Vec<u32>) {
        let answers = self.load.stop();
        let failed: Vec<_> = self.haproxy.log.failed();
        let without =
            |answer: &std::io::Result<Response>| answer.as_ref().expect("HAProxy answers").header("x-score").is_empty();
        let without = answers.iter().filter(|answer| without(answer)).count();
        assert_eq!(without, failed.len(), "every other event has its score: {failed:#?}");
        let status = |line: &String| SpoeLine::parse(line).expect("it was parsed before").status;
        (answers.len(), failed.iter().map(status).collect())
    }
}

fn spoa(addr: &str) -> Spoa {
    Spoa::start(&["--listen", addr, "--seed", "3", "--drain", "1500ms"], 1)
}

/// Each is stopped and started again in turn: nobody notices.
pub(crate) fn rolling(install: &Install) {
    let mut fleet = Fleet::start(install, false, "");
    for at in 0..AGENTS {
        fleet.replace(at, |spoa| assert!(spoa.stop().success()));
    }
    let (events, failed) = fleet.end();
    println!("{}: rolling restart, {events} events, {} failed", install.full, failed.len());
    match install.engine() {
        Engine::Mux => assert_eq!(failed, [0; 0], "of {events}"),
        // On a machine as busy as with all tests at once HAProxy may take longer to send what it has than ACKs are held for
        // it: then that NOTIFY crosses the end (st=256).
        Engine::Applet => assert!(failed.len() <= AGENTS && failed.iter().all(|status| *status == 256), "{failed:?}"),
    }
}

/// Each is killed in turn: what was in flight on it is lost, and what HAProxy sends before it notices.
pub(crate) fn killed(install: &Install) {
    let mut fleet = Fleet::start(install, false, "");
    for at in 0..AGENTS {
        fleet.replace(at, |spoa| {
            spoa.process.signal("KILL");
            let mut spoa = spoa;
            spoa.process.wait();
        });
    }
    let (events, failed) = fleet.end();
    println!("{}: killed in turn, {events} events, {} failed", install.full, failed.len());
    // A client waits for its event, so no more than these are in flight.
    assert!(failed.len() <= AGENTS * usize::from(CLIENTS), "{failed:?} of {events}");
}

/// One hangs: what is asked of it fails at the processing timeout, until its check takes it out. Up to 3.0 HAProxy goes on
/// asking on connections that it has, unless it is told to end them.
pub(crate) fn hangs(install: &Install) {
    let fleet = Fleet::start(install, false, "on-marked-down shutdown-sessions");
    let down = fleet.count(1, "DOWN");
    fleet.agent(1).process.signal("STOP");
    fleet.wait(1, "DOWN", down + 1);
    let until = Instant::now() + WAIT_MAX;
    let mut last = usize::MAX;
    while last != fleet.haproxy.log.failed().len() {
        assert!(Instant::now() < until, "events go on to fail");
        last = fleet.haproxy.log.failed().len();
        fleet.go_on();
    }
    fleet.agent(1).process.signal("CONT");
    fleet.wait(1, "UP", 1);
    fleet.go_on();
    let (events, failed) = fleet.end();
    println!("{}: hung, {events} events, {} failed", install.full, failed.len());
    assert!(failed.iter().all(|status| [1, 256, 257].contains(status)), "{failed:?}");
    // Two checks of 200 ms fail, each within as much; meanwhile a client may run into the timeout of 500 ms twice.
    assert!(failed.len() <= 4 * usize::from(CLIENTS), "{failed:?} of {events}");
}

/// HAProxy is reloaded ten times: no event fails by the agents' doing.
pub(crate) fn reloads(install: &Install) {
    const RELOADS: usize = 10;
    let fleet = Fleet::start(install, true, "");
    for reload in 0..=RELOADS {
        fleet.load.wait("answers of a new worker", |answers| {
            workers(answers).values().filter(|&&answers| answers >= 50).count() > reload
        });
        if reload < RELOADS {
            reload_once(&fleet.haproxy);
        }
    }
    let (events, failed) = fleet.end();
    println!("{}: {RELOADS} reloads, {events} events, {} failed", install.full, failed.len());
    match install.engine() {
        Engine::Mux => assert_eq!(failed, [0; 0], "of {events}"),
        // HAProxy's own doing: DISCONNECT 0 right behind a NOTIFY.
        Engine::Applet => assert!(failed.iter().all(|status| *status == 256), "{failed:?} of {events}"),
    }
}
