//! Handlers that fail with an error or a panic: their event succeeds without setting a variable, and the agent does not
//! close the connection, so that no other event on it is affected.

use spoa_core::Config;
use spoa_core::wire::FrameType;
use spoa_runtime::{Actions, Handler, HandlerError, Messages, OwnedRequest, Scope, SetVars, deferred, quick};

use crate::agent::{TestAgent, gate};
use crate::client::Request;
use crate::haproxy::{Haproxy, Install, Setup};
use crate::tap::Tap;

/// The future of a deferred handler fails while another one waits.
pub(crate) fn deferred_handler(install: &Install) {
    let (opener, gate) = gate();
    let handler = deferred(move |request: OwnedRequest| {
        let gate = gate.clone();
        async move {
            let path = path_or_failure(request.messages())?;
            if path == "/wait" {
                gate.pass().await;
            }
            let mut actions = Actions::new();
            actions.set_var(Scope::Transaction, "path", &*path)?;
            Ok(actions)
        }
    });
    with_one_thread(install, handler, |haproxy| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| check(haproxy, "/wait", "/wait"));
            opener.wait_for(1);
            check_all(haproxy);
            opener.open();
            waiting.join().expect("the waiting event succeeds");
        });
    });
}

/// The closure of an immediate handler fails after it has written a part of the ACK.
pub(crate) fn quick_handler(install: &Install) {
    let handler = quick(|request, ack| {
        ack.set_var(Scope::Transaction, "path", "unfinished")?;
        ack.set_var(Scope::Transaction, "path", &*path_or_failure(request.messages())?)?;
        Ok(())
    });
    with_one_thread(install, handler, check_all);
}

/// Returns the argument `path`. Fails for the path `/error`, and panics for `/panic`.
fn path_or_failure(mut messages: Messages<'_>) -> Result<String, HandlerError> {
    let path = messages.next().and_then(|message| message.arg("path")?.as_str()).ok_or("no path")?;
    match path {
        "/error" => Err("the request asks for an error".into()),
        // This panics without calling the panic hook, which would print a message for this expected panic.
        "/panic" => std::panic::resume_unwind(Box::new("the request asks for a panic")),
        path => Ok(path.to_owned()),
    }
}

/// Sends requests of which some make the handler fail, and checks their events.
fn check_all(haproxy: &Haproxy) {
    for (path, variable) in [("/first", "/first"), ("/error", ""), ("/panic", ""), ("/last", "/last")] {
        check(haproxy, path, variable);
    }
}

/// Requests `path`, and checks that its event succeeds and sets the variable to `variable`.
fn check(haproxy: &Haproxy, path: &str, variable: &str) {
    let response = Request::get(path).send(haproxy.addr);
    assert_eq!((response.header("x-path"), haproxy.log.status(response.sid())), (variable, 0), "{path}");
}

/// Runs `scenario` with a HAProxy that has one thread and so uses few connections, and checks that the agent closes
/// none of them.
fn with_one_thread(install: &Install, handler: impl Handler + Clone + Send, scenario: impl FnOnce(&Haproxy)) {
    let agent = TestAgent::start(Config::default(), handler);
    let tap = Tap::start(&agent.addr);
    let mut setup =
        Setup::with_message(&tap.addr, "on-frontend-http-request", "path=path").header("x-path", "%[var(txn.t.path)]");
    setup.global = "    nbthread 1\n".into();
    let haproxy = setup.start(install);
    scenario(&haproxy);
    let is_closed = tap.frames().iter().any(|relayed| relayed.is(FrameType::AGENT_DISCONNECT));
    assert!(!is_closed, "the agent closed a connection: {}", tap.describe());
}
