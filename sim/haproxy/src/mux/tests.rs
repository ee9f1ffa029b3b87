use crate::codec::{Arg, Messages};
use crate::testing::*;
use crate::{Defects, MILLISECOND, SECOND, Settings};

/// Connected, HELLO sent and the first NOTIFY waiting for AGENT-HELLO.
fn greeting(settings: Settings) -> Bench {
    let mut bench = Bench::new(settings);
    let did = bench.event();
    assert!(matches!(&did[..], [Did::Connect(0), Did::Send(0, hello)] if hello.len() == 127), "{did:?}");
    bench
}

/// Past the handshake, one NOTIFY out.
fn running(settings: Settings) -> Bench {
    let mut bench = greeting(settings);
    assert_eq!(bench.bytes(0, &hello()), [Did::Send(0, notify(1, 1))]);
    bench
}

/// Idle after one answered event.
fn warm(settings: Settings) -> Bench {
    let mut bench = running(settings);
    assert_eq!(bench.bytes(0, &ack(1, 1, SCORE)), [Did::Done(0, 0, 1)]);
    bench
}

const RETRIED: &[Did] = &[Did::Reset(0)];

#[test]
fn a_whole_conversation() {
    let mut bench = warm(Settings::mux());
    assert_eq!(bench.event(), [Did::Send(0, notify(3, 1))], "the idle connection, the next odd id");
    assert_eq!(bench.event(), [Did::Send(0, notify(5, 1))], "shared now");
    let acks = [ack(5, 1, SCORE), ack(3, 1, b"")].concat();
    assert_eq!(bench.bytes(0, &acks), [Did::Done(2, 0, 1), Did::Done(1, 0, 0)]);
    assert_eq!(bench.process.poll_timeout(), Some(15 * SECOND));
    assert_eq!(bench.timeout(), [Did::Reset(0)], "idle for 15 s: RST, no DISCONNECT");
    assert_eq!(bench.process.poll_timeout(), None);
}

#[test]
fn bad_hellos_with_a_disconnect() {
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
        let mut bench = greeting(Settings::mux());
        assert_eq!(bench.bytes(0, &hello_of(payload)), [Did::Send(0, haproxy_disconnect(code))], "{payload:?}");
        // The agent answers: reset. The event meets its processing timeout before its retry.
        assert_eq!(bench.bytes(0, &discon(code as u8)), [Did::Reset(0)]);
        assert_eq!(bench.timeout(), [Did::Done(0, 1, 0)]);
        assert_eq!(bench.now, 500 * MILLISECOND);
        // 3.1.0 reset instead.
        let mut bench = greeting(Settings { defects: Defects::V3_1_0, ..Settings::mux() });
        assert_eq!(bench.bytes(0, &hello_of(payload)), RETRIED, "{payload:?}");
    }
}

#[test]
fn a_refused_hello_is_retried_thrice() {
    let mut bench = greeting(Settings { processing_timeout: 60 * SECOND, ..Settings::mux() });
    bench.bytes(0, &hello_of(&[SIZE]));
    for link in 1..=3 {
        let did = bench.pass(SECOND);
        assert!(
            matches!(&did[..], [Did::Reset(old), Did::Connect(new), Did::Send(..)] if (*old, *new) == (link - 1, link)),
            "{did:?}"
        );
        bench.bytes(link, &hello_of(&[SIZE]));
    }
    assert_eq!(bench.pass(SECOND), [Did::Done(0, 257, 0), Did::Reset(3)]);
}

#[test]
fn bad_hellos_without_a_word() {
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
        let mut bench = greeting(Settings { processing_timeout: 60 * SECOND, ..Settings::mux() });
        assert_eq!(bench.bytes(0, &frame), RETRIED, "{frame:x?}");
        assert!(matches!(&bench.pass(SECOND)[..], [Did::Connect(1), Did::Send(..)]));
    }
}

#[test]
fn odd_hellos_that_pass() {
    let good = [VERSION, SIZE, CAPS].concat();
    for frame in [
        agent_frame(101, 0xffff_ffff, &[0, 0], &good),
        hello_of(&[VERSION, CAPS]),
        hello_of(&[VERSION, SIZE]),
        hello_of(&[b"\x01x\x08\x01y", CAPS, SIZE, b"\x08versionX\x08\x032.0"]),
    ] {
        let mut bench = greeting(Settings::mux());
        assert_eq!(bench.bytes(0, &frame), [Did::Send(0, notify(1, 1))], "{frame:x?}");
    }
}

#[test]
fn closing_without_a_hello_fails_at_once() {
    assert_eq!(greeting(Settings::mux()).eof(0), [Did::Fin(0), Did::Done(0, 257, 0)]);
    assert_eq!(greeting(Settings::mux()).reset(0), [Did::Done(0, 257, 0)]);
}

#[test]
fn no_hello_at_all_waits_for_the_processing_timeout() {
    let mut bench = greeting(Settings { hello_timeout: MILLISECOND, ..Settings::mux() });
    assert_eq!(bench.timeout(), [Did::Done(0, 1, 0)]);
    assert_eq!(bench.now, 500 * MILLISECOND);
    assert_eq!(bench.bytes(0, &hello()), [], "late, but the connection is in the pool");
    assert_eq!(bench.event(), [Did::Send(0, notify(1, 1))]);
}

#[test]
fn a_split_hello() {
    let frame = hello();
    for cut in 1..frame.len() {
        let mut bench = greeting(Settings::mux());
        assert_eq!(bench.bytes(0, &frame[..cut]), [], "{cut}");
        assert_eq!(bench.bytes(0, &frame[cut..]), [Did::Send(0, notify(1, 1))], "{cut}");
        let defects = Defects { split_hello_resets: true, ..Defects::default() };
        let mut bench = greeting(Settings { defects, ..Settings::mux() });
        assert_eq!(bench.bytes(0, &frame[..cut]), [], "{cut}");
        let did = bench.bytes(0, &frame[cut..]);
        // Inside the header it is harmless; behind it the payload is taken for a header.
        match cut {
            ..11 => assert_eq!(did, [Did::Send(0, notify(1, 1))], "{cut}"),
            _ => assert_eq!(did, RETRIED, "{cut}"),
        }
    }
}

/// Two NOTIFYs out, sids 3 and 5; then a bad frame, and nothing happens until their timeout.
fn two_waiting() -> Bench {
    let mut bench = warm(Settings::mux());
    bench.event();
    bench.event();
    bench
}

#[test]
fn the_stall() {
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
        let mut bench = two_waiting();
        assert_eq!(bench.bytes(0, &bad), [], "{bad:x?}");
        assert!(matches!(&bench.event()[..], [Did::Connect(1), ..]), "nobody joins it");
        assert_eq!(bench.pass(500 * MILLISECOND)[..3], [Did::Done(1, 1, 0), Did::Done(2, 1, 0), Did::Reset(0)]);
    }
}

#[test]
fn bytes_after_the_stall_are_eaten_as_payload() {
    let mut bench = two_waiting();
    let bad = agent_frame(103, 0, &[3, 1], b"12345678");
    assert_eq!(bench.bytes(0, &bad), []);
    // The good ACK for 5 completes 3, with garbage for actions, and only now the DISCONNECT leaves.
    let did = bench.bytes(0, &ack(5, 1, SCORE));
    assert_eq!(did, [Did::Send(0, haproxy_disconnect(10)), Did::Done(1, 0, 0)]);
}

#[test]
fn the_negotiated_size_counts_payloads() {
    for (len, done) in [(252, 1), (256, 1), (257, 0)] {
        let mut bench = greeting(Settings::mux());
        let small = hello_of(&[VERSION, b"\x0emax-frame-size\x03\xf0\x01", CAPS]);
        assert_eq!(bench.bytes(0, &small).len(), 1);
        let mut actions = vec![0; len];
        actions[0] = 9;
        assert_eq!(bench.bytes(0, &ack(1, 1, &actions)).len(), done, "{len}");
    }
}

/// As 3.2.26 does: six ACKs of 3000 bytes are as good as one of 16384.
#[test]
fn a_read_that_fills_the_buffer_is_the_last() {
    let defects = Defects { full_read_sticks: true, ..Defects::default() };
    for (len, count) in [(16_373, 1), (2989, 6)] {
        let mut actions = vec![0; len];
        actions[0] = 9;
        let acks = [&ack(3, 1, &actions)[..], &ack(5, 1, &actions).repeat(count - 1)].concat();
        assert!(acks.len() >= 16_384);
        let mut bench = two_waiting();
        assert!(!bench.bytes(0, &acks).is_empty(), "without the bug");
        let mut bench = warm(Settings { defects, ..Settings::mux() });
        bench.event();
        bench.event();
        assert_eq!(bench.bytes(0, &acks), []);
        assert_eq!(bench.bytes(0, &discon(0)), []);
        assert_eq!(bench.eof(0), []);
        assert_eq!(bench.pass(500 * MILLISECOND), [Did::Done(1, 1, 0), Did::Done(2, 1, 0)]);
        assert_eq!(bench.event(), [Did::Send(0, notify(7, 1))], "and it goes on asking");
    }
    let mut bench = warm(Settings { defects, ..Settings::mux() });
    bench.event();
    assert_eq!(bench.bytes(0, &ack(3, 1, &[9; 16_372])), [Did::Done(1, 0, 0)], "a byte less");
}

#[test]
fn acks_that_are_ignored() {
    for ignored in [ack(1, 1, SCORE), agent_frame(77, 1, &[3, 1], b"xyz"), agent_frame(77, 1, &[1, 1], b"xyz"), hello()]
    {
        let mut bench = two_waiting();
        assert_eq!(bench.bytes(0, &ignored), [], "{ignored:x?}");
        assert_eq!(bench.bytes(0, &ack(3, 1, SCORE)), [Did::Done(1, 0, 1)]);
    }
}

#[test]
fn flags_beside_fin_are_ignored() {
    let mut bench = running(Settings::mux());
    assert_eq!(bench.bytes(0, &agent_frame(103, 0xffff_ffff, &[1, 1], SCORE)), [Did::Done(0, 0, 1)]);
}

#[test]
fn a_duplicate_in_the_same_read_runs_too() {
    let twice = [ack(1, 1, SCORE), ack(1, 1, SCORE)].concat();
    assert_eq!(running(Settings::mux()).bytes(0, &twice), [Did::Done(0, 0, 2)]);
    let old = Settings { defects: Defects::V3_1_0, ..Settings::mux() };
    assert_eq!(running(old).bytes(0, &twice), [Did::Done(0, 256, 0)]);
    let mut bench = running(Settings::mux());
    assert_eq!(bench.bytes(0, &ack(1, 1, SCORE)), [Did::Done(0, 0, 1)]);
    assert_eq!(bench.bytes(0, &ack(1, 1, SCORE)), [], "in another read it is late");
}

#[test]
fn an_empty_ack_hangs_in_3_1_0() {
    assert_eq!(running(Settings::mux()).bytes(0, &ack(1, 1, b"")), [Did::Done(0, 0, 0)]);
    let mut bench = running(Settings { defects: Defects::V3_1_0, ..Settings::mux() });
    assert_eq!(bench.bytes(0, &ack(1, 1, b"")), []);
    assert_eq!(bench.timeout(), [Did::Done(0, 1, 0)]);
}

#[test]
fn acks_in_any_cut() {
    let frame = ack(1, 1, SCORE);
    for cut in 1..frame.len() {
        let mut bench = running(Settings::mux());
        assert_eq!(bench.bytes(0, &frame[..cut]), [], "{cut}");
        assert_eq!(bench.bytes(0, &frame[cut..]), [Did::Done(0, 0, 1)], "{cut}");
    }
}

#[test]
fn ends_of_the_connection() {
    let both = |status| vec![Did::Done(1, status, 0), Did::Done(2, status, 0)];
    let with = |first, status| [vec![first], both(status)].concat();
    for (code, status) in [(0u8, 257), (1, 257), (2, 258), (13, 269), (99, 355)] {
        assert_eq!(two_waiting().bytes(0, &discon(code)), with(Did::Reset(0), status), "{code}");
    }
    assert_eq!(two_waiting().eof(0), with(Did::Fin(0), 257));
    assert_eq!(two_waiting().reset(0), both(257));
    let mut bench = two_waiting();
    bench.bytes(0, &ack(3, 1, SCORE)[..9]);
    assert_eq!(bench.eof(0), with(Did::Fin(0), 260), "inside a frame");
    let mut bench = two_waiting();
    let last = [ack(3, 1, SCORE), discon(0)].concat();
    assert_eq!(
        bench.bytes(0, &last),
        [Did::Done(1, 0, 1), Did::Reset(0), Did::Done(2, 257, 0)],
        "an ACK before it counts"
    );
    let mut bench = two_waiting();
    let last = [discon(0), ack(3, 1, SCORE)].concat();
    assert_eq!(bench.bytes(0, &last), with(Did::Reset(0), 257), "one behind it does not");
}

#[test]
fn a_cold_burst_opens_a_connection_each_and_a_warm_one_26() {
    let mut bench = Bench::new(Settings::mux());
    for _ in 0..45 {
        bench.event();
    }
    let connects = |did: &[Did]| did.iter().filter(|did| matches!(did, Did::Connect(_))).count();
    for link in 0..45 {
        assert_eq!(bench.bytes(link, &hello()), [Did::Send(link, notify(1, 1))], "the same ids everywhere");
    }
    let mut bench = warm(Settings::mux());
    let mut opened = 1;
    for _ in 0..45 {
        opened += connects(&bench.event());
    }
    assert_eq!(opened, 26);
}

#[test]
fn without_pipelining_one_at_a_time() {
    let mut bench = greeting(Settings::mux());
    bench.bytes(0, &hello_of(&[VERSION, SIZE]));
    bench.bytes(0, &ack(1, 1, b""));
    assert_eq!(bench.event(), [Did::Send(0, notify(3, 1))]);
    assert!(matches!(&bench.event()[..], [Did::Connect(1), Did::Send(..)]));
}

#[test]
fn a_timed_out_event_frees_its_slot_silently() {
    let mut bench = warm(Settings::mux());
    for _ in 0..20 {
        assert!(matches!(&bench.event()[..], [Did::Send(0, _)]));
    }
    let did = bench.pass(500 * MILLISECOND);
    assert_eq!(did.len(), 20);
    assert!(did.iter().all(|did| matches!(did, Did::Done(_, 1, 0))));
    assert!(matches!(&bench.event()[..], [Did::Send(0, _)]), "a 21st unanswered NOTIFY on the connection");
}

#[test]
fn a_connection_for_each_event() {
    let mut bench = running(Settings { reuse: false, ..Settings::mux() });
    assert_eq!(bench.bytes(0, &ack(1, 1, SCORE)), [Did::Done(0, 0, 1), Did::Reset(0)]);
    assert!(matches!(&bench.event()[..], [Did::Connect(1), Did::Send(..)]));
}

#[test]
fn soft_stop() {
    let mut bench = warm(Settings::mux());
    bench.process.soft_stop(bench.now);
    assert_eq!(bench.did(), [Did::Reset(0)]);
    let mut bench = two_waiting();
    bench.process.soft_stop(bench.now);
    assert_eq!(bench.did(), []);
    assert_eq!(bench.bytes(0, &ack(3, 1, SCORE)), [Did::Done(1, 0, 1)]);
    assert_eq!(bench.bytes(0, &ack(5, 1, SCORE)), [Did::Done(2, 0, 1), Did::Reset(0)], "right after the last ACK");
}

#[test]
fn sizes_when_sending() {
    let mut long = Messages::new();
    long.message(b"long", 1).arg(b"a", Arg::Str(&[b'x'; 400]));
    let small = hello_of(&[VERSION, b"\x0emax-frame-size\x03\xf0\x01", CAPS]);
    let mut bench = Bench::new(Settings::mux());
    bench.event_of(&long);
    assert_eq!(bench.bytes(0, &small), [Did::Done(0, 259, 0)], "above the negotiated size");
    assert_eq!(bench.event(), [Did::Send(0, notify(3, 1))], "its id is spent");
    let mut bench = Bench::new(Settings { max_frame_size: 256, ..Settings::mux() });
    assert_eq!(bench.event_of(&long), [Did::Done(0, 3, 0)], "above what is configured: nothing is sent at all");
    let mut bench = Bench::new(Settings { defects: Defects::V3_1_0, ..Settings::mux() });
    bench.event_of(&long);
    assert!(matches!(&bench.bytes(0, &small)[..], [Did::Send(0, frame)] if frame.len() > 400));
}

#[test]
fn an_event_without_messages() {
    assert_eq!(Bench::new(Settings::mux()).event_of(&Messages::new()), [Did::Done(0, 0, 0)]);
    let mut bench = Bench::new(Settings { defects: Defects::V3_1_0, ..Settings::mux() });
    bench.event_of(&Messages::new());
    assert_eq!(bench.bytes(0, &hello()), [Did::Send(0, agent_frame(3, 1, &[1, 1], b""))]);
}
