//! NOTIFYs and their ACKs (SPOE.txt 3.2.6, 3.2.7 and 3.4).

use crate::bytes::{ACK, Frame, NOTIFY, Value, message};
use crate::conformance::case::Level::{Haproxy, Must, Should};
use crate::conformance::case::{Case, Engine, Needs};
use crate::conformance::play::{Play, Played, sent, words};
use crate::conformance::verdict::{Judged, Outcome, Status};
use crate::frames::notify;
use crate::peer::Arrival;

/// The number of NOTIFYs that HAProxy has in flight on a connection.
const IN_FLIGHT: u64 = 20;

pub(super) const CASES: &[Case] = &[
    Case::new(
        Must,
        "3.2.7/ack",
        "A NOTIFY is answered by one ACK with its ids and FIN, whose actions are well-formed and set the variable.",
        "SPOE.txt 3.2.7 and 3.4",
        |play| asks(play, (1, 1)),
    ),
    Case::new(
        Must,
        "3.2.6/notify-byte-by-byte",
        "A NOTIFY that arrives one byte at a time is answered.",
        "TCP may cut a frame anywhere",
        |play| {
            let mut peer = play.ready()?;
            peer.send_bytewise(&play.question.notify(1, 1));
            let answer = play.acked(&mut peer, &[(1, 1)], true);
            Ok(Outcome { answer, end: play.still_serves(&mut peer) })
        },
    ),
    Case::new(
        Must,
        "3.2.6/notify-in-two-pieces",
        "A NOTIFY that is cut after any byte is answered.",
        "TCP may cut a frame anywhere",
        |play| {
            let mut peer = play.ready()?;
            let len = play.question.notify(1, 1).len();
            for cut in 1..len {
                let ids = (2 * cut as u64 + 1, 1);
                let bytes = play.question.notify(ids.0, ids.1);
                peer.send_alone(&bytes[..cut]);
                play.asked(&mut peer, &bytes[cut..], ids, true)?;
            }
            Ok(Outcome { answer: Judged::good(format!("{} ACKs", len - 1)), end: play.still_serves(&mut peer) })
        },
    ),
    Case::new(
        Must,
        "3.2.6/stream-id-0",
        "A NOTIFY with stream-id 0 is answered with stream-id 0: it is the first stream of HAProxy up to 3.0.",
        "SPOE.txt 3.2.6; spoe_create_context",
        |play| asks(play, (0, 1)),
    )
    .of(Engine::Applet),
    Case::new(
        Must,
        "3.2.6/largest-ids",
        "Ids of 32 bits are copied whole.",
        "HAProxy's stream counter has 32 bits",
        |play| asks(play, (u32::MAX.into(), 2288)),
    ),
    Case::new(
        Should,
        "3.2.6/ids-of-64-bits",
        "Ids of 64 bits are copied whole, because a varint can hold them.",
        "SPOE.txt 3.1: varint",
        |play| asks(play, (u64::MAX, 1 << 40)),
    ),
    Case::new(
        Must,
        "3.2.6/no-messages",
        "A NOTIFY without messages is answered: HAProxy 3.1 sends it if every message has a condition that is false.",
        "spoe_encode_messages before 3.3",
        |play| {
            let mut peer = play.ready()?;
            Ok(play.acks(&mut peer, &notify(1, 1, &[]), &[(1, 1)], false))
        },
    ),
    Case::new(
        Must,
        "3.3/unknown-message",
        "An unknown message is answered by an ACK, without arguments and with several.",
        "SPOE.txt 3.2.7: each NOTIFY is answered",
        |play| {
            let mut peer = play.ready()?;
            let none = message("x-unknown", &[]);
            let three = message("x-unknown", &[("", Value::Null), ("a", Value::Int64(-1)), ("b", Value::text("text"))]);
            let bytes = [notify(1, 1, &[none]), notify(3, 1, &[three])].concat();
            Ok(play.acks(&mut peer, &bytes, &[(1, 1), (3, 1)], false))
        },
    ),
    Case::new(
        Must,
        "3.3/second-message",
        "A message after another one in the same NOTIFY is answered, too.",
        "SPOE.txt 3.2.6: LIST-OF-MESSAGES",
        |play| {
            let first = message("x-unknown", &[("", Value::Null), ("a", Value::Int64(-1)), ("b", Value::text("text"))]);
            asks_with(play, &[first, play.question.encode()])
        },
    ),
    Case::new(
        Must,
        "3.3/message-before-another",
        "A message before an unknown one in the same NOTIFY is answered, and there is one ACK.",
        "SPOE.txt 3.2.6: LIST-OF-MESSAGES",
        |play| asks_with(play, &[play.question.encode(), message("x-unknown", &[("a", Value::Bool(true))])]),
    ),
    Case::new(
        Must,
        "3.3/message-twice",
        "The same message twice in a NOTIFY is answered by one ACK.",
        "SPOE.txt 3.2.7",
        |play| asks_with(play, &[play.question.encode(), play.question.encode()]),
    ),
    Case::new(
        Must,
        "3.3/many-arguments",
        "A message with 255 arguments is skipped to its end: their number is an unsigned byte.",
        "SPOE.txt 3.2.6: NB-ARGS; the C example once failed above 127",
        |play| {
            let args: Vec<_> = (0..255).map(|n| ("a", Value::Int64(n))).collect();
            asks_with(play, &[message("x-unknown", &args), play.question.encode()])
        },
    ),
    Case::new(
        Must,
        "3.3/arguments-of-one-name",
        "Several arguments of the same name, or without a name, are no error.",
        "HAProxy's `args` may repeat a name",
        |play| {
            let args = [("a", Value::Int64(1)), ("a", Value::Int64(2)), ("", Value::Null), ("", Value::Bool(false))];
            asks_with(play, &[message("x-unknown", &args), play.question.encode()])
        },
    ),
    Case::new(
        Must,
        "3.1/value-types",
        "Arguments of all types are read: NULL, BOOL, all integers, addresses, strings and binaries.",
        "SPOE.txt 3.1",
        |play| asks_with(play, &[message("x-unknown", &values()), play.question.encode()]),
    ),
    Case::new(
        Must,
        "3.1/varints-of-each-length",
        "Integers at each length of a varint are read, up to 10 bytes.",
        "SPOE.txt 3.1",
        |play| {
            let values = (0..64).map(|bits| (1_u64 << bits).wrapping_add(239)).chain([u64::MAX]);
            let args: Vec<_> = values.map(|value| ("a", Value::Uint64(value))).collect();
            asks_with(play, &[message("x-unknown", &args), play.question.encode()])
        },
    ),
    Case::new(
        Must,
        "3.1/strings-of-any-bytes",
        "Strings need not be UTF-8: HAProxy sends paths and headers as the client wrote them.",
        "SPOE.txt 3.1: STRING is bytes",
        |play| {
            let text = Value::String(b"/caf\xe9?\xff\x00\r\n".to_vec());
            asks_with(play, &[message("x-unknown", &[("path", text)]), play.question.encode()])
        },
    ),
    Case::new(
        Must,
        "3.1/null-argument",
        "The known message with NULL in place of its values is answered: HAProxy sends NULL for what is absent.",
        "spoe_encode_data; `src` is NULL for clients on unix sockets",
        |play| {
            let args: Vec<_> = play.question.args.iter().map(|(name, _)| (name.as_str(), Value::Null)).collect();
            let mut peer = play.ready()?;
            let bytes = notify(1, 1, &[message(&play.question.message, &args)]);
            Ok(play.acks(&mut peer, &bytes, &[(1, 1)], false))
        },
    ),
    Case::new(
        Must,
        "3.1/argument-of-other-type",
        "The known message with values of another type is answered.",
        "an operator may write another fetch in `args`",
        |play| {
            let mut peer = play.ready()?;
            for (number, (_, value)) in (0..).zip(values()).filter(|(_, (_, value))| *value != Value::Null) {
                let args: Vec<_> = play.question.args.iter().map(|(name, _)| (name.as_str(), value.clone())).collect();
                let ids = (2 * number + 1, 1);
                let bytes = notify(ids.0, ids.1, &[message(&play.question.message, &args)]);
                play.asked(&mut peer, &bytes, ids, false)?;
            }
            Ok(Outcome { answer: Judged::good("an ACK to each type"), end: play.still_serves(&mut peer) })
        },
    ),
    Case::new(
        Must,
        "3.1/no-argument",
        "The known message without arguments is answered.",
        "an operator may forget `args`",
        |play| {
            let mut peer = play.ready()?;
            Ok(play.acks(&mut peer, &notify(1, 1, &[message(&play.question.message, &[])]), &[(1, 1)], false))
        },
    ),
    Case::new(
        Must,
        "3.2.6/largest-frame",
        "A NOTIFY of exactly the negotiated size is answered.",
        "SPOE.txt 3.2.4: max-frame-size",
        |play| {
            let (mut peer, announced) = play.ready_with(&play.hello)?;
            Ok(play.acks(&mut peer, &sized(play, announced.max_frame_size), &[(1, 1)], true))
        },
    ),
    Case::new(
        Must,
        "3.2.7/ack-fits",
        "An ACK does not exceed a negotiated size of 256 bytes, to as many messages as a NOTIFY of that size can have.",
        "SPOE.txt 3.2.4: max-frame-size; HAProxy ends the connection otherwise",
        ack_fits,
    ),
    Case::new(
        Must,
        "3.2.1/pipelined",
        "With pipelining, 20 NOTIFYs in one segment are each answered once, in any order.",
        "SPOE.txt 3.2.1: pipelining; HAProxy has up to 20 in flight",
        |play| asks_together(play, IN_FLIGHT),
    )
    .needs(Needs::Capability("pipelining")),
    Case::new(
        Haproxy,
        "3.2.1/more-than-20-in-flight",
        "More than 20 NOTIFYs in flight are each answered: HAProxy frees the slot of an event that has timed out.",
        "59 unanswered NOTIFYs were seen on one connection",
        |play| asks_together(play, 60),
    )
    .needs(Needs::Capability("pipelining")),
    Case::new(
        Must,
        "3.2.6/one-after-the-other",
        "A hundred NOTIFYs, each after the ACK to the one before it, are answered on one connection.",
        "HAProxy keeps connections",
        |play| {
            let mut peer = play.ready()?;
            for n in 0..100 {
                let ids = (2 * n + 1, 1);
                play.asked(&mut peer, &play.question.notify(ids.0, ids.1), ids, true)?;
            }
            Ok(Outcome { answer: Judged::good("100 ACKs"), end: play.still_serves(&mut peer) })
        },
    ),
    Case::new(
        Should,
        "3.2.1/no-pipelining-in-order",
        "Without pipelining, two NOTIFYs together are answered in their order.",
        "SPOE.txt 3.2.1",
        |play| {
            let hello = play.hello.clone().with("capabilities", Value::text(""));
            let (mut peer, _) = play.ready_with(&hello)?;
            let both = [play.question.notify(1, 1), play.question.notify(3, 1)].concat();
            play.asked(&mut peer, &both, (1, 1), true)?;
            let answer = play.acked(&mut peer, &[(3, 1)], true);
            Ok(Outcome { answer, end: play.still_serves(&mut peer) })
        },
    ),
    Case::new(
        Haproxy,
        "3.2.6/ids-used-again",
        "Ids may be used again after their ACK: HAProxy 3.1 and later counts streams per connection.",
        "spop_conn_new_stream",
        |play| {
            let mut peer = play.ready()?;
            let notify = play.question.notify(1, 1);
            play.asked(&mut peer, &notify, (1, 1), true)?;
            Ok(play.acks(&mut peer, &notify, &[(1, 1)], true))
        },
    ),
    Case::new(
        Haproxy,
        "3.2.6/same-ids-twice",
        "Two NOTIFYs with the same ids, sent together, are answered by an ACK each.",
        "events of one stream in flight (#927)",
        |play| {
            let mut peer = play.ready()?;
            let notify = play.question.notify(5, 7);
            Ok(play.acks(&mut peer, &[&notify[..], &notify].concat(), &[(5, 7), (5, 7)], true))
        },
    ),
    Case::new(
        Must,
        "3.2.7/own-connection",
        "An ACK is sent on the connection of its NOTIFY, even if another one has the same engine-id and the same ids.",
        "SPOE.txt 3.2.1: async is agreed first; otherwise one client gets the verdict on another",
        own_connection,
    )
    .of(Engine::Mux),
    Case::new(
        Should,
        "3.2.6/other-flags",
        "Flags besides FIN are ignored in a NOTIFY, and are not copied to the ACK.",
        "SPOE.txt 3.2: reserved bits are for future use; HAProxy ignores them",
        |play| {
            let mut peer = play.ready()?;
            let frame = |sid, flags| Frame::new(NOTIFY, (sid, 1), play.question.encode()).flags(flags).encode();
            let bytes = [frame(1, 3), frame(3, 0x8000_0001)].concat();
            Ok(play.acks(&mut peer, &bytes, &[(1, 1), (3, 1)], true))
        },
    ),
    Case::new(
        Should,
        "3.2.2/unknown-type",
        "A frame of an unknown type is skipped, and the next NOTIFY is answered.",
        "SPOE.txt 3.2.2: unknown frames are ignored",
        |play| {
            let mut peer = play.ready()?;
            peer.send(&Frame::new(77, (9, 1), *b"unknown").encode());
            Ok(play.acks(&mut peer, &play.question.notify(1, 1), &[(1, 1)], true))
        },
    ),
];

/// Asks the question with these ids.
fn asks(play: &Play<'_>, ids: (u64, u64)) -> Played {
    let mut peer = play.ready()?;
    Ok(play.acks(&mut peer, &play.question.notify(ids.0, ids.1), &[ids], true))
}

/// Asks the question in this number of NOTIFYs together.
fn asks_together(play: &Play<'_>, count: u64) -> Played {
    let mut peer = play.ready()?;
    let ids: Vec<_> = (0..count).map(|n| (2 * n + 1, 1)).collect();
    let bytes: Vec<u8> = ids.iter().flat_map(|&(sid, fid)| play.question.notify(sid, fid)).collect();
    Ok(play.acks(&mut peer, &bytes, &ids, true))
}

/// Sends a NOTIFY with these messages, one of which is the question.
fn asks_with(play: &Play<'_>, messages: &[Vec<u8>]) -> Played {
    let mut peer = play.ready()?;
    Ok(play.acks(&mut peer, &notify(1, 1, messages), &[(1, 1)], true))
}

/// Returns a value of each type, and their names.
fn values() -> Vec<(&'static str, Value)> {
    vec![
        ("null", Value::Null),
        ("true", Value::Bool(true)),
        ("false", Value::Bool(false)),
        ("int32", Value::Int32(-5)),
        ("uint32", Value::Uint32(u32::MAX.into())),
        ("int64", Value::Int64(i64::MIN)),
        ("uint64", Value::Uint64(u64::MAX)),
        ("ipv4", Value::Ipv4([192, 0, 2, 7])),
        ("ipv6", Value::Ipv6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7])),
        ("empty", Value::text("")),
        ("string", Value::text("text")),
        ("binary", Value::Binary(vec![0, 255])),
    ]
}

/// Returns a NOTIFY with the ids 1 and 1 and the question, whose length is `size`, and an unknown message that fills it.
pub(super) fn sized(play: &Play<'_>, size: u64) -> Vec<u8> {
    let size = size.min(1 << 20) as usize;
    let question = play.question.encode();
    let of = |name: &str, len: usize| {
        let filling = message(name, &[("", Value::Binary(vec![b'x'; len]))]);
        notify(1, 1, &[question.clone(), filling])
    };
    let rest = size.saturating_sub(of("x", 0).len() - 4);
    // The lengths of the filling and its varint together skip some numbers, which a longer name reaches.
    let lengths = || (rest.saturating_sub(5)..=rest).flat_map(|len| ["x", "xx"].map(|name| (name, len)));
    let exact = lengths().map(|(name, len)| of(name, len)).find(|bytes| bytes.len() - 4 == size);
    exact.unwrap_or_else(|| notify(1, 1, &[question]))
}

fn ack_fits(play: &mut Play<'_>) -> Played {
    const SIZE: u64 = 256;
    let mut peer = play.connect()?;
    peer.send(&play.hello.clone().with("max-frame-size", Value::Uint32(SIZE)).encode());
    play.announced(&mut peer, SIZE)?;
    let question = play.question.encode();
    let count = ((SIZE as usize - 11) / question.len()).clamp(1, 20);
    peer.send(&notify(1, 1, &vec![question; count]));
    let answer = match peer.arrival() {
        Arrival::Frame(frame) if frame.kind == ACK && (frame.sid, frame.fid) == (1, 1) => {
            let len = frame.encode().len() - 4;
            Judged::check(len as u64 <= SIZE, format!("ACK of {len} bytes"), format!("at most {SIZE} bytes"))
        }
        Arrival::Frame(frame) => Judged::wrong(sent(&[frame], None), "ACK 1/1"),
        Arrival::Malformed(reason) => Judged::wrong(reason, "ACK 1/1"),
        Arrival::End(end) => Judged::wrong(words(end), "ACK 1/1"),
    };
    Ok(Outcome { answer, end: play.still_serves(&mut peer) })
}

fn own_connection(play: &mut Play<'_>) -> Played {
    let mut peers = (0..4).map(|_| play.ready()).collect::<Result<Vec<_>, _>>()?;
    // One connection after the other, so that an ACK on another one is seen there.
    for number in 0..peers.len() {
        play.asked(&mut peers[number], &play.question.notify(5, 1), (5, 1), true)?;
        for peer in &mut peers {
            let end = play.still_serves(peer);
            if end.verdict.status() == Status::Fail {
                return Ok(Outcome { answer: Judged::good("an ACK"), end });
            }
        }
    }
    Ok(Outcome { answer: Judged::good("an ACK on each of 4 connections"), end: Judged::good("open") })
}
