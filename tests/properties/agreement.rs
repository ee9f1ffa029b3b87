//! The core sends the same frames as a naive model.

use std::time::Duration;

use proptest::prelude::*;
use spoa_core::Config;
use spoa_core::wire::Capabilities;
use spoa_tests::peer::Peer;

use crate::model::Model;
use crate::words::{conversation, encode};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn the_core_sends_the_frames_of_the_model(
        inputs in conversation(),
        frame_max in prop_oneof![Just(256u32), 256u32..400, Just(16384)],
        fragmentation: bool,
        reassembly_max in prop_oneof![0usize..100, Just(1 << 20)],
    ) {
        let mut capabilities = Capabilities::PIPELINING;
        if fragmentation {
            capabilities = capabilities | Capabilities::FRAGMENTATION;
        }
        let config = Config { max_frame_size: frame_max, capabilities, reassembly_max, ..Config::default() };
        let mut peer = Peer::new(config);
        peer.send(&encode(&inputs));
        if !inputs.is_empty() {
            peer.advance(Duration::from_secs(1));
        }
        let model = Model::new(frame_max.into(), fragmentation, reassembly_max);
        prop_assert_eq!(peer.take_frames(), model.answers(&inputs));
    }
}
