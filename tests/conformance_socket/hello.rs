//! H01 to H28 on a socket.

use std::time::{Duration, Instant};

use spoa_tests::agent::Agent;
use spoa_tests::bytes::{FIN, Frame, Value, hex};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, agent_disconnect, agent_hello, disconnect, documented_notify};
use spoa_tests::peer::default_agent_hello;

/// Returns an agent that refuses connections without delay.
fn without_refuse_delay() -> Agent {
    Agent::spawn(&["--refuse-delay", "0"])
}

#[test]
fn h01_to_h03_and_h11_to_h18_good_hellos_are_accepted() {
    let agent = Agent::spawn(&[]);
    let mux = Hello::mux;
    for hello in [
        mux(),
        Hello::applet(),
        mux().and("x-bool", Value::Bool(true)).and("x-string", Value::text("value")).reversed(),
        mux().with("healthcheck", Value::Bool(false)),
        mux().with("supported-versions", Value::text("2.0, 1.5")),
        mux().with("supported-versions", Value::text(" 1.0 , 2.0 ")),
        mux().with("supported-versions", Value::text("2.1")),
        mux().with("max-frame-size", Value::Int32(16380)),
        mux().with("max-frame-size", Value::Int64(16380)),
        mux().with("max-frame-size", Value::Uint64(16380)),
        mux().with("capabilities", Value::text(" pipelining , foo")),
        mux().flags(3),
        mux().flags(0x8000_0001),
        mux().and("max-frame-siz", Value::Uint32(1)).and("versionX", Value::Null),
        mux().and("max-frame-size", Value::Uint32(16380)),
    ] {
        Client::fresh(agent.addr()).exchange(&hello.encode(), &default_agent_hello());
    }
}

#[test]
fn h02_a_hello_byte_by_byte_is_answered() {
    let agent = Agent::spawn(&[]);
    let mut client = Client::fresh(agent.addr());
    for byte in Hello::mux().encode() {
        client.send(&[byte]);
    }
    assert_eq!(client.bytes(default_agent_hello().len()), default_agent_hello());
    client.send(&documented_notify());
    assert_eq!(client.frame().sid, 1, "expected the ACK after one AGENT-HELLO");
}

#[test]
fn h04_a_health_check_gets_a_hello_and_end_of_file() {
    let agent = Agent::spawn(&[]);
    for _ in 0..10 {
        let mut client = Client::fresh(agent.addr());
        client.send(&Hello::health_check().encode());
        assert_eq!(client.read_to_end().expect("the connection is not reset"), agent_hello(16380, "fragmentation"));
    }
}

#[test]
fn h06_to_h19_bad_hellos_are_refused() {
    let agent = without_refuse_delay();
    let mux = Hello::mux;
    for (hello, code) in [
        (mux().without("supported-versions"), 5),
        (mux().with("supported-versions", Value::text("1.0")), 8),
        (mux().with("supported-versions", Value::text("")), 8),
        (mux().without("max-frame-size"), 6),
        (mux().with("max-frame-size", Value::Uint32(255)), 9),
        (mux().with("max-frame-size", Value::text("16380")), 4),
        (mux().without("capabilities"), 7),
        (mux().flags(0), 10),
        (mux().ids(1, 0), 4),
        (mux().ids(0, 1), 4),
        (mux().and("max-frame-size", Value::Uint32(1)), 9),
        (mux().with("", Value::Null), 4),
        (mux().with("x", Value::Raw(hex("0c"))), 4),
        (mux().with("x", Value::Raw(hex("08ff"))), 4),
        (mux().with("supported-versions", Value::text("1.0")).flags(0x0100_0000), 8),
    ] {
        Client::fresh(agent.addr()).expect_disconnect(&hello.encode(), code);
    }
}

#[test]
fn a_refusal_is_delayed_unless_it_answers_a_health_check() {
    let agent = Agent::spawn(&["--refuse-delay", "300ms"]);
    let time_to_refuse = |hello: Hello| {
        let start = Instant::now();
        Client::fresh(agent.addr()).expect_disconnect(&hello.without("capabilities").encode(), 7);
        start.elapsed()
    };
    assert!(time_to_refuse(Hello::mux()) >= Duration::from_millis(300));
    let agent = Agent::spawn(&["--refuse-delay", "3600s"]);
    let check = Hello::health_check().without("capabilities");
    Client::fresh(agent.addr()).expect_disconnect(&check.encode(), 7);
}

#[test]
fn h10_the_smaller_frame_size_is_used() {
    let agent = Agent::spawn(&["-m", "8192"]);
    for (offered, negotiated) in [(256, 256), (8191, 8191), (8192, 8192), (16380, 8192), (1 << 32, 8192)] {
        let hello = Hello::mux().with("max-frame-size", Value::Uint32(offered));
        let mut client = Client::fresh(agent.addr());
        client.exchange(&hello.encode(), &agent_hello(negotiated, "pipelining,fragmentation"));
    }
}

#[test]
fn h12_and_h13_capabilities_are_negotiated() {
    for (options, offered, negotiated) in [
        (&[][..], "", "fragmentation"),
        (&[], "pipeliningX", "fragmentation"),
        (&["-c", "none"], "pipelining,async", ""),
        (&["-c", "pipelining"], "pipelining,async", "pipelining"),
        (&["-c", "async", "-c", "pipelining"], "pipelining,async", "pipelining,async"),
        (&["-c", "fragmentation"], "pipelining", "fragmentation"),
    ] {
        let agent = Agent::spawn(options);
        let hello = Hello::mux().with("capabilities", Value::text(offered));
        Client::fresh(agent.addr()).exchange(&hello.encode(), &agent_hello(16380, negotiated));
    }
}

#[test]
fn h20_to_h24_other_first_frames_are_refused() {
    let agent = Agent::spawn(&[]);
    for (input, code) in [
        (documented_notify(), 4),
        (disconnect(2), 2),
        (Frame::new(77, (0, 0), []).encode(), 4),
        (Frame::new(0, (0, 0), []).flags(FIN).encode(), 4),
        (hex("00000000"), 4),
        (hex("00000006"), 4),
        (hex("7fffffff"), 3),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 3),
    ] {
        Client::fresh(agent.addr()).expect_disconnect(&input, code);
    }
}

#[test]
fn h25_end_of_file_before_or_inside_the_hello_gets_no_answer() {
    let agent = Agent::spawn(&[]);
    for cut in [0, 3, 11, 100] {
        let mut client = Client::fresh(agent.addr());
        client.send(&Hello::mux().encode()[..cut]);
        client.finish();
        assert_eq!(client.read_to_end().expect("the connection is not reset"), b"");
    }
    assert_eq!(agent.warnings(), [""; 0], "expected no warnings about peers that close their connection");
}

#[test]
fn h26_no_hello_in_time_is_a_timeout() {
    let agent = Agent::spawn(&["--hello-timeout", "200ms"]);
    for cut in [0, 3, 100] {
        let start = Instant::now();
        Client::fresh(agent.addr()).expect_disconnect(&Hello::mux().encode()[..cut], 2);
        assert!(start.elapsed() >= Duration::from_millis(200));
    }
}

#[test]
fn h27_a_second_hello_is_refused() {
    let agent = Agent::spawn(&[]);
    Client::ready(agent.addr()).expect_disconnect(&Hello::mux().encode(), 4);
}

#[test]
fn h28_a_notify_in_the_same_segment_as_the_hello_is_served() {
    let agent = Agent::spawn(&[]);
    let mut client = Client::fresh(agent.addr());
    client.exchange(&[Hello::mux().encode(), documented_notify()].concat(), &default_agent_hello());
    let frame = client.frame();
    assert_eq!((frame.kind, frame.sid, frame.fid, frame.actions().len()), (103, 1, 1, 1));
    // HELLO, NOTIFY and DISCONNECT in one segment.
    let mut client = Client::fresh(agent.addr());
    client.send(&[Hello::mux().encode(), Frame::new(3, (5, 1), []).encode(), disconnect(0)].concat());
    let wanted = [default_agent_hello(), hex("00000007 67 00000001 05 01"), agent_disconnect(0)].concat();
    assert_eq!(client.read_to_end().expect("the connection is not reset"), wanted);
}
