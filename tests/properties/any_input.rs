//! Whatever comes, in whatever state: no panic, memory within its bound, frames of legal size, nothing behind the last.
//!
//! The peer checks all of that at every step; here it is led into odd corners.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use spoa_core::wire::{Capabilities, Scope};
use spoa_core::{Ack, Config, Notify, Ticket};
use spoa_tests::bytes::{Frame, NOTIFY, UNSET, Value, message};
use spoa_tests::frames::{Hello, notify};
use spoa_tests::peer::{Peer, memory_bound};

use crate::words::{conversation, encode};

/// Something that happens to a connection.
#[derive(Clone, Debug)]
enum Act {
    Asked { count: u64, len: usize },
    Said(Vec<u8>),
    Flooded { byte: u8, len: usize },
    Answered(prop::sample::Index),
    Lost(prop::sample::Index),
    StoppedReading,
    Read(usize),
    Waited(Duration),
    Released,
    Stopped(Duration),
    Eof,
}

fn act() -> impl Strategy<Value = Act> {
    let wait = prop_oneof![0u64..2_000, Just(5_000), Just(10_000), Just(30_000)].prop_map(Duration::from_millis);
    prop_oneof![
        12 => (1u64..6, 0usize..200).prop_map(|(count, len)| Act::Asked { count, len }),
        4 => (1usize..400).prop_map(|len| Act::Said(fragment(len))),
        1 => conversation().prop_map(|words| Act::Said(encode(words.get(1..).unwrap_or(&[])))),
        1 => prop_oneof![
            vec(any::<u8>(), 0..600).prop_map(Act::Said),
            (any::<u8>(), 0usize..3_000).prop_map(|(byte, len)| Act::Flooded { byte, len }),
            wait.clone().prop_map(Act::Stopped),
            Just(Act::Eof),
        ],
        8 => any::<prop::sample::Index>().prop_map(Act::Answered),
        1 => any::<prop::sample::Index>().prop_map(Act::Lost),
        4 => Just(Act::StoppedReading),
        3 => (0usize..2_000).prop_map(Act::Read),
        1 => wait.prop_map(Act::Waited),
        2 => Just(Act::Released),
    ]
}

/// A NOTIFY in two fragments, the first of `len` bytes.
fn fragment(len: usize) -> Vec<u8> {
    let payload = message("fragmented", &[("", Value::String(vec![b'x'; len]))]);
    let (first, last) = payload.split_at(payload.len().min(200));
    [Frame::new(NOTIFY, (1, 1), first).flags(0).encode(), Frame::new(UNSET, (1, 1), last).encode()].concat()
}

fn config() -> impl Strategy<Value = Config> {
    let tiny = (256u32..300, 1usize..5, 1usize..300, 0usize..600, any::<bool>());
    let tiny = tiny.prop_map(|(max_frame_size, in_flight_max, unsent_max, reassembly_max, fragmentation)| Config {
        max_frame_size,
        in_flight_max,
        unsent_max,
        reassembly_max,
        capabilities: if fragmentation { Config::default().capabilities } else { Capabilities::PIPELINING },
        idle_timeout: Some(Duration::from_secs(20)),
        ..Config::default()
    });
    prop_oneof![4 => tiny, 1 => Just(Config::default())]
}

/// Defers two NOTIFYs of three; answers the others at once, now with as much as fits, now with little.
fn greedy(config: Config) -> impl FnMut(Notify<'_>) -> Option<Ticket> {
    let mut count = 0;
    move |notify| {
        count += 1;
        if count % 3 != 0 {
            return Some(notify.defer());
        }
        fill(notify.ack(), &config, count % 2 == 0);
        None
    }
}

fn fill(mut ack: Ack<'_>, config: &Config, much: bool) {
    // A header of 7 bytes, an action of 10 and the length of its string: just full, or a few bytes too much.
    let lens = if much { [config.max_frame_size as usize - 20, 2] } else { [0, 9] };
    for len in lens {
        ack.set_var(Scope::Request, "fill", "x".repeat(len).as_str()).expect("a good name and value");
    }
    let _ = ack.finish();
}

fn apply(peer: &mut Peer, config: &Config, act: &Act) {
    match act {
        Act::Asked { count, len } => {
            let asked = |sid| notify(sid, 1, &[message("m", &[("", Value::String(vec![b'x'; *len]))])]);
            peer.send(&(0..*count).flat_map(asked).collect::<Vec<_>>());
        }
        Act::Said(bytes) => peer.send(bytes),
        Act::Flooded { byte, len } => peer.send(&vec![*byte; *len]),
        Act::Answered(pick) => {
            if let Some(ids) = one_of(&peer.deferred(), *pick) {
                let ticket = peer.take_ticket(ids);
                let now = peer.now();
                if let Ok(ack) = peer.connection.ack(now, ticket) {
                    fill(ack, config, true);
                }
                peer.pump();
            }
        }
        Act::Lost(pick) => {
            if let Some(ids) = one_of(&peer.deferred(), *pick) {
                drop(peer.take_ticket(ids));
            }
        }
        Act::StoppedReading => peer.stop_reading(),
        Act::Read(len) => peer.read(*len),
        Act::Waited(time) => peer.advance(*time),
        Act::Released => peer.release(),
        Act::Stopped(grace) => peer.stop(*grace),
        Act::Eof => peer.eof(),
    }
}

fn one_of(deferred: &[(u64, u64)], pick: prop::sample::Index) -> Option<(u64, u64)> {
    (!deferred.is_empty()).then(|| deferred[pick.index(deferred.len())])
}

/// However it was treated, a connection ends some time after its socket is of no more use.
fn ends(mut peer: Peer) {
    peer.read(usize::MAX);
    peer.stop(Duration::ZERO);
    peer.advance(Duration::from_secs(60));
    assert!(peer.connection.is_closed(), "{:?}", peer.connection.state());
    assert_eq!(peer.connection.poll_timeout(), None);
    assert!(peer.connection.recv_buf().is_empty() && peer.connection.poll_transmit().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn nothing_breaks_its_bounds(config in config(), acts in vec(act(), 0..40)) {
        prop_assert_eq!(config.memory_max(), memory_bound(&config), "the documented formula");
        let mut peer = Peer::greeted(config, &Hello::applet()).handling(greedy(config));
        for act in &acts {
            apply(&mut peer, &config, act);
        }
        ends(peer);
    }

    #[test]
    fn no_bytes_panic_before_the_hello(config in config(), acts in vec(act(), 0..10)) {
        let mut peer = Peer::new(config).handling(greedy(config));
        for act in &acts {
            apply(&mut peer, &config, act);
        }
        ends(peer);
    }
}
