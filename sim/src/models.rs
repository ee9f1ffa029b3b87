//! The models of HAProxy as scripts use them: their settings within bounds, the streams of clients, and the types that differ.

use std::mem;

use spoa_sim_haproxy::codec::{AppliedActions, Arg, Messages};
use spoa_sim_haproxy::{Action, EventId, LinkId, ServerId, Settings};

use crate::script::{EventSpec, Haproxy, MessageSpec, Value};

/// Returns the settings of a process in a script, within bounds in which a run ends.
pub(crate) fn bounded(settings: &Settings, name: Haproxy) -> Settings {
    let max_frame_size = settings.max_frame_size.clamp(256, 1 << 20);
    Settings {
        threads: settings.threads.clamp(1, 64),
        max_frame_size,
        bufsize: settings.bufsize.max(max_frame_size + 4),
        max_waiting_frames: settings.max_waiting_frames.clamp(1, 1 << 16),
        // Without a pause between attempts, a run with many reconnections would not end.
        reconnect_gap: settings.reconnect_gap.max(100_000),
        retry_delay: settings.retry_delay.max(100_000),
        engine_seed: u64::from(name.0),
        ..settings.clone()
    }
}

/// The stream of a client. Its events follow each other on one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) thread: u32,
    /// True while an event has not ended.
    pub(crate) busy: bool,
    /// True if an event failed. The applet engine uses its ids again for the next event, and accepts a late ACK of the
    /// first for the second.
    pub(crate) has_failed: bool,
}

/// Returns the index of the stream of an event, which is busy from now on: the one that the event names if it exists, otherwise a
/// new one. Returns `None` if the stream is already busy.
pub(crate) fn occupy(streams: &mut Vec<Stream>, spec: &EventSpec) -> Option<usize> {
    let index = spec.stream.map_or(streams.len(), |number| number as usize).min(streams.len());
    if index == streams.len() {
        streams.push(Stream { thread: spec.thread, busy: false, has_failed: false });
    }
    (!mem::replace(&mut streams[index].busy, true)).then_some(index)
}

/// An [`Action`] with a copy of its bytes, so that it does not borrow from the process.
pub(crate) enum OwnedAction {
    Connect(LinkId, ServerId),
    Send(LinkId, Vec<u8>),
    Fin(LinkId),
    Reset(LinkId),
    Done(EventId, u32, Vec<u8>),
    CheckDone { link: LinkId, up: bool, text: &'static str },
}

impl From<Action<'_>> for OwnedAction {
    fn from(action: Action<'_>) -> Self {
        match action {
            Action::Connect(link, server) => Self::Connect(link, server),
            Action::Send(link, bytes) => Self::Send(link, bytes.to_vec()),
            Action::Fin(link) => Self::Fin(link),
            Action::Reset(link) => Self::Reset(link),
            Action::Done(event, outcome) => Self::Done(event, outcome.status, applied(outcome.actions)),
            Action::CheckDone { link, up, text } => Self::CheckDone { link, up, text },
        }
    }
}

/// Returns the bytes of the actions that HAProxy applies.
fn applied(mut actions: AppliedActions<'_>) -> Vec<u8> {
    let all = actions.payload();
    let mut len = 0;
    while actions.next().is_some() {
        len = all.len() - actions.payload().len();
    }
    all[..len].to_vec()
}

/// Converts messages to the types of the model. HAProxy has only one type of integer.
pub(crate) fn messages(specs: &[MessageSpec]) -> Messages {
    let mut messages = Messages::new();
    for spec in specs {
        messages.message(&spec.name, spec.args.len());
        for (name, value) in &spec.args {
            let text = if let Value::LongText(len) = value { crate::encode::long_text(*len) } else { Vec::new() };
            let arg = match value {
                Value::Null => Arg::Null,
                Value::Bool(on) => Arg::Bool(*on),
                Value::Int32(number) | Value::Int64(number) => Arg::Int(*number),
                Value::Uint32(number) | Value::Uint64(number) => Arg::Int(*number as i64),
                Value::Plan(plan) => Arg::Int(plan.to_wire()),
                Value::Ipv4(octets) => Arg::Ipv4(*octets),
                Value::Ipv6(octets) => Arg::Ipv6(*octets),
                Value::Text(text) => Arg::Str(text),
                Value::LongText(_) => Arg::Str(&text),
                Value::Binary(bytes) => Arg::Bin(bytes),
                Value::Bytes(bytes) => Arg::Bin(bytes),
            };
            messages.arg(name, arg);
        }
    }
    messages
}
