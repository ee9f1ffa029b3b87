use crate::codec::{Arg, Messages};
use crate::testing::*;
use crate::{Defects, MILLISECOND, SECOND, Settings};

fn applet() -> Settings {
    Settings { processing_timeout: 5 * SECOND, ..Settings::applet() }
}

/// Returns a harness with one connection, on which HELLO is sent and a NOTIFY waits for AGENT-HELLO.
fn hello_sent(settings: Settings) -> Harness {
    let mut harness = Harness::new(settings);
    let acts = harness.event();
    assert!(matches!(&acts[..], [Act::Connect(0), Act::Send(0, hello)] if hello.len() == 133), "{acts:?}");
    harness
}

/// Returns a harness with one connection after its handshake, and one NOTIFY in flight: stream 100, frame 1.
fn running(settings: Settings) -> Harness {
    let mut harness = hello_sent(settings);
    assert_eq!(harness.bytes(0, &hello()), [Act::Send(0, notify(100, 1))]);
    harness
}

/// Returns a harness with two NOTIFYs in flight on link 0. Link 1 is open as well, but unused.
fn two_in_flight() -> Harness {
    let mut harness = running(applet());
    let acts = harness.event();
    assert_eq!(acts.last(), Some(&Act::Send(0, notify(101, 1))), "{acts:?}");
    harness
}

#[test]
fn a_complete_conversation() {
    let mut harness = running(applet());
    assert_eq!(harness.bytes(0, &ack(100, 1, SCORE)), [Act::Done(0, 0, 1)]);
    assert_eq!(harness.process.poll_timeout(), Some(30 * SECOND));
    assert_eq!(harness.timeout(), [Act::Send(0, haproxy_disconnect(2))], "timeout idle");
    assert_eq!(harness.bytes(0, &discon(2)), [Act::Reset(0)]);
    assert_eq!(harness.process.poll_timeout(), None);
}

#[test]
fn frame_ids_count_the_answered_events_of_a_stream() {
    use crate::EventId;
    let mut harness = running(applet());
    harness.bytes(0, &ack(100, 1, SCORE));
    harness.process.event(harness.now, EventId(50), 0, 100, &score_messages());
    assert!(harness.acts().contains(&Act::Send(0, notify(100, 2))));
    harness.advance(5 * SECOND);
    harness.process.event(harness.now, EventId(51), 0, 100, &score_messages());
    assert!(
        harness.acts().contains(&Act::Send(0, notify(100, 2))),
        "the event that timed out leaves its frame-id to the next"
    );
}

#[test]
fn bad_hellos_get_a_disconnect_and_another_connection() {
    let good = [VERSION, SIZE, CAPS].concat();
    for (frame, code) in [
        (hello_of(&[b"\x07version\x08\x032.1", SIZE, CAPS]), 8),
        (hello_of(&[b"\x07version\x08\x031.0", SIZE, CAPS]), 8),
        (hello_of(&[b"\x07version\x08\x012", SIZE, CAPS]), 8),
        (hello_of(&[b"\x07version\x08\x082.0, 1.0", SIZE, CAPS]), 8),
        (hello_of(&[b"\x07version\x03\x02", SIZE, CAPS]), 4),
        (hello_of(&[VERSION, SIZE, CAPS, b"\x00\x00"]), 4),
        (hello_of(&[VERSION, SIZE, CAPS, b"\x01"]), 4),
        (hello_of(&[SIZE, CAPS]), 5),
        (hello_of(&[VERSION, CAPS]), 6),
        (hello_of(&[VERSION, b"\x0emax-frame-size\x03\xff\x00", CAPS]), 9),
        (hello_of(&[VERSION, b"\x0emax-frame-size\x03\xfd\xf0\x06", CAPS]), 9),
        (agent_frame(101, 0, &[0, 0], &good), 10),
        (agent_frame(101, 1, &[1, 0], &good), 4),
        (agent_frame(101, 1, &[0, 1], &good), 4),
        (agent_frame(103, 1, &[0, 0], &good), 4),
        (agent_frame(104, 1, &[0, 0], &good), 4),
    ] {
        let mut harness = hello_sent(applet());
        assert_eq!(harness.bytes(0, &frame), [Act::Send(0, haproxy_disconnect(code))], "{frame:x?}");
        assert_eq!(harness.bytes(0, &discon(code as u8)), [Act::Reset(0)]);
        assert!(matches!(&harness.timeout()[..], [Act::Connect(1), Act::Send(..)]), "expected another connection");
        assert!(harness.now < MILLISECOND);
    }
    // A bad length stays in the buffer and ends the wait for AGENT-DISCONNECT too.
    for (len, code) in [(0u32, 4), (6, 4), (16381, 3), (u32::MAX, 3)] {
        let acts = hello_sent(applet()).bytes(0, &len.to_be_bytes());
        assert_eq!(acts, [Act::Send(0, haproxy_disconnect(code)), Act::Reset(0)], "{len}");
    }
}

#[test]
fn unusual_hellos_are_accepted() {
    let good = [VERSION, SIZE, CAPS].concat();
    for frame in [
        agent_frame(101, 0xffff_ffff, &[0, 0], &good),
        hello_of(&[VERSION, SIZE]),
        hello_of(&[b"\x01x\x08\x01y", CAPS, SIZE, b"\x08versionX\x08\x032.0"]),
    ] {
        assert_eq!(hello_sent(applet()).bytes(0, &frame), [Act::Send(0, notify(100, 1))], "{frame:x?}");
    }
    let frame = hello();
    for cut in 1..frame.len() {
        let mut harness = hello_sent(applet());
        assert_eq!(harness.bytes(0, &frame[..cut]), []);
        assert_eq!(harness.bytes(0, &frame[cut..]), [Act::Send(0, notify(100, 1))], "{cut}");
    }
}

#[test]
fn a_refused_connection_is_replaced_2000_times_per_second() {
    for end in 0..3 {
        let mut harness = hello_sent(applet());
        let mut connects = 0;
        while harness.now < SECOND {
            let link = connects;
            match end {
                0 => assert_eq!(harness.eof(link), [Act::Send(link, haproxy_disconnect(1)), Act::Fin(link)]),
                1 => assert_eq!(harness.reset(link), []),
                _ => assert_eq!(harness.bytes(link, &discon(8)), [Act::Reset(link)]),
            }
            assert!(matches!(&harness.timeout()[..], [Act::Connect(_), Act::Send(..)]));
            connects += 1;
        }
        assert!(connects >= 2000, "expected at least 2000 connections per second, got {connects}");
    }
}

#[test]
fn a_normal_disconnect_in_place_of_hello_ends_with_fin() {
    let mut harness = hello_sent(applet());
    assert_eq!(harness.bytes(0, &discon(0)), [Act::Fin(0)], "3.0 waits for FIN");
    assert_eq!(harness.timeout(), [Act::Done(0, 1, 0)]);
    let defects = Defects { normal_exit_releases: true, ..Defects::default() };
    let mut harness = hello_sent(Settings { defects, ..applet() });
    assert_eq!(harness.bytes(0, &discon(0)), [Act::Fin(0)]);
    assert!(matches!(&harness.timeout()[..], [Act::Connect(1), Act::Send(..)]), "2.6 does not wait");
}

#[test]
fn a_missing_hello_ends_with_a_reset() {
    let mut harness = hello_sent(applet());
    assert_eq!(harness.timeout(), [Act::Reset(0)]);
    assert_eq!(harness.now, 500 * MILLISECOND);
    assert!(matches!(&harness.timeout()[..], [Act::Connect(1), Act::Send(..)]));
}

#[test]
fn bad_acks_get_a_disconnect() {
    for (len, code) in [(0u32, 4), (6, 4), (16381, 3)] {
        let acts = two_in_flight().bytes(0, &len.to_be_bytes());
        let status = 256 + code;
        let done = [Act::Reset(0), Act::Done(0, status, 0), Act::Done(1, status, 0)];
        assert_eq!(acts[0], Act::Send(0, haproxy_disconnect(code)));
        assert_eq!(acts[1..], done, "{len}");
    }
    let mut harness = two_in_flight();
    assert_eq!(harness.bytes(0, &agent_frame(103, 0, &[100, 1], SCORE)), [Act::Send(0, haproxy_disconnect(10))]);
    // The events fail with the agent's own code.
    assert_eq!(harness.bytes(0, &discon(99)), [Act::Reset(0), Act::Done(0, 355, 0), Act::Done(1, 355, 0)]);
}

#[test]
fn late_and_wrong_acks_are_ignored() {
    for ignored in [
        ack(0, 1, SCORE),
        ack(100, 0, SCORE),
        ack(200, 1, SCORE),
        ack(100, 2, SCORE),
        agent_frame(77, 1, &[100, 1], SCORE),
        hello(),
    ] {
        let mut harness = two_in_flight();
        assert_eq!(harness.bytes(0, &ignored), [], "{ignored:x?}");
        let twice = [ack(100, 1, SCORE), ack(100, 1, SCORE)].concat();
        assert_eq!(harness.bytes(0, &twice), [Act::Done(0, 0, 1)], "the second of two is ignored");
    }
    let mut harness = two_in_flight();
    assert_eq!(harness.bytes(0, &agent_frame(103, 0xffff_ffff, &[100, 1], SCORE)), [Act::Done(0, 0, 1)]);
    assert_eq!(harness.bytes(0, &ack(101, 1, b"")), [Act::Done(1, 0, 0)]);
}

#[test]
fn stream_0_is_valid() {
    use crate::EventId;
    let mut harness = Harness::new(applet());
    harness.process.event(0, EventId(7), 0, 0, &score_messages());
    harness.acts();
    assert_eq!(harness.bytes(0, &hello()), [Act::Send(0, notify(0, 1))]);
    assert_eq!(harness.bytes(0, &ack(0, 1, SCORE)), [Act::Done(7, 0, 1)]);
}

#[test]
fn without_pipelining_an_unknown_ack_gets_a_disconnect() {
    let mut harness = hello_sent(Settings { asynchronous: false, ..applet() }.with_hello_len());
    harness.bytes(0, &hello_of(&[VERSION, SIZE]));
    assert_eq!(harness.bytes(0, &ack(99, 1, b"")), [Act::Send(0, haproxy_disconnect(12))]);
    // After the timeout of the event, a late ACK only makes the connection usable again.
    let mut harness = hello_sent(Settings { asynchronous: false, ..applet() }.with_hello_len());
    harness.bytes(0, &hello_of(&[VERSION, SIZE]));
    assert_eq!(harness.advance(5 * SECOND), [Act::Done(0, 1, 0)]);
    assert_eq!(harness.bytes(0, &ack(100, 1, b"")), []);
    assert!(harness.event().contains(&Act::Send(0, notify(101, 1))));
}

impl Settings {
    /// Keeps HELLO at the length that `hello_sent` expects.
    fn with_hello_len(self) -> Self {
        Self { asynchronous: true, ..self }
    }
}

#[test]
fn the_status_of_events_depends_on_the_end_of_the_connection() {
    let both = |status| vec![Act::Done(0, status, 0), Act::Done(1, status, 0)];
    let with = |first, status| [vec![first], both(status)].concat();
    for (code, status) in [(1u8, 257), (8, 264), (99, 355)] {
        assert_eq!(two_in_flight().bytes(0, &discon(code)), with(Act::Reset(0), status), "{code}");
    }
    // Measured with 2.6.12 and 3.0.11: an agent that has sent FIN gets an I/O error.
    let io_error = vec![Act::Send(0, haproxy_disconnect(1)), Act::Fin(0)];
    assert_eq!(two_in_flight().eof(0), [io_error, both(257)].concat());
    assert_eq!(two_in_flight().reset(0), both(257));
    // After code 0 the connection is closed with FIN, and the events wait for the agent's FIN without a limit.
    let mut harness = two_in_flight();
    assert_eq!(harness.bytes(0, &discon(0)), [Act::Fin(0)]);
    assert_eq!(harness.eof(0), both(256));
    let mut harness = two_in_flight();
    assert_eq!(harness.bytes(0, &discon(0)), [Act::Fin(0)]);
    let acts = harness.advance(5 * SECOND);
    assert!(acts.contains(&Act::Done(0, 1, 0)) && acts.contains(&Act::Done(1, 1, 0)), "{acts:?}");
    let last = [ack(100, 1, SCORE), discon(0)].concat();
    assert_eq!(
        two_in_flight().bytes(0, &last),
        [Act::Done(0, 0, 1), Act::Fin(0)],
        "an ACK before DISCONNECT is handled"
    );
    let last = [discon(0), ack(100, 1, SCORE)].concat();
    assert_eq!(two_in_flight().bytes(0, &last), [Act::Fin(0)], "an ACK after DISCONNECT is not");
}

#[test]
fn a_disconnect_with_a_long_text_is_ignored() {
    let mut text = b"\x0bstatus-code\x03\x08\x07message\x08\xf0\x01".to_vec();
    text.extend_from_slice(&[b'x'; 256]);
    let mut harness = two_in_flight();
    assert_eq!(harness.bytes(0, &agent_frame(102, 1, &[0, 0], &text)), []);
    assert!(harness.advance(30 * SECOND).contains(&Act::Reset(0)), "timeout idle");
}

fn long_messages(len: usize) -> Messages {
    let mut messages = Messages::new();
    messages.message(b"long", 1).arg(b"body", Arg::Bin(&vec![b'x'; len]));
    messages
}

/// Returns a harness with one idle connection, whose agent accepts frames of 256 bytes and fragments.
fn with_small_frames() -> Harness {
    let mut harness = hello_sent(Settings { idle_timeout: 300 * SECOND, ..applet() });
    harness.bytes(
        0,
        &hello_of(&[VERSION, b"\x0emax-frame-size\x03\xf0\x01", b"\x0ccapabilities\x08\x18pipelining,fragmentation"]),
    );
    assert_eq!(harness.bytes(0, &ack(100, 1, b"")), [Act::Done(0, 0, 0)]);
    harness
}

/// Returns the frames that were sent on a link.
fn frames_on(link: u32, acts: &[Act]) -> Vec<Vec<u8>> {
    acts.iter()
        .filter_map(|acts| if let Act::Send(at, bytes) = acts { (*at == link).then(|| bytes.clone()) } else { None })
        .collect()
}

#[test]
fn a_long_notify_is_sent_in_fragments() {
    let mut harness = with_small_frames();
    let messages = long_messages(500);
    let mut sent = frames_on(0, &harness.event_of(&messages));
    for _ in 0..2 {
        sent.extend(frames_on(0, &harness.timeout()));
    }
    let heads: Vec<_> = sent.iter().map(|frame| (frame.len(), frame[4], frame[8], frame[9], frame[10])).collect();
    assert_eq!(heads[..2], [(235, 3, 0, 101, 1), (235, 0, 0, 101, 1)], "224 bytes each, length 231");
    assert_eq!((heads[2].1, heads[2].2), (0, 1));
    let all: Vec<u8> = sent.iter().flat_map(|frame| frame[11..].to_vec()).collect();
    assert_eq!(all, messages.bytes());
    assert_eq!(harness.bytes(0, &ack(101, 1, SCORE)), [Act::Done(1, 0, 1)]);
}

#[test]
fn haproxy_aborts_fragments_when_the_event_times_out() {
    let mut harness = with_small_frames();
    harness.process = crate::Process::new(Settings { fragment_gap: 3 * SECOND, ..applet() }, 0);
    harness.process.event(0, crate::EventId(0), 0, 100, &score_messages());
    harness.acts();
    harness.bytes(
        0,
        &hello_of(&[VERSION, b"\x0emax-frame-size\x03\xf0\x01", b"\x0ccapabilities\x08\x18pipelining,fragmentation"]),
    );
    harness.bytes(0, &ack(100, 1, b""));
    harness.event_of(&long_messages(5000));
    let acts = harness.advance(5 * SECOND);
    assert!(acts.contains(&Act::Done(1, 1, 0)), "{acts:?}");
    assert!(
        acts.contains(&Act::Send(0, agent_frame(0, 3, &[101, 1], b""))),
        "expected UNSET with FIN and ABORT, without a payload"
    );
}

#[test]
fn the_agent_can_abort_fragments() {
    let mut harness = with_small_frames();
    harness.event_of(&long_messages(5000));
    assert_eq!(harness.bytes(0, &agent_frame(103, 3, &[101, 1], b"")), [Act::Done(1, 4, 0)]);
    // The count of NOTIFYs in flight has wrapped, so link 0 is never used again.
    assert!(frames_on(0, &harness.event()).is_empty());
    assert!(frames_on(0, &harness.advance(5 * SECOND)).is_empty());
    // After the last fragment, the same frame is an ordinary empty ACK.
    let mut harness = with_small_frames();
    harness.event_of(&long_messages(300));
    harness.timeout();
    assert_eq!(harness.bytes(0, &agent_frame(103, 3, &[101, 1], b"")), [Act::Done(1, 0, 0)]);
}

#[test]
fn events_that_are_too_large_fail() {
    let small_agent_hello = |caps: &[u8]| hello_of(&[VERSION, b"\x0emax-frame-size\x03\xf0\x01", caps]);
    // Before AGENT-HELLO the event is encoded for HAProxy's own size, and the connection refuses it.
    let mut harness = Harness::new(applet());
    harness.event_of(&long_messages(300));
    assert_eq!(harness.bytes(0, &small_agent_hello(CAPS)), [Act::Done(0, 259, 0)]);
    // After AGENT-HELLO the event is encoded for the agent's size, but the agent accepts no fragments.
    let mut harness = hello_sent(applet());
    harness.bytes(0, &small_agent_hello(CAPS));
    harness.bytes(0, &ack(100, 1, b""));
    let acts = harness.event_of(&long_messages(300));
    assert!(acts.contains(&Act::Send(0, haproxy_disconnect(10))), "{acts:?}");
    // With fragmentation switched off.
    let mut harness = Harness::new(Settings { fragmentation: false, max_frame_size: 256, ..applet() });
    assert_eq!(harness.event_of(&long_messages(300)), [Act::Done(0, 3, 0)]);
}

#[test]
fn a_burst_without_connections_opens_one_per_event() {
    let mut harness = Harness::new(applet());
    let mut connects = 0;
    for _ in 0..45 {
        connects += harness.event().iter().filter(|acts| matches!(acts, Act::Connect(_))).count();
    }
    assert_eq!(connects, 45);
    // The first connections that get AGENT-HELLO send all NOTIFYs, up to 20 each.
    let sent = |acts: Vec<Act>| notify_count(&acts);
    assert_eq!((0..4).map(|link| sent(harness.bytes(link, &hello()))).collect::<Vec<_>>(), [20, 20, 5, 0]);
}

/// Returns the number of NOTIFYs that were sent.
fn notify_count(acts: &[Act]) -> usize {
    acts.iter().map(|acts| if let Act::Send(_, bytes) = acts { bytes.len() / notify(100, 1).len() } else { 0 }).sum()
}

#[test]
fn with_async_an_ack_may_arrive_on_any_connection_of_the_thread() {
    let caps = b"\x0ccapabilities\x08\x10pipelining,async";
    let frame = hello_of(&[VERSION, SIZE, caps]);
    let mut harness = hello_sent(applet());
    harness.bytes(0, &frame);
    harness.event();
    harness.bytes(1, &frame);
    assert_eq!(harness.bytes(1, &ack(100, 1, SCORE)), [Act::Done(0, 0, 1)]);
    let io_error = [Act::Send(0, haproxy_disconnect(1)), Act::Fin(0)];
    assert_eq!(harness.eof(0), io_error, "the event waits on the thread");
    assert_eq!(harness.bytes(1, &ack(101, 1, SCORE)), [Act::Done(1, 0, 1)]);
    // Without async, an ACK counts only on the connection of its NOTIFY.
    let mut harness = two_in_flight();
    harness.bytes(1, &hello());
    assert_eq!(harness.bytes(1, &ack(100, 1, SCORE)), []);
}

#[test]
fn a_soft_stop_disconnects_after_the_last_ack() {
    let mut harness = two_in_flight();
    harness.process.soft_stop(harness.now);
    assert_eq!(harness.acts(), []);
    assert_eq!(harness.bytes(0, &ack(100, 1, SCORE)), [Act::Done(0, 0, 1)]);
    let acts = harness.bytes(0, &ack(101, 1, SCORE));
    assert_eq!(acts, [Act::Done(1, 0, 1), Act::Send(0, haproxy_disconnect(0))]);
    assert_eq!(harness.bytes(0, &discon(0)), [Act::Fin(0)], "the agent answered with 0, so HAProxy sends FIN");
    assert_eq!(harness.eof(0), []);
}

#[test]
fn with_several_threads_a_server_at_maxconn_disconnects_after_the_ack() {
    let mut harness = hello_sent(Settings { maxconn: 1, ..applet() });
    let acts = harness.bytes(0, &hello());
    assert_eq!(acts, [Act::Send(0, notify(100, 1))]);
    let acts = harness.bytes(0, &ack(100, 1, SCORE));
    assert_eq!(acts, [Act::Done(0, 0, 1), Act::Send(0, haproxy_disconnect(0))], "#1340");
}

#[test]
fn a_refused_connection_is_redispatched_at_once_and_given_up_after_some_retries() {
    let mut haproxy = Harness::new(Settings { servers: 2, redispatch: true, ..Settings::applet() });
    haproxy.event();
    for link in 0..3 {
        let (acts, next) = (haproxy.refuse(link), link + 1);
        assert!(matches!(acts[..], [Act::Connect(to), Act::Send(..)] if to == next), "{acts:?}");
    }
    // The thread opens another connection after that.
    assert_eq!(haproxy.refuse(3), []);
    assert!(matches!(haproxy.timeout()[..], [Act::Connect(4), Act::Send(4, _)]));
}
