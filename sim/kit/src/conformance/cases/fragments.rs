//! Fragmented NOTIFYs, which HAProxy up to 3.0 sends to agents that announce fragmentation (SPOE.txt 3.2.1 and 3.2.6).

use crate::bytes::{ABORT, FIN, Frame, NOTIFY, UNSET, Value, message};
use crate::conformance::case::Level::{Haproxy, Must};
use crate::conformance::case::{Case, Engine, Needs};
use crate::conformance::play::{Play, Played, Refusal};
use crate::conformance::verdict::Outcome;

const FRAGMENTATION: Needs = Needs::Capability("fragmentation");

pub(super) const CASES: &[Case] = &[
    Case::new(
        Must,
        "3.2.6/fragments",
        "A NOTIFY in three fragments is answered by one ACK after the last one.",
        "SPOE.txt 3.2.6",
        |play| {
            let mut peer = play.ready()?;
            Ok(play.acks(&mut peer, &fragments(&play.question.encode(), 3), &[(1, 1)], true))
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
            let long = message("x-unknown", &[("body", Value::Binary(vec![b'x'; 500]))]);
            let payload = [long, play.question.encode()].concat();
            let mut peer = play.ready()?;
            Ok(play.acks(&mut peer, &fragments(&payload, payload.len().div_ceil(224)), &[(1, 1)], true))
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
            let payload = play.question.encode();
            let bytes: Vec<u8> = (0..10).flat_map(|_| fragments(&payload, 2)).collect();
            Ok(play.acks(&mut peer, &bytes, &[(1, 1); 10], true))
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
    .needs(Needs::StartedAndFragmentation),
];

/// Returns a NOTIFY with the ids 1 and 1 in this number of fragments.
fn fragments(payload: &[u8], count: usize) -> Vec<u8> {
    let parts: Vec<_> = payload.chunks(payload.len().div_ceil(count)).collect();
    let last = parts.len() - 1;
    let frames = parts.iter().enumerate().map(|(at, part)| {
        let kind = if at == 0 { NOTIFY } else { UNSET };
        Frame::new(kind, (1, 1), *part).flags(if at == last { FIN } else { 0 }).encode()
    });
    frames.collect::<Vec<_>>().concat()
}

fn unset(ids: (u64, u64), flags: u32, payload: &[u8]) -> Vec<u8> {
    Frame::new(UNSET, ids, payload).flags(flags).encode()
}

fn refused(play: &Play<'_>, bytes: &[u8]) -> Played {
    play.refuses(bytes, Refusal::End(&[11]))
}
