//! One planted fault per case of the kit.
//!
//! A fault changes what the agent reads or sends, at the level of frames, and only where its case looks. Where another case has
//! to notice it too, `also` names it.

use spoa_tests::bytes::{
    ABORT, ACK, AGENT_HELLO, DISCONNECT, FIN, Frame, HELLO, NOTIFY, UNSET, Value, hex, read_kv, read_messages,
};
use spoa_tests::frames::{Hello, ack, agent_disconnect, disconnect};

use crate::fault::{Effect, Fault, Memory, Special, Unit, input, output, special};

type Effects = Option<Vec<Effect>>;

fn when(condition: bool, effect: impl FnOnce() -> Effect) -> Effects {
    condition.then(|| vec![effect()])
}

/// Does nothing with the unit.
fn swallow(condition: bool) -> Effects {
    condition.then(Vec::new)
}

/// Accepts any HELLO.
fn accept(condition: bool) -> Effects {
    when(condition, || Effect::Feed(Hello::mux().encode()))
}

/// Sends an ACK without actions.
fn acknowledge(condition: bool, ids: (u64, u64)) -> Effects {
    when(condition, || Effect::Send(ack(ids.0, ids.1, &[])))
}

/// Returns the frame if it is the first one and has this type.
fn first<'u>(unit: &Unit<'u>, memory: &Memory, kind: u8) -> Option<&'u Frame> {
    // The HELLO itself is noted before the fault sees it.
    let is_first = !memory.is_ready && (memory.hello.is_none() || kind == HELLO);
    frame(unit, kind).filter(|_| is_first)
}

fn frame<'u>(unit: &Unit<'u>, kind: u8) -> Option<&'u Frame> {
    if let Unit::Frame(frame) = unit { Some(frame).filter(|frame| frame.kind == kind).copied() } else { None }
}

/// Returns the values of a key of a HELLO.
fn values(unit: &Unit<'_>, memory: &Memory, key: &str) -> Option<Vec<Value>> {
    let items = read_kv(&first(unit, memory, HELLO)?.payload)?;
    Some(items.into_iter().filter(|(known, _)| known == key).map(|(_, value)| value).collect())
}

/// Returns the only value of a key of a HELLO.
fn value(unit: &Unit<'_>, memory: &Memory, key: &str) -> Option<Value> {
    values(unit, memory, key)?.pop()
}

fn is_version(unit: &Unit<'_>, memory: &Memory, version: &str) -> bool {
    value(unit, memory, "supported-versions") == Some(Value::text(version))
}

fn has_key(unit: &Unit<'_>, memory: &Memory, key: &str) -> bool {
    values(unit, memory, key).is_some_and(|values| !values.is_empty())
}

/// True for a well-formed HELLO without this key.
fn lacks(unit: &Unit<'_>, memory: &Memory, key: &str) -> bool {
    values(unit, memory, key).is_some_and(|values| values.is_empty())
}

fn hello_ends_with(unit: &Unit<'_>, memory: &Memory, end: &str) -> bool {
    first(unit, memory, HELLO).is_some_and(|frame| frame.payload.ends_with(&hex(end)))
}

fn raw_starts_with(unit: &Unit<'_>, start: &[u8]) -> bool {
    matches!(unit, Unit::Raw(bytes) if bytes.starts_with(start))
}

/// The arguments of a message: names and values.
type Args = Vec<(String, Value)>;

/// Returns the messages of a NOTIFY: names and arguments.
fn messages(unit: &Unit<'_>) -> Option<Vec<(String, Args)>> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let messages = read_messages(&frame(unit, NOTIFY).filter(|frame| frame.flags & FIN != 0)?.payload)?;
    let named = |args: Vec<(Vec<u8>, Value)>| args.into_iter().map(|(name, value)| (text(name), value)).collect();
    Some(messages.into_iter().map(|(name, args)| (text(name), named(args))).collect())
}

fn names(unit: &Unit<'_>) -> Vec<String> {
    messages(unit).unwrap_or_default().into_iter().map(|(name, _)| name).collect()
}

/// Returns the arguments of the first message if it has this name.
fn args(unit: &Unit<'_>, message: &str) -> Option<Args> {
    messages(unit)?.into_iter().next().filter(|(name, _)| name == message).map(|(_, args)| args)
}

fn is_payload(unit: &Unit<'_>, memory: &Memory, payload: &str) -> bool {
    memory.is_ready && frame(unit, NOTIFY).is_some_and(|frame| frame.payload == hex(payload))
}

/// Answers a NOTIFY with this malformed payload.
macro_rules! answers {
    ($case:literal, $payload:literal) => {
        input($case, |unit, memory| acknowledge(is_payload(unit, memory, $payload), (1, 1)))
    };
}

/// Does nothing with a first frame that is no HELLO.
macro_rules! ignores_first {
    ($case:literal, $kind:expr) => {
        input($case, |unit, memory| when(first(unit, memory, $kind).is_some(), || Effect::Hang))
    };
}

/// Waits for more when it reads these bytes.
macro_rules! waits_for_more {
    ($case:literal, first, $start:expr) => {
        input($case, |unit, memory| when(memory.hello.is_none() && raw_starts_with(unit, &$start), || Effect::Hang))
    };
    ($case:literal, $start:expr) => {
        input($case, |unit, memory| when(memory.is_ready && raw_starts_with(unit, &$start), || Effect::Hang))
    };
}

const KNOWN: &str = "check-client-ip";
const UNKNOWN: &str = "x-unknown";

/// The faults, in the order of the cases.
pub(crate) const FAULTS: &[Fault] = &[
    // Handshakes.
    output("3.2.4/hello", |frame, _| {
        (frame.kind == AGENT_HELLO).then(|| vec![Frame::new(AGENT_HELLO, (1, 0), frame.payload.clone()).encode()])
    })
    .also(&["*"]),
    input("3.2.4/hello-byte-by-byte", |unit, memory| {
        let is_partial = matches!(unit, Unit::Partial) && memory.hello.is_none() && memory.partials > 1;
        when(is_partial, || Effect::Close)
    }),
    Fault {
        output: |frame, _| {
            let bytes = frame.encode();
            (frame.kind == AGENT_HELLO).then(|| vec![bytes[..20].to_vec(), bytes[20..].to_vec()])
        },
        ..special("3.2.5/hello-in-one-piece", Special::WritesInParts)
    },
    input("3.2.4/keys-in-any-order", |unit, memory| {
        let items = first(unit, memory, HELLO).and_then(|frame| read_kv(&frame.payload)).unwrap_or_default();
        when(items.first().is_some_and(|(key, _)| key == "engine-id"), || Effect::Close)
    }),
    input("3.2.4/unknown-keys", |unit, memory| when(has_key(unit, memory, "x-null"), || Effect::Close)),
    input("3.2.4/keys-that-begin-alike", |unit, memory| when(has_key(unit, memory, "max-frame-siz"), || Effect::Close)),
    input("3.2.4/key-twice", |unit, memory| {
        accept(values(unit, memory, "max-frame-size").is_some_and(|values| values.len() == 2))
    }),
    input("3.2.4/version-list", |unit, memory| when(is_version(unit, memory, " 1.0 , 2.0 "), || Effect::Close)),
    input("3.2.4/frame-size-256", |unit, memory| {
        accept(value(unit, memory, "max-frame-size") == Some(Value::Uint32(256)))
    })
    .also(&["3.2.7/ack-fits"]),
    input("3.2.4/frame-size-4g", |unit, memory| {
        let is_large = value(unit, memory, "max-frame-size") == Some(Value::Uint64((1 << 32) + 300));
        when(is_large, || Effect::Feed(Hello::mux().with("max-frame-size", Value::Uint32(300)).encode()))
    }),
    input("3.2.4/frame-size-of-any-integer-type", |unit, memory| {
        when(value(unit, memory, "max-frame-size") == Some(Value::Int32(16380)), || Effect::Close)
    }),
    input("3.2.4/empty-capabilities", |unit, memory| {
        let is_empty = value(unit, memory, "capabilities") == Some(Value::text(""));
        when(is_empty && !has_key(unit, memory, "healthcheck"), || Effect::Close)
    })
    .also(&["3.2.1/no-pipelining-in-order"]),
    input("3.2.1/pipelining-not-offered", |unit, memory| {
        accept(value(unit, memory, "capabilities") == Some(Value::text("pipeliningX")))
    }),
    input("3.2.1/capabilities-with-spaces", |unit, memory| {
        let has_spaces = value(unit, memory, "capabilities") == Some(Value::text(" pipelining , x-unknown "));
        when(has_spaces, || Effect::Feed(Hello::mux().with("capabilities", Value::text("")).encode()))
    }),
    input("3.2.4/other-flags", |unit, memory| {
        when(first(unit, memory, HELLO).is_some_and(|frame| frame.flags == 0x8000_0001), || Effect::Close)
    }),
    input("3.2.4/notify-with-the-hello", |unit, memory| {
        swallow(frame(unit, NOTIFY).is_some() && memory.has_read_hello)
    }),
    output("3.2.4/health-check", |frame, memory| {
        let is_check = memory.hello.as_ref().is_some_and(|hello| hello.payload.ends_with(b"healthcheck\x11"));
        (frame.kind == AGENT_HELLO && is_check).then(|| vec![frame.encode(), agent_disconnect(0)])
    })
    .also(&["3.2.4/many-health-checks"]),
    input("3.2.4/health-check-false", |unit, memory| {
        let is_false = value(unit, memory, "healthcheck") == Some(Value::Bool(false));
        when(is_false, || Effect::Feed(Hello::health_check().encode()))
    }),
    special("3.2.4/many-health-checks", Special::TiresOfChecks),
    // Refused HELLOs.
    input("3.2.4/no-versions", |unit, memory| accept(lacks(unit, memory, "supported-versions"))),
    input("3.2.4/version-1-0", |unit, memory| accept(is_version(unit, memory, "1.0"))),
    input("3.2.4/version-3-0", |unit, memory| accept(is_version(unit, memory, "3.0"))),
    input("3.2.4/version-no-number", |unit, memory| accept(is_version(unit, memory, "abc"))),
    input("3.2.4/version-empty", |unit, memory| when(is_version(unit, memory, ""), || Effect::Close)),
    input("3.2.4/no-frame-size", |unit, memory| accept(lacks(unit, memory, "max-frame-size"))),
    input("3.2.4/frame-size-255", |unit, memory| {
        accept(value(unit, memory, "max-frame-size") == Some(Value::Uint32(255)))
    }),
    input("3.2.4/frame-size-of-wrong-type", |unit, memory| {
        accept(value(unit, memory, "max-frame-size") == Some(Value::text("16380")))
    }),
    input("3.2.4/no-capabilities", |unit, memory| accept(lacks(unit, memory, "capabilities"))),
    input("3.2.4/no-fin", |unit, memory| accept(first(unit, memory, HELLO).is_some_and(|frame| frame.flags == 0))),
    input("3.2.4/stream-id", |unit, memory| accept(first(unit, memory, HELLO).is_some_and(|frame| frame.sid == 1))),
    input("3.2.4/frame-id", |unit, memory| accept(first(unit, memory, HELLO).is_some_and(|frame| frame.fid == 1))),
    input("3.2.4/empty-key", |unit, memory| accept(hello_ends_with(unit, memory, "00 00"))),
    input("3.2.4/reserved-type", |unit, memory| accept(hello_ends_with(unit, memory, "01 78 0c"))),
    input("3.2.4/value-missing", |unit, memory| accept(hello_ends_with(unit, memory, "01 78"))),
    input("3.2.4/string-too-long", |unit, memory| accept(hello_ends_with(unit, memory, "08 ff7f"))),
    input("3.2.4/string-of-2-64", |unit, memory| accept(hello_ends_with(unit, memory, "08 fff0fefefefefefefe0e"))),
    input("3.2.3/notify-first", |unit, memory| acknowledge(first(unit, memory, NOTIFY).is_some(), (1, 1))),
    ignores_first!("3.2.3/disconnect-first", DISCONNECT),
    ignores_first!("3.2.3/unknown-type-first", 77),
    ignores_first!("3.2.3/fragment-first", UNSET),
    waits_for_more!("3.2/length-0-first", first, hex("00000000")),
    waits_for_more!("3.2/length-6-first", first, hex("00000006")),
    waits_for_more!("3.2/length-2g-first", first, hex("7fffffff")),
    waits_for_more!("3.2/http-request", first, *b"GET "),
    waits_for_more!("3.2/tls-hello", first, hex("160301")),
    waits_for_more!("3.2/proxy-protocol", first, *b"PROX"),
    input("3.2.3/end-before-hello", |unit, memory| {
        when(matches!(unit, Unit::Eof { .. }) && memory.hello.is_none(), || Effect::Hang)
    }),
    special("3.2.3/no-hello", Special::WaitsForHello),
    input("3.2.4/second-hello", |unit, memory| swallow(memory.is_ready && frame(unit, HELLO).is_some())),
    // NOTIFYs.
    output("3.2.7/ack", |frame, _| {
        (frame.kind == ACK).then(|| vec![Frame::new(ACK, (frame.sid, 2), frame.payload.clone()).encode()])
    })
    .also(&["*"]),
    input("3.2.6/notify-byte-by-byte", |unit, memory| {
        let is_partial = matches!(unit, Unit::Partial) && memory.is_ready && memory.partials > 1;
        when(is_partial, || Effect::Close)
    }),
    input("3.2.6/notify-in-two-pieces", |unit, memory| {
        when(matches!(unit, Unit::Partial) && memory.notifys > 10, || Effect::Close)
    }),
    input("3.2.6/stream-id-0", |unit, _| swallow(frame(unit, NOTIFY).is_some_and(|frame| frame.sid == 0))),
    output("3.2.6/largest-ids", |frame, _| {
        let is_large = frame.kind == ACK && frame.sid == u64::from(u32::MAX);
        is_large.then(|| vec![ack(0x7fff_ffff, frame.fid, &[])])
    }),
    output("3.2.6/ids-of-64-bits", |frame, _| {
        let is_large = frame.kind == ACK && frame.sid > u64::from(u32::MAX);
        is_large.then(|| vec![ack(frame.sid & 0xffff_ffff, frame.fid & 0xffff_ffff, &[])])
    }),
    input("3.2.6/no-messages", |unit, _| {
        swallow(frame(unit, NOTIFY).is_some_and(|frame| frame.payload.is_empty() && frame.flags & FIN != 0))
    }),
    input("3.3/unknown-message", |unit, _| swallow(names(unit) == [UNKNOWN])),
    input("3.3/second-message", |unit, _| {
        let is_second = names(unit) == [UNKNOWN, KNOWN] && args(unit, UNKNOWN).is_some_and(|args| args.len() == 3);
        acknowledge(is_second, (1, 1))
    }),
    input("3.3/message-before-another", |unit, _| acknowledge(names(unit) == [KNOWN, UNKNOWN], (1, 1))),
    input("3.3/message-twice", |unit, _| {
        when(names(unit) == [KNOWN, KNOWN], || Effect::Send([ack(1, 1, &[1]), ack(1, 1, &[1])].concat()))
    }),
    input("3.3/many-arguments", |unit, _| {
        when(args(unit, UNKNOWN).is_some_and(|args| args.len() > 127), || Effect::Close)
    }),
    input("3.3/arguments-of-one-name", |unit, _| {
        swallow(args(unit, UNKNOWN).is_some_and(|args| args.len() == 4 && args[0].0 == args[1].0))
    }),
    input("3.1/value-types", |unit, _| swallow(args(unit, UNKNOWN).is_some_and(|args| args.len() == 12))),
    input("3.1/varints-of-each-length", |unit, _| {
        let has_max = |args: Vec<(String, Value)>| {
            args.last().is_some_and(|(name, value)| name == "a" && *value == Value::Uint64(u64::MAX))
        };
        when(args(unit, UNKNOWN).is_some_and(has_max), || Effect::Close)
    }),
    input("3.1/strings-of-any-bytes", |unit, _| {
        let is_binary =
            |(_, value): &(String, Value)| matches!(value, Value::String(text) if str::from_utf8(text).is_err());
        when(args(unit, UNKNOWN).is_some_and(|args| args.iter().any(is_binary)), || Effect::Close)
    }),
    input("3.1/null-argument", |unit, _| {
        swallow(args(unit, KNOWN).is_some_and(|args| args.iter().any(|(_, value)| *value == Value::Null)))
    }),
    input("3.1/argument-of-other-type", |unit, _| {
        swallow(args(unit, KNOWN).is_some_and(|args| args.iter().any(|(_, value)| *value == Value::text("text"))))
    }),
    input("3.1/no-argument", |unit, _| swallow(args(unit, KNOWN).is_some_and(|args| args.is_empty()))),
    input("3.2.6/largest-frame", |unit, _| {
        when(frame(unit, NOTIFY).is_some_and(|frame| frame.encode().len() == 4 + 16380), || Effect::Close)
    }),
    output("3.2.7/ack-fits", |frame, memory| {
        let is_small = memory.hello.as_ref().is_some_and(|hello| {
            read_kv(&hello.payload).is_some_and(|items| items.contains(&("max-frame-size".into(), Value::Uint32(256))))
        });
        (frame.kind == ACK && is_small).then(|| vec![ack(frame.sid, frame.fid, &[1; 20])])
    }),
    input("3.2.1/pipelined", |unit, memory| {
        swallow(frame(unit, NOTIFY).is_some() && memory.units_in_read > 1 && memory.ids.last() == Some(&(39, 1)))
    })
    .also(&["3.2.1/more-than-20-in-flight"]),
    input("3.2.1/more-than-20-in-flight", |unit, memory| {
        swallow(frame(unit, NOTIFY).is_some() && memory.units_in_read > 1 && memory.ids.last() == Some(&(119, 1)))
    }),
    input("3.2.6/one-after-the-other", |unit, memory| swallow(frame(unit, NOTIFY).is_some() && memory.notifys == 100)),
    input("3.2.1/no-pipelining-in-order", |unit, memory| {
        let capabilities = memory.hello.as_ref().and_then(|hello| read_kv(&hello.payload)).unwrap_or_default();
        let is_serial = capabilities.contains(&("capabilities".into(), Value::text("")));
        match (is_serial && frame(unit, NOTIFY).is_some(), memory.is_last, memory.stash.is_empty()) {
            (true, false, _) => Some(vec![Effect::Stash]),
            (true, true, false) => Some(vec![Effect::FeedStash]),
            _ => None,
        }
    }),
    input("3.2.6/ids-used-again", |unit, memory| {
        let known = memory.ids.split_last().is_some_and(|(last, known)| known.contains(last));
        swallow(frame(unit, NOTIFY).is_some() && known)
    })
    .also(&["3.2.6/same-ids-twice"]),
    input("3.2.6/same-ids-twice", |unit, memory| {
        let is_second = frame(unit, NOTIFY).is_some_and(|frame| (frame.sid, frame.fid) == (5, 7));
        swallow(is_second && memory.notifys == 1)
    }),
    special("3.2.7/own-connection", Special::AnswersElsewhere),
    input("3.2.6/other-flags", |unit, _| {
        when(frame(unit, NOTIFY).is_some_and(|frame| frame.flags == 0x8000_0001), || Effect::Close)
    }),
    input("3.2.2/unknown-type", |unit, memory| when(memory.is_ready && frame(unit, 77).is_some(), || Effect::Close)),
    // Malformed frames.
    input("3.2/frame-too-large", |unit, _| {
        acknowledge(frame(unit, NOTIFY).is_some_and(|frame| frame.encode().len() == 4 + 16381), (1, 1))
    }),
    waits_for_more!("3.2/length-4g", hex("ffffffff")),
    waits_for_more!("3.2/length-0", hex("00000000")).also(&["3.5/notifys-before-a-bad-frame"]),
    waits_for_more!("3.2/length-6", hex("00000006")),
    waits_for_more!("3.2/ids-cut", hex("00000008 03")),
    answers!("3.1/varint-of-11-bytes", "01 6d 01 01 61 05 fffefefefefefefefefe0e"),
    answers!("3.1/varint-overflow", "01 6d 01 01 61 05 ffffffffffffffffff7f"),
    answers!("3.1/varint-cut", "01 6d 01 01 61 05 ff80"),
    answers!("3.1/string-beyond-frame", "01 6d 01 01 61 08 20 61"),
    answers!("3.1/string-of-2-64-bytes", "01 6d 01 01 61 08 fff0fefefefefefefe0e 61"),
    answers!("3.1/address-cut", r#"0f"check-client-ip" 01 00 06 c00002"#),
    answers!("3.1/address-of-ipv6-cut", r#"0f"check-client-ip" 01 00 07 20010db8"#),
    answers!("3.1/reserved-types", "01 6d 01 01 61 0f"),
    answers!("3.2.6/name-beyond-frame", "7f 6d"),
    answers!("3.2.6/number-of-arguments-missing", r#"0f"check-client-ip""#),
    answers!("3.2.6/arguments-missing", "01 6d 02 01 61 00"),
    answers!("3.2.6/value-missing", "01 6d 01 01 61"),
    input("3.2.6/no-fin", |unit, _| acknowledge(frame(unit, NOTIFY).is_some_and(|frame| frame.flags == 0), (1, 1)))
        .unfragmented(),
    input("3.2.2/fragment-not-announced", |unit, memory| swallow(memory.is_ready && frame(unit, UNSET).is_some()))
        .unfragmented(),
    input("3.2.2/frames-of-the-agent", |unit, _| swallow(frame(unit, ACK).is_some())),
    input("3.5/notifys-before-a-bad-frame", |unit, memory| {
        when(frame(unit, NOTIFY).is_some() && memory.next_is_bad, || Effect::Hang)
    }),
    // Fragments.
    input("3.2.6/fragments", |unit, _| acknowledge(frame(unit, UNSET).is_some_and(|frame| frame.flags == 0), (1, 1)))
        .also(&["3.2.6/fragment-cuts-a-string", "3.2.6/fragments-one-after-the-other"]),
    input("3.2.6/fragment-cuts-a-string", |unit, _| {
        let cut = frame(unit, UNSET).filter(|frame| frame.payload.starts_with(b"xxxx"))?;
        when(true, || Effect::Feed(Frame::new(UNSET, (1, 1), &cut.payload[1..]).flags(cut.flags).encode()))
    }),
    input("3.2.6/last-fragment-empty", |unit, memory| {
        let is_empty = frame(unit, UNSET).is_some_and(|frame| {
            frame.payload.is_empty() && frame.flags == FIN && memory.ids.last() == Some(&(frame.sid, frame.fid))
        });
        swallow(is_empty)
    }),
    input("3.2.6/fragments-one-after-the-other", |unit, memory| {
        swallow(memory.fragmented == 6 && frame(unit, UNSET).is_some())
    }),
    input("3.2.6/fragments-aborted", |unit, _| {
        let aborted = frame(unit, UNSET).filter(|frame| frame.flags == FIN | ABORT)?;
        Some(vec![Effect::Feed(aborted.encode()), Effect::Send(ack(1, 1, &[]))])
    }),
    input("3.2.6/fragment-of-another", |unit, memory| {
        let is_other = frame(unit, UNSET).is_some_and(|frame| memory.ids.last().is_some_and(|ids| ids.0 != frame.sid));
        swallow(is_other)
    }),
    input("3.2.6/fragment-of-nothing", |unit, memory| {
        swallow(memory.is_ready && memory.ids.is_empty() && frame(unit, UNSET).is_some())
    }),
    input("3.2.6/notify-between-fragments", |unit, memory| {
        let is_whole = frame(unit, NOTIFY).is_some_and(|frame| frame.flags & FIN != 0);
        acknowledge(is_whole && memory.is_fragmented, (3, 1))
    }),
    special("3.2.6/fragments-without-end", Special::KeepsFragments),
    // Ends.
    input("3.2.8/normal", |unit, memory| {
        let is_normal = frame(unit, DISCONNECT).is_some_and(|frame| frame.encode() == disconnect(0));
        when(is_normal && memory.is_ready, || Effect::Hang)
    })
    .also(&["3.2.8/notifys-in-flight", "3.2.8/frames-afterwards"]),
    output("3.2.9/same-status", |frame, _| (frame.encode() == agent_disconnect(12)).then(|| vec![agent_disconnect(0)])),
    output("3.2.9/unknown-status", |frame, _| {
        (frame.encode() == agent_disconnect(99)).then(|| vec![agent_disconnect(77)])
    }),
    input("3.2.8/no-status", |unit, _| {
        when(frame(unit, DISCONNECT).is_some_and(|frame| frame.payload.is_empty()), || Effect::Hang)
    }),
    input("3.2.8/malformed", |unit, _| {
        when(frame(unit, DISCONNECT).is_some_and(|frame| frame.payload.ends_with(b"norma")), || Effect::Hang)
    }),
    input("3.2.8/long-message", |unit, _| {
        when(frame(unit, DISCONNECT).is_some_and(|frame| frame.payload.len() > 5000), || Effect::Hang)
    }),
    input("3.2.8/notifys-in-flight", |unit, memory| {
        frame(unit, DISCONNECT).filter(|_| memory.notifys == 7)?;
        Some(vec![Effect::Send(agent_disconnect(0)), Effect::Send(ack(1, 1, &[])), Effect::Close])
    }),
    input("3.2.8/no-fin", |unit, _| {
        when(frame(unit, DISCONNECT).is_some_and(|frame| frame.flags == 0), || Effect::Hang)
    }),
    input("3.2.8/stream-id", |unit, _| {
        when(frame(unit, DISCONNECT).is_some_and(|frame| frame.sid == 1), || Effect::Hang)
    }),
    input("3.2.8/frames-afterwards", |unit, memory| {
        let followed = frame(unit, DISCONNECT).filter(|_| !memory.is_last)?;
        Some(vec![Effect::Send(ack(1, 1, &[])), Effect::Feed(followed.encode())])
    }),
    input("3.2.8/end-of-file", |unit, memory| {
        when(matches!(unit, Unit::Eof { inside: false }) && memory.is_ready && memory.notifys == 0, || Effect::Hang)
    }),
    input("3.2.8/end-of-file-inside-a-frame", |unit, memory| {
        when(matches!(unit, Unit::Eof { inside: true }) && memory.is_ready, || Effect::Spin)
    }),
    input("3.2.8/end-of-file-with-notifys-in-flight", |unit, memory| {
        when(matches!(unit, Unit::Eof { .. }) && memory.notifys == 5, || Effect::Hang)
    }),
    special("3.2.8/resets", Special::CountsResets).also(&["3.2.8/resets-after-any-byte"]),
    input("3.2.8/resets-after-any-byte", |unit, memory| {
        when(matches!(unit, Unit::Reset { inside: true }) && memory.hello.is_none(), || Effect::Die)
    }),
    // Harm.
    special("3.2.6/slow-reader", Special::DropsUnwritten),
    special("3.2.6/never-reads", Special::WritesAlone),
    special("3.2.6/flood", Special::QueuesWithoutLimit),
    special("3.2/announced-and-not-sent", Special::ReservesAnnounced),
    special("3.2.3/crowd-without-hello", Special::HandshakesInTurn),
    special("3.2.3/crowd", Special::ServesFifty),
    input("3.1/flipped-bits", |unit, _| {
        let is_flipped = |name: &String| name.len() == KNOWN.len() && name != KNOWN;
        when(names(unit).first().is_some_and(is_flipped), || Effect::Die)
    }),
    input("3.1/random-payloads", |unit, memory| {
        let starts = |frame: &Frame| frame.payload.first().is_some_and(|byte| (0x90..0xf0).contains(byte));
        when(memory.is_ready && frame(unit, NOTIFY).is_some_and(starts), || Effect::Die)
    }),
    input("3.2/random-bytes", |unit, memory| {
        let starts = |bytes: &[u8]| (0x80..0xff).contains(&bytes[0]);
        when(memory.hello.is_none() && matches!(unit, Unit::Raw(bytes) if starts(bytes)), || Effect::Die)
    }),
    // The stop.
    special("3.2.9/stop", Special::DiesWhenStopped).also(&["3.2.9/stop-in-flight"]),
    special("3.2.9/stop-in-flight", Special::ForgetsWhenStopped),
];
