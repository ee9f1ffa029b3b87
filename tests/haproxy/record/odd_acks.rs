//! ACKs, valid and invalid, and other frames that an agent sends where HAProxy expects an ACK.

use spoa_core::Config;
use spoa_runtime::{Scope, SetVars, quick};
use spoa_sim_haproxy::recording::Recording;
use spoa_tests::bytes::{ACK, Frame, Value};
use spoa_tests::frames::{ack, agent_disconnect, agent_hello, set_var};

use crate::agent::TestAgent;
use crate::client::Request;
use crate::haproxy::{Engine, Install};
use crate::raw_agent::{Peer, RawAgent};
use crate::scene::{Scene, request_all, run_cases};

/// The agent sends ACKs without actions.
pub(super) fn empty(install: &Install) -> Recording {
    let agent = TestAgent::start(Config::default(), quick(|_, _| Ok(())));
    let scene = Scene::new(install, &agent.addr);
    let haproxy = scene.start();
    for n in 1..5 {
        request_all((0..n).map(|n| format!("/{n}")), haproxy.addr);
    }
    scene.recorded()
}

/// The agent sends ACKs of different sizes, up to the largest one that is allowed and beyond it.
pub(super) fn big(install: &Install) -> Recording {
    let agent = TestAgent::start(
        Config::default(),
        quick(|request, ack| {
            let path = request.messages().flat_map(|message| message.args()).find_map(|(_, value)| value.as_str());
            let len = path.and_then(|path| path.strip_prefix('/')?.parse().ok()).unwrap_or(0);
            ack.set_var(Scope::Transaction, "big", "y".repeat(len).as_str())?;
            Ok(())
        }),
    );
    let scene = Scene::new(install, &agent.addr);
    let haproxy = scene.start();
    for len in [0, 200, 239, 240, 2287, 2288, 8000, 16_000, 16_340, 16_350, 16_355, 16_360, 16_364, 16_400] {
        Request::get(&format!("/{len}")).send(haproxy.addr);
    }
    scene.recorded()
}

/// The agent sends ACKs in pieces.
pub(super) fn in_pieces(install: &Install) -> Recording {
    const LENGTHS: &[usize] = &[1, 2, 4, 5, 9, 10, 11, 15];
    let answer = |case: usize, peer: &mut Peer| {
        if peer.greet(&agent_hello(16380, "pipelining")).is_none() {
            return;
        }
        for _ in 0..2 {
            let Some(notify) = peer.next_notify() else { return };
            peer.send_in_pieces(&ack(notify.sid, notify.fid, &[42]), LENGTHS[case]);
        }
        peer.send(&agent_disconnect(0));
        peer.finish();
    };
    run_cases(install, LENGTHS.len(), answer, Scene::with_odd_agent)
}

/// Returns the bytes to send instead of, or before, the ACK of a NOTIFY with this stream-id and frame-id.
type Reply = fn(u64, u64) -> Vec<u8>;

/// Invalid and unusual replies for every version of HAProxy.
const REPLIES: &[Reply] = &[
    |_, _| b"\x7f\xff\xff\xff\x67\0\0\0\x01\x01\x01".to_vec(),
    |sid, fid| Frame::new(ACK, (sid, fid), []).flags(0).encode(),
    |sid, fid| Frame::new(ACK, (sid, fid), []).flags(3).encode(),
    |sid, fid| Frame::new(ACK, (sid, fid), []).flags(0xffff_ffff).encode(),
    |sid, fid| ack(sid + 100, fid, &[7]),
    |sid, fid| ack(sid, fid + 1, &[7]),
    |sid, _| ack(sid, 0, &[7]),
    |_, fid| ack(1 << 40, fid, &[7]),
    |sid, fid| [ack(sid, fid, &[7]), ack(sid, fid, &[8])].concat(),
    |sid, fid| [Frame::new(77, (sid, fid), *b"what?").encode(), ack(sid, fid, &[7])].concat(),
    |sid, fid| [Frame::new(77, (0, 0), []).encode(), ack(sid, fid, &[7])].concat(),
    |sid, fid| [agent_hello(16380, "pipelining"), ack(sid, fid, &[7])].concat(),
    |sid, fid| [agent_hello(300, ""), ack(sid, fid, &[7])].concat(),
    // Frames whose actions HAProxy cannot run.
    |sid, fid| Frame::new(ACK, (sid, fid), [9, 9, 9, 9]).encode(),
    |sid, fid| Frame::new(ACK, (sid, fid), *b"\x01\x03\x07\x01x\x00").encode(),
    |sid, fid| [ack(sid, fid, &[7]), agent_disconnect(0)].concat(),
    |sid, fid| [agent_disconnect(0), ack(sid, fid, &[7])].concat(),
];

/// Replies that are shorter than a frame header, which make HAProxy 2.6 loop.
const SHORT: &[Reply] = &[|_, _| b"\0\0\0\0".to_vec(), |_, _| b"\0\0\0\x06\x67\0\0\0\x01\x01\x01".to_vec()];

/// A reply that is larger than HAProxy's buffers. The mux stops reading after it, as in [`stuck`].
const LARGE: Reply = |sid, fid| Frame::new(ACK, (sid, fid), vec![0; 17_000]).encode();

/// The agent sends an invalid or unusual reply.
pub(super) fn bad(install: &Install) -> Recording {
    let short = if install.loops_on_short_frames() { &[] } else { SHORT };
    let large = if install.engine() == Engine::Applet { &[LARGE][..] } else { &[] };
    let replies = [REPLIES, short, large].concat();
    let cases = replies.len();
    let answer = move |case: usize, peer: &mut Peer| {
        let Some(()) = peer.greet(&agent_hello(16380, "pipelining")).and_then(|()| peer.serve(1)) else { return };
        let Some(notify) = peer.next_notify() else { return };
        peer.send(&replies[case](notify.sid, notify.fid));
        // HAProxy may send another NOTIFY, or close the connection.
        if peer.serve(1).is_some() {
            peer.send(&agent_disconnect(0));
            peer.finish();
        }
    };
    run_cases(install, cases, answer, |scene| scene.with("processing 100ms").with_odd_agent())
}

/// The agent sends an ACK of exactly the agreed maximum size. Together with its length it fills HAProxy's buffer, and
/// HAProxy 3.2.26 never reads from the connection again: it does not notice that the agent closes it, and all events on
/// it fail.
pub(super) fn stuck(install: &Install) -> Recording {
    let agent = RawAgent::start(|_, peer| {
        let Some(()) = peer.greet(&agent_hello(16380, "pipelining")).and_then(|()| peer.serve(1)) else { return };
        if let Some(notify) = peer.next_notify() {
            peer.send(&filling(&notify, 16_380));
            if peer.serve(1).is_some() {
                peer.send(&agent_disconnect(0));
                peer.finish();
            }
        }
    });
    let scene = Scene::new(install, &agent.addr).with("processing 100ms");
    let haproxy = scene.start();
    for n in 0..8 {
        Request::get(&format!("/{n}")).send(haproxy.addr);
    }
    scene.recorded()
}

/// Several smaller ACKs that arrive at once and fill HAProxy's buffer together have the same effect as in [`stuck`].
pub(super) fn stuck_together(install: &Install) -> Recording {
    const AT_ONCE: usize = 6;
    let agent = RawAgent::start(|_, peer| {
        let Some(()) = peer.greet(&agent_hello(16380, "pipelining")).and_then(|()| peer.serve(1)) else { return };
        let mut waiting = Vec::new();
        while let Some(notify) = peer.next_notify() {
            waiting.push(notify);
            if waiting.len() == AT_ONCE {
                peer.send(&waiting.drain(..).flat_map(|notify| filling(&notify, 3000)).collect::<Vec<_>>());
            }
        }
    });
    let scene = Scene::new(install, &agent.addr).with("processing 300ms").with_on(Engine::Applet, "maxconn 1");
    let haproxy = scene.start();
    request_all(["/first".into()], haproxy.addr);
    for _ in 0..2 {
        request_all((0..AT_ONCE).map(|n| format!("/{n}")), haproxy.addr);
    }
    scene.recorded()
}

/// Returns an ACK of this length.
fn filling(notify: &Frame, len: usize) -> Vec<u8> {
    let empty = ack(notify.sid, notify.fid, &[]).len() - 4;
    let text = "y".repeat(len - empty - b"\x01\x03\x02\x01x\x08\xf0\x00\x00".len());
    let mut actions = set_var(2, "x", &Value::text(&text));
    // Zeros make up for the length of the text, which takes two or three bytes.
    actions.extend(vec![0; len - empty - actions.len()]);
    Frame::new(ACK, (notify.sid, notify.fid), actions).encode()
}

/// The agent sends AGENT-DISCONNECT while a NOTIFY is in flight, and then FIN, RST or neither.
pub(super) fn disconnects(install: &Install) -> Recording {
    const CODES: &[u64] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99, 1000, 0, 0];
    let answer = |case: usize, peer: &mut Peer| {
        let Some(()) = peer.greet(&agent_hello(16380, "pipelining")) else { return };
        if peer.next_notify().is_some() {
            peer.send(&agent_disconnect(CODES[case]));
            match case % 3 {
                0 => peer.finish(),
                1 => peer.read_to_end(),
                _ => {
                    peer.read_to_end();
                    peer.reset();
                }
            }
        }
    };
    run_cases(install, CODES.len(), answer, |scene| scene.with("processing 100ms").with("idle 300ms").with_odd_agent())
}
