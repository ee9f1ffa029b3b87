//! What HAProxy, or somebody worse, may say: a conversation as a list of symbolic frames.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use spoa_tests::bytes::{ABORT, DISCONNECT, FIN, Frame, NOTIFY, UNSET, Value, hex, kv, message};
use spoa_tests::frames::{Hello, check_client_ip, get_ip_reputation};

/// One thing said.
#[derive(Clone, Debug)]
pub(crate) enum Word {
    Hello(Greeting),
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
    /// A frame whose type is none of HAProxy's.
    Other(u8),
    /// A length that no frame has.
    Length(u32),
}

/// Kinds of HELLO, by what is special about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    Mux,
    Applet,
    NoPipelining,
    Small,
    HealthCheck,
    BadHealthCheck,
    Fragmented,
    OfAStream,
    Malformed,
    NoVersion,
    NoSize,
    NoCapabilities,
    Version1,
    TinySize,
}

impl Greeting {
    const GOOD: [Self; 4] = [Self::Mux, Self::Applet, Self::NoPipelining, Self::Small];
    const OTHER: [Self; 10] = [
        Self::HealthCheck,
        Self::BadHealthCheck,
        Self::Fragmented,
        Self::OfAStream,
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
            Self::OfAStream => mux.ids(3, 1),
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

impl Word {
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

pub(crate) fn encode(words: &[Word]) -> Vec<u8> {
    words.iter().flat_map(Word::encode).collect()
}

/// Few streams, so that fragments meet their like.
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

/// One message, good or cut.
fn a_message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => address().prop_map(check_client_ip),
        3 => address().prop_map(get_ip_reputation),
        2 => (0usize..300).prop_map(|len| message("unknown", &[("x", Value::String(vec![b'x'; len]))])),
        // Around the smallest frame size there is.
        1 => (225usize..240).prop_map(|len| message("unknown", &[("x", Value::String(vec![b'x'; len]))])),
        1 => vec(any::<u8>(), 0..8),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    vec(a_message(), 0..3).prop_map(|messages| messages.concat())
}

/// A NOTIFY in fragments that belong together, or nearly so.
fn in_fragments() -> impl Strategy<Value = Vec<Word>> {
    let cuts = vec(any::<prop::sample::Index>(), 1..4);
    let intruder = prop::option::weighted(0.1, (any::<prop::sample::Index>(), intruder()));
    (ids(), payload(), cuts, 0u8..10, intruder).prop_map(|(ids, payload, cuts, end, intruder)| {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        cuts.sort_unstable();
        let mut words = vec![Word::Notify { ids, flags: 0, payload: payload[..cuts[0]].to_vec() }];
        for pair in cuts.windows(2) {
            words.push(Word::Unset { ids, flags: 0, payload: payload[pair[0]..pair[1]].to_vec() });
        }
        let rest = payload[cuts[cuts.len() - 1]..].to_vec();
        words.push(match end {
            0 => Word::Unset { ids, flags: FIN | ABORT, payload: vec![] },
            _ => Word::Unset { ids, flags: FIN, payload: rest },
        });
        if let Some((at, word)) = intruder {
            words.insert(at.index(words.len()) + 1, word);
        }
        words
    })
}

/// What has no place among fragments.
fn intruder() -> impl Strategy<Value = Word> {
    let near = prop_oneof![Just((1, 1)), Just((1, 2)), Just((0, 1))];
    prop_oneof![
        3 => (near, flags(), payload()).prop_map(|(ids, flags, payload)| Word::Unset { ids, flags, payload }),
        1 => (ids(), flags(), payload()).prop_map(|(ids, flags, payload)| Word::Notify { ids, flags, payload }),
    ]
}

fn flags() -> impl Strategy<Value = u32> {
    prop_oneof![8 => Just(FIN), 1 => Just(0), 1 => Just(FIN | ABORT), 1 => Just(0x8000_0001)]
}

/// What often ends a conversation.
fn rare() -> impl Strategy<Value = Word> {
    prop_oneof![
        3 => (ids(), flags(), payload()).prop_map(|(ids, flags, payload)| Word::Unset { ids, flags, payload }),
        2 => (prop_oneof![4 => Just((0, 0)), 1 => ids()], flags(), prop::option::of(0u64..120))
            .prop_map(|(ids, flags, status)| Word::Disconnect { ids, flags, status }),
        2 => any::<u8>().prop_filter("HAProxy's own", |kind| *kind > 3).prop_map(Word::Other),
        1 => prop_oneof![0u32..7, 20_000u32..].prop_map(Word::Length),
        1 => select(&Greeting::GOOD[..]).prop_map(Word::Hello),
    ]
}

fn some_words() -> impl Strategy<Value = Vec<Word>> {
    let notify = (ids(), flags(), payload()).prop_map(|(ids, flags, payload)| Word::Notify { ids, flags, payload });
    prop_oneof![8 => notify.prop_map(|word| vec![word]), 4 => in_fragments(), 1 => rare().prop_map(|word| vec![word])]
}

/// A conversation: mostly it begins well and goes on well for a while.
pub(crate) fn conversation() -> impl Strategy<Value = Vec<Word>> {
    let hello = prop_oneof![
        30 => select(&Greeting::GOOD[..]).prop_map(|hello| vec![Word::Hello(hello)]),
        10 => select(&Greeting::OTHER[..]).prop_map(|hello| vec![Word::Hello(hello)]),
        1 => Just(vec![]),
    ];
    (hello, vec(some_words(), 0..20)).prop_map(|(hello, rest)| [hello, rest.concat()].concat())
}
