//! F01 to F08: fragmented NOTIFYs, as HAProxy 1.8 to 3.0 sends them.

use spoa_core::wire::TypedData;
use spoa_core::{CloseReason, Config, PeerError};
use spoa_tests::bytes::{ABORT, FIN, Frame, NOTIFY, UNSET, Value, hex, message};
use spoa_tests::feed::feed;
use spoa_tests::frames::{ack, agent_disconnect, check_client_ip, documented_notify, notify};
use spoa_tests::peer::{Peer, Seen, score_of, whole_only};

use crate::ending::{check_error, check_serves};

const IDS: (u64, u64) = (7, 2);

fn first(payload: &[u8]) -> Vec<u8> {
    Frame::new(NOTIFY, IDS, payload).flags(0).encode()
}

fn more(payload: &[u8]) -> Vec<u8> {
    Frame::new(UNSET, IDS, payload).flags(0).encode()
}

fn last(payload: &[u8]) -> Vec<u8> {
    Frame::new(UNSET, IDS, payload).encode()
}

fn abort() -> Vec<u8> {
    Frame::new(UNSET, IDS, []).flags(FIN | ABORT).encode()
}

/// Returns a payload to be cut into fragments, and the score in its answer.
fn payload() -> (Vec<u8>, u64) {
    let octets = [198, 51, 100, 7];
    (check_client_ip(Value::Ipv4(octets)), score_of(&octets).into())
}

#[test]
fn f01_fragments_get_one_ack_after_the_last() {
    let (payload, score) = payload();
    for a in 0..=payload.len() {
        let b = (a + payload.len()) / 2;
        let input = [first(&payload[..a]), more(&payload[a..b]), last(&payload[b..])];
        let mut peer = Peer::ready();
        peer.send(&input[..2].concat());
        assert_eq!((peer.take_events(), peer.take_bytes()), (vec![], vec![]));
        peer.send(&input[2]);
        assert_eq!(peer.take_events(), [Seen::Notify { ids: IDS, payload: payload.clone() }], "cut at {a} and {b}");
        assert_eq!(peer.take_bytes(), ack(IDS.0, IDS.1, &[score]));
        peer.release();
        assert_eq!(peer.connection.usage().memory.total(), 0, "expected the reassembly buffer to be released");
        check_serves(&mut peer);
    }
    let input = [first(&payload[..9]), more(&payload[9..15]), last(&payload[15..]), documented_notify()].concat();
    let (_, outcome) = feed(Peer::ready, &input);
    assert_eq!(outcome.frames.iter().map(|frame| (frame.sid, frame.fid)).collect::<Vec<_>>(), [IDS, (1, 1)]);
}

#[test]
fn f02_a_string_cut_in_the_middle_is_reassembled() {
    let text: String = ('a'..='z').cycle().take(500).collect();
    let payload = message("m", &[("text", Value::text(&text))]);
    let input = [first(&payload[..250]), last(&payload[250..])].concat();
    let mut peer = Peer::ready().handling(move |notify| {
        let message = notify.messages().next().expect("the NOTIFY has a message");
        assert_eq!(message.arg("text"), Some(TypedData::String(text.as_bytes())));
        None
    });
    peer.send(&input);
    assert_eq!(peer.take_events(), [Seen::Notify { ids: IDS, payload }]);
    assert_eq!(peer.take_bytes(), ack(IDS.0, IDS.1, &[]));
}

#[test]
fn f03_an_empty_last_fragment_completes_the_notify() {
    let (payload, score) = payload();
    let (mut peer, outcome) = feed(Peer::ready, &[first(&payload), last(&[])].concat());
    assert_eq!(outcome.bytes(), ack(IDS.0, IDS.1, &[score]));
    check_serves(&mut peer);
}

#[test]
fn f04_a_fragment_that_continues_nothing_is_refused() {
    let (payload, _) = payload();
    for ids in [(IDS.0 + 1, IDS.1), (IDS.0, IDS.1 + 1), (0, 0)] {
        for flags in [0, FIN, FIN | ABORT] {
            let stray = Frame::new(UNSET, ids, payload.clone()).flags(flags).encode();
            check_error(Peer::ready, &[first(&payload), stray].concat(), 11);
        }
    }
    for alone in [more(&payload), last(&payload), abort()] {
        check_error(Peer::ready, &alone, 11);
    }
    let complete = || {
        let mut peer = Peer::ready();
        peer.send(&[first(&[]), last(&[])].concat());
        assert_eq!(peer.take_bytes(), ack(IDS.0, IDS.1, &[]));
        peer.take_events();
        peer
    };
    check_error(complete, &last(&payload), 11);
}

#[test]
fn f05_a_notify_between_the_fragments_of_another_is_refused() {
    let (payload, _) = payload();
    check_error(Peer::ready, &[first(&payload), documented_notify()].concat(), 11);
    check_error(Peer::ready, &[first(&payload), first(&payload)].concat(), 11);
    check_error(Peer::ready, &[first(&payload), notify(IDS.0, IDS.1, &[])].concat(), 11);
}

#[test]
fn f06_haproxy_may_abort_a_notify() {
    let (payload, _) = payload();
    for aborted in [vec![first(&payload), abort()], vec![first(&payload), more(&payload), abort()]] {
        let (mut peer, outcome) = feed(Peer::ready, &aborted.concat());
        assert_eq!((outcome.events, outcome.frames), (vec![], vec![]), "expected no ACK");
        assert_eq!(peer.connection.stats().aborted_by_haproxy, 1);
        check_serves(&mut peer);
    }
}

#[test]
fn f07_a_notify_above_the_limit_is_aborted_once_and_discarded() {
    let refusal = hex("00000007 67 00000003 07 02");
    let piece = vec![0u8; 16000];
    let whole = (1 << 20) / piece.len();
    let mut peer = Peer::ready();
    peer.send(&first(&piece));
    for _ in 1..whole {
        peer.send(&more(&piece));
    }
    assert_eq!(peer.take_bytes(), [0; 0], "expected no ABORT up to 1 MiB");
    peer.send(&more(&piece));
    assert_eq!(peer.take_bytes(), refusal);
    assert!(peer.connection.usage().memory.total() < 2 * 16388 + 1024, "expected the reassembly buffer to be released");
    for _ in 0..10 {
        peer.send(&more(&piece));
    }
    peer.send(&last(&piece));
    assert_eq!((peer.take_events(), peer.take_bytes()), (vec![], vec![]));
    check_serves(&mut peer);
}

#[test]
fn f07_the_limit_is_exact_and_the_next_notify_is_served() {
    let small = || Peer::ready_with(Config { reassembly_max: 100, ..Config::default() });
    let refusal = hex("00000007 67 00000003 07 02");
    let good = message("m", &[("", Value::String(vec![b'x'; 94]))]);
    assert_eq!(good.len(), 100);
    let (_, outcome) = feed(small, &[first(&good), last(&[])].concat());
    assert_eq!(outcome.bytes(), ack(IDS.0, IDS.1, &[]));
    // HAProxy may stop sending fragments at any point after our ABORT, and start another NOTIFY.
    for too_large in [
        vec![first(&[0; 101])],
        vec![first(&[0; 101]), more(&[0; 9])],
        vec![first(&[0; 101]), last(&[0; 9])],
        vec![first(&[0; 101]), more(&[0; 9]), abort()],
        vec![first(&[0; 60]), more(&[0; 60])],
        vec![first(&[0; 60]), more(&[0; 60]), more(&[0; 60]), last(&[])],
        vec![first(&[0; 60]), last(&[0; 60])],
    ] {
        let (mut peer, outcome) = feed(small, &too_large.concat());
        assert_eq!((outcome.bytes(), outcome.events), (refusal.clone(), vec![]));
        assert_eq!(peer.connection.stats().aborted_by_agent, 1);
        peer.send(&[first(&good), last(&[])].concat());
        assert_eq!(peer.take_bytes(), ack(IDS.0, IDS.1, &[]), "expected an ACK for the next NOTIFY with the same ids");
        check_serves(&mut peer);
    }
}

#[test]
fn f08_fragments_are_refused_unless_they_were_offered() {
    let (payload, _) = payload();
    for fragment in [more(&payload), last(&payload), abort()] {
        check_error(|| Peer::ready_with(whole_only()), &fragment, 10);
    }
}

#[test]
fn f07_fragments_are_discarded_up_to_the_last_one() {
    let small = || Peer::ready_with(Config { reassembly_max: 10, ..Config::default() });
    let too_large = [first(&[0; 11]), more(&[0; 11]), last(&[])].concat();
    for stray in [more(&[]), last(&[]), abort()] {
        let mut peer = small();
        peer.send(&too_large);
        peer.take_frames();
        peer.send(&stray);
        assert_eq!(peer.take_bytes(), agent_disconnect(11));
        assert!(matches!(peer.close_reason(), Some(CloseReason::Error(PeerError::Interlaced(_)))));
    }
}

/// Not a row of the table: a fragmented payload is parsed only after its last fragment.
#[test]
fn malformed_fragments_are_refused_after_the_last() {
    let (payload, _) = payload();
    check_error(Peer::ready, &[first(&payload), last(&payload[..5])].concat(), 4);
}

/// Not a row of the table: frames of unknown types are skipped and do not interrupt a fragmented NOTIFY.
#[test]
fn unknown_frames_are_skipped_between_fragments() {
    let (payload, score) = payload();
    let unknown = Frame::new(77, (9, 9), []).encode();
    let (_, outcome) = feed(Peer::ready, &[first(&payload), unknown, last(&[])].concat());
    assert_eq!(outcome.bytes(), ack(IDS.0, IDS.1, &[score]));
}
