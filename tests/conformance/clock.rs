//! Rows about time, with a driver that calls the connection only at its deadlines. A timeout that starts with a
//! deferred answer must count from the time of that answer, not from the last time at which the connection was called.

use std::time::Duration;

use spoa_core::{CloseReason, Config, LocalReason};
use spoa_tests::frames::{Hello, ack, agent_disconnect, documented_notify, notify};
use spoa_tests::peer::Peer;

/// X09: if our DISCONNECT is sent long after the stop began, HAProxy still has the whole linger time to read it.
#[test]
fn x09_the_linger_counts_from_the_last_answer() {
    let mut peer = Peer::ready().deferring();
    peer.send(&notify(1, 1, &[]));
    peer.stop(Duration::from_secs(60));
    peer.sleep(Duration::from_secs(5));
    peer.answer((1, 1), 1).unwrap();
    assert_eq!(peer.take_bytes(), [ack(1, 1, &[1]), agent_disconnect(0)].concat());
    peer.sleep(Duration::from_millis(999));
    assert!(!peer.connection.is_closed(), "a close before the end of the linger could reset the socket");
    peer.sleep(Duration::from_millis(1));
    assert!(peer.connection.is_closed());
}

/// N21: the ACK timeout of a NOTIFY that waited in the buffer starts when the handler gets it.
#[test]
fn n21_the_deadline_counts_from_the_call_of_the_handler() {
    let config = Config { in_flight_max: 1, ..Config::default() };
    let mut peer = Peer::ready_with(config).deferring();
    peer.send(&[notify(1, 1, &[]), notify(3, 1, &[])].concat());
    peer.sleep(Duration::from_secs(9));
    peer.answer((1, 1), 1).unwrap();
    assert_eq!(peer.deferred(), [(3, 1)]);
    peer.sleep(Duration::from_secs(9));
    peer.answer((3, 1), 3).expect("9 s of its 10 s have passed");
    assert_eq!(peer.take_bytes(), [ack(1, 1, &[1]), ack(3, 1, &[3])].concat());
}

/// X12: the time that the handler takes does not count against the peer that has to read the answer.
#[test]
fn x12_the_send_timeout_counts_from_the_answer() {
    let config = Config { ack_timeout: Duration::from_secs(60), ..Config::default() };
    let mut peer = Peer::ready_with(config).deferring();
    peer.send(&notify(1, 1, &[]));
    peer.sleep(Duration::from_secs(40));
    peer.stop_reading();
    peer.answer((1, 1), 1).unwrap();
    peer.sleep(config.send_timeout - Duration::from_nanos(1));
    assert!(!peer.connection.is_closed());
    peer.sleep(Duration::from_nanos(1));
    assert!(peer.connection.is_closed());
}

/// The first bytes of a frame count as activity once: a frame that never completes must not keep an idle connection
/// open.
#[test]
fn part_of_a_frame_counts_as_activity_once() {
    let (timeout, tick) = (Duration::from_secs(5), Duration::from_nanos(1));
    for part in [&documented_notify()[..1], &documented_notify()[..20]] {
        let config = Config { idle_timeout: Some(timeout), ..Config::default() };
        let mut peer = Peer::ready_with(config);
        peer.sleep(timeout - tick);
        peer.send(&part[..1]);
        peer.sleep(timeout - tick);
        peer.send(&part[1..]);
        assert_eq!(peer.close_reason(), None);
        peer.sleep(tick);
        assert_eq!(peer.close_reason(), Some(CloseReason::Local(LocalReason::Idle)));
    }
}

/// The idle time counts from the last ACK, whether the handler answered or its deadline passed.
#[test]
fn the_idle_time_counts_from_the_last_answer() {
    let config = Config { idle_timeout: Some(Duration::from_secs(5)), ..Config::default() };
    for answered in [true, false] {
        let mut peer = Peer::with_hello(config, &Hello::mux()).deferring();
        peer.send(&notify(1, 1, &[]));
        if answered {
            peer.sleep(Duration::from_secs(8));
            peer.answer((1, 1), 1).unwrap();
        } else {
            peer.sleep(Duration::from_secs(10));
        }
        assert_eq!(peer.take_frames().len(), 1, "expected the ACK alone");
        peer.sleep(Duration::from_millis(4999));
        assert_eq!(peer.take_bytes(), [0; 0], "answered: {answered}");
        peer.sleep(Duration::from_millis(1));
        assert_eq!(peer.take_bytes(), agent_disconnect(0));
    }
}
