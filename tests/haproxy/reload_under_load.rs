//! Reloads of HAProxy under load.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::agent::Spoa;
use crate::client::Response;
use crate::haproxy::{Engine, Haproxy, Install, Setup};
use crate::load::Load;
use crate::log::{SpoeLine, WAIT_MAX};

const RELOADS: usize = 3;
const CLIENTS: u8 = 6;

/// The old and the new HAProxy use the agent at the same time for a while. Every client gets a score unless HAProxy
/// itself loses the event.
pub(crate) fn run(install: &Install) {
    let spoa = Spoa::with_seed(4);
    let mut setup = Setup::scoring(spoa.addr());
    setup.master = true;
    let haproxy = setup.start(install);

    let load = Load::start(CLIENTS, haproxy.addr);
    for reload in 0..=RELOADS {
        // Each worker serves for a while before the next reload.
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
        // HAProxy may send DISCONNECT 0 on a connection right after a NOTIFY, and so lose that event (st=256): at most
        // one per client and reload.
        Engine::Applet => {
            let status = |line: &String| SpoeLine::parse(line).map(|event| event.status);
            assert!(failed.iter().all(|line| status(line) == Some(256)), "{failed:#?}");
            assert!(failed.len() <= RELOADS * usize::from(CLIENTS), "{failed:#?}");
        }
    }
    let answers = answers.into_iter().map(|answer| answer.expect("every request has a response during reloads"));
    let without = answers.filter(|answer| answer.header("x-score").is_empty()).count();
    assert_eq!(without, failed.len(), "expected a score for every event that did not fail");
}

/// Signals the master until it logs a reload. One signal may not be enough: the master loses signals until its own loop
/// runs, and by then its worker may already serve.
pub(crate) fn reload_once(haproxy: &Haproxy) {
    // The second text is that of HAProxy 2.4.
    let reloads = || ["Reloading HAProxy", "Reexecuting Master"].map(|text| haproxy.process.lines.count(text));
    let (before, until) = (reloads(), Instant::now() + WAIT_MAX);
    while reloads() == before {
        assert!(Instant::now() < until, "HAProxy did not reload in {WAIT_MAX:?}: {:#?}", haproxy.process.lines.all());
        haproxy.process.signal("USR2");
        haproxy.process.lines.wait_briefly();
    }
}

/// Returns the number of answers of each worker, by its process id.
pub(crate) fn workers(answers: &[std::io::Result<Response>]) -> BTreeMap<&str, usize> {
    let mut workers = BTreeMap::new();
    for answer in answers.iter().flatten() {
        *workers.entry(answer.header("x-pid")).or_default() += 1;
    }
    workers
}
