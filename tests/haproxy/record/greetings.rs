//! Handshakes and health checks.

use spoa_core::Config;
use spoa_runtime::quick;
use spoa_sim_haproxy::recording::{LinkEvent, Recording};
use spoa_tests::bytes::{ACK, AGENT_HELLO, FIN, Frame, Value, kv};
use spoa_tests::frames::{agent_disconnect, agent_hello};

use crate::agent::TestAgent;
use crate::haproxy::Install;
use crate::raw_agent::{Peer, RawAgent};
use crate::scene::{Scene, request_all, run_cases};

/// Returns an AGENT-HELLO with these items.
fn hello(items: &[(&str, Value)]) -> Frame {
    Frame::new(AGENT_HELLO, (0, 0), kv(items))
}

fn version(text: &str) -> (&str, Value) {
    ("version", Value::text(text))
}

const fn size(size: u64) -> (&'static str, Value) {
    ("max-frame-size", Value::Uint32(size))
}

fn capabilities(list: &str) -> (&str, Value) {
    ("capabilities", Value::text(list))
}

/// Returns AGENT-HELLOs that HAProxy rejects or should reject.
fn bad_hellos(install: &Install) -> Vec<Vec<u8>> {
    let (good, caps) = (|| [version("2.0"), size(16380), capabilities("pipelining")], || capabilities(""));
    let whole = hello(&good());
    let mut hellos: Vec<_> = [
        hello(&[version("2.1"), size(16380), caps()]),
        hello(&[version("1.0"), size(16380), caps()]),
        hello(&[version("2"), size(16380), caps()]),
        hello(&[version("2.0, 1.0"), size(16380), caps()]),
        hello(&[size(16380), caps()]),
        hello(&[version("2.0"), caps()]),
        hello(&[version("2.0"), size(255), caps()]),
        hello(&[version("2.0"), size(16381), caps()]),
        hello(&[version("2.0"), size(1 << 40), caps()]),
        hello(&[("version", Value::Uint32(2)), size(16380), caps()]),
        hello(&[version("2.0"), ("max-frame-size", Value::text("16380")), caps()]),
        hello(&[version("2.0"), size(16380), caps(), ("", Value::Null)]),
        Frame::new(AGENT_HELLO, (0, 0), [&kv(&good())[..], b"\x05abc"].concat()),
        Frame::new(AGENT_HELLO, (0, 0), []),
        whole.clone().flags(0),
        Frame { sid: 1, ..whole.clone() },
        Frame { fid: 1, ..whole.clone() },
        Frame { kind: ACK, ..whole.clone() },
        Frame { kind: 104, ..whole },
    ]
    .iter()
    .map(Frame::encode)
    .collect();
    hellos.push(b"\x7f\xff\xff\xff\x65\0\0\0\x01\0\0".to_vec());
    if !install.loops_on_short_frames() {
        hellos.push(b"\0\0\0\x06\x65\0\0\0\x01\0\0".to_vec());
    }
    hellos
}

/// The agent sends an invalid AGENT-HELLO.
pub(super) fn bad(install: &Install) -> Recording {
    let hellos = bad_hellos(install);
    let cases = hellos.len();
    let greet = move |case: usize, peer: &mut Peer| {
        // HAProxy usually answers with DISCONNECT, which `next_notify` answers in turn.
        if peer.greet(&hellos[case]).is_some() {
            peer.next_notify();
        }
    };
    run_cases(install, cases, greet, |scene| scene.with("processing 100ms").with_odd_agent())
}

/// The agent sends a valid AGENT-HELLO that differs from the AGENT-HELLO of `spoa`.
pub(super) fn unusual(install: &Install) -> Recording {
    let caps = || capabilities("pipelining");
    let hellos = [
        hello(&[caps(), size(16380), version("2.0")]),
        hello(&[version(" 2.0 "), size(256), capabilities(" pipelining , fragmentation")]),
        hello(&[version("2.0"), size(16380)]),
        hello(&[version("2.0"), size(8000), capabilities("pipeliningX")]),
        hello(&[version("2.0"), ("max-frame-size", Value::Int64(1000)), caps()]),
        hello(&[("x", Value::text("y")), ("z", Value::Ipv4([192, 0, 2, 9])), version("2.0"), size(16380), caps()]),
        hello(&[version("2.0"), size(16380), size(300), caps()]),
        hello(&[("versionX", Value::text("2.0")), size(16380), caps()]),
        hello(&[version("2.0"), size(16380), caps()]).flags(3),
        hello(&[version("2.0"), size(16380), caps()]).flags(0xffff_ffff),
    ]
    .map(|frame| frame.encode());
    let cases = hellos.len();
    let greet = move |case: usize, peer: &mut Peer| {
        if peer.greet(&hellos[case]).and_then(|()| peer.serve(2)).is_some() {
            peer.send(&agent_disconnect(0));
            peer.finish();
        }
    };
    run_cases(install, cases, greet, |scene| scene.with("processing 100ms").with_odd_agent())
}

/// The agent sends a valid AGENT-HELLO in pieces. Some versions since 3.2 cannot read any of them (#3478).
pub(super) fn in_pieces(install: &Install) -> Recording {
    const LENGTHS: &[usize] = &[1, 3, 4, 5, 9, 11, 12, 20, 40, 67];
    let greet = move |case: usize, peer: &mut Peer| {
        if peer.greet(b"").is_some() {
            peer.send_in_pieces(&agent_hello(16380, "pipelining"), LENGTHS[case]);
            if peer.serve(1).is_some() {
                peer.send(&agent_disconnect(0));
                peer.finish();
            }
        }
    };
    run_cases(install, LENGTHS.len(), greet, |scene| scene.with("processing 100ms").with_odd_agent())
}

/// The agent answers HELLO with AGENT-DISCONNECT, followed by FIN or not.
pub(super) fn disconnects(install: &Install) -> Recording {
    const CODES: &[u64] = &[0, 1, 2, 3, 4, 8, 9, 13, 50, 99, 1000];
    let greet = |case: usize, peer: &mut Peer| {
        if peer.greet(&agent_disconnect(CODES[case])).is_some() {
            if case.is_multiple_of(2) { peer.finish() } else { peer.read_to_end() }
        }
    };
    run_cases(install, CODES.len(), greet, |scene| scene.with("processing 100ms").with("idle 200ms").with_odd_agent())
}

/// The agent accepts connections but never answers.
pub(super) fn never(install: &Install) -> Recording {
    let agent = RawAgent::start(|_, peer| peer.read_to_end());
    let scene = Scene::new(install, &agent.addr).with("processing 700ms").with("hello 200ms").with_odd_agent();
    let haproxy = scene.start();
    for n in 1..4 {
        request_all((0..n).map(|n| format!("/{n}")), haproxy.addr);
    }
    scene.recorded()
}

/// HAProxy checks the health of a correct agent several times.
pub(super) fn health_checks(install: &Install) -> Recording {
    let agent = TestAgent::start(Config::default(), quick(|_, _| Ok(())));
    checked(Scene::new(install, &agent.addr), 4)
}

/// Enables health checks, and records the first `count` of them.
fn checked(mut scene: Scene, count: usize) -> Recording {
    scene.setup.servers[0] += " check inter 20ms";
    scene.setup.backend += "    option spop-check\n";
    let _haproxy = scene.start();
    scene.wait("more health checks", |recording| {
        recording.steps.iter().filter(|step| step.event == LinkEvent::Open).count() > count
    });
    scene.recorded_up_to(count)
}

/// The agent answers health checks incorrectly.
pub(super) fn health_checks_odd(install: &Install) -> Recording {
    let mut replies = bad_hellos(install);
    // Codes from 14 to 98 would crash HAProxy 2.6 and 3.0.
    replies.extend([0, 3, 13, 99, 1000].map(agent_disconnect));
    replies.push([agent_hello(16380, ""), agent_disconnect(0)].concat());
    replies.push(Vec::new());
    let count = replies.len();
    let agent = RawAgent::start(move |connection, peer| {
        if peer.next_frame().is_some() {
            match replies.get(connection) {
                Some(reply) if connection % 3 == 0 => peer.send_in_pieces(reply, 7),
                Some(reply) => peer.send(reply),
                None => peer.send(&hello(&[version("2.0"), size(16380), capabilities("")]).flags(FIN).encode()),
            }
            peer.finish();
        }
    });
    checked(Scene::new(install, &agent.addr).with_connections_max(count + 2).with_odd_agent(), count)
}
