//! N01 to N23 on a socket.

use std::collections::BTreeSet;

use spoa_tests::agent::Agent;
use spoa_tests::bytes::{ACK, Action, FIN, Frame, NOTIFY, UNSET, Value, hex, message};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, check_client_ip, documented_notify, get_ip_reputation, notify};

const V4: Value = Value::Ipv4([192, 0, 2, 1]);

/// Sends a NOTIFY with `messages`, and returns the values of `sess.ip_score` that its ACK sets, in order.
fn scores(client: &mut Client, messages: &[Vec<u8>]) -> Vec<u64> {
    client.send(&notify(1, 1, messages));
    let frame = client.frame();
    assert_eq!((frame.kind, frame.flags, frame.sid, frame.fid), (ACK, FIN, 1, 1));
    let score = |action| match action {
        Action::SetVar { scope: 1, name, value: Value::Uint32(score @ 0..=100) } if name == "ip_score" => score,
        other => panic!("expected a score, got {other:?}"),
    };
    frame.actions().into_iter().map(score).collect()
}

#[test]
fn n01_to_n06_addresses_are_scored() {
    let agent = Agent::spawn(&["--seed", "7"]);
    let mut client = Client::ready(agent.addr());
    let v6 = Value::Ipv6([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let mapped = Value::Ipv6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
    client.exchange(&documented_notify(), &hex(r#"00000015 67 00000001 01 01 01 03 01 08"ip_score" 03"#));
    let score = u64::from(client.bytes(1)[0]);
    for same in [
        check_client_ip(V4),
        get_ip_reputation(V4),
        get_ip_reputation(mapped.clone()),
        check_client_ip(mapped),
        check_client_ip(Value::text("192.0.2.1")),
        message("check-client-ip", &[("client", V4)]),
        message("get-ip-reputation", &[("", Value::Null), ("ip", V4)]),
    ] {
        assert_eq!(scores(&mut client, &[same]), [score]);
    }
    let other = scores(&mut client, &[get_ip_reputation(v6.clone())]);
    assert_eq!(other.len(), 1);
    let both = [check_client_ip(V4), message("unknown", &[("", V4)]), get_ip_reputation(v6)];
    assert_eq!(scores(&mut client, &both), [score, other[0]], "expected the scores in the order of the messages");
}

#[test]
fn n04_to_n10_notifys_without_an_address_get_empty_acks() {
    let agent = Agent::spawn(&[]);
    let mut client = Client::ready(agent.addr());
    let empty = hex("00000007 67 00000001 01 01");
    for value in [Value::Null, Value::Bool(true), Value::text("host"), Value::Int64(7), Value::Binary(vec![1, 2, 3, 4])]
    {
        client.exchange(&notify(1, 1, &[check_client_ip(value.clone())]), &empty);
        client.exchange(&notify(1, 1, &[get_ip_reputation(value)]), &empty);
    }
    client.exchange(&notify(1, 1, &[]), &empty);
    client.exchange(&notify(1, 1, &[message("unknown", &[])]), &empty);
    client.exchange(&notify(1, 1, &[message("unknown", &[("a", V4), ("b", V4), ("c", V4)])]), &empty);
    client.exchange(&notify(1, 1, &[message("check-client-ip", &[])]), &empty);
    let texts = [("a", Value::text("192.0.2.1")), ("b", Value::text("192.0.2.1"))];
    client.exchange(&notify(1, 1, &[message("check-client-ip", &texts)]), &empty);
    let many = vec![("n", Value::Int64(-1)); 200];
    assert_eq!(scores(&mut client, &[message("unknown", &many), check_client_ip(V4)]).len(), 1);
    client.exchange(&notify(0, 1, &[]), &hex("00000007 67 00000001 00 01"));
    let largest = hex("0000000d 03 00000001 fff0fefe7e f08000");
    client.exchange(&largest, &hex("0000000d 67 00000001 fff0fefe7e f08000"));
}

#[test]
fn n11_n13_and_n14_each_notify_is_answered_once() {
    let agent = Agent::spawn(&[]);
    let mut client = Client::ready(agent.addr());
    let ids: BTreeSet<_> = (0..25).map(|n| (2 * n + 1, 1)).collect();
    client.send(&ids.iter().flat_map(|ids| notify(ids.0, ids.1, &[check_client_ip(V4)])).collect::<Vec<_>>());
    let acked: BTreeSet<_> = (0..25).map(|_| client.frame()).map(|frame| (frame.sid, frame.fid)).collect();
    assert_eq!(acked, ids);
    client.exchange(&notify(9, 9, &[]).repeat(2), &ack(9, 9, &[]).repeat(2));
    for flags in [3, 0x8000_0001] {
        client.exchange(&Frame::new(NOTIFY, (9, 9), []).flags(flags).encode(), &ack(9, 9, &[]));
    }
}

/// Answers are delayed, so that later NOTIFYs arrive while the first one is in flight.
#[test]
fn n12_without_pipelining_acks_are_sent_in_order() {
    let agent = Agent::spawn(&["-t", "20ms"]);
    let mut client = Client::with_hello(agent.addr(), &Hello::mux().with("capabilities", Value::text("")));
    let input: Vec<u8> = (0..5).flat_map(|sid| notify(sid, 1, &[])).collect();
    client.exchange(&input, &(0..5).flat_map(|sid| ack(sid, 1, &[])).collect::<Vec<_>>());
}

#[test]
fn n15_to_n20_malformed_notifys_are_refused() {
    let agent = Agent::spawn(&[]);
    let of = |payload: &str| Frame::new(NOTIFY, (1, 1), hex(payload)).encode();
    for (input, code) in [
        (hex("00003ffd"), 3),
        (of(r#"05"abcd""#), 4),
        (of(r#"04"abcd""#), 4),
        (of(r#"01"m"02 00 06c0000201"#), 4),
        (of(r#"01"m"01 00 06c00002"#), 4),
        (of(r#"01"m"01 00 04f080808080808080808000"#), 4),
        (of(r#"01"m"01 00 04fff0fefefefefefefe0f"#), 4),
        (of(r#"01"m"01 00 0a"#), 4),
        (of(r#"01"m"01 00 1f"#), 4),
        (Frame::new(101, (0, 0), []).encode(), 4),
        (Frame::new(102, (0, 0), []).encode(), 4),
        (Frame::new(103, (1, 1), []).encode(), 4),
    ] {
        Client::ready(agent.addr()).expect_disconnect(&input, code);
    }
    let unknown = Frame::new(77, (5, 6), *b"anything").encode();
    Client::ready(agent.addr()).exchange(&[unknown, notify(1, 1, &[])].concat(), &ack(1, 1, &[]));
    let whole_only = Agent::spawn(&["-c", "pipelining"]);
    let fragment = Frame::new(NOTIFY, (1, 1), check_client_ip(V4)).flags(0);
    Client::ready(whole_only.addr()).expect_disconnect(&fragment.encode(), 10);
}

#[test]
fn n16_a_frame_of_the_negotiated_size_is_accepted() {
    let agent = Agent::spawn(&[]);
    let hello = Hello::mux().with("max-frame-size", Value::Uint32(256));
    // 14 bytes besides the text: 7 of the header, 2 of the message's name, 1 each of the number of arguments, the
    // argument's name and the type, and 2 of the string's length.
    let of = |len: usize| notify(1, 1, &[message("m", &[("", Value::String(vec![b'x'; len - 14]))])]);
    assert_eq!(of(256).len(), 4 + 256);
    Client::with_hello(agent.addr(), &hello).exchange(&of(256), &ack(1, 1, &[]));
    Client::with_hello(agent.addr(), &hello).expect_disconnect(&of(257), 3);
}

#[test]
fn n22_an_ack_is_truncated_to_the_negotiated_size() {
    let agent = Agent::spawn(&[]);
    let mut client = Client::with_hello(agent.addr(), &Hello::mux().with("max-frame-size", Value::Uint32(256)));
    // 40 scores of 14 bytes each do not fit in an ACK. The NOTIFY does not fit in a frame either, so it is fragmented.
    let payload = check_client_ip(V4).repeat(40);
    let mut pieces = payload.chunks(200);
    client.send(&Frame::new(NOTIFY, (1, 1), pieces.next().expect("the payload is not empty")).flags(0).encode());
    for piece in pieces {
        client.send(&Frame::new(UNSET, (1, 1), piece).flags(0).encode());
    }
    client.send(&Frame::new(UNSET, (1, 1), []).encode());
    let frame = client.frame();
    assert!(frame.encode().len() <= 4 + 256);
    assert_eq!(frame.actions().len(), (256 - 7) / 14, "expected as many actions as fit");
}

/// More NOTIFYs arrive than may be in flight, and each answer is delayed.
#[test]
fn n23_no_notify_is_lost_while_handlers_are_blocked() {
    let agent = Agent::spawn(&["-t", "100ms", "--in-flight-max", "64"]);
    let mut client = Client::ready(agent.addr());
    client.send(&(0..200).flat_map(|sid| notify(sid, 1, &[check_client_ip(V4)])).collect::<Vec<_>>());
    let acked: BTreeSet<_> = (0..200).map(|_| client.frame()).map(|frame| (frame.kind, frame.sid)).collect();
    assert_eq!(acked, (0..200).map(|sid| (ACK, sid)).collect());
}
