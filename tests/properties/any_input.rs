//! Whatever a peer sends in whatever state: no panic, memory within its bound, frames of legal size, and nothing after
//! the last frame.
//!
//! `Peer` checks these invariants at every step. These tests bring connections into unusual states.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use spoa_core::wire::{Capabilities, Scope, SetVars};
use spoa_core::{Ack, Config, Notify, Ticket};
use spoa_tests::bytes::{Frame, NOTIFY, UNSET, Value, message};
use spoa_tests::frames::{Hello, notify};
use spoa_tests::peer::{Peer, memory_bound};

use crate::words::{conversation, encode};

/// A step of a test: an action of the peer, the handler or the driver.
#[derive(Clone, Debug)]
enum Step {
    Notifys { count: u64, len: usize },
    Bytes(Vec<u8>),
    Repeated { byte: u8, len: usize },
    Answer(prop::sample::Index),
    DropTicket(prop::sample::Index),
    StopReading,
    Read(usize),
    Advance(Duration),
    Release,
    Stop(Duration),
    Eof,
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![0u64..2_000, Just(5_000), Just(10_000), Just(30_000)].prop_map(Duration::from_millis);
    prop_oneof![
        12 => (1u64..6, 0usize..200).prop_map(|(count, len)| Step::Notifys { count, len }),
        4 => (1usize..400).prop_map(|len| Step::Bytes(fragment(len))),
        1 => conversation().prop_map(|inputs| Step::Bytes(encode(inputs.get(1..).unwrap_or(&[])))),
        1 => prop_oneof![
            vec(any::<u8>(), 0..600).prop_map(Step::Bytes),
            (any::<u8>(), 0usize..3_000).prop_map(|(byte, len)| Step::Repeated { byte, len }),
            wait.clone().prop_map(Step::Stop),
            Just(Step::Eof),
        ],
        8 => any::<prop::sample::Index>().prop_map(Step::Answer),
        1 => any::<prop::sample::Index>().prop_map(Step::DropTicket),
        4 => Just(Step::StopReading),
        3 => (0usize..2_000).prop_map(Step::Read),
        1 => wait.prop_map(Step::Advance),
        2 => Just(Step::Release),
    ]
}

/// Encodes a NOTIFY in two fragments, whose only argument is a string of `len` bytes.
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

/// Returns a handler that defers two of three NOTIFYs. It answers the others immediately, by turns with a full and with
/// a small ACK.
fn handler(config: Config) -> impl FnMut(Notify<'_>) -> Option<Ticket> {
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

/// Writes an ACK that is about as long as a frame if `is_full`, or a small one.
fn fill(mut ack: Ack<'_>, config: &Config, is_full: bool) {
    // A frame has a header of 7 bytes, and an action has 9 bytes, the length of its text (1 to 3 bytes) and the text.
    // With the first action, a full frame is up to 3 bytes short of the agent's maximum, which may be a few bytes above
    // the negotiated size. The second action never fits.
    let lens = if is_full { [config.max_frame_size as usize - 20, 2] } else { [0, 9] };
    for len in lens {
        ack.set_var(Scope::Request, "fill", "x".repeat(len).as_str()).expect("name and value are valid");
    }
    let _ = ack.finish();
}

fn apply(peer: &mut Peer, config: &Config, step: &Step) {
    match step {
        Step::Notifys { count, len } => {
            let one = |sid| notify(sid, 1, &[message("m", &[("", Value::String(vec![b'x'; *len]))])]);
            peer.send(&(0..*count).flat_map(one).collect::<Vec<_>>());
        }
        Step::Bytes(bytes) => peer.send(bytes),
        Step::Repeated { byte, len } => peer.send(&vec![*byte; *len]),
        Step::Answer(pick) => {
            if let Some(ids) = one_of(&peer.deferred(), *pick) {
                let ticket = peer.take_ticket(ids);
                let now = peer.now();
                if let Ok(ack) = peer.connection.ack(now, ticket) {
                    fill(ack, config, true);
                }
                peer.pump();
            }
        }
        Step::DropTicket(pick) => {
            if let Some(ids) = one_of(&peer.deferred(), *pick) {
                drop(peer.take_ticket(ids));
            }
        }
        Step::StopReading => peer.stop_reading(),
        Step::Read(len) => peer.read(*len),
        Step::Advance(time) => peer.advance(*time),
        Step::Release => peer.release(),
        Step::Stop(grace) => peer.stop(*grace),
        Step::Eof => peer.eof(),
    }
}

fn one_of(deferred: &[(u64, u64)], pick: prop::sample::Index) -> Option<(u64, u64)> {
    (!deferred.is_empty()).then(|| deferred[pick.index(deferred.len())])
}

/// Checks that a stop closes the connection in the end, whatever happened before.
fn check_closes(mut peer: Peer) {
    peer.read(usize::MAX);
    peer.stop(Duration::ZERO);
    peer.advance(Duration::from_secs(60));
    assert!(peer.connection.is_closed(), "expected a closed connection, got {:?}", peer.connection.state());
    assert_eq!(peer.connection.poll_timeout(), None);
    assert!(peer.connection.recv_buf().is_empty() && peer.connection.poll_transmit().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn invariants_hold_for_any_steps_after_the_hello(config in config(), steps in vec(step(), 0..40)) {
        prop_assert_eq!(config.memory_max(), memory_bound(&config), "the formula differs from the documented one");
        let mut peer = Peer::with_hello(config, &Hello::applet()).handling(handler(config));
        for step in &steps {
            apply(&mut peer, &config, step);
        }
        check_closes(peer);
    }

    #[test]
    fn invariants_hold_for_any_steps_before_the_hello(config in config(), steps in vec(step(), 0..10)) {
        let mut peer = Peer::new(config).handling(handler(config));
        for step in &steps {
            apply(&mut peer, &config, step);
        }
        check_closes(peer);
    }
}
