//! X01 to X12 on a socket, but for those that need a signal.

use spoa_tests::agent::Agent;
use spoa_tests::bytes::{DISCONNECT, Frame, Value, hex, kv};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, agent_disconnect, disconnect, documented_notify, notify};

#[test]
fn x01_and_x02_known_codes_are_echoed_and_no_others() {
    let agent = Agent::spawn(&[]);
    for (code, echo) in [(0, 0), (1, 1), (2, 2), (8, 8), (13, 13), (99, 99), (77, 99), (1000, 99)] {
        Client::ready(agent.addr()).is_disconnected(&disconnect(code), echo);
    }
}

#[test]
fn x03_a_disconnect_amid_work_is_answered_at_once() {
    let agent = Agent::spawn(&["-t", "3600s"]);
    let mut client = Client::ready(agent.addr());
    let five: Vec<u8> = (0..5).flat_map(|sid| notify(sid, 1, &[])).collect();
    client.is_disconnected(&[five, disconnect(2)].concat(), 2);
}

#[test]
fn x04_and_x05_bad_disconnects_are_refused() {
    let agent = Agent::spawn(&[]);
    let of = |payload: &[u8]| Frame::new(DISCONNECT, (0, 0), payload);
    let normal = kv(&[("status-code", Value::Uint32(0))]);
    for (input, code) in [
        (of(&hex(r#"0b"status-code"03"#)), 4),
        (of(&[]), 0),
        (of(&normal).flags(0), 10),
        (Frame::new(DISCONNECT, (1, 0), normal.clone()), 4),
    ] {
        Client::ready(agent.addr()).is_disconnected(&input.encode(), code);
    }
}

/// What crosses our last frame is read and dropped: unread bytes would make the kernel reset the connection, and the
/// reset could overtake the DISCONNECT.
#[test]
fn x06_and_x11_what_follows_the_last_frame_is_read_and_dropped() {
    let agent = Agent::spawn(&["--refuse-delay", "0"]);
    let crossing = documented_notify().repeat(10_000);
    for (input, code) in [(disconnect(0), 0), (hex("7fffffff"), 3), (Hello::mux().encode(), 4)] {
        let mut client = Client::ready(agent.addr());
        client.send(&input);
        assert_eq!(client.bytes(agent_disconnect(code).len()), agent_disconnect(code));
        client.send(&crossing);
        assert_eq!(client.rest().expect("no reset"), []);
        // All in one go.
        Client::ready(agent.addr()).is_disconnected(&[input, crossing.clone()].concat(), code);
    }
    let mut client = Client::fresh(agent.addr());
    client.send(&[Hello::health_check().encode(), crossing].concat());
    assert_eq!(client.frame().kind, 101);
    assert_eq!(client.rest().expect("no reset"), []);
}

/// When HAProxy closes, the agent does so too, and at once rather than after its second.
#[test]
fn x07_the_end_of_the_socket_is_silent() {
    let agent = Agent::spawn(&["-t", "3600s"]);
    for sent in [vec![], documented_notify()[..10].to_vec(), documented_notify(), documented_notify().repeat(50)] {
        let mut client = Client::ready(agent.addr());
        client.send(&sent);
        client.finish();
        assert_eq!(client.rest().expect("no reset"), []);
    }
    assert_eq!(agent.warnings(), [""; 0], "this is routine");
}

/// As many NOTIFYs in work as may be, one without pipelining: nothing more is taken up, but the end is still noticed.
#[test]
fn x07_the_end_is_noticed_while_all_places_are_taken() {
    let agent = Agent::spawn(&["-t", "3600s"]);
    let no_pipelining = Hello::mux().with("capabilities", Value::text(""));
    for (hello, count) in [(no_pipelining, 1), (Hello::mux(), 64), (Hello::mux(), 70)] {
        let mut client = Client::greeted(agent.addr(), &hello);
        client.send(&notify(1, 1, &[]).repeat(count));
        client.finish();
        assert_eq!(client.rest().expect("no reset"), [], "{count} in work");
    }
}

#[test]
fn x07_the_end_is_noticed_while_a_refusal_waits() {
    let agent = Agent::spawn(&["--refuse-delay", "3600s"]);
    let mut client = Client::fresh(agent.addr());
    client.send(&Hello::mux().without("capabilities").encode());
    client.finish();
    assert_eq!(client.rest().expect("no reset"), []);
}

#[test]
fn x08_resets_are_normal() {
    let agent = Agent::spawn(&["-d"]);
    for n in 1..=20 {
        let mut client = Client::ready(agent.addr());
        client.send(&documented_notify().repeat(n));
        client.reset();
    }
    agent.wait_for_lines("closed by HAProxy", 20);
    assert_eq!(agent.warnings(), [""; 0], "this is routine");
    Client::ready(agent.addr()).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
}

#[test]
fn x12_a_slow_reader_gets_whole_frames_in_order() {
    let agent = Agent::spawn(&[]);
    let mut client = Client::ready(agent.addr());
    let count = 200_000;
    let input: Vec<u8> = (0..count).flat_map(|sid| notify(sid, 1, &[])).collect();
    // It cannot read before it has written, and is held up: so it writes and reads by turns.
    let (mut sent, mut got) = (0, 0);
    while got < count {
        let piece = &input[sent..input.len().min(sent + (1 << 20))];
        client.send(piece);
        sent += piece.len();
        let whole = if sent == input.len() { count - got } else { piece.len() as u64 / 20 };
        for sid in got..got + whole {
            let frame = client.frame();
            assert_eq!((frame.kind, frame.sid, frame.fid), (103, sid, 1));
        }
        got += whole;
    }
}

#[test]
fn f_ends_a_connection_after_so_many_notifies() {
    let agent = Agent::spawn(&["-f", "3"]);
    let mut client = Client::ready(agent.addr());
    client.exchange(&notify(0, 1, &[]), &ack(0, 1, &[]));
    client.send(&[notify(1, 1, &[]), notify(2, 1, &[])].concat());
    let said = [ack(1, 1, &[]), ack(2, 1, &[]), agent_disconnect(0)].concat();
    assert_eq!(client.rest().expect("no reset"), said);
    Client::ready(agent.addr()).exchange(&notify(0, 1, &[]), &ack(0, 1, &[]));
}

#[test]
fn an_idle_connection_ends_if_it_may_not_be_idle() {
    let agent = Agent::spawn(&["--idle-timeout", "500ms"]);
    let mut client = Client::ready(agent.addr());
    client.exchange(&notify(0, 1, &[]), &ack(0, 1, &[]));
    client.is_disconnected(&[], 0);
}
