//! Not rows of the table: calls by which a driver of many connections enforces limits that they share.

use std::time::Duration;

use spoa_core::{CloseReason, Config, LocalReason};
use spoa_tests::bytes::{Value, hex};
use spoa_tests::frames::{Hello, ack, agent_disconnect, check_client_ip, disconnect, notify};
use spoa_tests::peer::{Peer, Seen};

use crate::ending::{check_linger, check_serves};

const NO_MEMORY: Seen = Seen::Closed(CloseReason::Local(LocalReason::NoMemory));

/// Encodes a NOTIFY of the stream `sid`.
fn notify_of(sid: u64) -> Vec<u8> {
    notify(sid, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))])
}

#[test]
fn a_connection_on_hold_holds_notifys_back_but_serves_other_frames() {
    let mut peer = Peer::ready().deferring();
    peer.send(&notify_of(1));
    peer.connection.hold_back(true);
    peer.send(&notify_of(2));
    assert_eq!(
        (peer.deferred(), peer.unread()),
        (vec![(1, 1)], 0),
        "expected the NOTIFY to be read, so that end of file is noticed"
    );
    peer.answer((1, 1), 10).unwrap();
    assert_eq!(peer.take_bytes(), ack(1, 1, &[10]), "expected the NOTIFY in flight to be answered");
    peer.connection.hold_back(false);
    peer.pump();
    peer.answer((2, 1), 20).unwrap();
    assert_eq!(peer.take_bytes(), ack(2, 1, &[20]));
    check_serves(&mut peer);
    peer.connection.hold_back(true);
    peer.send(&disconnect(0));
    assert_eq!(peer.take_bytes(), agent_disconnect(0));
    peer.take_events();
    check_linger(&mut peer);
}

#[test]
fn a_connection_on_hold_completes_its_handshake_and_its_drain() {
    let mut peer = Peer::new(Config::default());
    peer.connection.hold_back(true);
    peer.send(&Hello::mux().encode());
    assert!(matches!(peer.take_events()[..], [Seen::Ready { .. }]));
    peer.take_bytes();
    peer.stop(Duration::from_secs(9));
    peer.send(&notify_of(1));
    assert_eq!(peer.take_bytes(), agent_disconnect(0), "expected a drain without a permit");
    peer.take_events();
    check_linger(&mut peer);
}

/// A driver has to know which connections wait for a permit, and which hold bytes until their peer acts.
#[test]
fn a_connection_reports_whether_it_waits_for_a_permit_or_for_its_peer() {
    let waits = |peer: &Peer| (peer.connection.blocked().needs_permit(), peer.connection.blocked().waits_for_peer());
    let on_hold = |bytes: &[u8]| {
        let mut peer = Peer::ready_with(Config { in_flight_max: 1, ..Config::default() }).deferring();
        peer.connection.hold_back(true);
        peer.send(bytes);
        peer
    };
    let whole = notify_of(1);
    assert_eq!(waits(&on_hold(&[])), (false, false));
    assert_eq!(waits(&on_hold(&whole[..9])), (false, true));
    assert_eq!(waits(&on_hold(&whole)), (true, false));
    assert_eq!(waits(&on_hold(&[&whole[..], &whole[..9]].concat())), (true, false));
    assert_eq!(waits(&on_hold(&hex("7fffffff 03"))), (true, false), "expected an invalid length to need no more bytes");
    let mut peer = on_hold(&whole.repeat(2));
    peer.connection.hold_back(false);
    peer.pump();
    peer.connection.hold_back(true);
    assert_eq!(waits(&peer), (false, false), "expected the connection to wait for its own answer");
    assert!(peer.connection.blocked().is_held_back());
    peer.stop(Duration::from_secs(1));
    assert_eq!(waits(&peer), (false, false), "expected a drain to need no permit");
    let mut peer = Peer::ready();
    peer.stop_reading();
    peer.send(&whole);
    assert_eq!(waits(&peer), (false, true));
}

#[test]
fn shedding_drops_everything_and_sends_code_13() {
    let mut peer = Peer::ready().deferring();
    peer.send(&[notify_of(1), notify_of(2)[..9].to_vec()].concat());
    peer.take_events();
    peer.connection.shed(peer.now());
    peer.pump();
    assert_eq!((peer.take_bytes(), peer.take_events()), (agent_disconnect(13), vec![NO_MEMORY]));
    peer.release();
    assert_eq!(peer.connection.usage().memory.total(), 0);
    peer.answer((1, 1), 10).expect_err("the connection is closed");
    check_linger(&mut peer);
}

#[test]
fn shedding_with_unsent_bytes_closes_without_a_disconnect() {
    let mut peer = Peer::ready();
    peer.stop_reading();
    peer.send(&notify_of(1));
    peer.connection.shed(peer.now());
    peer.pump();
    assert_eq!(peer.take_events().last(), Some(&NO_MEMORY));
    peer.release();
    assert_eq!((peer.connection.usage().memory.total(), peer.connection.is_closed()), (0, true));
}

#[test]
fn shedding_a_lingering_connection_closes_it_without_an_event() {
    let mut peer = Peer::ready();
    peer.send(&disconnect(0));
    peer.take_events();
    peer.connection.shed(peer.now());
    peer.pump();
    assert!(peer.connection.is_closed() && peer.take_events().is_empty());
    peer.connection.shed(peer.now());
    assert_eq!(peer.take_bytes(), agent_disconnect(0));
}
