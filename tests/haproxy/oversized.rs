//! NOTIFYs above the frame size.

use spoa_core::Config;
use spoa_core::wire::FrameType;
use spoa_runtime::{Scope, quick};

use crate::agent::TestAgent;
use crate::client::Request;
use crate::haproxy::{Install, Setup};
use crate::tap::Tap;

/// The frame size in the agent's section.
const SIZE: usize = 256;
/// How often the long header is an argument: the whole is far beyond HAProxy's own buffers, and below the agent's
/// limit.
const REPEATS: usize = 12;

/// The applet engine cuts them into fragments, of which the agent makes what HAProxy had.
pub(crate) fn fragmented(install: &Install) {
    let agent = summing_agent();
    let tap = Tap::before(&agent.addr);
    let haproxy = setup(&tap).start(install);
    for len in [10, 300, 1_000, 12_000] {
        let text = text(len);
        let response = Request::get("/").header("x-long", &text).send(haproxy.addr);
        let seen = (response.header("x-len"), response.header("x-sum"), haproxy.log.status(response.sid()));
        let all = text.repeat(REPEATS);
        assert_eq!(seen, (&*all.len().to_string(), &*sum(all.as_bytes()).to_string(), 0));
    }
    let fragments = tap.frames().iter().filter(|passed| passed.is(FrameType::UNSET)).count();
    assert!(fragments > 12_000 * REPEATS / SIZE, "they came in pieces: {}", tap.describe());
}

/// The multiplexer knows no fragments: such an event fails by itself (st=3), and the next one does not.
pub(crate) fn refused(install: &Install) {
    let agent = summing_agent();
    let tap = Tap::before(&agent.addr);
    let haproxy = setup(&tap).start(install);
    let long = text(300);
    for (text, status) in [("x", 0), (&*long, 3), ("y", 0)] {
        let response = Request::get("/").header("x-long", text).send(haproxy.addr);
        let len = if status == 0 { &*REPEATS.to_string() } else { "" };
        assert_eq!((response.header("x-len"), haproxy.log.status(response.sid())), (len, status), "{text}");
    }
    assert!(!tap.frames().iter().any(|passed| passed.is(FrameType::UNSET)));
}

fn setup(tap: &Tap) -> Setup {
    let args = "req.hdr(x-long) ".repeat(REPEATS);
    let mut setup = Setup::asking(&tap.addr, "on-frontend-http-request", &args)
        .header("x-len", "%[var(txn.t.len)]")
        .header("x-sum", "%[var(txn.t.sum)]");
    setup.agent += &format!("\n    max-frame-size {SIZE}");
    setup
}

/// Answers with the length of all arguments together and a checksum.
fn summing_agent() -> TestAgent {
    let handler = quick(|messages, ack| {
        let mut all = Vec::new();
        for message in messages {
            message.args().for_each(|(_, value)| all.extend_from_slice(value.as_bytes().unwrap_or_default()));
        }
        ack.set_var(Scope::Transaction, "len", all.len() as i64)?.set_var(Scope::Transaction, "sum", sum(&all))?;
        Ok(())
    });
    TestAgent::start(Config::default(), handler)
}

/// Text in which no two places look the same.
fn text(len: usize) -> String {
    (0..).flat_map(|n: u32| n.to_string().into_bytes()).take(len).map(char::from).collect()
}

/// FNV-1a: order and content count.
fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
