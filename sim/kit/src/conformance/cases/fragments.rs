//! Fragmented NOTIFYs, which HAProxy up to 3.0 sends to agents that announce fragmentation (SPOE.txt 3.2.1 and 3.2.6).

use crate::bytes::{ABORT, FIN, Frame, NOTIFY, UNSET, Value, message, string};
use crate::conformance::case::Level::{Haproxy, Must};
use crate::conformance::case::{Case, Engine, Needs};
use crate::conformance::play::{Play, Played, Refusal};
use crate::conformance::question::Question;
use crate::conformance::verdict::{Judged, Outcome};

const FRAGMENTATION: Needs = Needs::Capability("fragmentation");

pub(super) const CASES: &[Case] = &[
    Case::new(
        Must,
        "3.2.6/fragments",
        "A NOTIFY with a fragment per item is answered by one ACK after the last one.",
        "SPOE.txt 3.2.6",
        |play| {
            let mut peer = play.ready()?;
            Ok(play.acks(&mut peer, &fragments((1, 1), &items(play)), &[(1, 1)], true))
        },
    )
    .needs(FRAGMENTATION)
    .of(Engine::Applet),
    Case::new(
        Must,
        "3.2.6/fragment-cuts-a-string",
        "A value that is cut by fragments is read whole.",
        "spoe_encode_messages cuts strings and binaries",
        |play| {
            // The length and the first byte of a value stay together.
            let long = message("x-unknown", &[("body", Value::Binary(vec![b'x'; 500]))]);
            let mut parts: Vec<_> = long.chunks(224).map(<[u8]>::to_vec).collect();
            parts.push(play.question.encode());
            let mut peer = play.ready()?;
            Ok(play.acks(&mut peer, &fragments((1, 1), &parts), &[(1, 1)], true))
        },
    )
    .needs(FRAGMENTATION)
    .of(Engine::Applet),
    Case::new(
        Must,
        "3.2.6/last-fragment-empty",
        "An empty last fragment completes the NOTIFY.",
        "SPOE.txt 3.2.6",
        |play| {
            let first = Frame::new(NOTIFY, (1, 1), play.question.encode()).flags(0).encode();
            let mut peer = play.ready()?;
            Ok(play.acks(&mut peer, &[first, unset((1, 1), FIN, b"")].concat(), &[(1, 1)], true))
        },
    )
    .needs(FRAGMENTATION)
    .of(Engine::Applet),
    Case::new(
        Must,
        "3.2.6/fragments-one-after-the-other",
        "Ten fragmented NOTIFYs on one connection are each answered.",
        "SPOE.txt 3.2.6",
        |play| {
            let mut peer = play.ready()?;
            for sid in 1..=10 {
                play.asked(&mut peer, &fragments((sid, 1), &items(play)), (sid, 1), true)?;
            }
            Ok(Outcome { answer: Judged::good("10 ACKs"), end: play.still_serves(&mut peer) })
        },
    )
    .needs(FRAGMENTATION)
    .of(Engine::Applet),
    Case::new(
        Must,
        "3.2.6/fragments-aborted",
        "A NOTIFY that HAProxy aborts gets no ACK, and the next one is answered.",
        "SPOE.txt 3.2.6: ABORT",
        |play| {
            let first = Frame::new(NOTIFY, (1, 1), play.question.encode()).flags(0).encode();
            let abort = unset((1, 1), FIN | ABORT, b"");
            let mut peer = play.ready()?;
            Ok(play.acks(&mut peer, &[first, abort, play.question.notify(3, 1)].concat(), &[(3, 1)], true))
        },
    )
    .needs(FRAGMENTATION)
    .of(Engine::Applet),
    Case::new(
        Must,
        "3.2.6/fragment-of-another",
        "A fragment with other ids than the NOTIFY before it is refused, best with status 11.",
        "SPOE.txt 3.5: invalid interlaced frames",
        |play| {
            let first = Frame::new(NOTIFY, (1, 1), play.question.encode()).flags(0).encode();
            refused(play, &[first, unset((3, 1), FIN, b"")].concat())
        },
    )
    .needs(FRAGMENTATION)
    .of(Engine::Applet),
    Case::new(
        Must,
        "3.2.6/fragment-of-nothing",
        "A fragment without a NOTIFY before it is refused, best with status 11.",
        "SPOE.txt 3.5: invalid interlaced frames",
        |play| refused(play, &unset((1, 1), FIN, b"x")),
    )
    .needs(FRAGMENTATION)
    .of(Engine::Applet),
    Case::new(
        Must,
        "3.2.6/notify-between-fragments",
        "A whole NOTIFY between fragments of another one is refused, best with status 11.",
        "SPOE.txt 3.5: invalid interlaced frames",
        |play| {
            let first = Frame::new(NOTIFY, (1, 1), play.question.encode()).flags(0).encode();
            refused(play, &[first, play.question.notify(3, 1)].concat())
        },
    )
    .needs(FRAGMENTATION)
    .of(Engine::Applet),
    Case::new(
        Haproxy,
        "3.2.6/fragments-without-end",
        "Fragments of one NOTIFY without end do not fill the memory of the agent, and others are served meanwhile.",
        "HAProxy sent 180 kB in 803 frames; a peer may send more",
        |play| {
            let before = play.subject.memory();
            let mut peer = play.ready()?;
            peer.send(&Frame::new(NOTIFY, (1, 1), vec![0; 16000]).flags(0).encode());
            peer.flood(&unset((1, 1), 0, &[0; 16000]), 64 << 20);
            let answer = play.memory_since(before);
            Ok(Outcome { answer, end: play.serves_others()? })
        },
    )
    .needs(Needs::StartedAndFragmentation)
    .of(Engine::Applet),
];

/// Returns the items of the question, between which HAProxy cuts: the head of the message, each name, and each value.
fn items(play: &Play<'_>) -> Vec<Vec<u8>> {
    let Question { message, args, .. } = play.question;
    let head = [string(message), vec![args.len() as u8]].concat();
    let args = args.iter().flat_map(|(name, value)| [string(name), value.encode()]);
    [head].into_iter().chain(args).collect()
}

/// Returns a NOTIFY with a fragment per part.
fn fragments(ids: (u64, u64), parts: &[Vec<u8>]) -> Vec<u8> {
    let last = parts.len() - 1;
    let frames = parts.iter().enumerate().map(|(at, part)| {
        let kind = if at == 0 { NOTIFY } else { UNSET };
        Frame::new(kind, ids, part.as_slice()).flags(if at == last { FIN } else { 0 }).encode()
    });
    frames.collect::<Vec<_>>().concat()
}

fn unset(ids: (u64, u64), flags: u32, payload: &[u8]) -> Vec<u8> {
    Frame::new(UNSET, ids, payload).flags(flags).encode()
}

fn refused(play: &Play<'_>, bytes: &[u8]) -> Played {
    play.refuses(bytes, Refusal::End(&[11]))
}
