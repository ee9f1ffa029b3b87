//! Generates conversations: the inputs that HAProxy or a hostile peer may send, as a list of symbolic frames.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use spoa_tests::bytes::{ABORT, DISCONNECT, FIN, Frame, NOTIFY, UNSET, Value, hex, kv, message};
use spoa_tests::frames::{Hello, check_client_ip, get_ip_reputation};

/// A frame from the peer, or bytes that cannot be one.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Hello(HelloKind),
    Notify {
        ids: (u64, u64),
        flags: u32,
        payload: Vec<u8>,
    },
    Unset {
        ids: (u64, u64),
        flags: u32,
        payload: Vec<u8>,
    },
    Disconnect {
        ids: (u64, u64),
        flags: u32,
        status: Option<u64>,
    },
    /// A frame of a type that HAProxy does not send.
    Other(u8),
    /// The length of a frame that is too short or too long, without the frame.
    Length(u32),
}

/// A kind of HELLO, named by its difference from an ordinary one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HelloKind {
    Mux,
    Applet,
    NoPipelining,
    Small,
    HealthCheck,
    BadHealthCheck,
    Fragmented,
    WithIds,
    Malformed,
    NoVersion,
    NoSize,
    NoCapabilities,
    Version1,
    TinySize,
}

impl HelloKind {
    const GOOD: [Self; 4] = [Self::Mux, Self::Applet, Self::NoPipelining, Self::Small];
    const OTHER: [Self; 10] = [
        Self::HealthCheck,
        Self::BadHealthCheck,
        Self::Fragmented,
        Self::WithIds,
        Self::Malformed,
        Self::NoVersion,
        Self::NoSize,
        Self::NoCapabilities,
        Self::Version1,
        Self::TinySize,
    ];

    fn encode(self) -> Vec<u8> {
        let mux = Hello::mux();
        match self {
            Self::Mux => mux,
            Self::Applet => Hello::applet(),
            Self::NoPipelining => mux.with("capabilities", Value::text("")),
            Self::Small => mux.with("max-frame-size", Value::Uint32(256)),
            Self::HealthCheck => Hello::health_check(),
            Self::BadHealthCheck => Hello::health_check().without("max-frame-size"),
            Self::Fragmented => mux.flags(0),
            Self::WithIds => mux.ids(3, 1),
            Self::Malformed => mux.with("x", Value::Raw(hex("0c"))),
            Self::NoVersion => mux.without("supported-versions"),
            Self::NoSize => mux.without("max-frame-size"),
            Self::NoCapabilities => mux.without("capabilities"),
            Self::Version1 => mux.with("supported-versions", Value::text("1.0")),
            Self::TinySize => mux.with("max-frame-size", Value::Uint32(255)),
        }
        .encode()
    }
}

impl Input {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(greeting) => greeting.encode(),
            Self::Notify { ids, flags, payload } => Frame::new(NOTIFY, *ids, payload.clone()).flags(*flags).encode(),
            Self::Unset { ids, flags, payload } => Frame::new(UNSET, *ids, payload.clone()).flags(*flags).encode(),
            Self::Disconnect { ids, flags, status } => {
                let payload = status.map_or(Vec::new(), |code| kv(&[("status-code", Value::Uint32(code))]));
                Frame::new(DISCONNECT, *ids, payload).flags(*flags).encode()
            }
            Self::Other(kind) => Frame::new(*kind, (1, 1), *b"other").encode(),
            Self::Length(len) => len.to_be_bytes().to_vec(),
        }
    }
}

pub(crate) fn encode(inputs: &[Input]) -> Vec<u8> {
    inputs.iter().flat_map(Input::encode).collect()
}

/// Stream-id and frame-id, mostly of few streams, so that fragments often have the ids of a pending NOTIFY.
fn ids() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![8 => Just((1, 1)), 2 => Just((0, 1)), 1 => Just((1, 2)), 1 => (any::<u64>(), any::<u64>())]
}

fn address() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => any::<[u8; 4]>().prop_map(Value::Ipv4),
        2 => any::<[u8; 16]>().prop_map(Value::Ipv6),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
    ]
}

/// A message, or a few random bytes.
fn a_message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => address().prop_map(check_client_ip),
        3 => address().prop_map(get_ip_reputation),
        2 => (0usize..300).prop_map(|len| message("unknown", &[("x", Value::String(vec![b'x'; len]))])),
        // These make frames of about 256 bytes, the smallest maximum frame size.
        1 => (225usize..240).prop_map(|len| message("unknown", &[("x", Value::String(vec![b'x'; len]))])),
        1 => vec(any::<u8>(), 0..8),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    vec(a_message(), 0..3).prop_map(|messages| messages.concat())
}

/// A fragmented NOTIFY, sometimes with an unexpected frame between its fragments.
fn in_fragments() -> impl Strategy<Value = Vec<Input>> {
    let cuts = vec(any::<prop::sample::Index>(), 1..4);
    let intruder = prop::option::weighted(0.1, (any::<prop::sample::Index>(), intruder()));
    (ids(), payload(), cuts, 0u8..10, intruder).prop_map(|(ids, payload, cuts, end, intruder)| {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        cuts.sort_unstable();
        let mut inputs = vec![Input::Notify { ids, flags: 0, payload: payload[..cuts[0]].to_vec() }];
        for pair in cuts.windows(2) {
            inputs.push(Input::Unset { ids, flags: 0, payload: payload[pair[0]..pair[1]].to_vec() });
        }
        let rest = payload[cuts[cuts.len() - 1]..].to_vec();
        inputs.push(match end {
            0 => Input::Unset { ids, flags: FIN | ABORT, payload: vec![] },
            _ => Input::Unset { ids, flags: FIN, payload: rest },
        });
        if let Some((at, input)) = intruder {
            inputs.insert(at.index(inputs.len()) + 1, input);
        }
        inputs
    })
}

/// A frame that is usually an error between the fragments of a NOTIFY.
fn intruder() -> impl Strategy<Value = Input> {
    let near = prop_oneof![Just((1, 1)), Just((1, 2)), Just((0, 1))];
    prop_oneof![
        3 => (near, flags(), payload()).prop_map(|(ids, flags, payload)| Input::Unset { ids, flags, payload }),
        1 => (ids(), flags(), payload()).prop_map(|(ids, flags, payload)| Input::Notify { ids, flags, payload }),
    ]
}

fn flags() -> impl Strategy<Value = u32> {
    prop_oneof![8 => Just(FIN), 1 => Just(0), 1 => Just(FIN | ABORT), 1 => Just(0x8000_0001)]
}

/// An input that often ends a conversation.
fn rare() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => (ids(), flags(), payload()).prop_map(|(ids, flags, payload)| Input::Unset { ids, flags, payload }),
        2 => (prop_oneof![4 => Just((0, 0)), 1 => ids()], flags(), prop::option::of(0u64..120))
            .prop_map(|(ids, flags, status)| Input::Disconnect { ids, flags, status }),
        2 => any::<u8>().prop_filter("types of HAProxy", |kind| *kind > 3).prop_map(Input::Other),
        1 => prop_oneof![0u32..7, 20_000u32..].prop_map(Input::Length),
        1 => select(&HelloKind::GOOD[..]).prop_map(Input::Hello),
    ]
}

fn some_inputs() -> impl Strategy<Value = Vec<Input>> {
    let notify = (ids(), flags(), payload()).prop_map(|(ids, flags, payload)| Input::Notify { ids, flags, payload });
    prop_oneof![
        8 => notify.prop_map(|input| vec![input]),
        4 => in_fragments(),
        1 => rare().prop_map(|input| vec![input]),
    ]
}

/// A conversation, which mostly starts with a HELLO that is accepted, followed by valid frames.
pub(crate) fn conversation() -> impl Strategy<Value = Vec<Input>> {
    let hello = prop_oneof![
        30 => select(&HelloKind::GOOD[..]).prop_map(|hello| vec![Input::Hello(hello)]),
        10 => select(&HelloKind::OTHER[..]).prop_map(|hello| vec![Input::Hello(hello)]),
        1 => Just(vec![]),
    ];
    (hello, vec(some_inputs(), 0..20)).prop_map(|(hello, rest)| [hello, rest.concat()].concat())
}
