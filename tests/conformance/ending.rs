//! What D(n) means, step by step.

use std::time::Duration;

use spoa_core::{CloseReason, Config};
use spoa_tests::bytes::hex;
use spoa_tests::feed::{Outcome, feed};
use spoa_tests::frames::{agent_disconnect, documented_notify};
use spoa_tests::peer::{Peer, Seen};

/// `input` is answered by D(`code`), at once, whatever way it arrives, and the connection ends as the peer's fault.
pub(crate) fn fails(make: impl Fn() -> Peer, input: &[u8], code: u64) {
    let (mut peer, outcome) = feed(make, input);
    assert_eq!(outcome.bytes(), agent_disconnect(code), "{input:02x?}");
    assert!(matches!(outcome.events[..], [Seen::Closed(CloseReason::Error(_))]), "{:?}", outcome.events);
    is_over(&mut peer);
}

/// The HELLO `input` is answered by D(`code`), but not before the delay that keeps HAProxy from coming back at once.
pub(crate) fn refuses(input: &[u8], code: u64) {
    let delay = Config::default().refuse_delay;
    let tick = Duration::from_nanos(1);
    let (mut peer, outcome) = feed(|| Peer::new(Config::default()), input);
    assert_eq!(outcome, Outcome { events: vec![], frames: vec![] }, "nothing is said before the delay");
    peer.send(&documented_notify());
    peer.advance(delay - tick);
    assert_eq!((peer.take_events(), peer.take_bytes()), (vec![], vec![]), "nothing is said before the delay");
    peer.advance(tick);
    assert_eq!(peer.take_bytes(), agent_disconnect(code), "{input:02x?}");
    assert!(matches!(peer.take_events()[..], [Seen::Closed(CloseReason::Error(_))]));
    is_over(&mut peer);
}

/// The last word was said: what still comes is read and dropped until HAProxy closes or has had its time.
pub(crate) fn is_over(peer: &mut Peer) {
    assert!(peer.connection.is_send_finished() && !peer.connection.is_closed());
    peer.send(&documented_notify().repeat(5000));
    peer.send(&hex("ffffffff 00 01"));
    assert_eq!(peer.unread(), 0, "what comes is read, so that closing does not reset the socket");
    assert_eq!((peer.take_events(), peer.take_bytes()), (vec![], vec![]));
    peer.advance(Config::default().linger);
    assert!(peer.connection.is_closed() && peer.connection.poll_timeout().is_none());
    assert_eq!((peer.take_events(), peer.take_bytes()), (vec![], vec![]));
}

/// A NOTIFY is served: nothing that came before has hurt.
pub(crate) fn is_alive(peer: &mut Peer) {
    assert_eq!(peer.take_bytes(), [], "asked with nothing pending");
    peer.take_events();
    peer.send(&documented_notify());
    let ids = match &peer.take_events()[..] {
        [Seen::Notify { ids, .. }] => *ids,
        other => panic!("not one NOTIFY: {other:?}"),
    };
    assert_eq!(ids, (1, 1));
    if !peer.deferred().is_empty() {
        peer.answer(ids, 1).expect("just deferred");
    }
    let frames = peer.take_frames();
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].sid, frames[0].fid), ids);
}
