//! Valid and invalid frames.

use super::Generator;
use crate::script::{Bytes, Damage, FrameKind, FrameSpec, Link, MessageSpec, Step, Value};

type Items = Vec<(Bytes, Value)>;

fn frame(kind: FrameKind) -> FrameSpec {
    FrameSpec { kind, flags: 1, stream_id: 0, frame_id: 0, slice: None, damage: Damage::None }
}

fn text(text: &'static str) -> Value {
    Value::Text(text.as_bytes().into())
}

fn key(name: &'static str, value: Value) -> (Bytes, Value) {
    (name.as_bytes().into(), value)
}

impl Generator {
    /// Draws a HELLO that is accepted.
    pub(super) fn hello(&mut self) -> FrameSpec {
        let mut items = self.hello_items();
        if self.workload.chance(1, 8) {
            self.make_unusual(&mut items);
        }
        if self.faults.chance(self.swarm.no_hello, 100) {
            items.push(key("healthcheck", Value::Bool(self.faults.chance(1, 2))));
        }
        frame(FrameKind::Hello(items))
    }

    fn hello_items(&mut self) -> Items {
        let size = match self.workload.below(4) {
            0 => *self.workload.pick(&[256, 257, 1000, 65_536]),
            _ => 16_380,
        };
        let capabilities: &[u8] = match self.workload.below(16) {
            0 | 1 => b"",
            2 => b" pipelining , foo",
            3 => b"\xff,pipelining\xff,async",
            4 | 5 => b"pipelining,async",
            _ => b"pipelining",
        };
        vec![
            key("supported-versions", text("2.0")),
            key("max-frame-size", Value::Uint32(size)),
            key("capabilities", Value::Text(capabilities.into())),
            key("engine-id", text("7f8e2d10-1111-2222-3333-444455556666")),
        ]
    }

    /// Changes the keys of a HELLO to others that are accepted too.
    fn make_unusual(&mut self, items: &mut Items) {
        match self.workload.below(8) {
            // HAProxy's agent in a health check has no engine-id.
            0 => drop(items.pop()),
            1 => items[3].1 = Value::Text(b"\xff\0\xc3"[..].into()),
            2 | 3 => items[3].1 = Value::LongText(*self.workload.pick(&[0, 1, 239, 240, 241, 300, 3000])),
            4 => items[0].1 = Value::Text(b"\xff, 1.0,2.9"[..].into()),
            // Of a key that occurs twice, the last value counts.
            5 => items.push(key("max-frame-size", Value::Uint32(*self.workload.pick(&[256, 400, 16_380, 1 << 31])))),
            6 => items.push(key("capabilities", text(self.workload.pick::<&str>(&["", "pipelining", "async"])))),
            _ => items.push(key("engine-id", text("second"))),
        }
    }

    /// Draws an unusual HELLO, which may be invalid.
    pub(super) fn bad_hello(&mut self) -> FrameSpec {
        let mut items = self.hello_items();
        let mut hello = frame(FrameKind::Other(0, Vec::new()));
        match self.faults.below(24) {
            0 => drop(items.remove(0)),
            1 => drop(items.remove(1)),
            2 => drop(items.remove(2)),
            3 => {
                let versions = ["1.0", "3.0", "abc", "", "2", "2.0, 1.5", " 1.0 , 2.0 ", "2.1", "2.x", "12.0"];
                items[0].1 = text(self.faults.pick::<&str>(&versions));
            }
            4 => items[1].1 = Value::Uint32(*self.faults.pick(&[0, 255, 256, 1 << 32])),
            5 => items[1].1 = Value::Int64(*self.faults.pick(&[-1, 255, 256, 16_380, i64::MAX])),
            6 => items[1].1 = Value::Uint64(*self.faults.pick(&[255, 1 << 32, u64::MAX])),
            7 => items[1].1 = Value::Int32(*self.faults.pick(&[-1, 300])),
            8 => items[1].1 = text("16380"),
            9 => items[2].1 = Value::Binary(b"pipelining".to_vec()),
            10 => {
                let lists = ["pipeliningX", "pipelin", "async,fragmentation", ",,"];
                items[2].1 = text(self.faults.pick::<&str>(&lists));
            }
            11 => items.push(key("healthcheck", Value::Uint32(1))),
            12 => hello.flags = *self.faults.pick(&[0, 2, 0x0100_0000]),
            13 => hello.flags = *self.faults.pick(&[3, 0x8000_0001, 5]),
            14 => hello.stream_id = 1,
            15 => hello.frame_id = 1,
            16 => items.insert(1, key("", Value::Bool(true))),
            17 => items[3].1 = Value::Bytes(vec![*self.faults.pick(&[10, 12, 15, 0x1f])].into()),
            18 => hello.damage = Damage::Trim(self.faults.between(1, 120) as u32),
            19 => {
                let again = *self.faults.pick(&[0, 1, 2]);
                let mut item = items[again].clone();
                item.1 = self.faults.pick(&[text("1.0"), Value::Uint32(300), text("async")]).clone();
                items.push(item);
            }
            20 => {
                items.reverse();
                items.push(key("max-frame-siz", Value::Uint32(1)));
                items.push(key("versionX", Value::Bool(true)));
            }
            21 => items.push(key("healthcheck", Value::Bool(true))),
            22 => {
                items.insert(0, key("healthcheck", Value::Bool(true)));
                items[1].1 = text("1.0");
            }
            _ => items.clear(),
        }
        hello.kind = FrameKind::Hello(items);
        hello
    }

    /// Draws a valid NOTIFY. It may have the ids of the last one.
    pub(super) fn good_notify(&mut self, at: usize) -> FrameSpec {
        let messages = self.messages();
        let again = self.faults.chance(self.swarm.fragment_faults, 400);
        let conversation = &mut self.links[at];
        let ids = match conversation.used {
            Some(ids) if again => ids,
            _ => {
                conversation.stream_id += 2;
                (conversation.stream_id - 1, 1)
            }
        };
        // The applet engine counts stream-ids from 0, and they can become large.
        let ids = match self.workload.below(16) {
            0 => (0, 1),
            1 => (u64::from(u32::MAX), 2288),
            2 => (self.number(), self.number()),
            _ => ids,
        };
        self.links[at].used = Some(ids);
        FrameSpec { stream_id: ids.0, frame_id: ids.1, ..frame(FrameKind::Notify(messages)) }
    }

    /// Draws a HAPROXY-DISCONNECT with any status, which may be invalid.
    pub(super) fn disconnect_frame(&mut self) -> FrameSpec {
        let code = match self.faults.below(4) {
            0 => *self.faults.pick(&[77, 98, 99, 100, 1000, u64::from(u32::MAX), 1 << 32]),
            _ => self.faults.below(16),
        };
        let mut items = vec![key("status-code", Value::Uint32(code)), key("message", text("whatever"))];
        let mut disconnect = frame(FrameKind::Other(0, Vec::new()));
        match self.faults.below(16) {
            0 => drop(items.remove(0)),
            1 => items[0].1 = text("0"),
            2 => items[0].1 = Value::Int64(code as i64 - 1),
            3 => disconnect.flags = 0,
            4 => disconnect.stream_id = 1,
            5 => disconnect.damage = Damage::Trim(self.faults.between(1, 30) as u32),
            6 => items.push(key("x", Value::Null)),
            7 => items[1].1 = Value::Null,
            _ => {}
        }
        disconnect.kind = FrameKind::Disconnect(items);
        disconnect
    }

    /// Sends a frame that is invalid, or not allowed in the current state.
    pub(super) fn bad_frame(&mut self, at: usize) {
        let good = self.good_notify(at);
        let bad = match self.faults.below(16) {
            0 => FrameSpec { damage: Damage::Length(*self.faults.pick(&[0, 1, 6])), ..good },
            1 => {
                let lengths = [16_381, 16_385, 1 << 20, 0x7fff_ffff, u32::MAX, u32::from_be_bytes(*b"GET ")];
                FrameSpec { damage: Damage::Length(*self.faults.pick(&lengths)), ..good }
            }
            2 => FrameSpec { damage: Damage::Trim(self.faults.between(1, 40) as u32), ..good },
            3 => FrameSpec { damage: Damage::Pad(self.faults.between(1, 20) as u32), ..good },
            4 => FrameSpec { damage: Damage::Flip(self.faults.below(1000) as u32), ..good },
            5 => FrameSpec { flags: *self.faults.pick(&[0, 2, 3, 0xffff_fffe]), ..good },
            6 => FrameSpec { flags: *self.faults.pick(&[3, 5, 0xffff_ffff]), ..good },
            7 => FrameSpec { kind: FrameKind::Other(*self.faults.pick(&[4, 77, 104, 255]), vec![1, 2, 3]), ..good },
            8 => frame(FrameKind::Other(*self.faults.pick(&[101, 102, 103]), Vec::new())),
            9 => FrameSpec { kind: FrameKind::Unset(Vec::new()), flags: *self.faults.pick(&[0, 1, 3]), ..good },
            10 => self.hello(),
            11 => FrameSpec { slice: Some((0, 0)), ..self.oversized(at) },
            12 => self.oversized(at),
            13 => {
                // Too many bytes, a sum above 64 bits, bits that are shifted out. A decoder that wraps would read small
                // numbers.
                let overflows: [&[u8]; 4] = [
                    b"\xf0\x80\x80\x80\x80\x80\x80\x80\x80\x80\0",
                    b"\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0f",
                    b"\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x1e",
                    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0",
                ];
                let varint = *self.faults.pick::<&[u8]>(&overflows);
                let front = *self.faults.pick::<&[u8]>(&[b"", b"\x01m\x01\0\x04", b"\x01m\x01\0\x08", b"\x01m\x01"]);
                FrameSpec { kind: FrameKind::Other(3, [front, varint].concat()), ..good }
            }
            14 => return self.stray_bytes(at),
            _ => FrameSpec {
                kind: FrameKind::Other(3, [&b"\x01m\x01\0"[..], &[self.faults.between(10, 15) as u8]].concat()),
                ..good
            },
        };
        self.send(at, bad);
        // Half of the time further frames follow.
        if self.faults.chance(1, 2) {
            self.links[at].open = false;
        }
    }

    /// Draws a NOTIFY that is exactly as large as a frame may be, or a byte larger.
    fn oversized(&mut self, at: usize) -> FrameSpec {
        let ids = self.good_notify(at);
        let limit = self.script.agent.connection.max_frame_size.min(*self.faults.pick(&[16_380, 16_384, 256]));
        let header = 5 + crate::encode::ids_len(ids.stream_id, ids.frame_id);
        // A message "m" with an unnamed string has 4 bytes, the type of the string, and its length.
        let around = header + 4 + 1;
        let room = limit.saturating_sub(around);
        let length_len = if room > 2290 {
            3
        } else if room > 242 {
            2
        } else {
            1
        };
        let len = room.saturating_sub(length_len) + self.faults.below(2) as u32;
        let message = MessageSpec { name: b"m".into(), args: vec![(Bytes::default(), Value::LongText(len))] };
        FrameSpec { kind: FrameKind::Notify(vec![message]), ..ids }
    }

    fn stray_bytes(&mut self, at: usize) {
        let bytes = (0..self.faults.magnitude(1, 40)).map(|_| self.faults.bits() as u8).collect();
        self.push(Step::Raw(Link::Scripted(at as u8 + 1), bytes));
    }
}
