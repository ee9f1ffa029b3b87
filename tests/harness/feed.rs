//! The same bytes in several ways: how they arrive must not matter.

use crate::bytes::Frame;
use crate::frames::documented_notify;
use crate::peer::{Peer, Seen};

/// What came of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the agent told.
    pub events: Vec<Seen>,
    /// What it sent.
    pub frames: Vec<Frame>,
}

impl Outcome {
    fn of(peer: &mut Peer) -> Self {
        Self { events: peer.take_events(), frames: peer.take_frames() }
    }

    /// The bytes it sent.
    pub fn bytes(&self) -> Vec<u8> {
        self.frames.iter().flat_map(Frame::encode).collect()
    }
}

/// Feeds `input` whole, byte by byte, and with the first bytes of a further frame behind it, each to a fresh peer.
///
/// # Panics
/// If that makes a difference.
pub fn feed(make: impl Fn() -> Peer, input: &[u8]) -> (Peer, Outcome) {
    let mut peer = make();
    peer.send(input);
    let outcome = Outcome::of(&mut peer);

    let mut bytewise = make();
    for byte in input {
        bytewise.send(&[*byte]);
    }
    assert_eq!(Outcome::of(&mut bytewise), outcome, "byte by byte");

    for trailing in [1, 4, 10] {
        let mut more = make();
        more.send(&[input, &documented_notify()[..trailing]].concat());
        assert_eq!(Outcome::of(&mut more), outcome, "with {trailing} bytes of the next frame");
    }
    (peer, outcome)
}
