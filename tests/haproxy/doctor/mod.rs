//! The cases of `tests/doctor`: each fault has its symptom with real HAProxy and the real agent, and its cure removes the
//! symptom.

mod agents;
mod checks;
mod clients;
mod counts;
mod lines;
mod relays;
mod scene;
mod site;
mod stats;

use std::process::Command;

use libtest_mimic::Trial;
use spoa_tests::case::{Case, sane};
use spoa_tests::folder::Folder;
use spoa_tests::symptom::Kind;

use crate::haproxy::Install;
use crate::{Needs, trials};
use scene::{Scene, variables};

/// The observations of a run of a configuration.
#[derive(Debug)]
struct Seen {
    has_symptom: bool,
    /// Describes the run in the message of a failed check.
    #[expect(dead_code, reason = "read by `Debug`")]
    what: String,
}

/// Returns the trials of all cases: one for the newest HAProxy that shows the symptom, or for each HAProxy if
/// `SPOA_DOCTOR_ALL` is set.
pub(crate) fn all(installs: &[Install]) -> Vec<Trial> {
    let is_complete = std::env::var_os("SPOA_DOCTOR_ALL").is_some();
    let cases = Case::all().into_iter().flat_map(|case| {
        let name = format!("doctor::{}", case.name);
        let expected = |install: &Install| case.is_shown_by(install.version);
        let chosen: Vec<_> = if is_complete {
            installs.iter().filter(|install| expected(install).is_some()).cloned().collect()
        } else {
            installs.iter().rfind(|install| expected(install) == Some(true)).cloned().into_iter().collect()
        };
        trials(&name, Needs::Any, &chosen, false, move |install| prove(&case, install))
    });
    cases.chain(trials("doctor_sane", Needs::Any, installs, false, accepts_sane)).collect()
}

/// Checks that the faulty configuration of a case has the symptom and the cured one does not. With a HAProxy that the case
/// does not name, the cure must not make this difference.
fn prove(case: &Case, install: &Install) {
    let is_shown = case.is_shown_by(install.version) == Some(true);
    let faulty = observe(case, install, "faulty", &case.faulty, is_shown);
    let cured = observe(case, install, "cured", &case.cured, false);
    let is_seen = faulty.has_symptom && !cured.has_symptom;
    let (expected, kind) = (if is_shown { "a symptom" } else { "no symptom" }, case.symptom.kind);
    assert!(
        is_seen == is_shown,
        "{}: expected {expected} {kind:?} that the cure removes\nfaulty: {faulty:?}\ncured: {cured:?}",
        case.name
    );
}

/// Runs HAProxy and the agent with a configuration of a case, and looks for the symptom.
fn observe(case: &Case, install: &Install, which: &str, files: &[(String, String)], expected: bool) -> Seen {
    let folder = folder(files);
    accept(install, &folder, &["haproxy.cfg"], &format!("{which} configuration of {}", case.name));
    run(case.symptom.kind, &Scene::start(install, folder, &case.symptom, expected))
}

fn run(kind: Kind, scene: &Scene<'_>) -> Seen {
    match kind {
        Kind::AgentIsDown => checks::agent_is_down(scene),
        Kind::AgentStaysUp => checks::agent_stays_up(scene),
        Kind::ListedClientPasses => clients::listed_client_passes(scene),
        Kind::UnlistedClientRefused => clients::unlisted_client_refused(scene),
        Kind::OutagePasses => clients::outage_passes(scene),
        Kind::OutageRefuses => clients::outage_refuses(scene),
        Kind::RequestWaits => clients::request_waits(scene),
        Kind::HeaderReachesSite => clients::header_reaches_site(scene),
        Kind::AgentNotAsked => counts::agent_not_asked(scene),
        Kind::MessageNotSent => counts::message_not_sent(scene),
        Kind::NeedlessNotifies => counts::needless_notifies(scene),
        Kind::ConnectionPerEvent => counts::connection_per_event(scene),
        Kind::ConnectionPerWaitingEvent => counts::connection_per_waiting_event(scene),
        Kind::EventsWait => counts::events_wait(scene),
        Kind::ArgumentEmpty => counts::argument_empty(scene),
        Kind::FailureNotLogged => lines::failure_not_logged(scene),
        Kind::GoodEventsLogged => lines::good_events_logged(scene),
        Kind::AgentLogContains => lines::agent_log_contains(scene),
    }
}

/// HAProxy accepts each configuration without a fault.
fn accepts_sane(install: &Install) {
    for case in sane() {
        let configs: Vec<_> = case.configs.iter().map(String::as_str).collect();
        accept(install, &folder(&case.files), &configs, &case.name);
    }
}

/// Creates a folder with these files.
fn folder(files: &[(String, String)]) -> Folder {
    let files: Vec<_> = files.iter().map(|(name, text)| (&**name, text.as_bytes())).collect();
    Folder::with(&files)
}

/// Checks that `haproxy -c` accepts a configuration without a message.
fn accept(install: &Install, folder: &Folder, configs: &[&str], what: &str) {
    let mut command = Command::new(&install.program);
    command.arg("-c").envs(variables(folder));
    for config in configs {
        command.arg("-f").arg(folder.path(config));
    }
    let output = command.output().expect("HAProxy can be run");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let messages: Vec<_> = text.lines().filter(|line| *line != "Configuration file is valid").collect();
    assert!(output.status.success() && messages.is_empty(), "{what}: HAProxy has messages: {messages:#?}");
}
