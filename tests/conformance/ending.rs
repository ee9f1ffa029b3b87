//! Checks how a connection ends with D(n), and whether it still serves.

use std::time::Duration;

use spoa_core::{CloseReason, Config};
use spoa_tests::bytes::hex;
use spoa_tests::feed::{Outcome, feed};
use spoa_tests::frames::{agent_disconnect, documented_notify};
use spoa_tests::peer::{Peer, Seen};

/// Checks that `input` is a protocol error: it is answered with D(`code`) immediately, no matter how reads cut it.
pub(crate) fn check_error(make: impl Fn() -> Peer, input: &[u8], code: u64) {
    let (mut peer, outcome) = feed(make, input);
    assert_eq!(outcome.bytes(), agent_disconnect(code), "{input:02x?}");
    assert!(matches!(outcome.events[..], [Seen::Closed(CloseReason::Error(_))]), "{:?}", outcome.events);
    check_linger(&mut peer);
}

/// Checks that the HELLO `input` is answered with D(`code`) after `refuse_delay`, which keeps HAProxy from reconnecting
/// at once.
pub(crate) fn check_refusal(input: &[u8], code: u64) {
    let delay = Config::default().refuse_delay;
    let tick = Duration::from_nanos(1);
    let (mut peer, outcome) = feed(|| Peer::new(Config::default()), input);
    assert_eq!(outcome, Outcome { events: vec![], frames: vec![] }, "expected no answer before the delay");
    peer.send(&documented_notify());
    peer.advance(delay - tick);
    assert_eq!((peer.take_events(), peer.take_bytes()), (vec![], vec![]), "expected no answer before the delay");
    peer.advance(tick);
    assert_eq!(peer.take_bytes(), agent_disconnect(code), "{input:02x?}");
    assert!(matches!(peer.take_events()[..], [Seen::Closed(CloseReason::Error(_))]));
    check_linger(&mut peer);
}

/// Checks that the connection lingers after its last frame: it reads and drops what arrives, and is closed after the
/// linger time.
pub(crate) fn check_linger(peer: &mut Peer) {
    assert!(peer.connection.is_send_finished() && !peer.connection.is_closed());
    peer.send(&documented_notify().repeat(5000));
    peer.send(&hex("ffffffff 00 01"));
    assert_eq!(peer.unread(), 0, "closing a socket with unread bytes would reset it");
    assert_eq!((peer.take_events(), peer.take_bytes()), (vec![], vec![]));
    peer.advance(Config::default().linger);
    assert!(peer.connection.is_closed() && peer.connection.poll_timeout().is_none());
    assert_eq!((peer.take_events(), peer.take_bytes()), (vec![], vec![]));
}

/// Checks that the connection still serves a NOTIFY. Fails if bytes are left that the test has not taken.
pub(crate) fn check_serves(peer: &mut Peer) {
    assert_eq!(peer.take_bytes(), [0; 0], "expected no bytes before the NOTIFY");
    peer.take_events();
    peer.send(&documented_notify());
    let ids = match &peer.take_events()[..] {
        [Seen::Notify { ids, .. }] => *ids,
        other => panic!("expected one NOTIFY, got {other:?}"),
    };
    assert_eq!(ids, (1, 1));
    if !peer.deferred().is_empty() {
        peer.answer(ids, 1).expect("the ticket is live");
    }
    let frames = peer.take_frames();
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].sid, frames[0].fid), ids);
}
