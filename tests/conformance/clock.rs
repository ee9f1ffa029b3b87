//! Rows about time, for a driver that looks at the clock only when it is woken: a deferred answer takes no time of its
//! own, so what counts from it must count from when it came.

use std::time::Duration;

use spoa_core::{CloseReason, Config, LocalReason};
use spoa_tests::frames::{Hello, ack, agent_disconnect, documented_notify, notify};
use spoa_tests::peer::Peer;

/// X09: our DISCONNECT may leave long after the stop, and HAProxy has its second to read it from then on.
#[test]
fn x09_the_linger_counts_from_the_last_answer() {
    let mut peer = Peer::ready().deferring();
    peer.send(&notify(1, 1, &[]));
    peer.stop(Duration::from_secs(60));
    peer.doze(Duration::from_secs(5));
    peer.answer((1, 1), 1).unwrap();
    assert_eq!(peer.take_bytes(), [ack(1, 1, &[1]), agent_disconnect(0)].concat());
    peer.doze(Duration::from_millis(999));
    assert!(!peer.connection.is_closed(), "closing now could reset what HAProxy has not read");
    peer.doze(Duration::from_millis(1));
    assert!(peer.connection.is_closed());
}

/// N21: a NOTIFY that waited in the buffer gets its whole time when it is handed out.
#[test]
fn n21_the_deadline_counts_from_the_hand_over() {
    let config = Config { in_flight_max: 1, ..Config::default() };
    let mut peer = Peer::ready_with(config).deferring();
    peer.send(&[notify(1, 1, &[]), notify(3, 1, &[])].concat());
    peer.doze(Duration::from_secs(9));
    peer.answer((1, 1), 1).unwrap();
    assert_eq!(peer.deferred(), [(3, 1)]);
    peer.doze(Duration::from_secs(9));
    peer.answer((3, 1), 3).expect("9 s of 10 have passed");
    assert_eq!(peer.take_bytes(), [ack(1, 1, &[1]), ack(3, 1, &[3])].concat());
}

/// X12: a peer that is slow to read an answer is not slow because the answer was.
#[test]
fn x12_the_send_timeout_counts_from_the_answer() {
    let config = Config { ack_timeout: Duration::from_secs(60), ..Config::default() };
    let mut peer = Peer::ready_with(config).deferring();
    peer.send(&notify(1, 1, &[]));
    peer.doze(Duration::from_secs(40));
    peer.stop_reading();
    peer.answer((1, 1), 1).unwrap();
    peer.doze(config.send_timeout - Duration::from_nanos(1));
    assert!(!peer.connection.is_closed());
    peer.doze(Duration::from_nanos(1));
    assert!(peer.connection.is_closed());
}

/// The beginning of a NOTIFY is activity, once: a peer that stops amid it is as idle as one that is silent.
#[test]
fn part_of_a_frame_keeps_nobody() {
    let (timeout, tick) = (Duration::from_secs(5), Duration::from_nanos(1));
    for part in [&documented_notify()[..1], &documented_notify()[..20]] {
        let config = Config { idle_timeout: Some(timeout), ..Config::default() };
        let mut peer = Peer::ready_with(config);
        peer.doze(timeout - tick);
        peer.send(&part[..1]);
        peer.doze(timeout - tick);
        peer.send(&part[1..]);
        assert_eq!(peer.close_reason(), None);
        peer.doze(tick);
        assert_eq!(peer.close_reason(), Some(CloseReason::Local(LocalReason::Idle)));
    }
}

/// An answer is activity: the idle time counts from it, whether a handler gave it or its deadline did.
#[test]
fn the_idle_time_counts_from_the_last_answer() {
    let config = Config { idle_timeout: Some(Duration::from_secs(5)), ..Config::default() };
    for answered in [true, false] {
        let mut peer = Peer::greeted(config, &Hello::mux()).deferring();
        peer.send(&notify(1, 1, &[]));
        if answered {
            peer.doze(Duration::from_secs(8));
            peer.answer((1, 1), 1).unwrap();
        } else {
            peer.doze(Duration::from_secs(10));
        }
        assert_eq!(peer.take_frames().len(), 1, "the ACK");
        peer.doze(Duration::from_millis(4999));
        assert_eq!(peer.take_bytes(), [], "answered: {answered}");
        peer.doze(Duration::from_millis(1));
        assert_eq!(peer.take_bytes(), agent_disconnect(0));
    }
}
