//! Messages and their arguments: usual ones, and values at the limits of their encoding.

use super::Generator;
use crate::plan::{Answer, Plan};
use crate::script::{Bytes, MS, MessageSpec, Value};

/// The largest value of each length of varint, and 2^64 - 2.
const VARINT_EDGES: [u64; 10] = [
    239,
    2287,
    264_431,
    33_818_863,
    4_328_786_159,
    554_084_600_047,
    70_922_828_777_711,
    9_078_122_083_518_703,
    1_161_999_626_690_365_679,
    u64::MAX - 1,
];

/// The text that long names are cut from.
const LONGEST: &[u8] = &[b'n'; 300];

impl Generator {
    /// Draws the messages of a NOTIFY: usually one, sometimes none or several.
    pub(super) fn messages(&mut self) -> Vec<MessageSpec> {
        let count = match self.workload.below(16) {
            0 => 0,
            1..=11 => 1,
            12..=14 => 2,
            _ => 5,
        };
        let mut messages: Vec<_> = (0..count).map(|_| self.message()).collect();
        if let Some(plan) = self.plan()
            && let Some(message) = messages.first_mut()
        {
            message.args.insert(0, (b"plan".into(), Value::Plan(plan)));
        }
        messages
    }

    fn message(&mut self) -> MessageSpec {
        let (name, first): (Bytes, Option<(Bytes, Value)>) = match self.workload.below(8) {
            0..=4 => (b"check-client-ip".into(), Some((Bytes::default(), self.address()))),
            5 => (b"get-ip-reputation".into(), Some((b"ip".into(), self.address()))),
            6 => (b"m".into(), None),
            _ => (LONGEST[..self.workload.magnitude(0, 300) as usize].into(), None),
        };
        let more = if self.workload.chance(1, 4) { self.workload.magnitude(1, 12) } else { 0 };
        let more = if self.workload.chance(1, 200) { self.workload.between(127, 250) } else { more };
        // Room for the plan too.
        let mut args = Vec::with_capacity(more as usize + 2);
        args.extend(first);
        for _ in 0..more {
            let name = [&b""[..], b"x", b"plan", b"\xff"][self.workload.weighted(&[4, 4, 1, 1])].into();
            let value = self.value();
            args.push((name, value));
        }
        MessageSpec { name, args }
    }

    fn address(&mut self) -> Value {
        let bits = self.workload.bits();
        match self.workload.below(8) {
            0 => Value::Null,
            1 | 2 => {
                let mut octets = [0; 16];
                octets[..2].copy_from_slice(&[0x20, 1]);
                octets[8..].copy_from_slice(&bits.to_be_bytes());
                Value::Ipv6(octets)
            }
            _ => Value::Ipv4([192, 0, 2, bits as u8]),
        }
    }

    fn value(&mut self) -> Value {
        if self.faults.chance(self.swarm.large_args, 100) {
            return Value::LongText(self.workload.magnitude(100, 4000) as u32);
        }
        let number = self.number();
        match self.workload.below(12) {
            0 => Value::Null,
            1 => Value::Bool(number.is_multiple_of(2)),
            2 => Value::Int32(number as i32 as i64),
            3 => Value::Uint32(number & 0xffff_ffff),
            4 | 5 => Value::Int64(number as i64),
            6 => Value::Uint64(number),
            7 => Value::Text(b"GET".into()),
            // The length of a varint changes at 240.
            8 => Value::LongText(*self.workload.pick(&[0, 1, 239, 240, 241])),
            9 => Value::Binary(number.to_be_bytes()[..(number % 9) as usize].to_vec()),
            // Flags where HAProxy sends none, and flags of a BOOL besides its value.
            10 => {
                Value::Bytes((*self.workload.pick::<&[u8]>(&[&[0x31], &[0x18, 1, b'x'], &[0xf3, 7], &[0x10]])).into())
            }
            // Integers that may be outside the range of their type.
            _ => match number % 2 {
                0 => Value::Int32(number as i64),
                _ => Value::Uint32(number),
            },
        }
    }

    /// Draws a number of any size, or one at which the length of a varint changes.
    pub(super) fn number(&mut self) -> u64 {
        if self.workload.chance(1, 2) {
            return self.workload.magnitude(0, u64::MAX);
        }
        let edge = *self.workload.pick(&VARINT_EDGES);
        edge + self.workload.below(2)
    }

    fn plan(&mut self) -> Option<Plan> {
        if !self.handlers.chance(self.swarm.odd_answers, 100) {
            return None;
        }
        let answer = if self.handlers.chance(self.swarm.large_answers, 100) {
            Answer::Big
        } else {
            Answer::ALL[self.handlers.weighted(&[20, 4, 1, 3, 3, 4, 4, 3, 12])].0
        };
        let delay = match self.handlers.below(8) {
            0 | 1 => 0,
            2 => self.script.agent.connection.ack_timeout,
            // Then the ticket is void, and later NOTIFYs may have its place.
            3 => self.script.agent.connection.ack_timeout + self.handlers.magnitude(1000, 20 * MS),
            _ => self.handlers.magnitude(1000, 20 * MS),
        };
        Some(Plan { answer, delay: delay / 1000 * 1000 })
    }
}
