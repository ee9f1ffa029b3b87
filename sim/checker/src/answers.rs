//! The answers of the application behind the agent: it does what the messages themselves say.

use crate::read::{IntegerType, Part, Value, messages};
use crate::write::{string, varint};

/// How the application answers a NOTIFY, read from its messages.
#[derive(Debug, Default)]
pub struct Answer {
    /// The number of the action, 0..=7.
    pub(crate) kind: u8,
    /// How long after it was handed out, in nanoseconds.
    pub(crate) after: u64,
    /// The actions, each on its own: only whole ones may be cut.
    pub(crate) actions: Vec<u8>,
    ends: Vec<usize>,
    /// The score and the checksum of each message.
    wanted: Vec<(Option<u32>, u64)>,
}

/// The kinds of answers; see `Plan` in the simulator, of which this is the other half.
pub(crate) const SCORE: u8 = 0;
pub(crate) const BIG: u8 = 2;
pub(crate) const TYPES: u8 = 3;
pub(crate) const UNSET: u8 = 4;
pub(crate) const DROP: u8 = 5;
pub(crate) const HALF: u8 = 6;
pub(crate) const NEVER: u8 = 7;

/// The last number of each size of varint and the first of the next; and the largest.
const EDGES: [u64; 9] = [239, 240, 2287, 2288, 264_431, 264_432, 33_818_863, 33_818_864, u64::MAX];

impl Answer {
    /// How long after it was handed out it is answered, in nanoseconds; `None` for never.
    pub fn after(&self) -> Option<u64> {
        (self.kind != NEVER).then_some(self.after)
    }

    /// True if an ACK may carry these actions: all of the answer, its first few, or none.
    pub fn allows(&self, actions: &[u8]) -> bool {
        let whole = actions.is_empty() || self.ends.contains(&actions.len());
        whole && self.actions.starts_with(actions)
    }

    /// True if these actions are all of the answer.
    pub fn is_whole(&self, actions: &[u8]) -> bool {
        self.kind == BIG || matches!(self.kind, DROP | HALF) && actions.is_empty() || self.actions == actions
    }

    /// The answer to these messages; `None` if they are malformed.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let mut answer = Self::default();
        answer.read(payload).then_some(answer)
    }

    /// Reads the messages, in place of those before; false if they are malformed.
    pub(crate) fn read(&mut self, payload: &[u8]) -> bool {
        self.actions.clear();
        self.ends.clear();
        self.wanted.clear();
        let mut plan = None;
        let mut message = Message::default();
        // The plan is the first integer of 64 bits that is the first argument called "plan" in its message.
        let well_formed = messages(payload, &mut |part| match part {
            Part::Message(name) => message = Message::begin(name),
            Part::Arg(name, value) => message.arg(name, value),
            Part::End => {
                plan = plan.or(message.plan.flatten());
                self.wanted.push((message.score, message.sum));
            }
        });
        if well_formed {
            let wire = plan.unwrap_or(0);
            self.kind = (wire % 8) as u8;
            self.after = (wire / 8) % 3_600_000_000 * 1000;
            self.fill();
        }
        well_formed
    }

    /// Returns the number of bytes of the actions that fit into `room`.
    pub(crate) fn fitting(&self, room: usize) -> usize {
        self.ends.iter().copied().take_while(|end| *end <= room).last().unwrap_or(0)
    }

    fn fill(&mut self) {
        match self.kind {
            SCORE => {
                for n in 0..self.wanted.len() {
                    let (score, sum) = self.wanted[n];
                    if let Some(score) = score {
                        self.set(1, "ip_score", 3, |out| varint(u64::from(score), out));
                    }
                    self.set(2, "sum", 4, |out| varint(sum, out));
                }
            }
            BIG => {
                for n in 0..300_usize {
                    if n < 100 && n % 2 == 1 {
                        self.set(0, "big", 4, |out| varint(EDGES[n / 2 % 9], out));
                        continue;
                    }
                    let len = if n < 100 { n % 13 } else { 100 };
                    self.set(0, "big", 8, |out| string(&[b'x'; 100][..len], out));
                }
            }
            TYPES => self.set_types(),
            UNSET => {
                self.actions.extend_from_slice(&[2, 2, 3]);
                string(b"ip_score", &mut self.actions);
                self.ends.push(self.actions.len());
            }
            _ => {}
        }
    }

    fn set(&mut self, scope: u8, name: &str, tag: u8, value: impl FnOnce(&mut Vec<u8>)) {
        self.actions.extend_from_slice(&[1, 3, scope]);
        string(name.as_bytes(), &mut self.actions);
        self.actions.push(tag);
        value(&mut self.actions);
        self.ends.push(self.actions.len());
    }

    fn set_types(&mut self) {
        self.set(0, "t0", 0x11, |_| {});
        self.set(1, "t1", 0x01, |_| {});
        self.set(2, "t2", 2, |out| varint(0xffff_ffff_8000_0000, out));
        self.set(3, "t3", 3, |out| varint(0xffff_ffff, out));
        self.set(4, "t4", 4, |out| varint(1 << 63, out));
        self.set(1, "t5", 5, |out| varint((1 << 63) - 1, out));
        self.set(1, "t6", 6, |out| out.extend_from_slice(&[192, 0, 2, 1]));
        self.set(1, "t7", 7, |out| out.extend_from_slice(b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"));
        self.set(1, "t8", 8, |out| string(b"\xc3\xa9\n", out));
        self.set(1, "t9", 9, |out| string(&[0, 255], out));
    }
}

/// The sum over a message.
#[derive(Default)]
struct Message {
    sum: u64,
    score: Option<u32>,
    /// The argument "plan", once it was seen; `Some(None)` if it is no integer.
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
            // An INT32 that does not fit reads as an INT64, as in HAProxy.
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
