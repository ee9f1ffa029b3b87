//! The answers of the simulated handler, which does what the argument `plan` of its messages says.

use crate::codec::{IntegerType, Part, Value, messages, string};

/// The answer to a NOTIFY, computed from its messages.
#[derive(Debug, Default)]
pub struct Answer {
    /// One of the kinds below, 0 to 8.
    pub(crate) kind: u8,
    /// The time from the NOTIFY to its answer, in nanoseconds. 0 means that the answer is immediate.
    pub(crate) delay: u64,
    /// The encoded actions.
    pub(crate) actions: Vec<u8>,
    /// The end of each action in `actions`. An ACK that is too small for all actions has the first few, each whole.
    ends: Vec<usize>,
    /// The score and the checksum of each message.
    results: Vec<(Option<u32>, u64)>,
}

// The kinds of answers, as numbered by `Plan` in the simulator.
pub(crate) const SCORE: u8 = 0;
pub(crate) const BIG: u8 = 2;
pub(crate) const TYPES: u8 = 3;
pub(crate) const UNSET: u8 = 4;
pub(crate) const DROP: u8 = 5;
pub(crate) const HALF: u8 = 6;
pub(crate) const NEVER: u8 = 7;
pub(crate) const ECHO: u8 = 8;

/// The bit of the plan that means [`ECHO`].
const ECHO_BIT: u64 = 1 << 40;

/// The longest name of an `ECHO` answer.
const NAME: &[u8; 52] = b"azAZ09_.azAZ09_.azAZ09_.azAZ09_.azAZ09_.azAZ09_.azAZ";

/// The last number of each length of varint and the first number of the next length, and the largest number.
const EDGES: [u64; 9] = [239, 240, 2287, 2288, 264_431, 264_432, 33_818_863, 33_818_864, u64::MAX];

impl Answer {
    /// Returns the time from the NOTIFY to its answer, in nanoseconds; `None` if it is never answered.
    pub fn delay(&self) -> Option<u64> {
        (self.kind != NEVER).then_some(self.delay)
    }

    /// True if an ACK may have these actions: all actions of the answer, its first few, or none.
    pub fn allows(&self, actions: &[u8]) -> bool {
        let whole = actions.is_empty() || self.ends.contains(&actions.len());
        whole && self.actions.starts_with(actions)
    }

    /// True if `actions` is the whole answer. A handler that fails has no actions in its ACK. `BIG` exceeds any usual
    /// frame, so any part of it counts as whole.
    pub fn is_whole(&self, actions: &[u8]) -> bool {
        self.kind == BIG || matches!(self.kind, DROP | HALF) && actions.is_empty() || self.actions == actions
    }

    /// Returns the answer to these messages; `None` if they are malformed.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let mut answer = Self::default();
        answer.read(payload).then_some(answer)
    }

    /// Replaces the answer with the answer to these messages. Returns false if they are malformed.
    pub(crate) fn read(&mut self, payload: &[u8]) -> bool {
        self.actions.clear();
        self.ends.clear();
        self.results.clear();
        let mut plan = None;
        let mut message = Message::default();
        // Of each message, only the first argument called "plan" counts. The first of these that is a 64-bit integer is
        // the plan.
        let well_formed = messages(payload, &mut |part| match part {
            Part::Message(name) => message = Message::begin(name),
            Part::Arg(name, value) => message.arg(name, value),
            Part::End => {
                plan = plan.or(message.plan.flatten());
                self.results.push((message.score, message.sum));
            }
        });
        if well_formed {
            let wire = plan.unwrap_or(0);
            self.kind = if wire & ECHO_BIT == 0 { (wire % 8) as u8 } else { ECHO };
            self.delay = wire % ECHO_BIT / 8 % 3_600_000_000 * 1000;
            self.fill(payload);
        }
        well_formed
    }

    /// Returns the length of the first actions that fit, whole, into `room` bytes, and the number of the other actions.
    pub(crate) fn fitting(&self, room: usize) -> (usize, usize) {
        let count = self.ends.iter().take_while(|end| **end <= room).count();
        let len = count.checked_sub(1).map_or(0, |last| self.ends[last]);
        (len, self.ends.len() - count)
    }

    fn fill(&mut self, payload: &[u8]) {
        match self.kind {
            ECHO => self.echo(payload),
            SCORE => {
                for n in 0..self.results.len() {
                    let (score, sum) = self.results[n];
                    if let Some(score) = score {
                        self.set(1, "ip_score", Value::Integer(score.into(), IntegerType::Unsigned32));
                    }
                    self.set(2, "sum", Value::Integer(sum, IntegerType::Signed64));
                }
            }
            BIG => {
                for n in 0..300_usize {
                    if n < 100 && n % 2 == 1 {
                        self.set(0, "big", Value::Integer(EDGES[n / 2 % 9], IntegerType::Signed64));
                        continue;
                    }
                    let len = if n < 100 { n % 13 } else { 100 };
                    self.set(0, "big", Value::Text(&[b'x'; 100][..len]));
                }
            }
            TYPES => self.set_types(),
            UNSET => self.unset(3, "ip_score"),
            _ => {}
        }
    }

    /// Sets a variable to the value of each argument. The names and scopes follow from the number of the argument.
    fn echo(&mut self, payload: &[u8]) {
        let mut number = 0;
        messages(payload, &mut |part| {
            let Part::Arg(_, value) = part else { return };
            let name = str::from_utf8(&NAME[7 * number % 52..]).expect("the name is ASCII");
            let scope = (number % 5) as u8;
            number += 1;
            match value {
                Value::Null => self.unset(scope, name),
                Value::Integer(wire, integer) => {
                    // A value outside the range of 32 bits keeps its value and has the type of 64 bits.
                    let integer = match integer {
                        IntegerType::Signed32 if i32::try_from(wire as i64).is_err() => IntegerType::Signed64,
                        IntegerType::Unsigned32 if wire > 0xffff_ffff => IntegerType::Unsigned64,
                        integer => integer,
                    };
                    // HAProxy would read a negative number.
                    if integer == IntegerType::Unsigned64 && wire >> 63 == 1 {
                        return;
                    }
                    self.set(scope, name, Value::Integer(wire, integer));
                }
                value => self.set(scope, name, value),
            }
        });
    }

    fn unset(&mut self, scope: u8, name: &str) {
        self.actions.extend_from_slice(&[2, 2, scope]);
        string(name.as_bytes(), &mut self.actions);
        self.ends.push(self.actions.len());
    }

    fn set(&mut self, scope: u8, name: &str, value: Value<'_>) {
        self.actions.extend_from_slice(&[1, 3, scope]);
        string(name.as_bytes(), &mut self.actions);
        value.encode(&mut self.actions);
        self.ends.push(self.actions.len());
    }

    fn set_types(&mut self) {
        let integer = |wire, integer| Value::Integer(wire, integer);
        self.set(0, "t0", Value::Bool(true));
        self.set(1, "t1", Value::Bool(false));
        self.set(2, "t2", integer(0xffff_ffff_8000_0000, IntegerType::Signed32));
        self.set(3, "t3", integer(0xffff_ffff, IntegerType::Unsigned32));
        self.set(4, "t4", integer(1 << 63, IntegerType::Signed64));
        self.set(1, "t5", integer((1 << 63) - 1, IntegerType::Unsigned64));
        self.set(1, "t6", Value::Address(&[192, 0, 2, 1]));
        self.set(1, "t7", Value::Address(b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"));
        self.set(1, "t8", Value::Text(b"\xc3\xa9\n"));
        self.set(1, "t9", Value::Binary(&[0, 255]));
    }
}

/// The results of a message, computed while it is read.
#[derive(Default)]
struct Message {
    /// The checksum: FNV-1a over names and values.
    sum: u64,
    /// The sum of the octets of the first address, modulo 101.
    score: Option<u32>,
    /// The first argument called "plan". `Some(None)` means that it is not a 64-bit integer.
    plan: Option<Option<u64>>,
}

impl Message {
    fn begin(name: &[u8]) -> Self {
        let mut message = Self { sum: 0xcbf2_9ce4_8422_2325, ..Self::default() };
        message.add(name);
        message
    }

    fn arg(&mut self, name: &[u8], value: Value<'_>) {
        if name == b"plan" && self.plan.is_none() {
            // An INT32 that does not fit into 32 bits is read as an INT64, as in HAProxy.
            self.plan = Some(match value {
                Value::Integer(wire, IntegerType::Signed64) => Some(wire),
                Value::Integer(wire, IntegerType::Signed32) if i32::try_from(wire as i64).is_err() => Some(wire),
                _ => None,
            });
        }
        self.add(name);
        match value {
            Value::Null => self.add(&[0]),
            Value::Bool(on) => self.add(&[1, u8::from(on)]),
            Value::Integer(wire, _) => {
                self.add(&[2]);
                self.add(&wire.to_le_bytes());
            }
            Value::Address(octets) => {
                if self.score.is_none() {
                    self.score = Some(octets.iter().map(|octet| u32::from(*octet)).sum::<u32>() % 101);
                }
                self.add(octets);
            }
            Value::Text(bytes) => {
                self.add(&[8]);
                self.add(bytes);
            }
            Value::Binary(bytes) => {
                self.add(&[9]);
                self.add(bytes);
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.sum = (self.sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
