//! Handlers that fail: an error or a panic costs its own event its variable, and nobody else anything. HAProxy sees a
//! success without actions, and the connection and the streams on it live on.

use spoa_core::Config;
use spoa_core::wire::FrameType;
use spoa_runtime::{Actions, Handler, HandlerError, Messages, OwnedMessages, Scope, deferred, quick};

use crate::agent::{TestAgent, gate};
use crate::client::Request;
use crate::haproxy::{Haproxy, Install, Setup};
use crate::tap::Tap;

/// The future fails, beside one that works.
pub(crate) fn deferred_handler(install: &Install) {
    let (opener, gate) = gate();
    let handler = deferred(move |messages: OwnedMessages| {
        let gate = gate.clone();
        async move {
            let path = path_or_failure(messages.messages())?;
            if path == "/wait" {
                gate.pass().await;
            }
            let mut actions = Actions::new();
            actions.set_var(Scope::Transaction, "path", &*path)?;
            Ok(actions)
        }
    });
    behind_one_thread(install, handler, |haproxy| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ask(haproxy, "/wait", "/wait"));
            opener.wait_for(1);
            ask_all(haproxy);
            opener.open();
            waiting.join().expect("its event is a success");
        });
    });
}

/// The closure fails, its ACK half written.
pub(crate) fn quick_handler(install: &Install) {
    let handler = quick(|messages, ack| {
        ack.set_var(Scope::Transaction, "path", "left behind")?;
        ack.set_var(Scope::Transaction, "path", &*path_or_failure(messages)?)?;
        Ok(())
    });
    behind_one_thread(install, handler, ask_all);
}

/// The argument `path`, unless that asks for trouble.
fn path_or_failure(mut messages: Messages<'_>) -> Result<String, HandlerError> {
    let path = messages.next().and_then(|message| message.arg("path")?.as_str()).ok_or("no path")?;
    match path {
        "/error" => Err("as asked".into()),
        // A panic, but without the report that the hook prints: this one is no news.
        "/panic" => std::panic::resume_unwind(Box::new("as asked")),
        path => Ok(path.to_owned()),
    }
}

fn ask_all(haproxy: &Haproxy) {
    for (path, variable) in [("/first", "/first"), ("/error", ""), ("/panic", ""), ("/last", "/last")] {
        ask(haproxy, path, variable);
    }
}

/// Asks for `path`: a success that sets `variable`.
fn ask(haproxy: &Haproxy, path: &str, variable: &str) {
    let response = Request::get(path).send(haproxy.addr);
    assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), (variable, 0), "{path}");
}

/// Runs `scenario` with a HAProxy that uses few connections, of which the agent may end none.
fn behind_one_thread(install: &Install, handler: impl Handler + Clone + Send, scenario: impl FnOnce(&Haproxy)) {
    let agent = TestAgent::start(Config::default(), handler);
    let tap = Tap::before(&agent.addr);
    let mut setup =
        Setup::asking(&tap.addr, "on-frontend-http-request", "path=path").header("x-path", "%[var(txn.t.path)]");
    setup.global = "    nbthread 1\n".into();
    let haproxy = setup.start(install);
    scenario(&haproxy);
    let ended = tap.frames().iter().any(|passed| passed.is(FrameType::AGENT_DISCONNECT));
    assert!(!ended, "{}", tap.describe());
}
