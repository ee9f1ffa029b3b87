//! Proposes simpler versions of values and of the agent's limits, the simplest first.

use spoa_sim_haproxy::Settings;

use crate::encode::encoded_len;
use crate::plan::{Answer, Plan};
use crate::script::{AgentSetup, Bytes, Cuts, Damage, EventSpec, FrameKind, FrameSpec, MessageSpec, Nanos, Value};

/// Returns versions of the agent's limits with one limit or capability at the default.
pub(crate) fn agents(agent: &AgentSetup) -> Vec<AgentSetup> {
    let defaults = AgentSetup::default();
    let mut simpler = Vec::new();
    let mut with = |change: &dyn Fn(&mut AgentSetup)| {
        let mut changed = agent.clone();
        change(&mut changed);
        if changed != *agent {
            simpler.push(changed);
        }
    };
    macro_rules! default {
        ($(($($field:tt)*) $name:ident $unit:ident;)*) => {
            $(with(&|agent| agent.$($field)* = defaults.$($field)*);)*
        };
    }
    with(&|agent| agent.connection.pipelining = defaults.connection.pipelining);
    with(&|agent| agent.connection.fragmentation = defaults.connection.fragmentation);
    with(&|agent| agent.connection.asynchronous = defaults.connection.asynchronous);
    each_limit!(default);
    simpler
}

/// Returns versions of the agent's limits with one rounder time.
pub(crate) fn agents_with_rounder_times(agent: &AgentSetup) -> Vec<AgentSetup> {
    // A default is the simplest time already.
    let defaults = AgentSetup::default();
    let mut rounder = Vec::new();
    macro_rules! round {
        (($($field:tt)*) s) => {
            if agent.$($field)* != defaults.$($field)* {
                rounder.extend(times(agent.$($field)*).into_iter().map(|time| {
                    let mut rounder = agent.clone();
                    rounder.$($field)* = time;
                    rounder
                }));
            }
        };
        ($field:tt $unit:ident) => {};
    }
    macro_rules! round_each {
        ($($field:tt $name:ident $unit:ident;)*) => {
            $(round!($field $unit);)*
        };
    }
    each_limit!(round_each);
    rounder
}

/// Returns fewer bytes: none, or half of them.
pub(crate) fn room(room: &Option<u32>) -> Vec<Option<u32>> {
    room.filter(|room| *room > 0).map_or(Vec::new(), |room| vec![Some(0), Some(room / 2)])
}

/// Returns one byte at once.
pub(crate) fn take(take: &Option<u32>) -> Vec<Option<u32>> {
    take.filter(|take| *take > 1).map_or(Vec::new(), |_| vec![Some(1)])
}

/// Returns versions with one setting at the default of the engine, or with one rounder time.
pub(crate) fn settings(settings: &Settings) -> Vec<Settings> {
    let defaults = Settings::of(settings.engine);
    let mut simpler = Vec::new();
    if settings.defects != defaults.defects {
        simpler.push(Settings { defects: defaults.defects, ..settings.clone() });
    }
    macro_rules! default {
        ($($name:literal $field:ident $kind:ident;)*) => {
            $(if settings.$field != defaults.$field {
                simpler.push(Settings { $field: defaults.$field, ..settings.clone() });
            })*
        };
    }
    each_setting!(default);
    macro_rules! round {
        ($field:ident time) => {
            if settings.$field != defaults.$field {
                simpler
                    .extend(times(settings.$field).into_iter().map(|$field| Settings { $field, ..settings.clone() }));
            }
        };
        ($field:ident $kind:ident) => {};
    }
    macro_rules! round_each {
        ($($name:literal $field:ident $kind:ident;)*) => {
            $(round!($field $kind);)*
        };
    }
    each_setting!(round_each);
    simpler
}

pub(crate) fn events(event: &EventSpec) -> Vec<EventSpec> {
    let mut simpler = Vec::new();
    if event.thread > 0 {
        simpler.push(EventSpec { thread: 0, ..event.clone() });
    }
    if event.stream.is_some() {
        simpler.push(EventSpec { stream: None, ..event.clone() });
    }
    let messages = simpler_messages(&event.messages).into_iter();
    simpler.extend(messages.map(|messages| EventSpec { messages, ..event.clone() }));
    simpler
}

pub(crate) fn frames(frame: &FrameSpec) -> Vec<FrameSpec> {
    let mut simpler = Vec::new();
    let mut with = |change: &dyn Fn(&mut FrameSpec)| {
        let mut changed = frame.clone();
        change(&mut changed);
        if changed != *frame {
            simpler.push(changed);
        }
    };
    with(&|frame| frame.damage = Damage::None);
    with(&|frame| frame.slice = None);
    if frame.flags != 1 {
        with(&|frame| frame.flags = 1);
        with(&|frame| frame.flags &= 3);
    }
    if (frame.stream_id, frame.frame_id) != (0, 0) {
        with(&|frame| (frame.stream_id, frame.frame_id) = (0, 0));
    }
    if (frame.stream_id, frame.frame_id) > (1, 1) {
        with(&|frame| (frame.stream_id, frame.frame_id) = (1, 1));
    }
    for kind in simpler_kinds(&frame.kind) {
        with(&move |frame| frame.kind = kind.clone());
    }
    simpler
}

fn simpler_kinds(kind: &FrameKind) -> Vec<FrameKind> {
    match kind {
        FrameKind::Hello(items) => simpler_items(items).into_iter().map(FrameKind::Hello).collect(),
        FrameKind::Disconnect(items) => simpler_items(items).into_iter().map(FrameKind::Disconnect).collect(),
        FrameKind::Notify(messages) => simpler_messages(messages).into_iter().map(FrameKind::Notify).collect(),
        FrameKind::Unset(messages) => simpler_messages(messages).into_iter().map(FrameKind::Unset).collect(),
        FrameKind::Other(kind, payload) => {
            bytes(payload).into_iter().map(|payload| FrameKind::Other(*kind, payload)).collect()
        }
    }
}

type Item = (Bytes, Value);

/// Returns versions without one of the items, or with one simpler value.
fn simpler_items(items: &[Item]) -> Vec<Vec<Item>> {
    let mut simpler = without_each(items);
    for (at, (key, value)) in items.iter().enumerate() {
        for value in usual_value(key, value).into_iter().chain(simpler_values(value)) {
            let mut changed = items.to_vec();
            changed[at].1 = value;
            simpler.push(changed);
        }
    }
    simpler
}

/// Returns the usual value of this key, unless it has that value already.
fn usual_value(key: &[u8], value: &Value) -> Option<Value> {
    let usual = match (key, value) {
        (b"max-frame-size", _) => Value::Uint32(16_380),
        (b"capabilities", _) => Value::Text(b"pipelining"[..].into()),
        // The same bytes, in a form that people can read.
        (b"plan", Value::Int64(wire)) if Plan::from_wire(*wire).to_wire() == *wire => {
            Value::Plan(Plan::from_wire(*wire))
        }
        _ => return None,
    };
    (usual != *value).then_some(usual)
}

/// The number of arguments above which a long one is simpler.
const FEW_ARGS: usize = 3;

fn simpler_messages(messages: &[MessageSpec]) -> Vec<Vec<MessageSpec>> {
    let mut simpler = if messages.len() > 8 { vec![messages[..messages.len() / 2].to_vec()] } else { Vec::new() };
    simpler.extend(without_each(messages));
    for (at, message) in messages.iter().enumerate() {
        let mut with = |message: MessageSpec| {
            let mut changed = messages.to_vec();
            changed[at] = message;
            simpler.push(changed);
        };
        if message.args.len() > FEW_ARGS {
            // A long argument instead of many small ones, if only the size matters.
            let len = encoded_len(std::slice::from_ref(message)).saturating_sub(message.name.len() as u32 + 6);
            with(MessageSpec { args: vec![(Bytes::default(), Value::LongText(len))], ..message.clone() });
        }
        if message.args.len() > 8 {
            with(MessageSpec { args: message.args[..message.args.len() / 2].to_vec(), ..message.clone() });
        }
        if message.name.len() > 1 {
            with(MessageSpec { name: b"m".into(), ..message.clone() });
        }
        for args in simpler_items(&message.args) {
            with(MessageSpec { args, ..message.clone() });
        }
    }
    simpler
}

fn simpler_values(value: &Value) -> Vec<Value> {
    match value {
        Value::Plan(plan) => {
            let scores = (plan.answer != Answer::Score).then_some(Plan { answer: Answer::Score, ..*plan });
            let rounder = times(plan.delay).into_iter().map(|delay| Plan { delay, ..*plan });
            scores.into_iter().chain(rounder).map(Value::Plan).collect()
        }
        Value::LongText(len) if *len > 0 => {
            vec![Value::LongText(0), Value::LongText(len / 2), Value::LongText(len - 1)]
        }
        Value::Binary(bytes) if !bytes.is_empty() => vec![Value::Binary(Vec::new())],
        Value::Uint64(value) if *value > 0 => vec![Value::Uint64(0), Value::Uint64(value / 16)],
        Value::Int64(value) if *value != 0 => vec![Value::Int64(0), Value::Int64(value / 16)],
        Value::Ipv6(octets) if octets != &[0; 16] => vec![Value::Ipv6([0; 16])],
        _ => Vec::new(),
    }
}

pub(crate) fn bytes(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.len() > 64 {
        return vec![bytes[..bytes.len() / 2].to_vec(), bytes[bytes.len() / 2..].to_vec()];
    }
    without_each(bytes)
}

pub(crate) fn cuts(cuts: &Cuts) -> Vec<Cuts> {
    let mut simpler: Vec<_> = without_each(&cuts.sizes)
        .into_iter()
        .map(|sizes| Cuts { repeat: cuts.repeat && !sizes.is_empty(), sizes })
        .collect();
    if cuts.repeat {
        simpler.insert(0, Cuts { repeat: false, ..cuts.clone() });
    }
    simpler
}

/// Returns times with fewer digits, the roundest first.
pub(crate) fn times(time: Nanos) -> Vec<Nanos> {
    let mut round = vec![0];
    for power in (0..=time.checked_ilog10().unwrap_or(0)).rev() {
        let unit = Nanos::pow(10, power);
        round.extend([time / unit * unit, (time / unit).saturating_add(1).saturating_mul(unit)]);
    }
    round.retain(|&simpler| digits(simpler) < digits(time));
    round.dedup();
    round
}

/// Returns the number of digits of a time, without trailing zeros.
fn digits(mut time: Nanos) -> u32 {
    while time > 0 && time.is_multiple_of(10) {
        time /= 10;
    }
    time.checked_ilog10().map_or(0, |log| log + 1)
}

/// Returns one version for each item, without that item.
fn without_each<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    (0..items.len())
        .map(|at| {
            let mut rest = items.to_vec();
            rest.remove(at);
            rest
        })
        .collect()
}
