//! Several messages for one event, with conditions.

use std::sync::mpsc;

use spoa_core::Config;
use spoa_runtime::{Scope, SetVars, quick};

use crate::agent::TestAgent;
use crate::client::Request;
use crate::haproxy::{Install, Setup};

const MESSAGES: &str = "
spoe-message first
    args n=int(1)
    event on-frontend-http-request if { path_sub 1 }
spoe-message second
    event on-frontend-http-request if { path_sub 2 }
spoe-message third
    args n=int(3) path
    event on-frontend-http-request if { path_sub 3 }
";

/// One NOTIFY contains the messages whose condition is true, in the order of the `spoe-agent` section. One ACK answers
/// them all.
pub(crate) fn run(install: &Install) {
    let (sender, receiver) = mpsc::channel();
    let agent = TestAgent::start(
        Config::default(),
        quick(move |request, ack| {
            let names: Vec<_> =
                request.messages().map(|message| String::from_utf8_lossy(message.name()).into_owned()).collect();
            for name in &names {
                ack.set_var(Scope::Transaction, name, true)?;
            }
            Ok(sender.send(names)?)
        }),
    );
    let mut setup = Setup {
        servers: vec![agent.addr.to_string()],
        agent: "messages first second third".into(),
        messages: MESSAGES.into(),
        ..Setup::default()
    };
    for name in ["first", "second", "third"] {
        setup = setup.header(&format!("x-{name}"), &format!("%[var(txn.t.{name})]"));
    }
    let haproxy = setup.start(install);

    // HAProxy sends no NOTIFY for "/0", which has no message: the next NOTIFY is that of the next request.
    let all = ["first", "second", "third"];
    for (path, names) in [("/123", &all[..]), ("/13", &["first", "third"]), ("/0", &[]), ("/2", &["second"])] {
        let response = Request::get(path).send(haproxy.addr);
        for name in all {
            let expected = if names.contains(&name) { "1" } else { "" };
            assert_eq!(response.header(&format!("x-{name}")), expected, "{name} of {path}");
        }
        if !names.is_empty() {
            assert_eq!(receiver.try_recv().expect("the agent received the NOTIFY before the response"), names);
            assert_eq!(haproxy.log.status(response.sid()), 0);
        }
    }
}
