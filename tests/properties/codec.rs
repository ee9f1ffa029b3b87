//! The core's codec against the harness's: every wire type, in both directions, with valid and invalid bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use spoa_core::wire::{
    self, Action, ActionIter, Actions, AgentHello, Capabilities, Disconnect, HaproxyHello, KvList, MessageEncoder,
    Messages, Reader, Scope, SetVars, TypedData,
};
use spoa_core::{Field, Status};
use spoa_sim_checker::codec::Bytes;
use spoa_tests::bytes::{self, Value, kv, read_actions, read_kv, read_messages, varint};

/// Integers of which all bit lengths are about equally likely.
fn integer() -> impl Strategy<Value = u64> {
    (0u32..64, any::<u64>()).prop_map(|(shift, value)| value >> shift)
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(|value| Value::Int32(value.into())),
        any::<u32>().prop_map(|value| Value::Uint32(value.into())),
        integer().prop_map(|value| Value::Int64(value as i64)),
        integer().prop_map(Value::Uint64),
        any::<[u8; 4]>().prop_map(Value::Ipv4),
        any::<[u8; 16]>().prop_map(Value::Ipv6),
        blob().prop_map(Value::String),
        blob().prop_map(Value::Binary),
    ]
}

/// Returns the value that the core decodes. Integers outside the range of their 32-bit type have the 64-bit type.
fn typed(value: &Value) -> TypedData<'_> {
    match value {
        Value::Null => TypedData::Null,
        Value::Bool(value) => TypedData::Bool(*value),
        Value::Int32(value) => i32::try_from(*value).map_or(TypedData::Int64(*value), TypedData::Int32),
        Value::Uint32(value) => u32::try_from(*value).map_or(TypedData::Uint64(*value), TypedData::Uint32),
        Value::Int64(value) => TypedData::Int64(*value),
        Value::Uint64(value) => TypedData::Uint64(*value),
        Value::Ipv4(octets) => TypedData::Ipv4((*octets).into()),
        Value::Ipv6(octets) => TypedData::Ipv6((*octets).into()),
        Value::String(text) => TypedData::String(text),
        Value::Binary(bytes) => TypedData::Binary(bytes),
        Value::Raw(_) => unreachable!("`value` does not generate raw bytes"),
    }
}

/// Replaces up to two of the good bytes, and truncates half of the inputs.
fn mutated(good: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let flips = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (good, flips, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(mut bytes, flips, cut, cuts)| {
        for (at, byte) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes
    })
}

type Args = Vec<(String, Value)>;

fn args() -> impl Strategy<Value = Args> {
    vec(("[a-z]{0,5}", value()), 0..6)
}

fn payload(messages: &[(String, Args)]) -> Vec<u8> {
    let message = |(name, args): &(String, Args)| {
        bytes::message(name, &args.iter().map(|(name, value)| (name.as_str(), value.clone())).collect::<Vec<_>>())
    };
    messages.iter().flat_map(message).collect()
}

fn list(items: &[(String, Value)]) -> Vec<u8> {
    kv(&items.iter().map(|(key, value)| (key.as_str(), value.clone())).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn varints_agree(value in integer()) {
        let mut out = Vec::new();
        wire::encode_varint(value, &mut out);
        prop_assert_eq!(&out, &varint(value));
        prop_assert_eq!(wire::varint_len(value), out.len());
        prop_assert_eq!(Reader::new(&out).varint(Field::Value), Ok(value));
    }

    #[test]
    fn mutated_varints_are_decoded_alike(
        bytes in mutated(vec(prop_oneof![any::<u8>(), Just(0xf0), Just(0xfe)], 0..13))
    ) {
        let (mut rest, mut reader) = (Bytes(&bytes), Reader::new(&bytes));
        let harness = rest.varint();
        prop_assert_eq!(reader.varint(Field::Value).ok(), harness);
        if harness.is_some() {
            prop_assert_eq!(reader.rest(), rest.0);
        }
    }

    #[test]
    fn values_agree(value in value()) {
        let mut out = Vec::new();
        typed(&value).encode(&mut out);
        prop_assert_eq!(&out, &value.encode());
        prop_assert_eq!(typed(&value).encoded_len(), out.len());
        let mut reader = Reader::new(&out);
        prop_assert_eq!(TypedData::decode(&mut reader, Field::Value), Ok(typed(&value)));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn mutated_values_are_decoded_alike(bytes in mutated(value().prop_map(|value| value.encode()))) {
        let (mut rest, mut reader) = (Bytes(&bytes), Reader::new(&bytes));
        let harness = Value::take(&mut rest);
        prop_assert_eq!(TypedData::decode(&mut reader, Field::Value).ok(), harness.as_ref().map(typed));
        if harness.is_some() {
            prop_assert_eq!(reader.rest(), rest.0);
        }
    }

    /// Flags are the upper half of the type's byte. HAProxy uses them for BOOL and STRING.
    #[test]
    fn flags_are_decoded_alike(value in value(), flags in 0u8..16) {
        let mut bytes = value.encode();
        bytes[0] = bytes[0] & 15 | flags << 4;
        let harness = Value::take(&mut Bytes(&bytes));
        prop_assert_eq!(TypedData::decode(&mut Reader::new(&bytes), Field::Value).ok(), harness.as_ref().map(typed));
    }

    #[test]
    fn mutated_lists_are_decoded_alike(bytes in mutated(vec(("[a-z]{1,5}", value()), 0..6).prop_map(|l| list(&l)))) {
        let core: Option<Vec<_>> = KvList::new(&bytes).map(Result::ok).collect();
        // The two codecs differ for keys that are empty or not UTF-8. Unit tests of the core have such keys.
        if let Some(harness) = read_kv(&bytes).filter(|items| items.iter().all(|(key, _)| !key.is_empty())) {
            let harness: Vec<_> = harness.iter().map(|(key, value)| (key.as_bytes(), typed(value))).collect();
            prop_assert_eq!(core, Some(harness));
        }
    }

    #[test]
    fn messages_agree(messages in vec(("[a-z]{0,20}", args()), 0..4)) {
        let harness = payload(&messages);
        let mut out = Vec::new();
        for (name, args) in &messages {
            let mut message = MessageEncoder::begin(&mut out, name);
            for (name, value) in args {
                message.arg(name, typed(value)).unwrap();
            }
        }
        prop_assert_eq!(&out, &harness);
    }

    #[test]
    fn mutated_messages_are_decoded_alike(
        bytes in mutated(vec(("[a-z]{0,20}", args()), 0..4).prop_map(|m| payload(&m)))
    ) {
        let harness = read_messages(&bytes);
        let core = Messages::decode(&bytes).ok();
        prop_assert_eq!(core.is_some(), harness.is_some());
        let Some((core, harness)) = core.zip(harness) else { return Ok(()) };
        prop_assert_eq!(core.clone().count(), harness.len());
        for (core, (name, args)) in core.zip(&harness) {
            prop_assert_eq!(core.name(), &name[..]);
            let args: Vec<_> = args.iter().map(|(name, value)| (&name[..], typed(value))).collect();
            prop_assert_eq!(core.args().collect::<Vec<_>>(), args);
        }
    }

    #[test]
    fn actions_agree(list in vec((0u8..5, "[A-Za-z0-9_.]{1,52}", prop::option::of(value())), 0..6)) {
        let (mut actions, mut harness) = (Actions::new(), Vec::new());
        for (scope, name, value) in &list {
            let core_scope = Scope::from_byte(*scope).unwrap();
            let (scope, name) = (*scope, name.clone());
            match value {
                None => {
                    actions.unset_var(core_scope, &name).unwrap();
                    harness.push(bytes::Action::UnsetVar { scope, name });
                }
                // The core refuses a NULL, with which HAProxy would unset the variable, and integers that it would read
                // as negative.
                Some(Value::Null) => prop_assert!(actions.set_var(core_scope, &name, TypedData::Null).is_err()),
                Some(Value::Uint64(big)) if *big > i64::MAX as u64 => {
                    prop_assert!(actions.set_var(core_scope, &name, *big).is_err());
                }
                Some(value) => {
                    actions.set_var(core_scope, &name, typed(value)).unwrap();
                    harness.push(bytes::Action::SetVar { scope, name, value: value.clone() });
                }
            }
        }
        prop_assert_eq!(read_actions(actions.as_bytes()), Some(harness));
    }

    #[test]
    fn mutated_actions_are_decoded_alike(
        bytes in mutated(vec(("[a-z]{0,9}", value()), 0..4).prop_map(|list| {
            list.iter().flat_map(|(name, value)| spoa_tests::frames::set_var(1, name, value)).collect()
        }))
    ) {
        let core: Option<Vec<_>> = ActionIter::new(&bytes).map(Result::ok).collect();
        let harness = read_actions(&bytes);
        // The harness accepts any scope and refuses names that are not UTF-8, unlike the core.
        let Some((core, harness)) = core.zip(harness) else { return Ok(()) };
        let core: Vec<_> = core.into_iter().map(|action| match action {
            Action::SetVar { scope, name, .. } => (true, scope as u8, name.to_vec()),
            Action::UnsetVar { scope, name } => (false, scope as u8, name.to_vec()),
        }).collect();
        let harness: Vec<_> = harness.into_iter().map(|action| match action {
            bytes::Action::SetVar { scope, name, .. } => (true, scope, name.into_bytes()),
            bytes::Action::UnsetVar { scope, name } => (false, scope, name.into_bytes()),
        }).collect();
        prop_assert_eq!(core, harness);
    }

    #[test]
    fn frames_agree(kind: u8, flags: u32, sid in integer(), fid in integer(), payload in blob()) {
        let harness = bytes::Frame::new(kind, (sid, fid), payload.clone()).flags(flags);
        let core = wire::Frame {
            frame_type: wire::FrameType(kind),
            flags: wire::Flags(flags),
            stream_id: wire::StreamId(sid),
            frame_id: wire::FrameId(fid),
            payload: &payload,
        };
        let mut out = Vec::new();
        core.encode(&mut out);
        prop_assert_eq!(&out, &harness.encode());
        prop_assert_eq!(wire::Frame::split(&out), Ok(Some((core, &[][..]))));
        let _ = core.to_string(); // must not panic for any bytes
    }

    #[test]
    fn mutated_frames_are_decoded_alike(bytes in mutated(vec((0u8..5, integer(), blob()), 0..4).prop_map(|frames| {
        frames.into_iter().flat_map(|(kind, sid, text)| bytes::Frame::new(kind, (sid, 1), text).encode()).collect()
    }))) {
        let (mut harness, mut core) = (&bytes[..], &bytes[..]);
        while let Some(frame) = bytes::Frame::take(&mut harness) {
            let Ok(Some((found, rest))) = wire::Frame::split(core) else { panic!("expected a frame in {core:02x?}") };
            core = rest;
            prop_assert_eq!((found.frame_type.0, found.flags.0), (frame.kind, frame.flags));
            prop_assert_eq!((found.stream_id.0, found.frame_id.0), (frame.sid, frame.fid));
            prop_assert_eq!(found.payload, &frame.payload[..]);
        }
        prop_assert!(!matches!(wire::Frame::split(core), Ok(Some(_))));
    }

    #[test]
    fn hellos_agree(
        versions in "[0-9., ]{0,12}", size in any::<u32>(), list in "[a-z, ]{0,30}", id in "[a-f0-9-]{36}", check: bool
    ) {
        let core = HaproxyHello {
            supported_versions: Some(versions.as_bytes()),
            max_frame_size: Some(TypedData::Uint32(size)),
            capabilities: Some(list.as_bytes()),
            healthcheck: check,
            engine_id: Some(id.as_bytes()),
        };
        let mut out = Vec::new();
        core.encode(&mut out);
        let frame = bytes::Frame::take(&mut &out[..]).unwrap();
        prop_assert_eq!(frame.value("supported-versions"), Some(Value::text(&versions)));
        prop_assert_eq!(frame.value("max-frame-size"), Some(Value::Uint32(size.into())));
        prop_assert_eq!(frame.value("capabilities"), Some(Value::text(&list)));
        prop_assert_eq!(frame.value("healthcheck").is_some(), check);
        prop_assert_eq!(HaproxyHello::decode(&frame.payload), Ok(core));
        prop_assert_eq!(HaproxyHello::is_healthcheck(&frame.payload), check);

        let agent = spoa_tests::frames::agent_hello(size.into(), "pipelining");
        let decoded = AgentHello::decode(&agent[11..]).unwrap();
        let core = AgentHello { version: b"2.0", max_frame_size: size, capabilities: Capabilities::PIPELINING };
        prop_assert_eq!(decoded, core);
        let mut out = Vec::new();
        core.encode(&mut out);
        prop_assert_eq!(out, agent);
    }

    #[test]
    fn disconnects_agree(code: u32, reason in blob()) {
        let core = Disconnect { status: Status(code), reason: &reason };
        let mut out = Vec::new();
        core.encode(wire::FrameType::AGENT_DISCONNECT, &mut out);
        let frame = bytes::Frame::take(&mut &out[..]).unwrap();
        prop_assert_eq!(frame.value("status-code"), Some(Value::Uint32(code.into())));
        prop_assert_eq!(frame.value("message"), Some(Value::String(reason.clone())));
        prop_assert_eq!(Disconnect::decode(&frame.payload), Ok(core));
    }
}
