//! Feeds the same bytes to connections in several ways, because the result must not depend on how a read cuts them.

use crate::bytes::Frame;
use crate::frames::documented_notify;
use crate::peer::{Peer, Seen};

/// The agent's reaction to some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The events that the agent reported.
    pub events: Vec<Seen>,
    /// The frames that the agent sent.
    pub frames: Vec<Frame>,
}

impl Outcome {
    fn of(peer: &mut Peer) -> Self {
        Self { events: peer.take_events(), frames: peer.take_frames() }
    }

    /// Returns the bytes that the agent sent.
    pub fn bytes(&self) -> Vec<u8> {
        self.frames.iter().flat_map(Frame::encode).collect()
    }
}

/// Feeds `input` to fresh peers: in one piece, byte by byte, and followed by the first bytes of another frame. Returns
/// the peer that received it in one piece, and its outcome.
///
/// # Panics
/// If the outcomes differ.
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
