//! Status codes of DISCONNECT frames. The agent's AGENT-DISCONNECT repeats the code of HAPROXY-DISCONNECT.

use std::num::NonZeroU64;

use spoa_core::Config;
use spoa_core::wire::{Capabilities, FrameType};
use spoa_runtime::{Scope, SetVars, quick};

use crate::agent::TestAgent;
use crate::client::Request;
use crate::haproxy::{Engine, Haproxy, Install, Setup};
use crate::tap::Tap;

/// HAProxy closes an idle connection after `timeout idle`, with code 2.
pub(crate) fn idle(install: &Install) {
    let (_agent, tap) = tapped(Config::default(), |_| {});
    let mut setup = setup(&tap);
    setup.agent += "\n    timeout idle 300ms";
    let haproxy = setup.start(install);
    assert_eq!(request_status(&haproxy), 0);
    wait_for_codes(&tap, 2);
    assert_eq!(request_status(&haproxy), 0, "on a new connection");
}

/// HAProxy closes its connections at a soft stop, with code 0.
pub(crate) fn soft_stop(install: &Install) {
    let (_agent, tap) = tapped(Config::default(), |_| {});
    let mut haproxy = setup(&tap).start(install);
    assert_eq!(request_status(&haproxy), 0);
    haproxy.process.signal("USR1");
    wait_for_codes(&tap, 0);
    assert!(haproxy.process.wait().success());
}

/// HAProxy rejects an AGENT-HELLO with an unknown version, with code 8. Both engines connect again until the event
/// times out.
pub(crate) fn bad_hello(install: &Install) {
    let (_agent, tap) = tapped(Config::default(), |frame| {
        if frame[0] == FrameType::AGENT_HELLO.0 {
            let at = frame.windows(3).position(|bytes| bytes == b"2.0").expect("AGENT-HELLO has the version");
            frame[at..at + 3].copy_from_slice(b"9.0");
        }
    });
    let mut setup = setup(&tap);
    setup.agent += "\n    timeout processing 300ms";
    let haproxy = setup.start(install);
    assert_eq!(request_status(&haproxy), 1);
    wait_for_codes(&tap, 8);
}

/// HAProxy rejects an ACK above the frame size, which `spoa` never sends, with code 3.
pub(crate) fn ack_too_big(install: &Install) {
    let (_agent, tap) = tapped(Config::default(), |frame| {
        if frame[0] == FrameType::ACK.0 {
            frame.resize(20_000, 0);
        }
    });
    let haproxy = setup(&tap).start(install);
    assert_eq!(request_status(&haproxy), 256 + 3);
    wait_for_codes(&tap, 3);
}

/// HAProxy cannot send a NOTIFY above the frame size to an agent that does not support fragmentation: it closes the
/// connection with code 10, and tries again until the event times out.
pub(crate) fn not_fragmented(install: &Install) {
    let config = Config { max_frame_size: 256, capabilities: Capabilities::PIPELINING, ..Config::default() };
    let (_agent, tap) = tapped(config, |_| {});
    let mut setup = setup(&tap);
    setup.agent += "\n    timeout processing 300ms";
    setup.global = "    nbthread 1\n".into(); // each thread learns the agent's frame size in a handshake of its own
    let haproxy = setup.start(install);
    assert_eq!(request_status(&haproxy), 0);
    let response = Request::get("/").header("x-long", &"x".repeat(1_000)).send(haproxy.addr);
    assert_eq!((response.header("x-answered"), haproxy.log.status(response.sid())), ("", 1));
    wait_for_codes(&tap, 10);
}

/// The agent closes each connection after `notify_max` NOTIFYs, right after the last ACK, and HAProxy opens another.
pub(crate) fn by_agent(install: &Install) {
    let (_agent, tap) = tapped(Config { notify_max: NonZeroU64::new(2), ..Config::default() }, |_| {});
    let mut setup = setup(&tap);
    setup.global = "    nbthread 1\n".into();
    let haproxy = setup.start(install);
    for n in 0..7 {
        // Up to 3.0 the next event may choose the connection before HAProxy reads the DISCONNECT after the ACK. Then it
        // is lost: with st=256, or with st=2 if its NOTIFY was not sent yet.
        let lost = if install.engine() == Engine::Applet { &[2, 256][..] } else { &[] };
        let status = request_status(&haproxy);
        assert!(
            status == 0 || lost.contains(&status),
            "request {n}: expected st=0, got st={status}: {}",
            tap.describe()
        );
    }
    assert_eq!(tap.wait_count(FrameType::AGENT_DISCONNECT, 3).status(), 0);
}

/// Waits for HAPROXY-DISCONNECT and for AGENT-DISCONNECT on the same connection, and checks that both have the code
/// `status`.
#[track_caller]
fn wait_for_codes(tap: &Tap, status: u32) {
    let theirs = tap.wait_count(FrameType::HAPROXY_DISCONNECT, 1);
    assert_eq!(theirs.status(), status, "{}", tap.describe());
    let ours = tap.wait("AGENT-DISCONNECT on the same connection", |frames| {
        let mut ours = frames.iter().filter(|relayed| relayed.connection == theirs.connection);
        ours.find(|relayed| relayed.is(FrameType::AGENT_DISCONNECT)).cloned()
    });
    assert_eq!(ours.status(), status, "{}", tap.describe());
}

/// Starts an agent that sets a variable, and a relay to it.
fn tapped(config: Config, tamper: fn(&mut Vec<u8>)) -> (TestAgent, Tap) {
    let handler = quick(|_, ack| {
        ack.set_var(Scope::Transaction, "answered", true)?;
        Ok(())
    });
    let agent = TestAgent::start(config, handler);
    let tap = Tap::with_tamper(&agent.addr, tamper);
    (agent, tap)
}

fn setup(tap: &Tap) -> Setup {
    Setup::with_message(&tap.addr, "on-frontend-http-request", "req.hdr(x-long)")
        .header("x-answered", "%[var(txn.t.answered)]")
}

/// Sends a request and returns the status of its event. Checks that the variable is set if and only if the status is 0.
#[track_caller]
fn request_status(haproxy: &Haproxy) -> u32 {
    let response = Request::get("/").send(haproxy.addr);
    let status = haproxy.log.status(response.sid());
    assert_eq!(response.header("x-answered"), if status == 0 { "1" } else { "" }, "st={status}");
    status
}
