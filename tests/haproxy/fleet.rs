//! Three agents behind one HAProxy that distributes its events over them, while agents stop, crash or hang, and while
//! HAProxy is reloaded.
//!
//! With `SPOA_FLEET_EVENTS=1000000` each scenario has about a million events, from twice as many clients as without.

use std::env;

use crate::agent::Spoa;
use crate::crowd::Crowd;
use crate::haproxy::{Engine, Haproxy, Install, Setup};
use crate::log::SpoeLine;
use crate::reload_under_load::reload_once;

const AGENTS: usize = 3;

/// Options of each server: an agent that refuses connections is marked as down at once, and one that hangs after two
/// failed health checks, of which the second follows soon after the first.
const SERVER: &str = "check inter 300ms fastinter 100ms fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down";

/// Lines of the backend: an event whose connection fails is sent to another agent.
const BACKEND: &str = "    option spop-check
    balance roundrobin
    timeout connect 100ms
    timeout check 200ms
    retries 2
    option redispatch 1
";

/// Agents with fixed ports, a HAProxy with health checks for them, and clients that keep sending requests.
struct Fleet {
    agents: Vec<Option<Spoa>>,
    haproxy: Haproxy,
    crowd: Crowd,
    scale: Scale,
}

/// The amount of load.
#[derive(Clone, Copy)]
struct Scale {
    clients: usize,
    /// Minimum number of events before and after each step of a scenario.
    events: usize,
}

impl Scale {
    /// Returns the scale of a scenario with this number of steps.
    fn for_steps(steps: usize) -> Self {
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
        let scale = Scale::for_steps(steps);
        let agents: Vec<_> = (0..AGENTS).map(|_| spoa("127.0.0.1:0")).collect();
        let mut setup = Setup::scoring(agents[0].addr());
        setup.servers = agents.iter().map(|spoa| format!("{} {SERVER} {server}", spoa.addr())).collect();
        setup.backend = BACKEND.into();
        setup.agent += "\n    timeout processing 200ms\n    option dontlog-normal";
        setup.messages = setup.messages.replace("on-client-session", "on-frontend-http-request");
        // The variable of one event must not be visible to the next request of the session.
        setup.frontend = "    http-after-response unset-var(sess.t.ip_score)".into();
        setup.global = "    nbthread 1".into();
        setup.master = master;
        let haproxy = setup.start(install);
        let crowd = Crowd::start(scale.clients, haproxy.addr);
        let fleet = Self { agents: agents.into_iter().map(Some).collect(), haproxy, crowd, scale };
        fleet.wait_for_events();
        fleet
    }

    /// Waits for the minimum number of events of a step.
    fn wait_for_events(&self) {
        let until = self.crowd.counts().responses + self.scale.events;
        self.crowd.wait("responses", |counts| counts.responses >= until);
    }

    fn agent(&self, at: usize) -> &Spoa {
        self.agents[at].as_ref().expect("the agent runs")
    }

    /// Stops an agent with `stop`, waits until HAProxy has noticed, and starts another one with the same address.
    fn replace(&mut self, at: usize, stop: impl FnOnce(Spoa)) {
        let addr = self.agent(at).addr().to_owned();
        let up = self.count(at, "UP");
        let down = self.count(at, "DOWN");
        stop(self.agents[at].take().expect("the agent runs"));
        self.wait(at, "DOWN", down + 1);
        self.wait_for_events();
        self.agents[at] = Some(spoa(&addr));
        self.wait(at, "UP", up + 1);
        self.wait_for_events();
    }

    /// Returns how often HAProxy has marked an agent as `UP` or `DOWN`.
    fn count(&self, at: usize, state: &str) -> usize {
        self.haproxy.log.lines.count(&format!("Server agents/agent{} is {state}", at + 1))
    }

    fn wait(&self, at: usize, state: &str, count: usize) {
        self.haproxy.log.lines.wait_count(&format!("Server agents/agent{} is {state}", at + 1), count);
    }

    /// Stops the clients. Returns the number of events, and the statuses of those that failed.
    fn finish(self) -> (usize, Vec<u32>) {
        let counts = self.crowd.stop();
        let failed: Vec<_> = self.haproxy.log.failed();
        assert_eq!(counts.unscored, failed.len(), "expected a score for every event that did not fail: {failed:#?}");
        let status = |line: &String| SpoeLine::parse(line).expect("the line has an event").status;
        (counts.responses, failed.iter().map(status).collect())
    }
}

fn spoa(addr: &str) -> Spoa {
    Spoa::start(&["--listen", addr, "--seed", "3", "--drain", "1500ms"], 1)
}

/// Agents are stopped and started again one after the other, and no event fails.
pub(crate) fn rolling(install: &Install) {
    let mut fleet = Fleet::start(install, AGENTS, false, "");
    for at in 0..AGENTS {
        fleet.replace(at, |spoa| assert!(spoa.stop().success()));
    }
    let (events, failed) = fleet.finish();
    println!("{}: rolling restart, {events} events, {} failed", install.full, failed.len());
    match install.engine() {
        Engine::Mux => assert_eq!(failed, [0; 0], "of {events} events"),
        // While other tests keep the machine busy, HAProxy may take longer to send a NOTIFY than the agent holds back
        // ACKs for it. Then the NOTIFY crosses the AGENT-DISCONNECT, and its event fails with st=256.
        Engine::Applet => assert!(failed.len() <= AGENTS && failed.iter().all(|status| *status == 256), "{failed:?}"),
    }
}

/// Agents are killed one after the other. Events fail if their NOTIFY was in flight, or if HAProxy sends it before it
/// notices.
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
    let (events, failed) = fleet.finish();
    println!("{}: killed in turn, {events} events, {} failed", install.full, failed.len());
    // Each client waits for its event, so at most one event per client is in flight, and each connection fails one
    // event. But HAProxy may have more connections to an agent than there are clients, and it may send a client's next
    // event on one of these before it has read that the connection is reset. On a busy machine two rounds of events
    // were seen to fail, so the limit is three.
    assert!(failed.len() <= AGENTS * 3 * clients, "{failed:?} of {events} events failed");
}

/// Agents hang one after the other. Events that are sent to a hanging agent fail at the processing timeout, until
/// health checks mark it as down. Up to 3.0, HAProxy keeps sending NOTIFYs on existing connections unless
/// `on-marked-down` closes them.
pub(crate) fn hangs(install: &Install) {
    let fleet = Fleet::start(install, AGENTS, false, "on-marked-down shutdown-sessions");
    for at in 0..AGENTS {
        let (up, down) = (fleet.count(at, "UP"), fleet.count(at, "DOWN"));
        fleet.agent(at).process.signal("STOP");
        fleet.wait(at, "DOWN", down + 1);
        fleet.wait_for_events();
        let failed = fleet.haproxy.log.failed().len();
        fleet.wait_for_events();
        assert_eq!(fleet.haproxy.log.failed().len(), failed, "HAProxy sent NOTIFYs to an agent that is down");
        fleet.agent(at).process.signal("CONT");
        fleet.wait(at, "UP", up + 1);
        fleet.wait_for_events();
    }
    let clients = fleet.scale.clients;
    let (events, failed) = fleet.finish();
    println!("{}: hung in turn, {events} events, {} failed", install.full, failed.len());
    assert!(failed.iter().all(|status| [1, 256, 257].contains(status)), "{failed:?}");
    // The next check starts within 300 ms and fails after 200 ms. The second one starts 100 ms later and fails after
    // 200 ms, too. By then each client has run into the timeout of 200 ms four times, and its last event may fail with
    // the connection. On a busy machine all of this takes longer, so the limit is 8.
    assert!(failed.len() <= AGENTS * 8 * clients, "{failed:?} of {events} events failed");
}

/// HAProxy is reloaded ten times, and no event fails because of the agents.
pub(crate) fn reloads(install: &Install) {
    const RELOADS: usize = 10;
    let fleet = Fleet::start(install, RELOADS, true, "");
    let each = 2 * fleet.scale.events;
    for reload in 0..=RELOADS {
        fleet.crowd.wait("responses of a new worker", |counts| {
            counts.workers.values().filter(|&&responses| responses >= each).count() > reload
        });
        if reload < RELOADS {
            reload_once(&fleet.haproxy);
        }
    }
    let (events, failed) = fleet.finish();
    println!("{}: {RELOADS} reloads, {events} events, {} failed", install.full, failed.len());
    match install.engine() {
        Engine::Mux => assert_eq!(failed, [0; 0], "of {events} events"),
        // HAProxy causes these itself, with a DISCONNECT 0 right after a NOTIFY.
        Engine::Applet => assert!(failed.iter().all(|status| *status == 256), "{failed:?} of {events} events failed"),
    }
}
