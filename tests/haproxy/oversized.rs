//! NOTIFYs that are larger than the frame size.

use spoa_core::Config;
use spoa_core::wire::FrameType;
use spoa_runtime::{Scope, SetVars, quick};

use crate::agent::TestAgent;
use crate::client::Request;
use crate::haproxy::{Install, Setup};
use crate::tap::Tap;

/// The frame size that the `spoe-agent` section sets.
const SIZE: usize = 256;
/// Number of arguments that contain the long header. Together they exceed HAProxy's buffers by far, but not the limit
/// of the agent.
const REPEATS: usize = 12;

/// The applet splits them into fragments, and the agent reassembles them.
pub(crate) fn fragmented(install: &Install) {
    let agent = summing_agent();
    let tap = Tap::start(&agent.addr);
    let haproxy = setup(&tap).start(install);
    for len in [10, 300, 1_000, 12_000] {
        let text = text(len);
        let response = Request::get("/").header("x-long", &text).send(haproxy.addr);
        let seen = (response.header("x-len"), response.header("x-sum"), haproxy.log.status(response.sid()));
        let all = text.repeat(REPEATS);
        assert_eq!(seen, (&*all.len().to_string(), &*sum(all.as_bytes()).to_string(), 0));
    }
    let fragments = tap.frames().iter().filter(|relayed| relayed.is(FrameType::UNSET)).count();
    assert!(fragments > 12_000 * REPEATS / SIZE, "expected many fragments, got {fragments}: {}", tap.describe());
}

/// The mux does not support fragmentation: such an event fails (st=3), and the next one succeeds.
pub(crate) fn refused(install: &Install) {
    let agent = summing_agent();
    let tap = Tap::start(&agent.addr);
    let haproxy = setup(&tap).start(install);
    let long = text(300);
    for (text, status) in [("x", 0), (&*long, 3), ("y", 0)] {
        let response = Request::get("/").header("x-long", text).send(haproxy.addr);
        let len = if status == 0 { &*REPEATS.to_string() } else { "" };
        assert_eq!((response.header("x-len"), haproxy.log.status(response.sid())), (len, status), "{text}");
    }
    assert!(!tap.frames().iter().any(|relayed| relayed.is(FrameType::UNSET)));
}

fn setup(tap: &Tap) -> Setup {
    let args = "req.hdr(x-long) ".repeat(REPEATS);
    let mut setup = Setup::with_message(&tap.addr, "on-frontend-http-request", &args)
        .header("x-len", "%[var(txn.t.len)]")
        .header("x-sum", "%[var(txn.t.sum)]");
    setup.agent += &format!("\n    max-frame-size {SIZE}");
    setup
}

/// Starts an agent that returns the total length of all arguments and their checksum.
fn summing_agent() -> TestAgent {
    let handler = quick(|request, ack| {
        let mut all = Vec::new();
        for message in request {
            message.args().for_each(|(_, value)| all.extend_from_slice(value.as_bytes().unwrap_or_default()));
        }
        ack.set_var(Scope::Transaction, "len", all.len() as i64)?.set_var(Scope::Transaction, "sum", sum(&all))?;
        Ok(())
    });
    TestAgent::start(Config::default(), handler)
}

/// Returns a text without repetition, so that a lost or swapped part changes it.
fn text(len: usize) -> String {
    (0..).flat_map(|n: u32| n.to_string().into_bytes()).take(len).map(char::from).collect()
}

/// Returns a checksum (FNV-1a) that depends on the order of the bytes.
fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
