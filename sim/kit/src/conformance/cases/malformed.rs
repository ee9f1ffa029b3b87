//! Frames that the agent has to refuse after the handshake (SPOE.txt 3.1, 3.2 and 3.5).
//!
//! HAProxy never sends them. But an agent that continues after such a frame may answer the wrong client, and an agent that waits
//! delays every client by HAProxy's processing timeout.

use super::notify::sized;
use crate::bytes::{ACK, AGENT_DISCONNECT, AGENT_HELLO, FIN, Frame, NOTIFY, hex, string};
use crate::conformance::case::Level::{Must, Should};
use crate::conformance::case::{Case, Needs};
use crate::conformance::play::{Play, Played, Refusal, closed, sent, worst_of};
use crate::conformance::verdict::{Judged, Outcome};

pub(super) const CASES: &[Case] = &[
    Case::new(
        Must,
        "3.2/frame-too-large",
        "A frame above the negotiated size is refused, best with status 3 and by its length alone.",
        "SPOE.txt 3.2.4 and 3.5",
        |play| {
            let (mut peer, announced) = play.ready_with(&play.hello)?;
            peer.send(&sized(play, announced.max_frame_size + 1));
            Ok(play.refusal(&mut peer, Refusal::End(&[3])))
        },
    ),
    Case::new(
        Must,
        "3.2/length-4g",
        "A frame that announces 4 GiB is refused at once, without waiting for its bytes.",
        "SPOE.txt 3.5, status 3",
        |play| play.refuses(&hex("ffffffff 03 00000001 01 01"), Refusal::End(&[3])),
    ),
    Case::new(Must, "3.2/length-0", "A frame of length 0 is refused.", "SPOE.txt 3.2; haproxy/haproxy#2490", |play| {
        play.refuses(&hex("00000000"), Refusal::End(&[4]))
    }),
    Case::new(Must, "3.2/length-6", "A frame that is too short for its ids is refused.", "SPOE.txt 3.2", |play| {
        play.refuses(&hex("00000006 03 00000001 01"), Refusal::End(&[4]))
    }),
    Case::new(Must, "3.2/ids-cut", "A frame that ends inside its ids is refused.", "SPOE.txt 3.1: varint", |play| {
        play.refuses(&hex("00000008 03 00000001 01 ff 80"), Refusal::End(&[4]))
    }),
    Case::new(
        Should,
        "3.1/varint-of-11-bytes",
        "A varint of 11 bytes is refused.",
        "SPOE.txt 3.1: 64 bits need 10",
        |play| payload(play, &hex("01 6d 01 01 61 05 fffefefefefefefefefe0e")),
    ),
    Case::new(
        Should,
        "3.1/varint-overflow",
        "A varint above 64 bits is refused, not taken modulo 2^64.",
        "SPOE.txt 3.1",
        |play| payload(play, &hex("01 6d 01 01 61 05 ffffffffffffffffff7f")),
    ),
    Case::new(Must, "3.1/varint-cut", "A NOTIFY that ends inside a varint is refused.", "SPOE.txt 3.1", |play| {
        payload(play, &hex("01 6d 01 01 61 05 ff80"))
    }),
    Case::new(
        Must,
        "3.1/string-beyond-frame",
        "A NOTIFY with a string that extends beyond the frame is refused.",
        "SPOE.txt 3.1",
        |play| payload(play, &hex("01 6d 01 01 61 08 20 61")),
    ),
    Case::new(
        Must,
        "3.1/string-of-2-64-bytes",
        "A NOTIFY with a string of nearly 2^64 bytes is refused: position plus length must not overflow.",
        "SPOE.txt 3.1",
        |play| payload(play, &hex("01 6d 01 01 61 08 fff0fefefefefefefe0e 61")),
    ),
    Case::new(
        Must,
        "3.1/address-cut",
        "A NOTIFY that ends inside an address is refused.",
        "SPOE.txt 3.1: IPV4 has 4 bytes",
        |play| payload(play, &[string(&play.question.message), hex("01 00 06 c00002")].concat()),
    ),
    Case::new(
        Must,
        "3.1/address-of-ipv6-cut",
        "A NOTIFY that ends inside an IPv6 address is refused.",
        "SPOE.txt 3.1: IPV6 has 16 bytes",
        |play| payload(play, &[string(&play.question.message), hex("01 00 07 20010db8")].concat()),
    ),
    Case::new(
        Must,
        "3.1/reserved-types",
        "A value of each reserved type, 10 to 15, is refused, because its length is unknown.",
        "SPOE.txt 3.1",
        |play| worst_of(10..16, |kind| payload(play, &[&hex("01 6d 01 01 61")[..], &[kind]].concat())),
    ),
    Case::new(
        Must,
        "3.2.6/name-beyond-frame",
        "A message whose name extends beyond the frame is refused.",
        "SPOE.txt 3.2.6",
        |play| payload(play, &hex("7f 6d")),
    ),
    Case::new(
        Must,
        "3.2.6/number-of-arguments-missing",
        "A message that ends after its name is refused.",
        "SPOE.txt 3.2.6: NB-ARGS",
        |play| payload(play, &string(&play.question.message)),
    ),
    Case::new(
        Must,
        "3.2.6/arguments-missing",
        "A message with fewer arguments than it announces is refused.",
        "SPOE.txt 3.2.6: NB-ARGS",
        |play| payload(play, &hex("01 6d 02 01 61 00")),
    ),
    Case::new(
        Must,
        "3.2.6/value-missing",
        "A message that ends after the name of an argument is refused.",
        "SPOE.txt 3.2.6",
        |play| payload(play, &hex("01 6d 01 01 61")),
    ),
    Case::new(
        Must,
        "3.2.6/no-fin",
        "A NOTIFY without FIN is refused by an agent that has not announced fragmentation, best with status 10.",
        "SPOE.txt 3.2.1: fragmentation; 3.5",
        |play| {
            let frame = Frame::new(NOTIFY, (1, 1), play.question.encode()).flags(0);
            play.refuses(&frame.encode(), Refusal::End(&[10]))
        },
    )
    .needs(Needs::NoCapability("fragmentation")),
    Case::new(
        Must,
        "3.2.2/fragment-not-announced",
        "A fragment is refused by an agent that has not announced fragmentation, best with status 10.",
        "SPOE.txt 3.2.1: fragmentation; 3.5",
        |play| play.refuses(&Frame::new(0, (1, 1), *b"x").flags(FIN).encode(), Refusal::End(&[10, 11])),
    )
    .needs(Needs::NoCapability("fragmentation")),
    Case::new(
        Should,
        "3.2.2/frames-of-the-agent",
        "AGENT-HELLO, AGENT-DISCONNECT and ACK are refused when HAProxy sends them.",
        "SPOE.txt 3.2.2: each type has one sender; 3.5",
        |play| {
            let ids = |kind| if kind == ACK { (1, 1) } else { (0, 0) };
            worst_of([AGENT_HELLO, AGENT_DISCONNECT, ACK], |kind| {
                play.refuses(&Frame::new(kind, ids(kind), []).encode(), Refusal::End(&[4]))
            })
        },
    ),
    Case::new(
        Must,
        "3.5/notifys-before-a-bad-frame",
        "A NOTIFY before a malformed frame does not keep the connection open, and is best answered before its end.",
        "its client waits",
        |play| {
            let mut peer = play.ready()?;
            peer.send(&[play.question.notify(1, 1), hex("00000000")].concat());
            let (frames, malformed, end) = peer.rest();
            let got = sent(&frames, malformed.as_deref());
            let answer = match &frames[..] {
                [ack, ..] if ack.kind == ACK && (ack.sid, ack.fid) == (1, 1) => Judged::good(got),
                [] => Judged::tolerated(got, "ACK 1/1"),
                [frame] if frame.kind == AGENT_DISCONNECT => Judged::tolerated(got, "ACK 1/1"),
                _ => Judged::wrong(got, "ACK 1/1"),
            };
            Ok(Outcome { answer, end: closed(end) })
        },
    ),
];

/// Checks that a NOTIFY with this payload is refused.
fn payload(play: &Play<'_>, payload: &[u8]) -> Played {
    play.refuses(&Frame::new(NOTIFY, (1, 1), payload).encode(), Refusal::End(&[4]))
}
