//! F01 to F08 on a socket.

use spoa_tests::agent::Agent;
use spoa_tests::bytes::{ABORT, FIN, Frame, NOTIFY, UNSET, Value, message};
use spoa_tests::client::Client;
use spoa_tests::frames::{ack, documented_notify, notify};

fn first(payload: &[u8]) -> Vec<u8> {
    Frame::new(NOTIFY, (7, 2), payload).flags(0).encode()
}

fn more(payload: &[u8]) -> Vec<u8> {
    Frame::new(UNSET, (7, 2), payload).flags(0).encode()
}

fn last(payload: &[u8]) -> Vec<u8> {
    Frame::new(UNSET, (7, 2), payload).encode()
}

fn abort() -> Vec<u8> {
    Frame::new(UNSET, (7, 2), []).flags(FIN | ABORT).encode()
}

#[test]
fn f01_to_f03_fragments_get_one_ack_after_the_last() {
    let agent = Agent::spawn(&["--seed", "1"]);
    let mut client = Client::ready(agent.addr());
    let long = message("unknown", &[("text", Value::String(vec![b'x'; 500]))]);
    let payload = [&long[..], &documented_notify()[11..]].concat();
    for cuts in [[100, 300], [0, 0], [1, 520], [payload.len(), payload.len()]] {
        client.send(&first(&payload[..cuts[0]]));
        client.send(&more(&payload[cuts[0]..cuts[1]]));
        client.send(&last(&payload[cuts[1]..]));
        let frame = client.frame();
        assert_eq!((frame.sid, frame.fid, frame.flags, frame.actions().len()), (7, 2, FIN, 1));
    }
}

#[test]
fn f04_f05_and_f08_unexpected_fragments_are_refused() {
    let agent = Agent::spawn(&[]);
    let stray = Frame::new(UNSET, (7, 3), []).encode();
    for input in [
        vec![last(&[])],
        vec![more(&[])],
        vec![abort()],
        vec![first(&[]), stray],
        vec![first(&[]), documented_notify()],
        vec![first(&[]), first(&[])],
    ] {
        Client::ready(agent.addr()).expect_disconnect(&input.concat(), 11);
    }
    Client::ready(agent.addr()).expect_disconnect(&[first(&[1]), last(b"m")].concat(), 4);
    let whole_only = Agent::spawn(&["-c", "pipelining"]);
    Client::ready(whole_only.addr()).expect_disconnect(&last(&[]), 10);
}

#[test]
fn f06_haproxy_may_abort_a_notify() {
    let agent = Agent::spawn(&[]);
    let mut client = Client::ready(agent.addr());
    client.exchange(&[first(&[1]), more(&[2]), abort(), notify(1, 1, &[])].concat(), &ack(1, 1, &[]));
}

#[test]
fn f07_a_notify_above_the_limit_is_aborted_once_and_discarded() {
    let agent = Agent::spawn(&["--reassembly-max", "1000"]);
    let mut client = Client::ready(agent.addr());
    let refusal = Frame::new(103, (7, 2), []).flags(FIN | ABORT).encode();
    let piece = [0; 600];
    let too_large = [first(&piece), more(&piece), more(&piece), last(&piece)].concat();
    client.exchange(&[too_large, notify(1, 1, &[])].concat(), &[refusal, ack(1, 1, &[])].concat());
    let small = message("m", &[("", Value::String(vec![b'x'; 900]))]);
    client.exchange(&[first(&small[..450]), last(&small[450..])].concat(), &ack(7, 2, &[]));
}
