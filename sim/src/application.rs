//! The application behind the agent: does with each NOTIFY what the NOTIFY itself says.

use std::net::IpAddr;

use spoa_core::wire::{Actions, Message, Messages, NameError, Scope, SetVarError, TypedData};
use spoa_core::{Ack, Notify, OwnedMessages, Ticket};

use crate::plan::{Answer, Plan};

/// The number of variables that a `big` answer sets: more than a frame of HAProxy's has room for.
const BIG_VARS: usize = 300;

/// The value of the nth of them. The first hundred are of odd sizes, so that some end right at a small frame's edge, and
/// integers right at those of varints.
fn big_value(n: usize) -> TypedData<'static> {
    const LONGEST: [u8; 100] = [b'x'; 100];
    const EDGES: [i64; 9] = [239, 240, 2287, 2288, 264_431, 264_432, 33_818_863, 33_818_864, -1];
    match n {
        0..100 if n % 2 == 1 => TypedData::Int64(EDGES[n / 2 % EDGES.len()]),
        0..100 => TypedData::String(&LONGEST[..n % 13]),
        _ => TypedData::String(&LONGEST),
    }
}

/// A NOTIFY that is answered later: what a deferred handler keeps.
#[derive(Debug)]
pub struct Owed {
    plan: Plan,
    messages: OwnedMessages,
}

/// Does what the first `plan` among the arguments of `notify` says; gives that plan, and what is needed to answer later.
pub fn handle(notify: Notify<'_>) -> (Plan, Option<(Ticket, Owed)>) {
    let messages = notify.messages();
    let plan = plan_of(messages.clone());
    if plan.after > 0 || plan.answer == Answer::Never {
        let owed = Owed { plan, messages: notify.to_owned() };
        return (plan, Some((notify.defer(), owed)));
    }
    match plan.answer {
        Answer::Drop => {}
        Answer::Half => half(&mut notify.ack()),
        _ => {
            // In place, as a quick handler does, without a detour.
            let mut ack = notify.ack();
            write(plan, messages, &mut ack);
            let _ = ack.finish();
        }
    }
    (plan, None)
}

impl Owed {
    /// Answers, now that the time has come.
    pub fn answer(&self, mut ack: Ack<'_>) {
        match self.plan.answer {
            Answer::Drop => {}
            Answer::Half => half(&mut ack),
            _ => {
                let mut actions = Actions::new();
                write(self.plan, self.messages.messages(), &mut actions);
                ack.actions(&actions);
                let _ = ack.finish();
            }
        }
    }
}

/// Begins an answer and leaves it at that.
fn half(ack: &mut Ack<'_>) {
    ack.set_var(Scope::Session, "half", true).expect("this name is good");
}

fn plan_of(messages: Messages<'_>) -> Plan {
    messages
        .filter_map(|message| message.arg("plan"))
        .find_map(|value| if let TypedData::Int64(wire) = value { Some(Plan::from_wire(wire)) } else { None })
        .unwrap_or_default()
}

/// Where actions go: into an ACK, or to be kept until there is one.
trait Sink {
    fn set(&mut self, scope: Scope, name: &str, value: TypedData<'_>) -> Result<(), SetVarError>;
    fn unset(&mut self, scope: Scope, name: &str) -> Result<(), NameError>;
}

impl Sink for Ack<'_> {
    fn set(&mut self, scope: Scope, name: &str, value: TypedData<'_>) -> Result<(), SetVarError> {
        self.set_var(scope, name, value).map(drop)
    }

    fn unset(&mut self, scope: Scope, name: &str) -> Result<(), NameError> {
        self.unset_var(scope, name).map(drop)
    }
}

impl Sink for Actions {
    fn set(&mut self, scope: Scope, name: &str, value: TypedData<'_>) -> Result<(), SetVarError> {
        self.set_var(scope, name, value).map(drop)
    }

    fn unset(&mut self, scope: Scope, name: &str) -> Result<(), NameError> {
        self.unset_var(scope, name).map(drop)
    }
}

fn write(plan: Plan, messages: Messages<'_>, sink: &mut impl Sink) {
    let mut set = |scope, name: &str, value: TypedData<'_>| sink.set(scope, name, value).expect("they are all good");
    match plan.answer {
        Answer::Score => messages.for_each(|message| score(&message, &mut set)),
        Answer::Big => (0..BIG_VARS).for_each(|n| set(Scope::Process, "big", big_value(n))),
        Answer::Types => {
            types(&mut set);
            refused(sink);
        }
        Answer::Unset => sink.unset(Scope::Request, "ip_score").expect("this name is good"),
        Answer::Empty | Answer::Drop | Answer::Half | Answer::Never => {}
    }
}

/// An action that HAProxy could not accept is an error, and does not change the answer.
fn refused(sink: &mut impl Sink) {
    // 63 bytes for scope, prefix and name together are HAProxy's limit; the agent's own leaves room for the others.
    let long = "n".repeat(53);
    for name in ["", "a b", "é", &long] {
        assert!(sink.set(Scope::Session, name, TypedData::Bool(true)).is_err(), "{name:?} is no name");
        assert!(sink.unset(Scope::Session, name).is_err(), "{name:?} is no name");
    }
    assert!(sink.set(Scope::Session, "null", TypedData::Null).is_err(), "NULL is no value to set");
}

/// A score of the first address and a checksum of everything: what was read wrong shows in either.
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

/// The octets of the first address added up, and FNV-1a over the name, and the name, type and value of each argument.
fn sums(message: &Message<'_>) -> (Option<u32>, u64) {
    let (mut first, mut fnv) = (None, 0xcbf2_9ce4_8422_2325);
    let mut add =
        |bytes: &[u8]| bytes.iter().for_each(|&byte| fnv = (fnv ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    add(message.name());
    for (name, value) in message.args() {
        add(name);
        match (value, value.as_bytes()) {
            (TypedData::String(_), Some(bytes)) => {
                // What is text is to be had as text.
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
