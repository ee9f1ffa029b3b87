//! H01 to H28: the handshake.

use std::collections::BTreeSet;
use std::time::Duration;

use spoa_core::table::StateName;
use spoa_core::{CloseReason, Config, LocalReason};
use spoa_tests::bytes::{AGENT_HELLO, FIN, Frame, NOTIFY, Value, hex, read_kv};
use spoa_tests::feed::feed;
use spoa_tests::frames::{Hello, ack, agent_disconnect, disconnect, documented_notify};
use spoa_tests::peer::{Peer, Seen, default_agent_hello, score_of, whole_only};

use crate::ending::{fails, is_alive, is_over, refuses};

fn fresh() -> Peer {
    Peer::new(Config::default())
}

/// The score of the documented NOTIFY's 192.0.2.1.
fn documented_score() -> u64 {
    score_of(&[192, 0, 2, 1]).into()
}

/// What an AGENT-HELLO says: the frame size and the capabilities, as a set.
fn said(frame: &Frame) -> (u64, BTreeSet<String>) {
    assert_eq!((frame.kind, frame.flags, frame.sid, frame.fid), (AGENT_HELLO, FIN, 0, 0));
    assert_eq!(read_kv(&frame.payload).map(|items| items.len()), Some(3), "three keys and no more");
    assert_eq!(frame.value("version"), Some(Value::text("2.0")));
    let (Some(Value::Uint32(size)), Some(Value::String(list))) =
        (frame.value("max-frame-size"), frame.value("capabilities"))
    else {
        panic!("{frame:?}");
    };
    let list = String::from_utf8(list).expect("names are ASCII");
    (size, list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// `hello` is answered at once by one AGENT-HELLO, and the connection serves for as long as it is not closed.
fn accepted_by(config: Config, hello: &Hello) -> (u64, BTreeSet<String>) {
    let (mut peer, outcome) = feed(|| Peer::new(config), &hello.encode());
    assert!(matches!(outcome.events[..], [Seen::Ready { .. }]), "{hello:?}: {:?}", outcome.events);
    assert_eq!(outcome.frames.len(), 1);
    peer.advance(Duration::from_secs(3600));
    is_alive(&mut peer);
    said(&outcome.frames[0])
}

fn accepted(hello: &Hello) -> (u64, BTreeSet<String>) {
    accepted_by(Config::default(), hello)
}

fn as_h01(hello: &Hello) {
    assert_eq!(accepted(hello), (16380, set(&["pipelining", "fragmentation"])));
}

#[test]
fn h01_the_mux_hello_is_accepted() {
    as_h01(&Hello::mux());
    as_h01(&Hello::applet());
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
        assert_eq!(peer.writes(), 0, "{n} bytes are no HELLO");
        peer.send(&[*byte]);
    }
    assert_eq!(peer.writes(), 1);
    assert_eq!(peer.take_bytes(), default_agent_hello());
}

#[test]
fn h03_keys_in_any_order_and_unknown_keys_are_accepted() {
    as_h01(&Hello::mux().reversed());
    let unknown = Hello::mux().and("x-bool", Value::Bool(true)).and("x-string", Value::text("value"));
    as_h01(&unknown);
    as_h01(&unknown.reversed());
}

#[test]
fn h04_a_health_check_gets_a_hello_and_not_one_byte_more() {
    let (mut peer, outcome) = feed(fresh, &Hello::health_check().encode());
    assert_eq!(Hello::health_check().encode().len(), 82);
    assert_eq!(outcome.frames.len(), 1);
    assert_eq!(said(&outcome.frames[0]), (16380, set(&["fragmentation"])));
    assert_eq!(outcome.events, [Seen::Closed(CloseReason::HealthCheck)]);
    is_over(&mut peer);
}

/// What an agent that goes away does, so that HAProxy asks another. Only health checks are refused.
#[test]
fn h04_a_health_check_of_an_agent_that_goes_is_refused_at_once() {
    let leaving = || Peer::new(Config { refuse_healthchecks: true, ..Config::default() });
    let (mut peer, outcome) = feed(leaving, &Hello::health_check().encode());
    assert_eq!(outcome.bytes(), agent_disconnect(13));
    assert_eq!(outcome.events, [Seen::Closed(CloseReason::Local(LocalReason::HealthCheckRefused))]);
    is_over(&mut peer);
    let mut peer = leaving();
    peer.send(&Hello::mux().encode());
    assert_eq!(peer.take_frames().len(), 1);
    is_alive(&mut peer);
}

#[test]
fn h05_a_health_check_that_is_false_is_none() {
    as_h01(&Hello::mux().with("healthcheck", Value::Bool(false)));
    as_h01(&Hello::mux().with("healthcheck", Value::Raw(hex("31")))); // HAProxy: true is 11 alone
}

#[test]
fn h06_no_versions_is_refused() {
    refuses(&Hello::mux().without("supported-versions").encode(), 5);
}

#[test]
fn h07_versions_without_2_are_refused() {
    for versions in ["1.0", "3.0", "abc", ""] {
        refuses(&Hello::mux().with("supported-versions", Value::text(versions)).encode(), 8);
    }
}

#[test]
fn h08_a_2_among_the_versions_is_accepted() {
    for versions in ["2.0, 1.5", " 1.0 , 2.0 ", "2.1"] {
        as_h01(&Hello::mux().with("supported-versions", Value::text(versions)));
    }
}

#[test]
fn h09_no_frame_size_is_refused() {
    refuses(&Hello::mux().without("max-frame-size").encode(), 6);
}

#[test]
fn h10_the_smaller_frame_size_counts_and_256_is_the_least() {
    let of = |size| Hello::mux().with("max-frame-size", Value::Uint32(size));
    refuses(&of(255).encode(), 9);
    refuses(&of(0).encode(), 9);
    assert_eq!(accepted(&of(256)).0, 256);
    assert_eq!(accepted(&of(16385)).0, 16384);
    assert_eq!(accepted(&of(1 << 32)).0, 16384);
}

#[test]
fn h11_the_frame_size_may_be_any_integer_but_nothing_else() {
    for size in [Value::Int32(16380), Value::Int64(16380), Value::Uint64(16380)] {
        as_h01(&Hello::mux().with("max-frame-size", size));
    }
    refuses(&Hello::mux().with("max-frame-size", Value::text("16380")).encode(), 4);
}

#[test]
fn h12_capabilities_may_be_empty_but_not_absent() {
    refuses(&Hello::mux().without("capabilities").encode(), 7);
    let none = Hello::mux().with("capabilities", Value::text(""));
    assert_eq!(accepted(&none).1, set(&["fragmentation"]));
    assert_eq!(accepted_by(whole_only(), &none).1, set(&[]));
}

#[test]
fn h13_capabilities_are_compared_whole_and_without_blanks() {
    for (list, agreed) in
        [(" pipelining , foo", &["pipelining", "fragmentation"][..]), ("pipeliningX", &["fragmentation"])]
    {
        assert_eq!(accepted(&Hello::mux().with("capabilities", Value::text(list))).1, set(agreed), "{list:?}");
    }
}

#[test]
fn h14_a_fragmented_hello_is_refused() {
    refuses(&Hello::mux().flags(0).encode(), 10);
}

#[test]
fn h15_a_hello_about_a_stream_is_refused() {
    refuses(&Hello::mux().ids(1, 0).encode(), 4);
    refuses(&Hello::mux().ids(0, 1).encode(), 4);
}

#[test]
fn h16_other_flags_besides_fin_are_accepted() {
    for flags in [0x0000_0003, 0x8000_0001, 0xffff_ffff] {
        as_h01(&Hello::mux().flags(flags));
    }
}

#[test]
fn h17_keys_are_compared_whole() {
    as_h01(&Hello::mux().and("max-frame-siz", Value::Uint32(1)).and("versionX", Value::Null));
    as_h01(&Hello::mux().and("supported-versionsX", Value::text("1.0")));
    refuses(&Hello::mux().without("max-frame-size").and("max-frame-siz", Value::Uint32(16380)).encode(), 6);
}

#[test]
fn h18_of_a_key_given_twice_the_last_counts() {
    assert_eq!(accepted(&Hello::mux().and("max-frame-size", Value::Uint32(1000))).0, 1000);
    refuses(&Hello::mux().and("supported-versions", Value::text("1.0")).encode(), 8);
}

#[test]
fn h19_a_malformed_list_is_refused() {
    let raw = |bytes: &str| {
        let good = Hello::mux().encode();
        Frame::new(1, (0, 0), [&good[11..], &hex(bytes)].concat()).encode()
    };
    for tail in [
        r#"00 11"#,           // a key without bytes
        r#"01"x""#,           // no value
        r#"0a"x""#,           // a key past the end
        r#"01"x"08 05"abc""#, // a string past the end
        r#"01"x"0c"#,         // a value of type 12
        r#"01"x"03 f0"#,      // half a varint
    ] {
        refuses(&raw(tail), 4);
    }
}

#[test]
fn h20_a_notify_before_the_hello_is_refused() {
    fails(fresh, &documented_notify(), 4);
}

#[test]
fn h21_a_disconnect_before_the_hello_is_echoed() {
    let (mut peer, outcome) = feed(fresh, &disconnect(2));
    assert_eq!(outcome.bytes(), agent_disconnect(2));
    assert!(matches!(outcome.events[..], [Seen::Closed(CloseReason::Peer(_))]));
    is_over(&mut peer);
}

#[test]
fn h22_an_unknown_frame_before_the_hello_is_refused() {
    fails(fresh, &Frame::new(77, (0, 0), []).encode(), 4);
}

#[test]
fn h23_frames_shorter_than_any_frame_are_refused() {
    fails(fresh, &hex("00000000"), 4);
    fails(fresh, &hex("00000006 01 00000001 00"), 4);
    fails(Peer::ready, &hex("00000000"), 4);
    fails(Peer::ready, &hex("00000006"), 4);
}

#[test]
fn h24_an_absurd_length_is_refused_on_its_four_bytes() {
    fails(fresh, &hex("7fffffff"), 3);
    fails(fresh, &hex("00004001"), 3);
    let mut peer = fresh();
    peer.send(&hex("7fffffff"));
    assert!(peer.connection.memory() < 8192, "nothing is reserved for it");
    // One byte less is waited for.
    let mut peer = fresh();
    peer.send(&hex("00004000"));
    assert_eq!((peer.take_events(), peer.take_bytes()), (vec![], vec![]));
}

#[test]
fn h25_the_end_before_or_inside_the_hello_is_silent() {
    let hello = Hello::mux().encode();
    for cut in [0, 1, 4, 11, hello.len() - 1] {
        let mut peer = fresh();
        peer.send(&hello[..cut]);
        peer.eof();
        assert_eq!(peer.take_bytes(), []);
        assert_eq!(peer.take_events(), [Seen::Closed(CloseReason::Eof { in_flight: 0, mid_frame: cut > 0 })]);
        assert!(peer.connection.is_closed());
    }
}

#[test]
fn h26_no_hello_in_time_is_a_timeout() {
    let (timeout, tick) = (Config::default().hello_timeout, Duration::from_nanos(1));
    let hello = Hello::mux().encode();
    for cut in [0, 4, hello.len() - 1] {
        let mut peer = fresh();
        // Bytes that trickle in do not put it off.
        peer.advance(timeout / 2);
        peer.send(&hello[..cut]);
        peer.advance(timeout / 2 - tick);
        assert_eq!(peer.take_bytes(), []);
        peer.advance(tick);
        assert_eq!(peer.take_bytes(), agent_disconnect(2));
        is_over_after_timeout(&mut peer);
    }
}

fn is_over_after_timeout(peer: &mut Peer) {
    assert!(matches!(peer.take_events()[..], [Seen::Closed(CloseReason::Error(_))]));
    is_over(peer);
}

#[test]
fn h27_a_second_hello_is_refused() {
    fails(Peer::ready, &Hello::mux().encode(), 4);
}

#[test]
fn h28_a_notify_right_behind_the_hello_is_served() {
    let (peer, outcome) = feed(fresh, &[Hello::mux().encode(), documented_notify()].concat());
    assert_eq!(outcome.bytes(), [default_agent_hello(), ack(1, 1, &[documented_score()])].concat());
    assert_eq!(peer.connection.state(), StateName::Running);
}

/// Not a row: HAProxy waits for the answer to a health check, and reports it word for word.
#[test]
fn a_refused_health_check_is_told_at_once() {
    let check = Hello::health_check();
    for (hello, code) in [
        (check.clone().with("supported-versions", Value::text("1.0")), 8),
        (check.clone().with("max-frame-size", Value::Uint32(255)), 9),
        (check.clone().without("capabilities"), 7),
        (check.flags(0), 10),
    ] {
        fails(fresh, &hello.encode(), code);
    }
}

/// Not a row: what the refused peer sends meanwhile is not looked at, and its end is the end.
#[test]
fn a_hello_that_waits_to_be_refused_ends_with_the_socket() {
    let mut peer = fresh();
    peer.send(&Hello::mux().without("capabilities").encode());
    peer.send(&Frame::new(NOTIFY, (1, 1), []).encode());
    peer.send(&hex("ffffffff"));
    peer.eof();
    assert_eq!(peer.take_bytes(), []);
    assert!(peer.connection.is_closed() && peer.connection.poll_timeout().is_none());
}

/// Not a row: HAProxy before 1.8.10 speaks 1.0 and sends its flags in the order of its machine, so its FIN is not ours.
#[test]
fn version_1_is_refused_as_such_whatever_its_flags() {
    let hello = Hello::mux().with("supported-versions", Value::text("1.0"));
    refuses(&hello.flags(0x0100_0000).encode(), 8);
}
