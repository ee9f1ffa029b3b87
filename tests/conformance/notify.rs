//! N01 to N24: NOTIFY and ACK. The handler is the harness's `score`, except in rows about handlers.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use spoa_core::wire::{Scope, SetVars};
use spoa_core::{Config, TicketError};
use spoa_tests::bytes::{Action, Frame, NOTIFY, Value, hex, message, string};
use spoa_tests::feed::feed;
use spoa_tests::frames::{Hello, ack, agent_disconnect, check_client_ip, documented_notify, get_ip_reputation, notify};
use spoa_tests::peer::{Peer, Seen, score_of, whole_only};

use crate::ending::{check_error, check_serves};

const V4: Value = Value::Ipv4([192, 0, 2, 1]);
/// 2001:db8::1.
const V6: Value = Value::Ipv6([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// ::ffff:192.0.2.1.
const MAPPED: Value = Value::Ipv6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);

/// Returns the score of [`V4`].
fn score() -> u64 {
    score_of(&[192, 0, 2, 1]).into()
}

/// Checks that `input` is answered with exactly `output`, no matter how reads cut it, and that the connection still
/// serves.
fn check_answer(input: &[u8], output: &[u8]) {
    let (mut peer, outcome) = feed(Peer::ready, input);
    assert_eq!(outcome.bytes(), output, "{input:02x?}");
    check_serves(&mut peer);
}

fn of(payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(NOTIFY, (1, 1), payload).encode()
}

/// Returns a payload of exactly `len` bytes: a message with a string as its only argument.
fn payload_of(len: usize) -> Vec<u8> {
    let payload = |text| message("m", &[("", Value::String(vec![b'x'; text]))]);
    (0..5)
        .map(|overhead| payload(len - 5 - overhead))
        .find(|payload| payload.len() == len)
        .expect("the overhead is 5 to 9 bytes")
}

#[test]
fn n01_the_documented_notify_gets_the_documented_ack() {
    check_answer(&documented_notify(), &ack(1, 1, &[score()]));
    let (_, outcome) = feed(Peer::ready, &documented_notify());
    let documented = hex(r#"00000015 67 00000001 01 01 01 03 01 08"ip_score" 03"#);
    assert_eq!(outcome.bytes(), [&documented[..], &[score() as u8]].concat());
}

#[test]
fn n02_a_named_ipv6_argument_is_scored() {
    check_answer(&notify(1, 1, &[get_ip_reputation(V6)]), &ack(1, 1, &[0x20 + 1 + 0x0d + 0xb8 + 1 - 2 * 101]));
}

#[test]
fn n03_a_mapped_address_is_scored_as_the_ipv4_address() {
    check_answer(&notify(1, 1, &[get_ip_reputation(MAPPED)]), &ack(1, 1, &[score()]));
}

#[test]
fn n04_a_message_without_an_address_gets_an_empty_ack() {
    for value in [Value::Null, Value::Bool(true), Value::Bool(false)] {
        check_answer(&notify(1, 1, &[check_client_ip(value)]), &hex("00000007 67 00000001 01 01"));
    }
}

#[test]
fn n05_a_notify_without_messages_gets_an_empty_ack() {
    check_answer(&hex("00000007 03 00000001 01 01"), &hex("00000007 67 00000001 01 01"));
}

#[test]
fn n06_two_messages_get_one_ack_with_actions_in_their_order() {
    let both = [check_client_ip(V4), get_ip_reputation(Value::Ipv4([0, 0, 0, 7]))];
    check_answer(&notify(1, 1, &both), &ack(1, 1, &[score(), 7]));
}

#[test]
fn n07_an_unknown_message_gets_an_empty_ack() {
    for args in [&[][..], &[("a", V4), ("", Value::Null), ("b", Value::text("x"))]] {
        check_answer(&notify(1, 1, &[message("unknown", args)]), &ack(1, 1, &[]));
    }
}

#[test]
fn n08_a_message_after_an_unknown_one_with_200_arguments_is_handled() {
    let many = vec![("n", Value::Int64(-1)); 200];
    check_answer(&notify(1, 1, &[message("unknown", &many), check_client_ip(V4)]), &ack(1, 1, &[score()]));
    let most = vec![("", Value::Null); 255];
    check_answer(&notify(1, 1, &[message("unknown", &most), check_client_ip(V4)]), &ack(1, 1, &[score()]));
}

#[test]
fn n09_stream_id_0_is_valid() {
    check_answer(&notify(0, 1, &[]), &hex("00000007 67 00000001 00 01"));
}

#[test]
fn n10_the_ack_has_the_ids_of_the_notify() {
    let ids = "fff0fefe7e f08000";
    let empty = |kind| hex(&format!("0000000d {kind} 00000001 {ids}"));
    check_answer(&empty("03"), &empty("67"));
    let largest = (u64::MAX, u64::MAX);
    check_answer(&notify(largest.0, largest.1, &[]), &ack(largest.0, largest.1, &[]));
}

#[test]
fn n11_each_of_many_notifies_in_one_segment_is_acked_once() {
    let input: Vec<u8> = (0..25).flat_map(|n| notify(2 * n + 1, 1, &[check_client_ip(V4)])).collect();
    let (_, outcome) = feed(Peer::ready, &input);
    let mut acked: Vec<_> = outcome.frames.iter().map(|frame| (frame.sid, frame.fid)).collect();
    acked.sort_unstable();
    assert_eq!(acked, (0..25).map(|n| (2 * n + 1, 1)).collect::<Vec<_>>());
    assert!(outcome.frames.iter().all(|frame| frame.actions().len() == 1));
}

/// Without pipelining HAProxy assigns each ACK to its only pending frame, so ACKs must be sent in the order of the
/// NOTIFYs.
#[test]
fn n12_without_pipelining_acks_are_sent_in_order() {
    let hello = Hello::mux().with("capabilities", Value::text(""));
    let two = [notify(1, 1, &[]), notify(3, 1, &[])].concat();
    let (_, outcome) = feed(|| Peer::with_hello(Config::default(), &hello), &two);
    assert_eq!(outcome.bytes(), [ack(1, 1, &[]), ack(3, 1, &[])].concat());

    let mut peer = Peer::with_hello(Config::default(), &hello).deferring();
    peer.send(&two);
    assert_eq!(peer.deferred(), [(1, 1)], "expected the second NOTIFY to wait for the first ACK");
    peer.answer((1, 1), 1).unwrap();
    peer.answer((3, 1), 2).unwrap();
    assert_eq!(peer.take_bytes(), [ack(1, 1, &[1]), ack(3, 1, &[2])].concat());
}

#[test]
fn n13_the_same_ids_twice_are_answered_twice() {
    check_answer(&documented_notify().repeat(2), &ack(1, 1, &[score()]).repeat(2));
    let mut peer = Peer::ready().deferring();
    peer.send(&documented_notify().repeat(2));
    peer.answer((1, 1), 1).unwrap();
    peer.answer((1, 1), 2).unwrap();
    assert_eq!(peer.take_bytes(), [ack(1, 1, &[1]), ack(1, 1, &[2])].concat());
}

#[test]
fn n14_other_flags_besides_fin_change_nothing() {
    for flags in [3, 0x8000_0001, 0xffff_ffff] {
        let frame = Frame::new(NOTIFY, (1, 1), check_client_ip(V4)).flags(flags);
        check_answer(&frame.encode(), &ack(1, 1, &[score()]));
    }
}

#[test]
fn n15_a_fragment_is_refused_unless_it_was_offered() {
    let fragment = Frame::new(NOTIFY, (1, 1), check_client_ip(V4)).flags(0);
    check_error(|| Peer::ready_with(whole_only()), &fragment.encode(), 10);
}

#[test]
fn n16_frames_up_to_the_negotiated_size_are_accepted() {
    check_answer(&of(payload_of(16380 - 7)), &ack(1, 1, &[]));
    check_error(Peer::ready, &of(payload_of(16381 - 7)), 3);
    check_error(Peer::ready, &hex("00003ffd"), 3);
    let small = || Peer::with_hello(Config::default(), &Hello::mux().with("max-frame-size", Value::Uint32(256)));
    let (_, outcome) = feed(small, &of(payload_of(256 - 7)));
    assert_eq!(outcome.bytes(), ack(1, 1, &[]));
    check_error(small, &of(payload_of(257 - 7)), 3);
    check_error(small, &hex("00000101"), 3);
}

#[test]
fn n17_a_truncated_payload_is_refused() {
    for payload in [
        r#"05"abcd""#,                    // a name past the end
        r#"fff0fefefefefefefe0e"abcd""#,  // a name of 2^64 - 1 bytes
        r#"04"abcd""#,                    // no number of arguments
        r#"01"m"01 00 06c00002"#,         // three bytes of an IPv4 address
        r#"01"m"01 00 07c0000201"#,       // four bytes of an IPv6 address
        r#"01"m"01 00"#,                  // no value
        r#"01"m"01 00 04f0"#,             // half a varint
        r#"01"m"01 00 0805"abcd""#,       // a string past the end
        r#"01"m"01 00 09fff0fefe7e"ab""#, // a BINARY of 4 GiB
        r#"01"m"02 00 06c0000201"#,       // one argument of two
        r#"01"m"ff 00 00"#,               // one argument of 255
        r#"01"m"01 05"ab""#,              // an argument's name past the end
    ] {
        check_error(Peer::ready, &of(hex(payload)), 4);
    }
    let good = check_client_ip(V4);
    for cut in 1..good.len() {
        check_error(Peer::ready, &of(&good[..cut]), 4);
        check_error(Peer::ready, &notify(1, 1, &[good.clone(), good[..cut].to_vec()]), 4);
    }
}

#[test]
fn n18_a_varint_above_64_bits_is_refused() {
    for varint in ["f080808080808080808000", "fff0fefefefefefefe0f", "fff0fefefefefefefe10", &"ff".repeat(11)] {
        check_error(Peer::ready, &of(hex(&format!(r#"01"m"01 00 04{varint}"#))), 4);
        check_error(Peer::ready, &of(hex(&format!(r#"{varint}"m"00"#))), 4);
        let header = hex(&format!("03 00000001 {varint} 01"));
        check_error(Peer::ready, &[&(header.len() as u32).to_be_bytes(), &header[..]].concat(), 4);
    }
    // The largest value of 64 bits is accepted.
    check_answer(&of(hex(r#"01"m"01 00 05fff0fefefefefefefe0e"#)), &ack(1, 1, &[]));
}

#[test]
fn n19_a_value_of_a_reserved_type_is_refused() {
    for kind in 10..=15 {
        for flags in [0x00, 0x10, 0xf0] {
            check_error(Peer::ready, &notify(1, 1, &[message("m", &[("", Value::Raw(vec![flags | kind]))])]), 4);
        }
    }
}

#[test]
fn n20_unknown_frames_are_skipped_and_frames_of_agents_are_refused() {
    for kind in [4, 77, 100, 104, 255] {
        let unknown = Frame::new(kind, (5, 6), *b"anything");
        let (mut peer, outcome) = feed(Peer::ready, &[unknown.encode(), unknown.flags(0).encode()].concat());
        assert_eq!(outcome.frames, []);
        assert_eq!(peer.connection.stats().frames_skipped, 2);
        check_serves(&mut peer);
    }
    for kind in 101..=103 {
        check_error(Peer::ready, &Frame::new(kind, (1, 1), []).encode(), 4);
    }
}

#[test]
fn n21_a_handler_that_fails_results_in_an_empty_ack() {
    // The handler drops the NOTIFY.
    let mut peer = Peer::ready().handling(|_| None);
    peer.send(&documented_notify());
    assert_eq!(peer.take_bytes(), ack(1, 1, &[]));
    // The handler returns early, after half of its work.
    let mut peer = Peer::ready().handling(|notify| {
        let mut ack = notify.ack();
        ack.set_var(Scope::Session, "half", 1u32).expect("name and value are valid");
        ack.set_var(Scope::Session, "bad-name", 1u32).ok()?;
        unreachable!("the name is invalid");
    });
    peer.send(&documented_notify());
    assert_eq!(peer.take_bytes(), ack(1, 1, &[]));
    assert_eq!(peer.connection.stats().acks_unanswered, 1);
    check_serves(&mut peer);
}

#[test]
fn n21_a_handler_that_exceeds_its_deadline_results_in_an_empty_ack() {
    let (timeout, tick) = (Config::default().ack_timeout, Duration::from_nanos(1));
    let mut peer = Peer::ready().deferring();
    peer.send(&notify(1, 1, &[]));
    peer.advance(timeout / 2);
    peer.send(&notify(3, 1, &[]));
    peer.advance(timeout / 2 - tick);
    assert_eq!(peer.take_bytes(), [0; 0]);
    peer.advance(tick);
    assert_eq!(peer.take_bytes(), ack(1, 1, &[]), "expected an ACK for the first NOTIFY alone");
    assert_eq!(peer.answer((1, 1), 9), Err(TicketError::Expired), "expected the late answer to be refused");
    assert_eq!(peer.take_bytes(), [0; 0]);
    peer.answer((3, 1), 8).unwrap();
    assert_eq!(peer.take_bytes(), ack(3, 1, &[8]));
    assert_eq!(peer.connection.stats().acks_expired, 1);
    check_serves(&mut peer);
}

#[test]
fn n22_an_ack_is_truncated_to_the_negotiated_size() {
    let small = Hello::mux().with("max-frame-size", Value::Uint32(256));
    let mut peer = Peer::with_hello(Config::default(), &small).handling(|notify| {
        let mut ack = notify.ack();
        for name in ["a", "b", "c", "d", "e", "f"] {
            ack.set_var(Scope::Session, name, "x".repeat(50).as_str()).expect("name and value are valid");
        }
        ack.finish().expect_err("six actions do not fit");
        None
    });
    peer.send(&documented_notify());
    let frames = peer.take_frames();
    assert!(frames[0].encode().len() <= 4 + 256);
    let actions = frames[0].actions();
    let names = actions.into_iter().map(|action| match action {
        Action::SetVar { name, .. } | Action::UnsetVar { name, .. } => name,
    });
    assert!(names.eq(["a", "b", "c", "d"]), "expected the first four actions, complete");
    assert_eq!(peer.connection.stats().acks_cut, 1);

    // A single action that is larger than a frame.
    let mut peer = Peer::with_hello(Config::default(), &small).handling(|notify| {
        let mut ack = notify.ack();
        ack.set_var(Scope::Session, "a", "x".repeat(256).as_str()).expect("name and value are valid");
        ack.finish().expect_err("the action does not fit");
        None
    });
    peer.send(&documented_notify());
    assert_eq!(peer.take_bytes(), ack(1, 1, &[]));
}

#[test]
fn n23_blocked_handlers_stop_reads_and_lose_no_notify() {
    // `Peer` checks the bound of memory at every step.
    let mut peer = Peer::ready().deferring();
    let large = message("m", &[("", Value::String(vec![b'x'; 16000]))]);
    for sid in 0..200 {
        peer.send(&notify(sid, 1, std::slice::from_ref(&large)));
    }
    assert_eq!(peer.deferred().len(), Config::default().in_flight_max);
    assert!(
        peer.connection.recv_buf().is_empty() && peer.unread() > 130 * large.len(),
        "expected the rest to stay in the socket"
    );
    assert_eq!(peer.take_bytes(), [0; 0]);
    let mut answered = Vec::new();
    while let Some(ids) = peer.deferred().last().copied() {
        peer.answer(ids, ids.0 as u32).unwrap();
        answered.push(ack(ids.0, ids.1, &[ids.0]));
    }
    assert_eq!(peer.take_bytes(), answered.concat());
    assert_eq!(answered.len(), 200);
    check_serves(&mut peer);
}

#[test]
fn n24_a_handler_that_panics_results_in_an_empty_ack() {
    let mut peer = Peer::ready().handling(|notify| match notify.stream_id().0 {
        0 => {
            let half_written = AssertUnwindSafe(|| {
                let mut ack = notify.ack();
                ack.set_var(Scope::Session, "half", "written").expect("name and value are valid");
                resume_unwind(Box::new("a bug in the handler"));
            });
            catch_unwind(half_written).expect_err("the handler panics");
            None
        }
        _ => Some(notify.defer()),
    });
    let input: Vec<u8> = (0..4).flat_map(|sid| notify(sid, 1, &[check_client_ip(V4)])).collect();
    peer.send(&input);
    assert_eq!(peer.take_bytes(), ack(0, 1, &[]));
    // A deferred answer that is dropped half-written.
    let ticket = peer.take_ticket((1, 1));
    let mut half = peer.connection.ack(peer.now(), ticket).unwrap();
    half.set_var(Scope::Session, "half", "written").unwrap();
    peer.answer((3, 1), 33).unwrap();
    peer.answer((2, 1), 22).unwrap();
    let others = [ack(3, 1, &[33]), ack(2, 1, &[22])].concat();
    assert_eq!(peer.take_bytes(), [ack(1, 1, &[]), others].concat(), "expected complete ACKs for the other streams");
}

/// Not a row of the table: strings and names from HAProxy may contain any bytes.
#[test]
fn names_and_values_need_not_be_utf8() {
    let name = [&string(b"\xff\xfe")[..], &hex("01 01 ff 08 02 fffe")].concat();
    let (peer, outcome) = feed(Peer::ready, &of(name.clone()));
    assert_eq!(outcome.bytes(), ack(1, 1, &[]));
    assert_eq!(outcome.events, [Seen::Notify { ids: (1, 1), payload: name }]);
    assert!(!peer.connection.is_closed());
    assert_ne!(outcome.bytes(), agent_disconnect(4));
}
