//! H01 to H28: the handshake.

use std::collections::BTreeSet;
use std::time::Duration;

use spoa_core::table::StateName;
use spoa_core::{CloseReason, Config, LocalReason};
use spoa_tests::bytes::{AGENT_HELLO, FIN, Frame, NOTIFY, Value, hex, read_kv};
use spoa_tests::feed::feed;
use spoa_tests::frames::{Hello, ack, agent_disconnect, disconnect, documented_notify};
use spoa_tests::peer::{Peer, Seen, default_agent_hello, score_of, whole_only};

use crate::ending::{check_error, check_linger, check_refusal, check_serves};

fn fresh() -> Peer {
    Peer::new(Config::default())
}

/// The score of the documented NOTIFY's 192.0.2.1.
fn documented_score() -> u64 {
    score_of(&[192, 0, 2, 1]).into()
}

/// Checks that the frame is an AGENT-HELLO, and returns its frame size and the set of its capabilities.
fn negotiated(frame: &Frame) -> (u64, BTreeSet<String>) {
    assert_eq!((frame.kind, frame.flags, frame.sid, frame.fid), (AGENT_HELLO, FIN, 0, 0));
    assert_eq!(read_kv(&frame.payload).map(|items| items.len()), Some(3), "wrong number of keys");
    assert_eq!(frame.value("version"), Some(Value::text("2.0")));
    let (Some(Value::Uint32(size)), Some(Value::String(list))) =
        (frame.value("max-frame-size"), frame.value("capabilities"))
    else {
        panic!("expected frame size and capabilities, got {frame:?}");
    };
    let list = String::from_utf8(list).expect("names are ASCII");
    (size, list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Checks that `hello` is answered immediately with one AGENT-HELLO, and that the connection still serves an hour
/// later. Returns the frame size and the capabilities.
fn accepted_by(config: Config, hello: &Hello) -> (u64, BTreeSet<String>) {
    let (mut peer, outcome) = feed(|| Peer::new(config), &hello.encode());
    assert!(matches!(outcome.events[..], [Seen::Ready { .. }]), "{hello:?}: {:?}", outcome.events);
    assert_eq!(outcome.frames.len(), 1);
    peer.advance(Duration::from_secs(3600));
    check_serves(&mut peer);
    negotiated(&outcome.frames[0])
}

fn accepted(hello: &Hello) -> (u64, BTreeSet<String>) {
    accepted_by(Config::default(), hello)
}

/// Checks that `hello` gets the answer of row H01.
fn check_default_answer(hello: &Hello) {
    assert_eq!(accepted(hello), (16380, set(&["pipelining", "fragmentation"])));
}

#[test]
fn h01_the_mux_hello_is_accepted() {
    check_default_answer(&Hello::mux());
    check_default_answer(&Hello::applet());
    assert_eq!(accepted_by(whole_only(), &Hello::mux()), (16380, set(&["pipelining"])));
    let (_, outcome) = feed(|| Peer::new(whole_only()), &Hello::mux().encode());
    let documented = r#"00000040 65 00000001 00 00 07"version"0803"2.0" 0e"max-frame-size"03fcf006
        0c"capabilities"080a"pipelining""#;
    assert_eq!(outcome.bytes(), hex(documented));
}

#[test]
fn h02_a_hello_byte_by_byte_is_answered_once_in_one_write() {
    let mut peer = fresh();
    let hello = Hello::mux().encode();
    for (n, byte) in hello.iter().enumerate() {
        assert_eq!(peer.writes(), 0, "expected no answer after {n} bytes");
        peer.send(&[*byte]);
    }
    assert_eq!(peer.writes(), 1);
    assert_eq!(peer.take_bytes(), default_agent_hello());
}

#[test]
fn h03_keys_in_any_order_and_unknown_keys_are_accepted() {
    check_default_answer(&Hello::mux().reversed());
    let unknown = Hello::mux().and("x-bool", Value::Bool(true)).and("x-string", Value::text("value"));
    check_default_answer(&unknown);
    check_default_answer(&unknown.reversed());
}

#[test]
fn h04_a_health_check_gets_a_hello_and_nothing_else() {
    let (mut peer, outcome) = feed(fresh, &Hello::health_check().encode());
    assert_eq!(Hello::health_check().encode().len(), 82);
    assert_eq!(outcome.frames.len(), 1);
    assert_eq!(negotiated(&outcome.frames[0]), (16380, set(&["fragmentation"])));
    assert_eq!(outcome.events, [Seen::Closed(CloseReason::HealthCheck)]);
    check_linger(&mut peer);
}

/// A lame-duck agent refuses health checks so that HAProxy uses another server. It still accepts other connections.
#[test]
fn h04_a_lame_duck_refuses_health_checks_immediately() {
    let lame_duck = || Peer::new(Config { refuse_healthchecks: true, ..Config::default() });
    let (mut peer, outcome) = feed(lame_duck, &Hello::health_check().encode());
    assert_eq!(outcome.bytes(), agent_disconnect(13));
    assert_eq!(outcome.events, [Seen::Closed(CloseReason::Local(LocalReason::HealthCheckRefused))]);
    check_linger(&mut peer);
    let mut peer = lame_duck();
    peer.send(&Hello::mux().encode());
    assert_eq!(peer.take_frames().len(), 1);
    check_serves(&mut peer);
}

#[test]
fn h05_a_hello_with_healthcheck_false_is_no_health_check() {
    check_default_answer(&Hello::mux().with("healthcheck", Value::Bool(false)));
    check_default_answer(&Hello::mux().with("healthcheck", Value::Raw(hex("31")))); // like HAProxy, only 0x11 is true
}

#[test]
fn h06_a_hello_without_versions_is_refused() {
    check_refusal(&Hello::mux().without("supported-versions").encode(), 5);
}

#[test]
fn h07_versions_without_2_are_refused() {
    for versions in ["1.0", "3.0", "abc", ""] {
        check_refusal(&Hello::mux().with("supported-versions", Value::text(versions)).encode(), 8);
    }
}

#[test]
fn h08_versions_that_include_2_are_accepted() {
    for versions in ["2.0, 1.5", " 1.0 , 2.0 ", "2.1"] {
        check_default_answer(&Hello::mux().with("supported-versions", Value::text(versions)));
    }
}

#[test]
fn h09_a_hello_without_frame_size_is_refused() {
    check_refusal(&Hello::mux().without("max-frame-size").encode(), 6);
}

#[test]
fn h10_the_smaller_frame_size_is_used_and_256_is_the_minimum() {
    let of = |size| Hello::mux().with("max-frame-size", Value::Uint32(size));
    check_refusal(&of(255).encode(), 9);
    check_refusal(&of(0).encode(), 9);
    assert_eq!(accepted(&of(256)).0, 256);
    assert_eq!(accepted(&of(16385)).0, 16384);
    assert_eq!(accepted(&of(1 << 32)).0, 16384);
}

#[test]
fn h11_the_frame_size_may_be_any_integer_but_nothing_else() {
    for size in [Value::Int32(16380), Value::Int64(16380), Value::Uint64(16380)] {
        check_default_answer(&Hello::mux().with("max-frame-size", size));
    }
    check_refusal(&Hello::mux().with("max-frame-size", Value::text("16380")).encode(), 4);
}

#[test]
fn h12_capabilities_may_be_empty_but_not_absent() {
    check_refusal(&Hello::mux().without("capabilities").encode(), 7);
    let none = Hello::mux().with("capabilities", Value::text(""));
    assert_eq!(accepted(&none).1, set(&["fragmentation"]));
    assert_eq!(accepted_by(whole_only(), &none).1, set(&[]));
}

#[test]
fn h13_capabilities_match_exactly_except_for_blanks() {
    for (list, agreed) in
        [(" pipelining , foo", &["pipelining", "fragmentation"][..]), ("pipeliningX", &["fragmentation"])]
    {
        assert_eq!(accepted(&Hello::mux().with("capabilities", Value::text(list))).1, set(agreed), "{list:?}");
    }
}

#[test]
fn h14_a_fragmented_hello_is_refused() {
    check_refusal(&Hello::mux().flags(0).encode(), 10);
}

#[test]
fn h15_a_hello_with_a_stream_id_or_frame_id_is_refused() {
    check_refusal(&Hello::mux().ids(1, 0).encode(), 4);
    check_refusal(&Hello::mux().ids(0, 1).encode(), 4);
}

#[test]
fn h16_other_flags_besides_fin_are_accepted() {
    for flags in [0x0000_0003, 0x8000_0001, 0xffff_ffff] {
        check_default_answer(&Hello::mux().flags(flags));
    }
}

#[test]
fn h17_keys_match_exactly() {
    check_default_answer(&Hello::mux().and("max-frame-siz", Value::Uint32(1)).and("versionX", Value::Null));
    check_default_answer(&Hello::mux().and("supported-versionsX", Value::text("1.0")));
    check_refusal(&Hello::mux().without("max-frame-size").and("max-frame-siz", Value::Uint32(16380)).encode(), 6);
}

#[test]
fn h18_the_last_value_of_a_repeated_key_is_used() {
    assert_eq!(accepted(&Hello::mux().and("max-frame-size", Value::Uint32(1000))).0, 1000);
    check_refusal(&Hello::mux().and("supported-versions", Value::text("1.0")).encode(), 8);
}

#[test]
fn h19_a_malformed_list_is_refused() {
    let raw = |bytes: &str| {
        let good = Hello::mux().encode();
        Frame::new(1, (0, 0), [&good[11..], &hex(bytes)].concat()).encode()
    };
    for tail in [
        r#"00 11"#,           // an empty key
        r#"01"x""#,           // no value
        r#"0a"x""#,           // a key past the end
        r#"01"x"08 05"abc""#, // a string past the end
        r#"01"x"0c"#,         // a value of type 12
        r#"01"x"03 f0"#,      // half a varint
    ] {
        check_refusal(&raw(tail), 4);
    }
}

#[test]
fn h20_a_notify_before_the_hello_is_refused() {
    check_error(fresh, &documented_notify(), 4);
}

#[test]
fn h21_a_disconnect_before_the_hello_is_echoed() {
    let (mut peer, outcome) = feed(fresh, &disconnect(2));
    assert_eq!(outcome.bytes(), agent_disconnect(2));
    assert!(matches!(outcome.events[..], [Seen::Closed(CloseReason::Peer(_))]));
    check_linger(&mut peer);
}

#[test]
fn h22_an_unknown_frame_before_the_hello_is_refused() {
    check_error(fresh, &Frame::new(77, (0, 0), []).encode(), 4);
}

#[test]
fn h23_frames_shorter_than_the_shortest_header_are_refused() {
    check_error(fresh, &hex("00000000"), 4);
    check_error(fresh, &hex("00000006 01 00000001 00"), 4);
    check_error(Peer::ready, &hex("00000000"), 4);
    check_error(Peer::ready, &hex("00000006"), 4);
}

#[test]
fn h24_an_excessive_length_is_refused_before_the_frame_arrives() {
    check_error(fresh, &hex("7fffffff"), 3);
    check_error(fresh, &hex("00004001"), 3);
    let mut peer = fresh();
    peer.send(&hex("7fffffff"));
    assert!(peer.connection.usage().memory.total() < 8192, "expected no buffer for the frame");
    // The largest frame is still waited for.
    let mut peer = fresh();
    peer.send(&hex("00004000"));
    assert_eq!((peer.take_events(), peer.take_bytes()), (vec![], vec![]));
}

#[test]
fn h25_end_of_file_before_or_inside_the_hello_gets_no_answer() {
    let hello = Hello::mux().encode();
    for cut in [0, 1, 4, 11, hello.len() - 1] {
        let mut peer = fresh();
        peer.send(&hello[..cut]);
        peer.eof();
        assert_eq!(peer.take_bytes(), [0; 0]);
        assert_eq!(peer.take_events(), [Seen::Closed(CloseReason::Eof { in_flight: 0, unprocessed: cut > 0 })]);
        assert!(peer.connection.is_closed());
    }
}

#[test]
fn h26_no_hello_in_time_is_a_timeout() {
    let (timeout, tick) = (Config::default().hello_timeout, Duration::from_nanos(1));
    let hello = Hello::mux().encode();
    for cut in [0, 4, hello.len() - 1] {
        let mut peer = fresh();
        // Bytes that arrive meanwhile do not extend the timeout.
        peer.advance(timeout / 2);
        peer.send(&hello[..cut]);
        peer.advance(timeout / 2 - tick);
        assert_eq!(peer.take_bytes(), [0; 0]);
        peer.advance(tick);
        assert_eq!(peer.take_bytes(), agent_disconnect(2));
        check_error_and_linger(&mut peer);
    }
}

fn check_error_and_linger(peer: &mut Peer) {
    assert!(matches!(peer.take_events()[..], [Seen::Closed(CloseReason::Error(_))]));
    check_linger(peer);
}

#[test]
fn h27_a_second_hello_is_refused() {
    check_error(Peer::ready, &Hello::mux().encode(), 4);
}

#[test]
fn h28_a_notify_in_the_same_read_as_the_hello_is_served() {
    let (peer, outcome) = feed(fresh, &[Hello::mux().encode(), documented_notify()].concat());
    assert_eq!(outcome.bytes(), [default_agent_hello(), ack(1, 1, &[documented_score()])].concat());
    assert_eq!(peer.connection.state(), StateName::Running);
}

/// Not a row of the table: a health check is refused without delay, because HAProxy waits for the answer and reports
/// its text.
#[test]
fn a_health_check_is_refused_without_delay() {
    let check = Hello::health_check();
    for (hello, code) in [
        (check.clone().with("supported-versions", Value::text("1.0")), 8),
        (check.clone().with("max-frame-size", Value::Uint32(255)), 9),
        (check.clone().without("capabilities"), 7),
        (check.flags(0), 10),
    ] {
        check_error(fresh, &hello.encode(), code);
    }
}

/// Not a row of the table: before a delayed refusal, bytes from the peer are ignored, and end of file closes the
/// connection.
#[test]
fn end_of_file_closes_a_connection_before_its_delayed_refusal() {
    let mut peer = fresh();
    peer.send(&Hello::mux().without("capabilities").encode());
    peer.send(&Frame::new(NOTIFY, (1, 1), []).encode());
    peer.send(&hex("ffffffff"));
    peer.eof();
    assert_eq!(peer.take_bytes(), [0; 0]);
    assert!(peer.connection.is_closed() && peer.connection.poll_timeout().is_none());
}

/// Not a row of the table: HAProxy before 1.8.10 speaks version 1.0 and sends flags in the byte order of its machine,
/// so that its FIN is not the bit that we expect.
#[test]
fn version_1_is_refused_with_code_8_whatever_its_flags() {
    let hello = Hello::mux().with("supported-versions", Value::text("1.0"));
    check_refusal(&hello.flags(0x0100_0000).encode(), 8);
}
