//! Handshakes that the agent has to accept, and health checks (SPOE.txt 3.2.3 to 3.2.5).

use crate::bytes::{FIN, Value, read_kv};
use crate::conformance::case::Level::{Haproxy, Must, Should};
use crate::conformance::case::{Case, Needs};
use crate::conformance::play::{FRAME_SIZE, HEADER_MAX, Play, Played, closed, early, sent, worst_of};
use crate::conformance::verdict::{Judged, Outcome};
use crate::frames::Hello;
use crate::peer::End;

/// The number of handshakes in which AGENT-HELLO has to arrive in one piece.
const WHOLE_HELLOS: usize = 20;

pub(super) const CASES: &[Case] = &[
    Case::new(
        Must,
        "3.2.4/hello",
        "The HELLO of the engine is answered by an AGENT-HELLO that HAProxy accepts, and the connection stays open.",
        "SPOE.txt 3.2.5; spop_conn_handle_hello",
        |play| play.accepts(&play.hello),
    ),
    Case::new(
        Must,
        "3.2.4/hello-byte-by-byte",
        "A HELLO that arrives one byte at a time is answered once.",
        "TCP may cut a frame anywhere",
        |play| {
            let mut peer = play.connect()?;
            peer.send_bytewise(&play.hello.encode());
            play.accepted(&mut peer, FRAME_SIZE)
        },
    ),
    Case::new(
        Haproxy,
        "3.2.5/hello-in-one-piece",
        "AGENT-HELLO is sent in one write, because several versions of HAProxy reset the connection if it is cut after byte 10.",
        "haproxy/haproxy#3478",
        hello_in_one_piece,
    ),
    Case::new(
        Must,
        "3.2.4/keys-in-any-order",
        "The keys of a HELLO may have any order.",
        "SPOE.txt 3.2.4 prescribes none",
        |play| play.accepts(&play.hello.clone().reversed()),
    ),
    Case::new(
        Must,
        "3.2.4/unknown-keys",
        "Unknown keys of a HELLO, with values of any type, are skipped.",
        "SPOE.txt 3.2.4: other keys may be added",
        |play| {
            let hello = play.hello.clone();
            play.accepts(
                &hello.and("x-bool", Value::Bool(true)).and("x-ip", Value::Ipv6([7; 16])).and("x-null", Value::Null),
            )
        },
    ),
    Case::new(
        Should,
        "3.2.4/keys-that-begin-alike",
        "A key that only begins like a known one, or is the beginning of one, is unknown.",
        "the C example compares prefixes, and takes such a key for the known one",
        |play| {
            let hello = play.hello.clone();
            play.accepts(&hello.and("max-frame-siz", Value::Uint32(1)).and("supported-versionsX", Value::Null))
        },
    ),
    Case::new(
        Haproxy,
        "3.2.4/key-twice",
        "Of two items with the same key the last one counts.",
        "spop_conn_handle_hello does so with AGENT-HELLO",
        |play| play.accepts_bytes(&play.hello.clone().and("max-frame-size", Value::Uint32(1000)).encode(), 1000),
    ),
    Case::new(
        Must,
        "3.2.4/version-list",
        "A list of versions that contains 2.0 is accepted, with spaces too.",
        "SPOE.txt 3.2.4: a comma-separated list, and spaces are ignored",
        |play| {
            let hello = |versions: &str| play.hello.clone().with("supported-versions", Value::text(versions));
            worst_of(["2.0, 1.5", " 1.0 , 2.0 "], |versions| play.accepts(&hello(versions)))
        },
    ),
    Case::new(
        Must,
        "3.2.4/frame-size-256",
        "The smallest frame size, 256, is accepted, and AGENT-HELLO does not exceed it.",
        "SPOP_MIN_FRAME_SIZE",
        |play| play.accepts_bytes(&play.hello.clone().with("max-frame-size", Value::Uint32(256)).encode(), 256),
    ),
    Case::new(
        Should,
        "3.2.4/frame-size-4g",
        "A frame size above 32 bits is answered by the limit of the agent, not by a part of the number.",
        "SPOE.txt 3.2.4: the agent announces a size up to the offered one",
        |play| {
            let mut peer = play.connect()?;
            peer.send(&play.hello.clone().with("max-frame-size", Value::Uint64((1 << 32) + 300)).encode());
            let size = play.announced(&mut peer, (1 << 32) + 300)?.max_frame_size;
            let answer = Judged::check(size != 300, format!("AGENT-HELLO {size}"), "the limit of the agent");
            Ok(Outcome { answer, end: play.still_serves(&mut peer) })
        },
    ),
    Case::new(
        Haproxy,
        "3.2.4/frame-size-of-any-integer-type",
        "The frame size may have any integer type, as HAProxy accepts it in AGENT-HELLO.",
        "spop_conn_handle_hello reads all integer types alike",
        |play| {
            let hello = |value| play.hello.clone().with("max-frame-size", value);
            let values = [Value::Int32(16380), Value::Int64(16380), Value::Uint64(16380)];
            worst_of(values, |value| play.accepts(&hello(value)))
        },
    ),
    Case::new(
        Must,
        "3.2.4/empty-capabilities",
        "A HELLO with an empty list of capabilities is accepted.",
        "HAProxy with `no option pipelining`",
        |play| play.accepts(&play.hello.clone().with("capabilities", Value::text(""))),
    ),
    Case::new(
        Must,
        "3.2.1/pipelining-not-offered",
        "An agent does not announce pipelining that HAProxy has not offered; a name that only begins like it is another one.",
        "SPOE.txt 3.2.1: a capability is used only if both announce it",
        |play| {
            let hello = play.hello.clone().with("capabilities", Value::text("pipeliningX"));
            let (mut peer, announced) = play.ready_with(&hello)?;
            let got = format!("capabilities {}", announced.capabilities.join(","));
            let answer = Judged::check(!announced.has("pipelining"), got, "no pipelining");
            Ok(Outcome { answer, end: play.still_serves(&mut peer) })
        },
    ),
    Case::new(
        Must,
        "3.2.1/capabilities-with-spaces",
        "Spaces in the list of capabilities are ignored: it is accepted, with the same answer as without them.",
        "SPOE.txt 3.2.4",
        |play| {
            let hello = |list: &str| play.hello.clone().with("capabilities", Value::text(list));
            let (_, expected) = play.ready_with(&hello("pipelining,x-unknown"))?;
            let (mut peer, got) = play.ready_with(&hello(" pipelining , x-unknown "))?;
            let answer = Judged::check(got == expected, got.capabilities.join(","), expected.capabilities.join(","));
            Ok(Outcome { answer, end: play.still_serves(&mut peer) })
        },
    )
    .needs(Needs::Capability("pipelining")),
    Case::new(
        Should,
        "3.2.4/other-flags",
        "Flags besides FIN are ignored in a HELLO.",
        "SPOE.txt 3.2: reserved bits are for future use; HAProxy ignores them",
        |play| worst_of([3, 0x8000_0001], |flags| play.accepts(&play.hello.clone().flags(flags))),
    ),
    Case::new(
        Must,
        "3.2.4/notify-with-the-hello",
        "A NOTIFY in the same segment as the HELLO is answered after AGENT-HELLO.",
        "TCP may join frames",
        |play| {
            let mut peer = play.connect()?;
            peer.send(&[play.hello.encode(), play.question.notify(1, 1)].concat());
            play.announced(&mut peer, FRAME_SIZE)?;
            let answer = play.acked(&mut peer, &[(1, 1)], true);
            Ok(Outcome { answer, end: play.still_serves(&mut peer) })
        },
    ),
    Case::new(
        Must,
        "3.2.4/health-check",
        "A health check is answered by AGENT-HELLO and nothing else, then the agent closes the connection.",
        "SPOE.txt 3.2.4: healthcheck; a second frame marks the server DOWN in HAProxy 3.1 and later",
        health_check,
    ),
    Case::new(
        Haproxy,
        "3.2.4/health-check-false",
        "A HELLO with `healthcheck` set to false is an ordinary one.",
        "the value is a BOOL, not only a key",
        |play| play.accepts(&play.hello.clone().and("healthcheck", Value::Bool(false))),
    ),
    Case::new(
        Must,
        "3.2.4/many-health-checks",
        "A hundred health checks in a row are answered.",
        "HAProxy checks from every process and thread",
        |play| {
            for _ in 0..99 {
                let mut peer = play.connect()?;
                peer.send(&Hello::health_check().encode());
                play.announced(&mut peer, FRAME_SIZE)?;
                // HAProxy does the same as soon as it has the answer.
                peer.reset();
            }
            health_check(play)
        },
    ),
];

fn hello_in_one_piece(play: &mut Play<'_>) -> Played {
    for _ in 0..WHOLE_HELLOS {
        let mut peer = play.connect()?;
        peer.send(&play.hello.encode());
        let mut read = peer.read_once();
        while !peer.has_frame() {
            if read > HEADER_MAX {
                let got = format!("{read} bytes of AGENT-HELLO, then the others");
                return Err(early(Judged::wrong(got, "AGENT-HELLO in one piece")));
            }
            match peer.read_once() {
                0 => break,
                more => read += more,
            }
        }
        play.announced(&mut peer, FRAME_SIZE)?;
    }
    let mut peer = play.ready()?;
    Ok(Outcome { answer: Judged::good("AGENT-HELLO in one piece"), end: play.still_serves(&mut peer) })
}

fn health_check(play: &mut Play<'_>) -> Played {
    let mut peer = play.connect()?;
    peer.send(&Hello::health_check().encode());
    let (frame, announced) = play.agent_hello(&mut peer, FRAME_SIZE)?;
    let has_capabilities =
        read_kv(&frame.payload).is_some_and(|items| items.iter().any(|(key, _)| key == "capabilities"));
    let (frames, malformed, end) = peer.rest();
    let answer = if !frames.is_empty() || malformed.is_some() {
        let more = sent(&frames, malformed.as_deref());
        Judged::wrong(format!("AGENT-HELLO, then {more}"), "AGENT-HELLO alone")
    } else if !has_capabilities {
        Judged::wrong("AGENT-HELLO without capabilities", "all three keys, which HAProxy 3.1 and later requires here")
    } else if frame.flags != FIN {
        Judged::wrong(
            format!("AGENT-HELLO with the flags {:#x}", frame.flags),
            "FIN alone, which HAProxy 3.1 and later requires here",
        )
    } else {
        Judged::good(format!("AGENT-HELLO {}", announced.max_frame_size))
    };
    // HAProxy resets the connection as soon as it has the answer, so an agent need not close it first.
    let end = if end == End::Silence { Judged::tolerated("open", "FIN") } else { closed(end) };
    Ok(Outcome { answer, end })
}
