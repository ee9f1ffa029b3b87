//! Three agents behind one HAProxy that spreads its events over them: what becomes of these when an agent goes.
//!
//! With `SPOA_FLEET_EVENTS=1000000` there are about so many events in each scenario, of twice as many clients.

use std::env;

use crate::agent::Spoa;
use crate::crowd::Crowd;
use crate::haproxy::{Engine, Haproxy, Install, Setup};
use crate::log::SpoeLine;
use crate::reload_under_load::reload_once;

const AGENTS: usize = 3;

/// An agent that refuses connections is found down at once, one that hangs by two checks, the second of which follows soon;
/// an event that found it so is sent to another.
const SERVER: &str = "check inter 300ms fastinter 100ms fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down";
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
    crowd: Crowd,
    scale: Scale,
}

/// How much is asked.
#[derive(Clone, Copy)]
struct Scale {
    clients: usize,
    /// Events that go by before and behind each thing that happens, at least.
    events: usize,
}

impl Scale {
    /// For a scenario in which so many things happen.
    fn of(steps: usize) -> Self {
        match env::var("SPOA_FLEET_EVENTS") {
            Ok(events) => {
                let events: usize = events.parse().expect("SPOA_FLEET_EVENTS is a number");
                Self { clients: 16, events: events / (2 * steps + 1) }
            }
            Err(_) => Self { clients: 8, events: 400 },
        }
    }
}

impl Fleet {
    fn start(install: &Install, steps: usize, master: bool, server: &str) -> Self {
        let scale = Scale::of(steps);
        let agents: Vec<_> = (0..AGENTS).map(|_| spoa("127.0.0.1:0")).collect();
        let mut setup = Setup::scoring(agents[0].addr());
        setup.servers = agents.iter().map(|spoa| format!("{} {SERVER} {server}", spoa.addr())).collect();
        setup.backend = BACKEND.into();
        setup.agent += "\n    timeout processing 200ms\n    option dontlog-normal";
        setup.messages = setup.messages.replace("on-client-session", "on-frontend-http-request");
        // Of one request alone: without a score of its own it has none.
        setup.frontend = "    http-after-response unset-var(sess.t.ip_score)".into();
        setup.global = "    nbthread 1".into();
        setup.master = master;
        let haproxy = setup.start(install);
        let crowd = Crowd::start(scale.clients, haproxy.addr);
        let fleet = Self { agents: agents.into_iter().map(Some).collect(), haproxy, crowd, scale };
        fleet.go_on();
        fleet
    }

    /// Waits until every agent that runs has had its part of some more events.
    fn go_on(&self) {
        let until = self.crowd.counts().answers + self.scale.events;
        self.crowd.wait("answers", |counts| counts.answers >= until);
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
        let counts = self.crowd.stop();
        let failed: Vec<_> = self.haproxy.log.failed();
        assert_eq!(counts.unscored, failed.len(), "every other event has its score: {failed:#?}");
        let status = |line: &String| SpoeLine::parse(line).expect("it was parsed before").status;
        (counts.answers, failed.iter().map(status).collect())
    }
}

fn spoa(addr: &str) -> Spoa {
    Spoa::start(&["--listen", addr, "--seed", "3", "--drain", "1500ms"], 1)
}

/// Each is stopped and started again in turn: nobody notices.
pub(crate) fn rolling(install: &Install) {
    let mut fleet = Fleet::start(install, AGENTS, false, "");
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
    let mut fleet = Fleet::start(install, AGENTS, false, "");
    for at in 0..AGENTS {
        fleet.replace(at, |spoa| {
            spoa.process.signal("KILL");
            let mut spoa = spoa;
            spoa.process.wait();
        });
    }
    let clients = fleet.scale.clients;
    let (events, failed) = fleet.end();
    println!("{}: killed in turn, {events} events, {} failed", install.full, failed.len());
    // A client waits for its event, so no more than these are in flight.
    assert!(failed.len() <= AGENTS * clients, "{failed:?} of {events}");
}

/// Each hangs in turn: what is asked of it fails at the processing timeout, until its check takes it out. Up to 3.0 HAProxy
/// goes on asking on connections that it has, unless it is told to end them.
pub(crate) fn hangs(install: &Install) {
    let fleet = Fleet::start(install, AGENTS, false, "on-marked-down shutdown-sessions");
    for at in 0..AGENTS {
        let (up, down) = (fleet.count(at, "UP"), fleet.count(at, "DOWN"));
        fleet.agent(at).process.signal("STOP");
        fleet.wait(at, "DOWN", down + 1);
        fleet.go_on();
        let failed = fleet.haproxy.log.failed().len();
        fleet.go_on();
        assert_eq!(fleet.haproxy.log.failed().len(), failed, "it is found down and asked all the same");
        fleet.agent(at).process.signal("CONT");
        fleet.wait(at, "UP", up + 1);
        fleet.go_on();
    }
    let clients = fleet.scale.clients;
    let (events, failed) = fleet.end();
    println!("{}: hung in turn, {events} events, {} failed", install.full, failed.len());
    assert!(failed.iter().all(|status| [1, 256, 257].contains(status)), "{failed:?}");
    // The next check comes within 300 ms and fails 200 ms later, another 100 ms behind it: each client runs into the timeout
    // of 200 ms four times by then, and its last event may end with the connection; on a busy machine all that takes longer.
    assert!(failed.len() <= AGENTS * 8 * clients, "{failed:?} of {events}");
}

/// HAProxy is reloaded ten times: no event fails by the agents' doing.
pub(crate) fn reloads(install: &Install) {
    const RELOADS: usize = 10;
    let fleet = Fleet::start(install, RELOADS, true, "");
    let each = 2 * fleet.scale.events;
    for reload in 0..=RELOADS {
        fleet.crowd.wait("answers of a new worker", |counts| {
            counts.workers.values().filter(|&&answers| answers >= each).count() > reload
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
