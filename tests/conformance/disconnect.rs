//! X01 to X12: the end of a connection.

use std::time::Duration;

use spoa_core::table::StateName;
use spoa_core::{CloseReason, Config, LocalReason, Status, TicketError};
use spoa_tests::bytes::{DISCONNECT, Frame, Value, hex, kv};
use spoa_tests::feed::feed;
use spoa_tests::frames::{Hello, ack, agent_disconnect, disconnect, documented_notify, notify};
use spoa_tests::peer::{Peer, Seen};

use crate::ending::{check_error, check_linger};

const GRACE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_nanos(1);

/// Checks that `input` is a valid HAPROXY-DISCONNECT that is answered with D(`code`).
fn check_echo(make: impl Fn() -> Peer, input: &[u8], code: u64) {
    let (mut peer, outcome) = feed(make, input);
    assert_eq!(outcome.bytes(), agent_disconnect(code), "{input:02x?}");
    assert!(matches!(outcome.events[..], [Seen::Closed(CloseReason::Peer(_))]), "{:?}", outcome.events);
    check_linger(&mut peer);
}

/// Returns a connection with `count` NOTIFYs in flight, of the streams 0, 1, 2 and so on.
fn busy(count: u64) -> Peer {
    let mut peer = Peer::ready().deferring();
    peer.send(&(0..count).flat_map(|sid| notify(sid, 1, &[])).collect::<Vec<_>>());
    assert_eq!(peer.take_events().len(), count as usize);
    assert_eq!(peer.take_bytes(), [0; 0]);
    peer
}

#[test]
fn x01_a_disconnect_is_answered() {
    check_echo(Peer::ready, &hex(r#"00000025 02 00000001 00 00 0b"status-code"0300 07"message"0806"normal""#), 0);
}

#[test]
fn x02_known_codes_are_echoed_and_no_others() {
    for code in 0..=13 {
        check_echo(Peer::ready, &disconnect(code), code);
    }
    for code in [77, 1000, 14, 98, 99, 100, u64::from(u32::MAX), u64::MAX] {
        check_echo(Peer::ready, &disconnect(code), 99);
    }
}

#[test]
fn x03_a_disconnect_is_answered_immediately_while_notifys_are_in_flight() {
    let mut peer = busy(5);
    let tickets: Vec<_> = (0..5).map(|sid| peer.take_ticket((sid, 1))).collect();
    peer.send(&disconnect(1));
    assert_eq!(peer.take_bytes(), agent_disconnect(1));
    assert_eq!(peer.take_events(), [Seen::Closed(CloseReason::Peer(Status::IO))]);
    for ticket in tickets {
        assert!(!peer.connection.is_live(ticket.id()), "expected the ticket to be void");
        assert_eq!(peer.connection.ack(peer.now(), ticket).unwrap_err(), TicketError::Closed);
    }
    peer.pump();
    check_linger(&mut peer);
}

/// A DISCONNECT is answered even if the limit of NOTIFYs in flight is reached.
#[test]
fn x03_a_disconnect_is_answered_at_the_limit_of_notifys_in_flight() {
    let no_pipelining = Hello::mux().with("capabilities", Value::text(""));
    for (hello, count) in [(no_pipelining, 1), (Hello::mux(), 64)] {
        let mut peer = Peer::with_hello(Config::default(), &hello).deferring();
        peer.send(&notify(1, 1, &[]).repeat(count));
        assert_eq!(peer.take_events().len(), count);
        peer.send(&disconnect(2));
        assert_eq!(peer.take_bytes(), agent_disconnect(2));
        assert_eq!(peer.take_events(), [Seen::Closed(CloseReason::Peer(Status::TIMEOUT))]);
        check_linger(&mut peer);
    }
}

#[test]
fn x04_a_truncated_disconnect_is_refused_and_one_without_keys_is_accepted() {
    for cut in ["0b", r#"0b"status-code""#, r#"0b"status-code"03"#, r#"0b"status-code"0300 07"message"0806"norm""#] {
        check_error(Peer::ready, &Frame::new(DISCONNECT, (0, 0), hex(cut)).encode(), 4);
    }
    check_echo(Peer::ready, &Frame::new(DISCONNECT, (0, 0), []).encode(), 0);
    let message_only = kv(&[("message", Value::text("bye"))]);
    check_echo(Peer::ready, &Frame::new(DISCONNECT, (0, 0), message_only).encode(), 0);
    let status_only = kv(&[("status-code", Value::Uint32(2)), ("x", Value::Null)]);
    check_echo(Peer::ready, &Frame::new(DISCONNECT, (0, 0), status_only).encode(), 2);
}

#[test]
fn x05_a_disconnect_in_fragments_or_with_a_stream_id_or_frame_id_is_refused() {
    let normal = |ids| Frame::new(DISCONNECT, ids, kv(&[("status-code", Value::Uint32(0))]));
    check_error(Peer::ready, &normal((0, 0)).flags(0).encode(), 10);
    check_error(Peer::ready, &normal((1, 0)).encode(), 4);
    check_error(Peer::ready, &normal((0, 1)).encode(), 4);
}

#[test]
fn x06_frames_after_a_disconnect_are_ignored() {
    for frame in [documented_notify(), Hello::mux().encode(), disconnect(3), hex("ffffffff")] {
        check_echo(Peer::ready, &[disconnect(0), frame].concat(), 0);
    }
}

#[test]
fn x07_end_of_file_gets_no_answer() {
    let eof = |mut peer: Peer, in_flight, unprocessed| {
        peer.eof();
        assert_eq!(peer.take_bytes(), [0; 0]);
        assert_eq!(peer.take_events(), [Seen::Closed(CloseReason::Eof { in_flight, unprocessed })]);
        assert!(peer.connection.is_closed() && peer.connection.poll_timeout().is_none());
        assert!(peer.connection.recv_buf().is_empty());
        peer
    };
    eof(Peer::ready(), 0, false);
    for cut in [1, 4, 11, documented_notify().len() - 1] {
        let mut peer = Peer::ready();
        peer.send(&documented_notify()[..cut]);
        eof(peer, 0, true);
    }
    let mut peer = busy(5);
    let ticket = peer.take_ticket((2, 1));
    let mut peer = eof(peer, 5, false);
    assert!(!peer.connection.is_live(ticket.id()), "expected the ticket to be void");
    assert_eq!(peer.connection.ack(peer.now(), ticket).unwrap_err(), TicketError::Closed);
    assert_eq!(peer.answer((0, 1), 1), Err(TicketError::Closed));
    peer.advance(Duration::from_secs(3600));
    assert_eq!((peer.take_bytes(), peer.take_events()), (vec![], vec![]));
    // End of file between two fragments of a NOTIFY.
    let mut peer = Peer::ready();
    peer.send(&Frame::new(3, (1, 1), *b"ab").flags(0).encode());
    eof(peer, 0, false);
}

/// A driver reports a failed socket to the core as end of file. Unsent bytes are dropped.
#[test]
fn x08_a_failed_socket_is_treated_as_end_of_file() {
    let mut peer = Peer::ready();
    peer.stop_reading();
    peer.send(&documented_notify());
    peer.eof();
    assert!(peer.connection.poll_transmit().is_none());
    assert!(peer.connection.is_closed());
    assert!(matches!(peer.close_reason(), Some(CloseReason::Eof { .. })));
    // The same after our DISCONNECT.
    let mut peer = Peer::ready();
    peer.stop_reading();
    peer.send(&disconnect(0));
    peer.eof();
    assert!(peer.connection.is_closed() && peer.connection.poll_transmit().is_none());
    assert_eq!(
        peer.close_reason(),
        Some(CloseReason::Peer(Status::NORMAL)),
        "expected one Closed event, with the first reason"
    );
}

#[test]
fn x09_a_stop_waits_for_notifys_in_flight() {
    let mut peer = busy(3);
    peer.stop(GRACE);
    assert_eq!(peer.connection.state(), StateName::Draining);
    peer.advance(Duration::from_secs(1));
    for sid in [2, 0] {
        peer.answer((sid, 1), 1).unwrap();
    }
    assert_eq!(peer.take_bytes(), [ack(2, 1, &[1]), ack(0, 1, &[1])].concat());
    // A NOTIFY that arrives during the drain gets an empty ACK.
    peer.send(&notify(9, 1, &[]));
    assert_eq!((peer.take_bytes(), peer.take_events()), (ack(9, 1, &[]), vec![]));
    peer.answer((1, 1), 7).unwrap();
    assert_eq!(peer.take_bytes(), [ack(1, 1, &[7]), agent_disconnect(0)].concat());
    assert_eq!(peer.take_events(), [Seen::Closed(CloseReason::Local(LocalReason::Requested))]);
    check_linger(&mut peer);
}

#[test]
fn x09_a_stop_waits_for_the_grace_period_at_most() {
    let mut peer = busy(3);
    peer.stop(GRACE);
    peer.advance(GRACE - TICK);
    peer.answer((1, 1), 7).unwrap();
    assert_eq!(peer.take_bytes(), ack(1, 1, &[7]));
    peer.advance(TICK);
    assert_eq!(peer.take_bytes(), agent_disconnect(0));
    assert_eq!(peer.answer((0, 1), 7), Err(TicketError::Closed));
    assert_eq!(peer.take_events(), [Seen::Closed(CloseReason::Local(LocalReason::Requested))]);
    check_linger(&mut peer);
    // A further stop can shorten the grace period, but not extend it.
    let mut peer = busy(3);
    peer.stop(GRACE);
    peer.stop(2 * GRACE);
    peer.advance(GRACE);
    assert_eq!(peer.take_bytes(), agent_disconnect(0));
    let mut peer = busy(3);
    peer.stop(GRACE);
    peer.stop(2 * GRACE);
    peer.stop(Duration::ZERO);
    peer.advance(Duration::ZERO);
    assert_eq!(peer.take_bytes(), agent_disconnect(0));
}

#[test]
fn x10_a_stop_of_an_idle_connection_is_immediate() {
    let mut peer = Peer::ready();
    peer.stop(GRACE);
    assert_eq!(peer.take_bytes(), agent_disconnect(0));
    assert_eq!(peer.take_events(), [Seen::Closed(CloseReason::Local(LocalReason::Requested))]);
    check_linger(&mut peer);
    // During the handshake nothing is in flight, and the connection is refused with code 13.
    let mut peer = Peer::new(Config::default());
    peer.send(&Hello::mux().encode()[..20]);
    peer.stop(GRACE);
    assert_eq!(peer.take_bytes(), agent_disconnect(13));
    peer.take_events();
    check_linger(&mut peer);
}

#[test]
fn x11_a_notify_after_our_disconnect_is_discarded() {
    let mut peer = Peer::ready();
    peer.stop(GRACE);
    assert_eq!(peer.take_bytes(), agent_disconnect(0));
    peer.take_events();
    for byte in documented_notify().repeat(3) {
        peer.send(&[byte]);
    }
    assert_eq!((peer.unread(), peer.take_bytes(), peer.take_events()), (0, vec![], vec![]));
    check_linger(&mut peer);
}

#[test]
fn x12_a_slow_reader_gets_complete_frames_in_order() {
    let count = 1000;
    let config = Config { max_frame_size: 256, unsent_max: 1000, ..Config::default() };
    let input: Vec<u8> = (0..count).flat_map(|sid| notify(sid, 1, &[])).collect();
    let output: Vec<u8> = (0..count).flat_map(|sid| ack(sid, 1, &[])).collect();
    for read in [1, 7, 1000] {
        let mut peer = Peer::ready_with(config).writing_at_most(read);
        peer.stop_reading();
        peer.send(&input);
        // The queue is bounded: once `unsent_max` bytes are unsent, no NOTIFY is handled, and reads stop.
        let bound = 4 * config.unsent_max + 2 * 260;
        assert!(peer.unread() > 0, "expected the connection to stop reading");
        let memory = peer.connection.usage().memory.total();
        assert!(memory <= bound, "expected at most {bound} bytes of memory, got {memory}");
        let mut got = Vec::new();
        while got.len() < output.len() {
            peer.read(read);
            let bytes = peer.take_bytes();
            assert_eq!(bytes.len(), read.min(output.len() - got.len()));
            got.extend(bytes);
        }
        assert_eq!(got, output);
    }
}

#[test]
fn x12_a_peer_that_reads_nothing_is_closed_after_the_send_timeout() {
    let mut peer = Peer::ready();
    peer.stop_reading();
    peer.send(&documented_notify());
    let timeout = Config::default().send_timeout;
    peer.advance(timeout - TICK);
    assert!(!peer.connection.is_closed());
    // Reading a single byte restarts the timeout.
    peer.read(1);
    peer.advance(timeout - TICK);
    assert!(!peer.connection.is_closed());
    peer.advance(TICK);
    assert!(peer.connection.is_closed());
    assert_eq!(peer.close_reason(), Some(CloseReason::Local(LocalReason::SendTimeout)));
    // The same after our DISCONNECT.
    let mut peer = Peer::ready();
    peer.stop_reading();
    peer.stop(GRACE);
    peer.advance(timeout);
    assert!(peer.connection.is_closed());
}
