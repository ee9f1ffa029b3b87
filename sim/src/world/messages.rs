//! Converts between the types of scripts and those of the models of HAProxy.

use spoa_sim_haproxy::codec::{AppliedActions, Arg, Messages};
use spoa_sim_haproxy::{Action, EventId, LinkId, ServerId};

use crate::script::{MessageSpec, Value};

/// An [`Action`] with a copy of its bytes, so that it does not borrow from the process.
pub(super) enum OwnedAction {
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
pub(super) fn messages(specs: &[MessageSpec]) -> Messages {
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
