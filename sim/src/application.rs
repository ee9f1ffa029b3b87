//! The simulated handler: answers each NOTIFY as its argument `plan` says.

use std::net::IpAddr;

use spoa_core::wire::{Actions, Message, Messages, Scope, SetVarError, SetVars, TypedData};
use spoa_core::{Ack, Notify, OwnedMessages, Ticket};

use crate::plan::{Answer, Plan};

/// The number of variables that a `big` answer sets. They exceed a frame of the default size.
const BIG_VARS: usize = 300;

/// Returns the value of the nth variable of a `big` answer. The first hundred have different sizes, so that some of
/// them end exactly at the end of a small frame. Some are integers at which the length of a varint changes.
fn big_value(n: usize) -> TypedData<'static> {
    const LONGEST: [u8; 100] = [b'x'; 100];
    const EDGES: [i64; 9] = [239, 240, 2287, 2288, 264_431, 264_432, 33_818_863, 33_818_864, -1];
    match n {
        0..100 if n % 2 == 1 => TypedData::Int64(EDGES[n / 2 % EDGES.len()]),
        0..100 => TypedData::String(&LONGEST[..n % 13]),
        _ => TypedData::String(&LONGEST),
    }
}

/// The scopes, in the order in which an `echo` answer uses them.
const SCOPES: [Scope; 5] = [Scope::Process, Scope::Session, Scope::Transaction, Scope::Request, Scope::Response];

/// The bytes of the names of an `echo` answer: the first and last of each kind that is allowed.
const NAME: &str = "azAZ09_.azAZ09_.azAZ09_.azAZ09_.azAZ09_.azAZ09_.azAZ";

/// The result of a handler's call.
pub struct Handled {
    /// The plan of the NOTIFY.
    pub plan: Plan,
    /// The data for a deferred answer.
    pub deferred: Option<(Ticket, DeferredAnswer)>,
    /// The number of actions that did not fit into an immediate ACK.
    pub dropped: u32,
}

/// The data that a handler needs to answer a NOTIFY later.
#[derive(Debug)]
pub struct DeferredAnswer {
    plan: Plan,
    messages: OwnedMessages,
}

/// Handles a NOTIFY: answers it, or defers the answer.
pub fn handle(notify: Notify<'_>) -> Handled {
    let messages = notify.messages();
    let plan = plan_of(messages.clone());
    if plan.delay > 0 || plan.answer == Answer::Never {
        let answer = DeferredAnswer { plan, messages: notify.to_owned() };
        return Handled { plan, deferred: Some((notify.defer(), answer)), dropped: 0 };
    }
    let dropped = match plan.answer {
        Answer::Drop => 0,
        Answer::Half => half(&mut notify.ack()),
        _ => {
            // The actions are written directly into the ACK. A deferred answer collects them in `Actions` first.
            let mut ack = notify.ack();
            write(plan, messages, &mut ack);
            finish(ack)
        }
    };
    Handled { plan, deferred: None, dropped }
}

impl DeferredAnswer {
    /// Returns the actions of the answer; `None` if the handler fails.
    pub fn actions(&self) -> Option<Actions> {
        let mut actions = Actions::new();
        match self.plan.answer {
            Answer::Drop | Answer::Half => return None,
            _ => write(self.plan, self.messages.messages(), &mut actions),
        }
        Some(actions)
    }

    /// Sends the answer. Returns the number of actions that did not fit into the ACK.
    pub fn send(&self, mut ack: Ack<'_>) -> u32 {
        match self.plan.answer {
            Answer::Drop => 0,
            Answer::Half => half(&mut ack),
            _ => {
                ack.actions(&self.actions().unwrap_or_default());
                finish(ack)
            }
        }
    }
}

/// Sets a variable but does not finish the ACK. Returns 0, as the number of actions that an empty ACK lacks.
fn half(ack: &mut Ack<'_>) -> u32 {
    ack.set_var(Scope::Session, "half", true).expect("the name is valid");
    0
}

/// Finishes the ACK. Returns the number of actions that did not fit.
fn finish(ack: Ack<'_>) -> u32 {
    ack.finish().err().map_or(0, |error| error.dropped)
}

fn plan_of(messages: Messages<'_>) -> Plan {
    messages
        .filter_map(|message| message.arg("plan"))
        .find_map(|value| if let TypedData::Int64(wire) = value { Some(Plan::from_wire(wire)) } else { None })
        .unwrap_or_default()
}

fn write(plan: Plan, messages: Messages<'_>, sink: &mut impl SetVars) {
    let mut set = |scope, name: &str, value: TypedData<'_>| {
        sink.set_var(scope, name, value).expect("the name and the value are valid");
    };
    match plan.answer {
        Answer::Echo => echo(messages, sink),
        Answer::Score => messages.for_each(|message| score(&message, &mut set)),
        Answer::Big => (0..BIG_VARS).for_each(|n| set(Scope::Process, "big", big_value(n))),
        Answer::Types => {
            types(&mut set);
            check_invalid_actions(sink);
        }
        Answer::Unset => {
            sink.unset_var(Scope::Request, "ip_score").expect("the name is valid");
        }
        Answer::Empty | Answer::Drop | Answer::Half | Answer::Never => {}
    }
}

/// Sets a variable to the value of each argument. NULL unsets it, and a number that HAProxy would read as negative is an
/// error that must not change the answer.
fn echo(messages: Messages<'_>, sink: &mut impl SetVars) {
    for (n, (_, value)) in messages.flat_map(|message| message.args()).enumerate() {
        let (scope, name) = (SCOPES[n % SCOPES.len()], &NAME[7 * n % NAME.len()..]);
        let result = match value {
            TypedData::Null => sink.unset_var(scope, name).map(drop).map_err(SetVarError::from),
            _ => sink.set_var(scope, name, value).map(drop),
        };
        let is_refused = matches!(value, TypedData::Uint64(number) if i64::try_from(number).is_err());
        assert_eq!(result.is_err(), is_refused, "{value:?}: {result:?}");
    }
}

/// Checks that actions which HAProxy would not accept are errors. They must not change the answer.
fn check_invalid_actions(sink: &mut impl SetVars) {
    // HAProxy's limit is 63 bytes for scope, prefix and name together. The agent's limit for the name is lower.
    let long = "n".repeat(53);
    for name in ["", "a b", "é", &long] {
        assert!(
            sink.set_var(Scope::Session, name, TypedData::Bool(true)).is_err(),
            "expected an error for the name {name:?}"
        );
        assert!(sink.unset_var(Scope::Session, name).is_err(), "expected an error for the name {name:?}");
    }
    assert!(sink.set_var(Scope::Session, "null", TypedData::Null).is_err(), "expected an error for the value NULL");
}

/// Sets a score of the first address and a checksum of the message, which depend on every decoded byte.
fn score(message: &Message<'_>, mut set: impl FnMut(Scope, &str, TypedData<'_>)) {
    let (octets, checksum) = sums(message);
    if let Some(sum) = octets {
        set(Scope::Session, "ip_score", TypedData::Uint32(sum % 101));
    }
    set(Scope::Transaction, "sum", TypedData::Int64(checksum as i64));
}

fn sum(octets: &[u8]) -> u32 {
    octets.iter().map(|&octet| u32::from(octet)).sum()
}

/// Returns the sum of the octets of the first address, and the checksum: FNV-1a over the name of the message and the
/// name, type and value of each argument.
fn sums(message: &Message<'_>) -> (Option<u32>, u64) {
    let (mut first, mut fnv) = (None, 0xcbf2_9ce4_8422_2325);
    let mut add =
        |bytes: &[u8]| bytes.iter().for_each(|&byte| fnv = (fnv ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    add(message.name());
    for (name, value) in message.args() {
        add(name);
        match (value, value.as_bytes()) {
            (TypedData::String(_), Some(bytes)) => {
                // A string that is UTF-8 must be available as text.
                assert_eq!(value.as_str().map(str::as_bytes), str::from_utf8(bytes).ok().map(str::as_bytes));
                add(&[8]);
                add(bytes);
            }
            (_, Some(bytes)) => {
                add(&[9]);
                add(bytes);
            }
            (TypedData::Null, _) => add(&[0]),
            (TypedData::Bool(value), _) => add(&[1, u8::from(value)]),
            _ => match value.as_ip() {
                Some(address) => {
                    let octets: &[u8] = match &address {
                        IpAddr::V4(address) => &address.octets(),
                        IpAddr::V6(address) => &address.octets(),
                    };
                    first = first.or(Some(sum(octets)));
                    add(octets);
                }
                None => {
                    add(&[2]);
                    add(&integer(value).to_le_bytes());
                }
            },
        }
    }
    (first, fnv)
}

fn integer(value: TypedData<'_>) -> u64 {
    match value {
        TypedData::Uint64(value) => value,
        other => other.as_i64().unwrap_or_default() as u64,
    }
}

fn types<'v>(mut set: impl FnMut(Scope, &str, TypedData<'v>)) {
    set(Scope::Process, "t0", true.into());
    set(Scope::Session, "t1", false.into());
    set(Scope::Transaction, "t2", i32::MIN.into());
    set(Scope::Request, "t3", u32::MAX.into());
    set(Scope::Response, "t4", i64::MIN.into());
    set(Scope::Session, "t5", (i64::MAX as u64).into());
    set(Scope::Session, "t6", IpAddr::from([192, 0, 2, 1]).into());
    set(Scope::Session, "t7", IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).into());
    set(Scope::Session, "t8", "é\n".into());
    set(Scope::Session, "t9", (&[0, 255][..]).into());
}
