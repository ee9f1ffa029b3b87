//! The result does not depend on how reads and writes split the bytes.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use spoa_core::Config;
use spoa_tests::peer::{Peer, Seen};

use crate::words::{conversation, encode};

fn limits() -> impl Strategy<Value = Config> {
    (prop_oneof![Just(256u32), Just(16384)], 1usize..300, 1usize..4, 0usize..400).prop_map(
        |(max_frame_size, unsent_max, in_flight_max, reassembly_max)| Config {
            max_frame_size,
            unsent_max,
            in_flight_max,
            reassembly_max,
            ..Config::default()
        },
    )
}

/// The bytes of a conversation, of which a third have up to three bytes changed.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let flips = prop_oneof![2 => Just(vec![]), 1 => vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)];
    (conversation(), flips).prop_map(|(inputs, flips)| {
        let mut bytes = encode(&inputs);
        for (at, byte) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

fn outcome(mut peer: Peer) -> (Vec<Seen>, Vec<u8>) {
    peer.read(usize::MAX);
    peer.advance(Duration::from_secs(1));
    (peer.take_events(), peer.take_bytes())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events_and_output(
        input in input(),
        config in limits(),
        pieces in vec(1usize..200, 1..40),
        writes in 1usize..100,
    ) {
        let mut unsplit = Peer::new(config);
        unsplit.send(&input);

        let mut split = Peer::new(config).writing_at_most(writes);
        let mut rest = &input[..];
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(*piece));
            split.send(now);
            rest = later;
        }
        prop_assert_eq!(outcome(split), outcome(unsplit));
    }

    /// If HAProxy reads slowly, the agent holds frames back, but none is lost, duplicated or out of order.
    #[test]
    fn a_slow_reader_gets_the_same_output(
        input in input(), config in limits(), reads in vec((1usize..100, 0usize..60), 1..40)
    ) {
        let mut eager = Peer::new(config);
        eager.send(&input);

        let mut slow = Peer::new(config);
        slow.stop_reading();
        let mut rest = &input[..];
        for (send, read) in reads {
            let (now, later) = rest.split_at(rest.len().min(send));
            slow.send(now);
            slow.read(read);
            rest = later;
        }
        slow.send(rest);
        prop_assert_eq!(outcome(slow), outcome(eager));
    }
}
