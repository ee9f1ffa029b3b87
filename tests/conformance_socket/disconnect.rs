//! X01 to X12 on a socket, except for the rows that need a signal.

use spoa_tests::agent::Agent;
use spoa_tests::bytes::{DISCONNECT, Frame, Value, hex, kv};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, agent_disconnect, disconnect, documented_notify, notify};

#[test]
fn x01_and_x02_known_codes_are_echoed_and_no_others() {
    let agent = Agent::spawn(&[]);
    for (code, echo) in [(0, 0), (1, 1), (2, 2), (8, 8), (13, 13), (99, 99), (77, 99), (1000, 99)] {
        Client::ready(agent.addr()).expect_disconnect(&disconnect(code), echo);
    }
}

#[test]
fn x03_a_disconnect_is_answered_immediately_while_notifys_are_in_flight() {
    let agent = Agent::spawn(&["-t", "3600s"]);
    let mut client = Client::ready(agent.addr());
    let five: Vec<u8> = (0..5).flat_map(|sid| notify(sid, 1, &[])).collect();
    client.expect_disconnect(&[five, disconnect(2)].concat(), 2);
}

#[test]
fn x04_and_x05_malformed_disconnects_are_refused() {
    let agent = Agent::spawn(&[]);
    let of = |payload: &[u8]| Frame::new(DISCONNECT, (0, 0), payload);
    let normal = kv(&[("status-code", Value::Uint32(0))]);
    for (input, code) in [
        (of(&hex(r#"0b"status-code"03"#)), 4),
        (of(&[]), 0),
        (of(&normal).flags(0), 10),
        (Frame::new(DISCONNECT, (1, 0), normal.clone()), 4),
    ] {
        Client::ready(agent.addr()).expect_disconnect(&input.encode(), code);
    }
}

/// The agent reads and drops bytes that arrive after its last frame. Unread bytes would make the kernel reset the
/// connection at its close, and HAProxy could lose the DISCONNECT.
#[test]
fn x06_and_x11_bytes_after_the_last_frame_are_read_and_dropped() {
    let agent = Agent::spawn(&["--refuse-delay", "0"]);
    let crossing = documented_notify().repeat(10_000);
    for (input, code) in [(disconnect(0), 0), (hex("7fffffff"), 3), (Hello::mux().encode(), 4)] {
        let mut client = Client::ready(agent.addr());
        client.send(&input);
        assert_eq!(client.bytes(agent_disconnect(code).len()), agent_disconnect(code));
        client.send(&crossing);
        assert_eq!(client.read_to_end().expect("the connection is not reset"), b"");
        // The same in a single send.
        Client::ready(agent.addr()).expect_disconnect(&[input, crossing.clone()].concat(), code);
    }
    let mut client = Client::fresh(agent.addr());
    client.send(&[Hello::health_check().encode(), crossing].concat());
    assert_eq!(client.frame().kind, 101);
    assert_eq!(client.read_to_end().expect("the connection is not reset"), b"");
}

/// At end of file the agent closes the connection without an answer.
#[test]
fn x07_end_of_file_gets_no_answer() {
    let agent = Agent::spawn(&["-t", "3600s"]);
    for sent in [vec![], documented_notify()[..10].to_vec(), documented_notify(), documented_notify().repeat(50)] {
        let mut client = Client::ready(agent.addr());
        client.send(&sent);
        client.finish();
        assert_eq!(client.read_to_end().expect("the connection is not reset"), b"");
    }
    assert_eq!(agent.warnings(), [""; 0], "expected no warnings about peers that close their connection");
}

/// End of file is noticed even if the limit of NOTIFYs in flight is reached, which is one without pipelining.
#[test]
fn x07_end_of_file_is_noticed_at_the_limit_of_notifys_in_flight() {
    let agent = Agent::spawn(&["-t", "3600s"]);
    let no_pipelining = Hello::mux().with("capabilities", Value::text(""));
    for (hello, count) in [(no_pipelining, 1), (Hello::mux(), 64), (Hello::mux(), 70)] {
        let mut client = Client::with_hello(agent.addr(), &hello);
        client.send(&notify(1, 1, &[]).repeat(count));
        client.finish();
        assert_eq!(client.read_to_end().expect("the connection is not reset"), b"", "with {count} NOTIFYs");
    }
}

#[test]
fn x07_end_of_file_is_noticed_before_a_delayed_refusal() {
    let agent = Agent::spawn(&["--refuse-delay", "3600s"]);
    let mut client = Client::fresh(agent.addr());
    client.send(&Hello::mux().without("capabilities").encode());
    client.finish();
    assert_eq!(client.read_to_end().expect("the connection is not reset"), b"");
}

#[test]
fn x08_resets_are_no_reason_to_warn() {
    let agent = Agent::spawn(&["-d"]);
    for n in 1..=20 {
        let mut client = Client::ready(agent.addr());
        client.send(&documented_notify().repeat(n));
        client.reset();
    }
    agent.wait_for_lines("closed by HAProxy", 20);
    assert_eq!(agent.warnings(), [""; 0], "expected no warnings about resets");
    Client::ready(agent.addr()).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
}

#[test]
fn x12_a_slow_reader_gets_complete_frames_in_order() {
    let agent = Agent::spawn(&[]);
    let mut client = Client::ready(agent.addr());
    let count = 200_000;
    let input: Vec<u8> = (0..count).flat_map(|sid| notify(sid, 1, &[])).collect();
    // The client writes and reads alternately. If it wrote everything first, both sides would wait for the other to
    // read.
    let (mut sent, mut got) = (0, 0);
    while got < count {
        let piece = &input[sent..input.len().min(sent + (1 << 20))];
        client.send(piece);
        sent += piece.len();
        let acks = if sent == input.len() { count - got } else { piece.len() as u64 / 20 };
        for sid in got..got + acks {
            let frame = client.frame();
            assert_eq!((frame.kind, frame.sid, frame.fid), (103, sid, 1));
        }
        got += acks;
    }
}

#[test]
fn f_limits_the_notifys_of_a_connection() {
    let agent = Agent::spawn(&["-f", "3"]);
    let mut client = Client::ready(agent.addr());
    client.exchange(&notify(0, 1, &[]), &ack(0, 1, &[]));
    client.send(&[notify(1, 1, &[]), notify(2, 1, &[])].concat());
    let wanted = [ack(1, 1, &[]), ack(2, 1, &[]), agent_disconnect(0)].concat();
    assert_eq!(client.read_to_end().expect("the connection is not reset"), wanted);
    Client::ready(agent.addr()).exchange(&notify(0, 1, &[]), &ack(0, 1, &[]));
}

#[test]
fn an_idle_connection_is_closed_after_the_idle_timeout() {
    let agent = Agent::spawn(&["--idle-timeout", "500ms"]);
    let mut client = Client::ready(agent.addr());
    client.exchange(&notify(0, 1, &[]), &ack(0, 1, &[]));
    client.expect_disconnect(&[], 0);
}
