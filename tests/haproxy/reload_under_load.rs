//! HAProxy is reloaded while clients keep coming.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::agent::Spoa;
use crate::client::Response;
use crate::haproxy::{Engine, Haproxy, Install, Setup};
use crate::load::Load;
use crate::log::{SpoeLine, WAIT_MAX};

const RELOADS: usize = 3;
const CLIENTS: u8 = 6;

/// Old and new HAProxy share the agent for a while: every client has a score, as far as HAProxy asks for it.
pub(crate) fn run(install: &Install) {
    let spoa = Spoa::with_seed(4);
    let mut setup = Setup::scoring(spoa.addr());
    setup.master = true;
    let haproxy = setup.start(install);

    let load = Load::start(CLIENTS, haproxy.addr);
    for reload in 0..=RELOADS {
        // Each worker answers for a while before the next one comes.
        load.wait("answers of a new worker", |answers| {
            workers(answers).values().filter(|&&answers| answers >= 50).count() > reload
        });
        if reload < RELOADS {
            reload_once(&haproxy);
        }
    }
    let answers = load.stop();
    let failed = haproxy.log.failed();
    match install.engine() {
        Engine::Mux => assert_eq!(failed, [""; 0]),
        // It may say DISCONNECT 0 on a connection on which it has just sent a NOTIFY, and that event is lost (st=256):
        // one for each client and reload at most.
        Engine::Applet => {
            let status = |line: &String| SpoeLine::parse(line).map(|event| event.status);
            assert!(failed.iter().all(|line| status(line) == Some(256)), "{failed:#?}");
            assert!(failed.len() <= RELOADS * usize::from(CLIENTS), "{failed:#?}");
        }
    }
    let answers = answers.into_iter().map(|answer| answer.expect("clients do not notice reloads"));
    let without = answers.filter(|answer| answer.header("x-score").is_empty()).count();
    assert_eq!(without, failed.len(), "every other event has its score");
}

/// Asks the master for a reload until it says that it does it: it loses signals until its own loop runs, though its
/// worker already serves.
pub(crate) fn reload_once(haproxy: &Haproxy) {
    // The second is 2.4's.
    let told = || ["Reloading HAProxy", "Reexecuting Master"].map(|text| haproxy.process.lines.count(text));
    let (before, until) = (told(), Instant::now() + WAIT_MAX);
    while told() == before {
        assert!(Instant::now() < until, "it does not reload: {:#?}", haproxy.process.lines.all());
        haproxy.process.signal("USR2");
        haproxy.process.lines.wait_a_moment();
    }
}

/// How many answers each worker gave.
pub(crate) fn workers(answers: &[std::io::Result<Response>]) -> BTreeMap<&str, usize> {
    let mut workers = BTreeMap::new();
    for answer in answers.iter().flatten() {
        *workers.entry(answer.header("x-pid")).or_default() += 1;
    }
    workers
}
