use crate::codec::{Arg, Messages};
use crate::testing::*;
use crate::{Defects, MILLISECOND, SECOND, Settings};

/// Returns a harness with one connection, on which HELLO is sent and a NOTIFY waits for AGENT-HELLO.
fn hello_sent(settings: Settings) -> Harness {
    let mut harness = Harness::new(settings);
    let acts = harness.event();
    assert!(matches!(&acts[..], [Act::Connect(0), Act::Send(0, hello)] if hello.len() == 127), "{acts:?}");
    harness
}

/// Returns a harness with one connection after its handshake, and one NOTIFY in flight.
fn running(settings: Settings) -> Harness {
    let mut harness = hello_sent(settings);
    assert_eq!(harness.bytes(0, &hello()), [Act::Send(0, notify(1, 1))]);
    harness
}

/// Returns a harness with one connection that is idle after an event.
fn idle(settings: Settings) -> Harness {
    let mut harness = running(settings);
    assert_eq!(harness.bytes(0, &ack(1, 1, SCORE)), [Act::Done(0, 0, 1)]);
    harness
}

const RESET: &[Act] = &[Act::Reset(0)];

#[test]
fn a_complete_conversation() {
    let mut harness = idle(Settings::mux());
    assert_eq!(harness.event(), [Act::Send(0, notify(3, 1))], "expected the idle connection and the next odd id");
    assert_eq!(harness.event(), [Act::Send(0, notify(5, 1))], "expected the connection to be shared");
    let acks = [ack(5, 1, SCORE), ack(3, 1, b"")].concat();
    assert_eq!(harness.bytes(0, &acks), [Act::Done(2, 0, 1), Act::Done(1, 0, 0)]);
    assert_eq!(harness.process.poll_timeout(), Some(15 * SECOND));
    assert_eq!(harness.timeout(), [Act::Reset(0)], "idle for 15 s: RST, no DISCONNECT");
    assert_eq!(harness.process.poll_timeout(), None);
}

#[test]
fn bad_hellos_get_a_disconnect() {
    for (payload, code) in [
        (&[b"\x07version\x08\x032.1", SIZE, CAPS][..], 8),
        (&[b"\x07version\x08\x012", SIZE, CAPS], 4),
        (&[b"\x07version\x08\x082.0, 1.0", SIZE, CAPS], 4),
        (&[b"\x07version\x03\x02", SIZE, CAPS], 4),
        (&[VERSION, SIZE, CAPS, b"\x00\x00"], 4),
        (&[VERSION, SIZE, CAPS, b"\x01"], 4),
        (&[SIZE, CAPS], 5),
        (&[VERSION, b"\x0emax-frame-size\x03\xff\x00", CAPS], 9),
        (&[VERSION, b"\x0emax-frame-size\x03\xfd\xf0\x06", CAPS], 9),
    ] {
        let mut harness = hello_sent(Settings::mux());
        assert_eq!(harness.bytes(0, &hello_of(payload)), [Act::Send(0, haproxy_disconnect(code))], "{payload:?}");
        // HAProxy resets after the agent's reply. The event reaches its processing timeout before its retry.
        assert_eq!(harness.bytes(0, &discon(code as u8)), [Act::Reset(0)]);
        assert_eq!(harness.timeout(), [Act::Done(0, 1, 0)]);
        assert_eq!(harness.now, 500 * MILLISECOND);
        // 3.1.0 resets without a DISCONNECT.
        let mut harness = hello_sent(Settings { defects: Defects::V3_1_0, ..Settings::mux() });
        assert_eq!(harness.bytes(0, &hello_of(payload)), RESET, "{payload:?}");
    }
}

#[test]
fn an_event_is_retried_three_times_after_bad_hellos() {
    let mut harness = hello_sent(Settings { processing_timeout: 60 * SECOND, ..Settings::mux() });
    harness.bytes(0, &hello_of(&[SIZE]));
    for link in 1..=3 {
        let acts = harness.advance(SECOND);
        assert!(
            matches!(
                &acts[..],
                [Act::Reset(old), Act::Connect(new), Act::Send(..)] if (*old, *new) == (link - 1, link)
            ),
            "{acts:?}"
        );
        harness.bytes(link, &hello_of(&[SIZE]));
    }
    assert_eq!(harness.advance(SECOND), [Act::Done(0, 257, 0), Act::Reset(3)]);
}

#[test]
fn bad_headers_of_a_hello_get_a_reset() {
    let good = [VERSION, SIZE, CAPS].concat();
    for frame in [
        agent_frame(101, 0, &[0, 0], &good),
        agent_frame(101, 1, &[1, 0], &good),
        agent_frame(101, 1, &[0, 1], &good),
        agent_frame(103, 1, &[0, 0], &good),
        agent_frame(104, 1, &[0, 0], &good),
        discon(0),
        discon(8),
        b"\0\0\0\x06\x65\0\0\0\x01\0\0".to_vec(),
        b"\x7f\0\0\0\x65\0\0\0\x01\0\0".to_vec(),
    ] {
        let mut harness = hello_sent(Settings { processing_timeout: 60 * SECOND, ..Settings::mux() });
        assert_eq!(harness.bytes(0, &frame), RESET, "{frame:x?}");
        assert!(matches!(&harness.advance(SECOND)[..], [Act::Connect(1), Act::Send(..)]));
    }
}

#[test]
fn unusual_hellos_are_accepted() {
    let good = [VERSION, SIZE, CAPS].concat();
    for frame in [
        agent_frame(101, 0xffff_ffff, &[0, 0], &good),
        hello_of(&[VERSION, CAPS]),
        hello_of(&[VERSION, SIZE]),
        hello_of(&[b"\x01x\x08\x01y", CAPS, SIZE, b"\x08versionX\x08\x032.0"]),
    ] {
        let mut harness = hello_sent(Settings::mux());
        assert_eq!(harness.bytes(0, &frame), [Act::Send(0, notify(1, 1))], "{frame:x?}");
    }
}

#[test]
fn an_event_fails_immediately_if_the_agent_closes_before_hello() {
    assert_eq!(hello_sent(Settings::mux()).eof(0), [Act::Fin(0), Act::Done(0, 257, 0)]);
    assert_eq!(hello_sent(Settings::mux()).reset(0), [Act::Done(0, 257, 0)]);
}

#[test]
fn without_hello_an_event_ends_at_its_processing_timeout() {
    let mut harness = hello_sent(Settings { hello_timeout: MILLISECOND, ..Settings::mux() });
    assert_eq!(harness.timeout(), [Act::Done(0, 1, 0)]);
    assert_eq!(harness.now, 500 * MILLISECOND);
    assert_eq!(harness.bytes(0, &hello()), [], "the event has ended, but the connection remains in the pool");
    assert_eq!(harness.event(), [Act::Send(0, notify(1, 1))]);
}

#[test]
fn a_split_hello_is_read_as_garbage_only_with_the_bug() {
    let frame = hello();
    for cut in 1..frame.len() {
        let mut harness = hello_sent(Settings::mux());
        assert_eq!(harness.bytes(0, &frame[..cut]), [], "{cut}");
        assert_eq!(harness.bytes(0, &frame[cut..]), [Act::Send(0, notify(1, 1))], "{cut}");
        let defects = Defects { split_hello_resets: true, ..Defects::default() };
        let mut harness = hello_sent(Settings { defects, ..Settings::mux() });
        assert_eq!(harness.bytes(0, &frame[..cut]), [], "{cut}");
        let acts = harness.bytes(0, &frame[cut..]);
        // A cut inside the header is harmless. After a later cut, the payload is read as a header.
        match cut {
            ..11 => assert_eq!(acts, [Act::Send(0, notify(1, 1))], "{cut}"),
            _ => assert_eq!(acts, RESET, "{cut}"),
        }
    }
}

/// Returns a harness with two NOTIFYs in flight, with the stream-ids 3 and 5.
fn two_in_flight() -> Harness {
    let mut harness = idle(Settings::mux());
    harness.event();
    harness.event();
    harness
}

#[test]
fn a_bad_ack_header_stalls_the_connection() {
    for bad in [
        b"\0\0\0\x00\x67\0\0\0\x01\x03\x01".to_vec(),
        b"\0\0\0\x06\x67\0\0\0\x01\x03\x01".to_vec(),
        agent_frame(103, 0, &[3, 1], b""),
        ack(0, 1, b""),
        ack(3, 0, b""),
        ack(7, 1, b""),
        ack(3, 2, b""),
        agent_frame(77, 1, &[0, 0], b""),
        agent_frame(103, 1, &[3, 1], &[0; 16381]),
    ] {
        let mut harness = two_in_flight();
        assert_eq!(harness.bytes(0, &bad), [], "{bad:x?}");
        assert!(
            matches!(&harness.event()[..], [Act::Connect(1), ..]),
            "expected no further event on the stalled connection"
        );
        assert_eq!(harness.advance(500 * MILLISECOND)[..3], [Act::Done(1, 1, 0), Act::Done(2, 1, 0), Act::Reset(0)]);
    }
}

#[test]
fn bytes_after_a_stall_are_read_as_payload() {
    let mut harness = two_in_flight();
    let bad = agent_frame(103, 0, &[3, 1], b"12345678");
    assert_eq!(harness.bytes(0, &bad), []);
    // The valid ACK for 5 completes the frame for 3, with garbage for actions, and only now DISCONNECT is sent.
    let acts = harness.bytes(0, &ack(5, 1, SCORE));
    assert_eq!(acts, [Act::Send(0, haproxy_disconnect(10)), Act::Done(1, 0, 0)]);
}

#[test]
fn the_negotiated_size_limits_payloads() {
    for (len, done) in [(252, 1), (256, 1), (257, 0)] {
        let mut harness = hello_sent(Settings::mux());
        let small = hello_of(&[VERSION, b"\x0emax-frame-size\x03\xf0\x01", CAPS]);
        assert_eq!(harness.bytes(0, &small).len(), 1);
        let mut actions = vec![0; len];
        actions[0] = 9;
        assert_eq!(harness.bytes(0, &ack(1, 1, &actions)).len(), done, "{len}");
    }
}

/// The behaviour of 3.2.26: six ACKs of 3000 bytes have the same effect as one of 16384.
#[test]
fn a_read_that_fills_the_buffer_is_the_last() {
    let defects = Defects { full_read_sticks: true, ..Defects::default() };
    for (len, count) in [(16_373, 1), (2989, 6)] {
        let mut actions = vec![0; len];
        actions[0] = 9;
        let acks = [&ack(3, 1, &actions)[..], &ack(5, 1, &actions).repeat(count - 1)].concat();
        assert!(acks.len() >= 16_384);
        let mut harness = two_in_flight();
        assert!(!harness.bytes(0, &acks).is_empty(), "without the bug");
        let mut harness = idle(Settings { defects, ..Settings::mux() });
        harness.event();
        harness.event();
        assert_eq!(harness.bytes(0, &acks), []);
        assert_eq!(harness.bytes(0, &discon(0)), []);
        assert_eq!(harness.eof(0), []);
        assert_eq!(harness.advance(500 * MILLISECOND), [Act::Done(1, 1, 0), Act::Done(2, 1, 0)]);
        assert_eq!(harness.event(), [Act::Send(0, notify(7, 1))], "expected further NOTIFYs");
    }
    let mut harness = idle(Settings { defects, ..Settings::mux() });
    harness.event();
    assert_eq!(harness.bytes(0, &ack(3, 1, &[9; 16_372])), [Act::Done(1, 0, 0)], "one byte less is read");
}

#[test]
fn late_acks_and_unknown_frames_are_ignored() {
    for ignored in [ack(1, 1, SCORE), agent_frame(77, 1, &[3, 1], b"xyz"), agent_frame(77, 1, &[1, 1], b"xyz"), hello()]
    {
        let mut harness = two_in_flight();
        assert_eq!(harness.bytes(0, &ignored), [], "{ignored:x?}");
        assert_eq!(harness.bytes(0, &ack(3, 1, SCORE)), [Act::Done(1, 0, 1)]);
    }
}

#[test]
fn flags_other_than_fin_are_ignored() {
    let mut harness = running(Settings::mux());
    assert_eq!(harness.bytes(0, &agent_frame(103, 0xffff_ffff, &[1, 1], SCORE)), [Act::Done(0, 0, 1)]);
}

#[test]
fn a_duplicate_ack_in_the_same_read_is_applied() {
    let twice = [ack(1, 1, SCORE), ack(1, 1, SCORE)].concat();
    assert_eq!(running(Settings::mux()).bytes(0, &twice), [Act::Done(0, 0, 2)]);
    let old = Settings { defects: Defects::V3_1_0, ..Settings::mux() };
    assert_eq!(running(old).bytes(0, &twice), [Act::Done(0, 256, 0)]);
    let mut harness = running(Settings::mux());
    assert_eq!(harness.bytes(0, &ack(1, 1, SCORE)), [Act::Done(0, 0, 1)]);
    assert_eq!(harness.bytes(0, &ack(1, 1, SCORE)), [], "in another read the duplicate is late");
}

#[test]
fn an_empty_ack_leaves_its_event_waiting_in_3_1_0() {
    assert_eq!(running(Settings::mux()).bytes(0, &ack(1, 1, b"")), [Act::Done(0, 0, 0)]);
    let mut harness = running(Settings { defects: Defects::V3_1_0, ..Settings::mux() });
    assert_eq!(harness.bytes(0, &ack(1, 1, b"")), []);
    assert_eq!(harness.timeout(), [Act::Done(0, 1, 0)]);
}

#[test]
fn acks_are_read_in_any_pieces() {
    let frame = ack(1, 1, SCORE);
    for cut in 1..frame.len() {
        let mut harness = running(Settings::mux());
        assert_eq!(harness.bytes(0, &frame[..cut]), [], "{cut}");
        assert_eq!(harness.bytes(0, &frame[cut..]), [Act::Done(0, 0, 1)], "{cut}");
    }
}

#[test]
fn the_status_of_events_depends_on_the_end_of_the_connection() {
    let both = |status| vec![Act::Done(1, status, 0), Act::Done(2, status, 0)];
    let with = |first, status| [vec![first], both(status)].concat();
    for (code, status) in [(0u8, 257), (1, 257), (2, 258), (13, 269), (99, 355)] {
        assert_eq!(two_in_flight().bytes(0, &discon(code)), with(Act::Reset(0), status), "{code}");
    }
    assert_eq!(two_in_flight().eof(0), with(Act::Fin(0), 257));
    assert_eq!(two_in_flight().reset(0), both(257));
    let mut harness = two_in_flight();
    harness.bytes(0, &ack(3, 1, SCORE)[..9]);
    assert_eq!(harness.eof(0), with(Act::Fin(0), 260), "inside a frame");
    let mut harness = two_in_flight();
    let last = [ack(3, 1, SCORE), discon(0)].concat();
    assert_eq!(
        harness.bytes(0, &last),
        [Act::Done(1, 0, 1), Act::Reset(0), Act::Done(2, 257, 0)],
        "an ACK before DISCONNECT is handled"
    );
    let mut harness = two_in_flight();
    let last = [discon(0), ack(3, 1, SCORE)].concat();
    assert_eq!(harness.bytes(0, &last), with(Act::Reset(0), 257), "an ACK after DISCONNECT is not");
}

#[test]
fn a_burst_opens_45_connections_or_26_if_one_was_idle() {
    let mut harness = Harness::new(Settings::mux());
    for _ in 0..45 {
        harness.event();
    }
    let connects = |acts: &[Act]| acts.iter().filter(|acts| matches!(acts, Act::Connect(_))).count();
    for link in 0..45 {
        assert_eq!(
            harness.bytes(link, &hello()),
            [Act::Send(link, notify(1, 1))],
            "expected the same ids on all connections"
        );
    }
    let mut harness = idle(Settings::mux());
    let mut opened = 1;
    for _ in 0..45 {
        opened += connects(&harness.event());
    }
    assert_eq!(opened, 26);
}

#[test]
fn without_pipelining_a_connection_carries_one_event() {
    let mut harness = hello_sent(Settings::mux());
    harness.bytes(0, &hello_of(&[VERSION, SIZE]));
    harness.bytes(0, &ack(1, 1, b""));
    assert_eq!(harness.event(), [Act::Send(0, notify(3, 1))]);
    assert!(matches!(&harness.event()[..], [Act::Connect(1), Act::Send(..)]));
}

#[test]
fn an_event_that_times_out_frees_its_slot() {
    let mut harness = idle(Settings::mux());
    for _ in 0..20 {
        assert!(matches!(&harness.event()[..], [Act::Send(0, _)]));
    }
    let acts = harness.advance(500 * MILLISECOND);
    assert_eq!(acts.len(), 20);
    assert!(acts.iter().all(|acts| matches!(acts, Act::Done(_, 1, 0))));
    assert!(matches!(&harness.event()[..], [Act::Send(0, _)]), "expected a 21st unanswered NOTIFY on the connection");
}

#[test]
fn without_reuse_each_event_has_its_own_connection() {
    let mut harness = running(Settings { reuse: false, ..Settings::mux() });
    assert_eq!(harness.bytes(0, &ack(1, 1, SCORE)), [Act::Done(0, 0, 1), Act::Reset(0)]);
    assert!(matches!(&harness.event()[..], [Act::Connect(1), Act::Send(..)]));
}

#[test]
fn a_soft_stop_resets_connections_when_they_become_idle() {
    let mut harness = idle(Settings::mux());
    harness.process.soft_stop(harness.now);
    assert_eq!(harness.acts(), [Act::Reset(0)]);
    let mut harness = two_in_flight();
    harness.process.soft_stop(harness.now);
    assert_eq!(harness.acts(), []);
    assert_eq!(harness.bytes(0, &ack(3, 1, SCORE)), [Act::Done(1, 0, 1)]);
    assert_eq!(harness.bytes(0, &ack(5, 1, SCORE)), [Act::Done(2, 0, 1), Act::Reset(0)], "right after the last ACK");
}

#[test]
fn events_that_are_too_large_are_not_sent() {
    let mut long = Messages::new();
    long.message(b"long", 1).arg(b"a", Arg::Str(&[b'x'; 400]));
    let small = hello_of(&[VERSION, b"\x0emax-frame-size\x03\xf0\x01", CAPS]);
    let mut harness = Harness::new(Settings::mux());
    harness.event_of(&long);
    assert_eq!(harness.bytes(0, &small), [Act::Done(0, 259, 0)], "above the negotiated size");
    assert_eq!(harness.event(), [Act::Send(0, notify(3, 1))], "the id of the first event is used up");
    let mut harness = Harness::new(Settings { max_frame_size: 256, ..Settings::mux() });
    assert_eq!(harness.event_of(&long), [Act::Done(0, 3, 0)], "above HAProxy's own size: no connection is opened");
    let mut harness = Harness::new(Settings { defects: Defects::V3_1_0, ..Settings::mux() });
    harness.event_of(&long);
    assert!(matches!(&harness.bytes(0, &small)[..], [Act::Send(0, frame)] if frame.len() > 400));
}

#[test]
fn an_event_without_messages_sends_nothing() {
    assert_eq!(Harness::new(Settings::mux()).event_of(&Messages::new()), [Act::Done(0, 0, 0)]);
    let mut harness = Harness::new(Settings { defects: Defects::V3_1_0, ..Settings::mux() });
    harness.event_of(&Messages::new());
    assert_eq!(harness.bytes(0, &hello()), [Act::Send(0, agent_frame(3, 1, &[1, 1], b""))]);
}

/// Two servers, of which the first refuses connections: the stream goes to the other one at once, as if nothing had happened.
#[test]
fn a_refused_connection_is_redispatched_at_once() {
    let mut haproxy = Harness::new(Settings { servers: 2, redispatch: true, ..Settings::mux() });
    let acts = haproxy.event();
    assert!(matches!(acts[..], [Act::Connect(0), Act::Send(0, _)]), "{acts:?}");
    let acts = haproxy.refuse(0);
    assert!(matches!(acts[..], [Act::Connect(1), Act::Send(1, _)]), "{acts:?}");
    haproxy.bytes(1, &hello());
    assert_eq!(haproxy.bytes(1, &ack(1, 1, SCORE)), [Act::Done(0, 0, 1)]);
}

/// Without `option redispatch`, or if no other server is up, HAProxy pauses before each retry, and then gives up.
#[test]
fn a_refused_connection_is_retried_after_a_pause() {
    let alone = Settings { processing_timeout: 60 * SECOND, ..Settings::mux() };
    let two = Settings { servers: 2, ..alone.clone() };
    let marked_down = Settings { redispatch: true, error_limit: 1, ..two.clone() };
    // When the second server is down too, there is nothing left to try.
    for (settings, attempts) in [(alone, 4), (two, 4), (marked_down, 2)] {
        let mut haproxy = Harness::new(settings);
        haproxy.event();
        for link in 0..attempts - 1 {
            assert_eq!(haproxy.refuse(link), []);
            let before = haproxy.now;
            let acts = haproxy.timeout();
            assert_eq!(haproxy.now - before, SECOND);
            assert!(matches!(acts[..], [Act::Connect(_), Act::Send(..)]), "{acts:?}");
        }
        assert_eq!(haproxy.refuse(attempts - 1), []);
        assert_eq!(haproxy.timeout(), [Act::Done(0, 257, 0)]);
    }
}

/// A stream uses connections of its own server only, and none of a server that is down.
#[test]
fn servers_take_turns_until_one_is_down() {
    let settings = Settings { servers: 2, check_inter: SECOND, fall: 1, ..Settings::mux() };
    let mut haproxy = Harness::new(settings);
    haproxy.event();
    haproxy.event();
    for link in [0, 1] {
        haproxy.bytes(link, &hello());
        haproxy.bytes(link, &ack(1, 1, SCORE));
    }
    assert_eq!(haproxy.event(), [Act::Send(0, notify(3, 1))]);
    let acts = haproxy.timeout();
    assert!(matches!(acts[..], [Act::Connect(2), Act::Send(2, _)]), "a check of the first server: {acts:?}");
    haproxy.refuse(2);
    for sid in [3, 5] {
        assert_eq!(haproxy.event(), [Act::Send(1, notify(sid, 1))]);
    }
}
