//! Not rows of the table: what a driver of many connections does to one when all of them together are at a limit.

use std::time::Duration;

use spoa_core::{CloseReason, Config, LocalReason};
use spoa_tests::bytes::{Value, hex};
use spoa_tests::frames::{Hello, ack, agent_disconnect, check_client_ip, disconnect, notify};
use spoa_tests::peer::{Peer, Seen};

use crate::ending::{is_alive, is_over};

const NO_MEMORY: Seen = Seen::Closed(CloseReason::Local(LocalReason::NoMemory));

/// A NOTIFY of stream `sid`.
fn asked(sid: u64) -> Vec<u8> {
    notify(sid, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))])
}

#[test]
fn on_hold_nothing_is_taken_but_what_needs_no_place() {
    let mut peer = Peer::ready().deferring();
    peer.send(&asked(1));
    peer.connection.hold(true);
    peer.send(&asked(2));
    assert_eq!((peer.deferred(), peer.unread()), (vec![(1, 1)], 0), "it is read, for the end behind it");
    peer.answer((1, 1), 10).unwrap();
    assert_eq!(peer.take_bytes(), ack(1, 1, &[10]), "what is in flight goes on");
    peer.connection.hold(false);
    peer.pump();
    peer.answer((2, 1), 20).unwrap();
    assert_eq!(peer.take_bytes(), ack(2, 1, &[20]));
    is_alive(&mut peer);
    peer.connection.hold(true);
    peer.send(&disconnect(0));
    assert_eq!(peer.take_bytes(), agent_disconnect(0));
    peer.take_events();
    is_over(&mut peer);
}

#[test]
fn on_hold_a_connection_begins_and_ends_as_ever() {
    let mut peer = Peer::new(Config::default());
    peer.connection.hold(true);
    peer.send(&Hello::mux().encode());
    assert!(matches!(peer.take_events()[..], [Seen::Ready { .. }]));
    peer.take_bytes();
    peer.stop(Duration::from_secs(9));
    peer.send(&asked(1));
    assert_eq!(peer.take_bytes(), agent_disconnect(0), "a place that it does not need is not waited for");
    peer.take_events();
    is_over(&mut peer);
}

/// What its driver has to know: who waits for a place, and who keeps bytes only until the peer goes on.
#[test]
fn who_waits_for_whom_is_told() {
    let waits = |peer: &Peer| (peer.connection.is_on_hold(), peer.connection.waits_for_peer());
    let held = |bytes: &[u8]| {
        let mut peer = Peer::ready_with(Config { in_flight_max: 1, ..Config::default() }).deferring();
        peer.connection.hold(true);
        peer.send(bytes);
        peer
    };
    let whole = asked(1);
    assert_eq!(waits(&held(&[])), (false, false));
    assert_eq!(waits(&held(&whole[..9])), (false, true));
    assert_eq!(waits(&held(&whole)), (true, false));
    assert_eq!(waits(&held(&[&whole[..], &whole[..9]].concat())), (true, false));
    assert_eq!(waits(&held(&hex("7fffffff 03"))), (true, false), "it has to be told that this is no frame");
    let mut peer = held(&whole.repeat(2));
    peer.connection.hold(false);
    peer.pump();
    peer.connection.hold(true);
    assert_eq!(waits(&peer), (false, false), "it waits for its own answer");
    assert!(peer.connection.is_held_back());
    peer.stop(Duration::from_secs(1));
    assert_eq!(waits(&peer), (false, false), "on the way out no place is needed");
    let mut peer = Peer::ready();
    peer.stop_reading();
    peer.send(&whole);
    assert_eq!(waits(&peer), (false, true));
}

#[test]
fn for_want_of_memory_all_is_dropped_and_code_13_said() {
    let mut peer = Peer::ready().deferring();
    peer.send(&[asked(1), asked(2)[..9].to_vec()].concat());
    peer.take_events();
    peer.connection.shed(peer.now());
    peer.pump();
    assert_eq!((peer.take_bytes(), peer.take_events()), (agent_disconnect(13), vec![NO_MEMORY]));
    peer.release();
    assert_eq!(peer.connection.memory(), 0);
    peer.answer((1, 1), 10).expect_err("its connection is over");
    is_over(&mut peer);
}

#[test]
fn nothing_is_kept_to_be_said_behind_what_nobody_reads() {
    let mut peer = Peer::ready();
    peer.stop_reading();
    peer.send(&asked(1));
    peer.connection.shed(peer.now());
    peer.pump();
    assert_eq!(peer.take_events().last(), Some(&NO_MEMORY));
    peer.release();
    assert_eq!((peer.connection.memory(), peer.connection.is_closed()), (0, true));
}

#[test]
fn whoever_has_said_the_last_word_has_nothing_to_be_told() {
    let mut peer = Peer::ready();
    peer.send(&disconnect(0));
    peer.take_events();
    peer.connection.shed(peer.now());
    peer.pump();
    assert!(peer.connection.is_closed() && peer.take_events().is_empty());
    peer.connection.shed(peer.now());
    assert_eq!(peer.take_bytes(), agent_disconnect(0));
}
