//! DISCONNECT frames of both sides: the status of one is that of the other.

use std::num::NonZeroU64;

use spoa_core::Config;
use spoa_core::wire::{Capabilities, FrameType};
use spoa_runtime::{Scope, quick};

use crate::agent::TestAgent;
use crate::client::Request;
use crate::haproxy::{Engine, Haproxy, Install, Setup};
use crate::tap::Tap;

/// `timeout idle` passes: code 2.
pub(crate) fn idle(install: &Install) {
    let (_agent, tap) = tapped(Config::default(), |_| {});
    let mut setup = setup(&tap);
    setup.agent += "\n    timeout idle 300ms";
    let haproxy = setup.start(install);
    assert_eq!(ask(&haproxy), 0);
    echoed(&tap, 2);
    assert_eq!(ask(&haproxy), 0, "on a new connection");
}

/// HAProxy stops with a connection open: code 0.
pub(crate) fn soft_stop(install: &Install) {
    let (_agent, tap) = tapped(Config::default(), |_| {});
    let mut haproxy = setup(&tap).start(install);
    assert_eq!(ask(&haproxy), 0);
    haproxy.process.signal("USR1");
    echoed(&tap, 0);
    assert!(haproxy.process.wait().success());
}

/// An AGENT-HELLO with a version that HAProxy does not know: code 8. Both engines connect again until the event ends.
pub(crate) fn bad_hello(install: &Install) {
    let (_agent, tap) = tapped(Config::default(), |frame| {
        if frame[0] == FrameType::AGENT_HELLO.0 {
            let at = frame.windows(3).position(|bytes| bytes == b"2.0").expect("our version");
            frame[at..at + 3].copy_from_slice(b"9.0");
        }
    });
    let mut setup = setup(&tap);
    setup.agent += "\n    timeout processing 300ms";
    let haproxy = setup.start(install);
    assert_eq!(ask(&haproxy), 1);
    echoed(&tap, 8);
}

/// An ACK above the frame size, which we never send: code 3.
pub(crate) fn ack_too_big(install: &Install) {
    let (_agent, tap) = tapped(Config::default(), |frame| {
        if frame[0] == FrameType::ACK.0 {
            frame.resize(20_000, 0);
        }
    });
    let haproxy = setup(&tap).start(install);
    assert_eq!(ask(&haproxy), 256 + 3);
    echoed(&tap, 3);
}

/// A NOTIFY above the frame size for an agent that takes no fragments: code 10, and again until the event ends.
pub(crate) fn not_fragmented(install: &Install) {
    let config = Config { max_frame_size: 256, capabilities: Capabilities::PIPELINING, ..Config::default() };
    let (_agent, tap) = tapped(config, |_| {});
    let mut setup = setup(&tap);
    setup.agent += "\n    timeout processing 300ms";
    setup.global = "    nbthread 1\n".into(); // each thread has to learn the agent's frame size by itself
    let haproxy = setup.start(install);
    assert_eq!(ask(&haproxy), 0);
    let response = Request::get("/").header("x-long", &"x".repeat(1_000)).send(haproxy.addr);
    assert_eq!((response.header("x-answered"), haproxy.log.status(response.sid())), ("", 1));
    echoed(&tap, 10);
}

/// The agent ends each connection after some NOTIFYs, right behind the last ACK, and HAProxy opens another.
pub(crate) fn by_agent(install: &Install) {
    let (_agent, tap) = tapped(Config { notify_max: NonZeroU64::new(2), ..Config::default() }, |_| {});
    let mut setup = setup(&tap);
    setup.global = "    nbthread 1\n".into();
    let haproxy = setup.start(install);
    for n in 0..7 {
        // Up to 3.0 the next event may choose the connection before HAProxy looks at the DISCONNECT behind the ACK, and
        // is lost: 256, or 2 before it was sent.
        let lost = if install.engine() == Engine::Applet { &[2, 256][..] } else { &[] };
        let status = ask(&haproxy);
        assert!(status == 0 || lost.contains(&status), "request {n}: {status} {}", tap.describe());
    }
    assert_eq!(tap.wait_count(FrameType::AGENT_DISCONNECT, 3).status(), 0);
}

/// Waits for HAProxy's DISCONNECT with `status` and for ours on the same connection.
#[track_caller]
fn echoed(tap: &Tap, status: u32) {
    let theirs = tap.wait_count(FrameType::HAPROXY_DISCONNECT, 1);
    assert_eq!(theirs.status(), status, "{}", tap.describe());
    let ours = tap.wait("AGENT-DISCONNECT on the same connection", |frames| {
        let mut ours = frames.iter().filter(|passed| passed.connection == theirs.connection);
        ours.find(|passed| passed.is(FrameType::AGENT_DISCONNECT)).cloned()
    });
    assert_eq!(ours.status(), status, "{}", tap.describe());
}

fn tapped(config: Config, tamper: fn(&mut Vec<u8>)) -> (TestAgent, Tap) {
    let handler = quick(|_, ack| {
        ack.set_var(Scope::Transaction, "answered", true)?;
        Ok(())
    });
    let agent = TestAgent::start(config, handler);
    let tap = Tap::tampering(&agent.addr, tamper);
    (agent, tap)
}

fn setup(tap: &Tap) -> Setup {
    Setup::asking(&tap.addr, "on-frontend-http-request", "req.hdr(x-long)")
        .header("x-answered", "%[var(txn.t.answered)]")
}

/// The status of an event, which has its variable exactly if that is 0.
#[track_caller]
fn ask(haproxy: &Haproxy) -> u32 {
    let response = Request::get("/").send(haproxy.addr);
    let status = haproxy.log.status(response.sid());
    assert_eq!(response.header("x-answered"), if status == 0 { "1" } else { "" }, "st={status}");
    status
}
