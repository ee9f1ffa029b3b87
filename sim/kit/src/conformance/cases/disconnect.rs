//! The end of a connection (SPOE.txt 3.2.8 and 3.2.9), and connections that end without one.

use std::thread;
use std::time::Duration;

use crate::bytes::{ACK, DISCONNECT, Frame, Value, kv};
use crate::conformance::case::Case;
use crate::conformance::case::Level::{Haproxy, Must, Should};
use crate::conformance::hello::disconnect_code;
use crate::conformance::play::{Play, Played, Refusal, closed, sent, worst_of};
use crate::conformance::verdict::{Judged, Outcome, Status};
use crate::frames::disconnect;

pub(super) const CASES: &[Case] = &[
    Case::new(
        Must,
        "3.2.8/normal",
        "HAPROXY-DISCONNECT is answered by AGENT-DISCONNECT, and the agent closes the connection.",
        "SPOE.txt 3.2.8",
        |play| play.refuses(&disconnect(0), Refusal::Code(&[0])),
    ),
    Case::new(
        Should,
        "3.2.9/same-status",
        "The answer to HAPROXY-DISCONNECT has the same status, because HAProxy up to 3.0 logs the status of the answer.",
        "commit 11a7fc0 of the C example; st=256+N in HAProxy's log",
        |play| {
            let codes = [2, 3, 4, 8, 10, 12];
            worst_of(codes, |code| play.refuses(&disconnect(code), Refusal::Code(&[code])))
        },
    ),
    Case::new(
        Haproxy,
        "3.2.9/unknown-status",
        "An unknown status is not copied, because AGENT-DISCONNECT with 14 to 98 crashes old health checks: 99 or 0 is sent.",
        "a null pointer in HAProxy 2.6.12 and 3.0.0",
        |play| worst_of([14, 77, 1000], |code| play.refuses(&disconnect(code), Refusal::Code(&[99, 0]))),
    ),
    Case::new(
        Must,
        "3.2.8/no-status",
        "HAPROXY-DISCONNECT without a status ends the connection.",
        "SPOE.txt 3.2.8",
        |play| play.refuses(&Frame::new(DISCONNECT, (0, 0), []).encode(), Refusal::End(&[0, 4])),
    ),
    Case::new(
        Must,
        "3.2.8/malformed",
        "A malformed HAPROXY-DISCONNECT ends the connection, best with status 4.",
        "SPOE.txt 3.5",
        |play| {
            let mut frame = normal();
            frame.payload.pop();
            play.refuses(&frame.encode(), Refusal::End(&[4]))
        },
    ),
    Case::new(
        Must,
        "3.2.8/long-message",
        "HAPROXY-DISCONNECT with a message of ten thousand bytes ends the connection as usual.",
        "SPOE.txt 3.2.8",
        |play| {
            let items = [("status-code", Value::Uint32(0)), ("message", Value::String(vec![b'x'; 10_000]))];
            play.refuses(&Frame::new(DISCONNECT, (0, 0), kv(&items)).encode(), Refusal::End(&[0]))
        },
    ),
    Case::new(
        Must,
        "3.2.8/notifys-in-flight",
        "HAPROXY-DISCONNECT with NOTIFYs in flight is answered by AGENT-DISCONNECT, and no ACK follows.",
        "SPOE.txt 3.2.8; HAProxy up to 3.0 disconnects after a timeout",
        notifys_in_flight,
    ),
    Case::new(
        Should,
        "3.2.8/no-fin",
        "HAPROXY-DISCONNECT without FIN ends the connection, best with status 10.",
        "SPOE.txt 3.2: only NOTIFY may be fragmented",
        |play| {
            let frame = Frame { flags: 0, ..normal() };
            play.refuses(&frame.encode(), Refusal::End(&[10, 4]))
        },
    ),
    Case::new(
        Should,
        "3.2.8/stream-id",
        "HAPROXY-DISCONNECT with a stream-id ends the connection, best with status 4.",
        "SPOE.txt 3.2: the ids of control frames are 0",
        |play| {
            let frame = Frame { sid: 1, ..normal() };
            play.refuses(&frame.encode(), Refusal::End(&[4]))
        },
    ),
    Case::new(
        Must,
        "3.2.8/frames-afterwards",
        "Frames after HAPROXY-DISCONNECT are ignored.",
        "SPOE.txt 3.2.8: it is the last frame",
        |play| play.refuses(&[disconnect(0), play.question.notify(1, 1)].concat(), Refusal::Code(&[0])),
    ),
    Case::new(
        Must,
        "3.2.8/end-of-file",
        "The end of a connection between two frames closes it on both sides, without a frame.",
        "HAProxy reads nothing after its FIN",
        |play| ends(play, &[]),
    ),
    Case::new(
        Must,
        "3.2.8/end-of-file-inside-a-frame",
        "The end of a connection inside a frame closes it on both sides, without a frame and without busy waiting.",
        "the C example spins on such a connection for ever",
        |play| {
            let outcome = worst_of([1, 4, 10], |cut| ends(play, &play.question.notify(1, 1)[..cut]))?;
            if outcome.status() == Status::Fail {
                return Ok(outcome);
            }
            idle_afterwards(play)
        },
    ),
    Case::new(
        Must,
        "3.2.8/end-of-file-with-notifys-in-flight",
        "The end of a connection with NOTIFYs in flight closes it on both sides.",
        "HAProxy exits without waiting",
        |play| {
            let mut peer = play.ready()?;
            let bytes: Vec<u8> = (0..5).flat_map(|n| play.question.notify(2 * n + 1, 1)).collect();
            peer.send(&bytes);
            peer.finish();
            // ACKs may have left before the agent read the end.
            let (_, malformed, end) = peer.rest();
            let answer =
                malformed.map_or(Judged::good("ACKs or nothing"), |reason| Judged::wrong(reason, "ACKs or nothing"));
            Ok(Outcome { answer, end: closed(end) })
        },
    ),
    Case::new(
        Must,
        "3.2.8/resets",
        "An agent keeps serving after HAProxy has reset fifty connections, idle and with NOTIFYs in flight.",
        "HAProxy 3.1 and later closes idle connections by RST",
        |play| {
            for n in 0..50 {
                let mut peer = play.ready()?;
                if n % 2 == 0 {
                    peer.send(&play.question.notify(1, 1));
                }
                peer.reset();
            }
            Ok(Outcome { answer: Judged::good("50 resets"), end: play.serves_others()? })
        },
    ),
    Case::new(
        Must,
        "3.2.8/resets-after-any-byte",
        "An agent keeps serving after connections that were reset after any byte of their HELLO or first NOTIFY.",
        "HAProxy stops at any time",
        |play| {
            let bytes = [play.hello.encode(), play.question.notify(1, 1)].concat();
            for cut in 0..bytes.len() {
                let mut peer = play.connect()?;
                peer.send(&bytes[..cut]);
                peer.reset();
            }
            Ok(Outcome { answer: Judged::good(format!("{} resets", bytes.len())), end: play.serves_others()? })
        },
    ),
];

/// Returns HAPROXY-DISCONNECT with status 0.
fn normal() -> Frame {
    let payload = kv(&[("status-code", Value::Uint32(0)), ("message", Value::text("normal"))]);
    Frame::new(DISCONNECT, (0, 0), payload)
}

/// Sends NOTIFYs and HAPROXY-DISCONNECT together. ACKs may come before AGENT-DISCONNECT, but nothing after it.
fn notifys_in_flight(play: &mut Play<'_>) -> Played {
    const COUNT: u64 = 7;
    const STATUS: u64 = 0;
    let mut peer = play.ready()?;
    let notifys = (0..COUNT).flat_map(|n| play.question.notify(2 * n + 1, 1));
    peer.send(&notifys.chain(disconnect(STATUS)).collect::<Vec<_>>());
    let (frames, malformed, end) = peer.rest();
    let got = sent(&frames, malformed.as_deref());
    let acks = &frames[..frames.len().saturating_sub(1)];
    let mut ids: Vec<_> = acks.iter().map(|frame| frame.sid).collect();
    ids.sort_unstable();
    ids.dedup();
    let are_acks = acks.iter().all(|frame| frame.kind == ACK && frame.fid == 1 && frame.sid % 2 == 1);
    let are_asked = ids.len() == acks.len() && ids.iter().all(|sid| *sid < 2 * COUNT);
    let is_last = frames.last().is_some_and(|frame| disconnect_code(frame) == Some(STATUS));
    let is_good = malformed.is_none() && are_acks && are_asked && is_last;
    let expected = format!("ACKs or nothing, then AGENT-DISCONNECT {STATUS}");
    let answer = if is_good { Judged::good(expected) } else { Judged::wrong(got, expected) };
    Ok(Outcome { answer, end: closed(end) })
}

/// Checks that the agent closes the connection when it ends after a handshake and `bytes`.
fn ends(play: &Play<'_>, bytes: &[u8]) -> Played {
    let mut peer = play.ready()?;
    peer.send(bytes);
    peer.finish();
    Ok(play.silent_close(&mut peer))
}

/// Checks that the agent does not use a processor while nothing is to do. A garbage collector may run for a moment, so only an
/// agent that works all the time fails.
fn idle_afterwards(play: &Play<'_>) -> Played {
    const SPAN: Duration = Duration::from_millis(200);
    const SPANS: usize = 5;
    let is_busy = || {
        let before = play.subject.cpu_time()?;
        thread::sleep(SPAN);
        Some(play.subject.cpu_time()?.saturating_sub(before) >= SPAN / 2)
    };
    let end = if (0..SPANS).all(|_| is_busy() == Some(true)) {
        Judged::wrong("FIN, then it uses a processor all the time", "FIN, then no work")
    } else {
        Judged::good("FIN")
    };
    Ok(Outcome { answer: Judged::good("nothing"), end })
}
