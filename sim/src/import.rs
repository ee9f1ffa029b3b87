//! Makes scripts of recorded conversations, for example of a capture.
//!
//! A script has HAProxy's side of one connection: its frames, the pieces in which they arrived, the time between them, and the
//! end. It does not have the agent's answers, because the checker computes the right ones.

use std::collections::BTreeMap;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr};

use spoa_sim_haproxy::recording::{self, LinkEvent, Recording, Side};
use spoa_sim_kit::bytes::{self as kit, DISCONNECT, FIN, Frame, HELLO, NOTIFY, UNSET};

use crate::encode::encode_messages;
use crate::script::{Bytes, Cuts, Damage, FrameKind, FrameSpec, Link, MessageSpec, Script, Step, Value};

/// The connection of every script.
const LINK: Link = Link::Scripted(1);

/// Replaces what clients sent: addresses, strings and binaries. Equal values are replaced by equal ones, of the same length.
#[derive(Debug, Default)]
pub struct Masks {
    keeps_values: bool,
    /// The number of each value: 0 for the first one.
    known: BTreeMap<(u8, Vec<u8>), usize>,
    /// The number of bytes that were kept because they are no messages.
    kept: usize,
}

impl Masks {
    /// Returns masks that replace nothing.
    pub fn none() -> Self {
        Self { keeps_values: true, ..Self::default() }
    }

    /// Returns the number of bytes that were kept because they are no frame, or a frame without messages. They may contain values of
    /// clients.
    pub const fn kept(&self) -> usize {
        self.kept
    }

    fn value(&mut self, value: kit::Value) -> Value {
        let tag = value.encode()[0];
        match value {
            kit::Value::Null => Value::Null,
            kit::Value::Bool(value) => Value::Bool(value),
            kit::Value::Int32(value) => Value::Int32(value),
            kit::Value::Uint32(value) => Value::Uint32(value),
            kit::Value::Int64(value) => Value::Int64(value),
            kit::Value::Uint64(value) => Value::Uint64(value),
            kit::Value::Ipv4(octets) => Value::Ipv4(self.ipv4(octets)),
            kit::Value::Ipv6(octets) => Value::Ipv6(self.ipv6(octets)),
            kit::Value::String(text) => Value::Text(self.text(tag, text).into()),
            kit::Value::Binary(bytes) => Value::Binary(self.text(tag, bytes)),
            kit::Value::Raw(bytes) => Value::Bytes(bytes.into()),
        }
    }

    /// Replaces an address by one of 198.18.0.0/15, which is reserved for tests.
    fn ipv4(&mut self, octets: [u8; 4]) -> [u8; 4] {
        if self.keeps_values {
            return octets;
        }
        (0xc612_0000 | (self.number(4, &octets) & 0x1_ffff) as u32).to_be_bytes()
    }

    /// Replaces an address by one of 2001:db8::/32, which is reserved for documentation. A mapped IPv4 address stays one.
    fn ipv6(&mut self, octets: [u8; 16]) -> [u8; 16] {
        if self.keeps_values {
            return octets;
        }
        if let Some(ipv4) = Ipv6Addr::from(octets).to_ipv4_mapped() {
            return Ipv4Addr::from(self.ipv4(ipv4.octets())).to_ipv6_mapped().octets();
        }
        (0x2001_0db8 << 96 | self.number(6, &octets) as u128).to_be_bytes()
    }

    /// Replaces a text by letters that begin with its number. Texts that are too short for their number become equal.
    fn text(&mut self, tag: u8, text: Vec<u8>) -> Vec<u8> {
        if self.keeps_values || text.is_empty() {
            return text;
        }
        let (mut number, len) = (self.number(tag, &text), text.len());
        let mut masked = vec![b'x'; len];
        for letter in &mut masked {
            *letter = b'a' + (number % 23) as u8;
            number /= 23;
            if number == 0 {
                break;
            }
        }
        masked
    }

    /// Returns the number of a value, the same for equal ones.
    fn number(&mut self, tag: u8, bytes: &[u8]) -> usize {
        let next = self.known.len();
        *self.known.entry((tag, bytes.to_vec())).or_insert(next)
    }

    /// Counts bytes that are kept because they are no messages.
    fn keep(&mut self, len: usize) {
        self.kept += if self.keeps_values { 0 } else { len };
    }
}

/// Returns a script of HAProxy's side of each connection, by its number.
pub fn scripts(recording: &Recording, masks: &mut Masks) -> BTreeMap<u32, Script> {
    let mut links: BTreeMap<u32, Vec<&recording::Step>> = BTreeMap::new();
    recording.steps.iter().for_each(|step| links.entry(step.link).or_default().push(step));
    links.into_iter().map(|(link, steps)| (link, script(&steps, masks))).collect()
}

/// Returns a script of HAProxy's side of the connection with these steps.
fn script(steps: &[&recording::Step], masks: &mut Masks) -> Script {
    let mut writer = Writer {
        masks,
        script: Script::default(),
        at: None,
        pending: Vec::new(),
        parsed: 0,
        frames: Vec::new(),
        pieces: Vec::new(),
        fragments: None,
    };
    for step in steps {
        match &step.event {
            LinkEvent::Open => writer.step(step.at, Step::Connect(LINK)),
            LinkEvent::Bytes(Side::Haproxy, bytes) => writer.bytes(step.at, bytes),
            LinkEvent::Fin(Side::Haproxy) => writer.end(step.at, Step::Fin(LINK)),
            LinkEvent::Reset(Side::Haproxy) => writer.end(step.at, Step::Reset(LINK)),
            LinkEvent::Bytes(Side::Agent, _) | LinkEvent::Fin(Side::Agent) | LinkEvent::Reset(Side::Agent) => {}
        }
    }
    writer.flush();
    writer.script
}

/// Writes the script of a connection.
struct Writer<'m> {
    masks: &'m mut Masks,
    script: Script,
    /// The time of the last step.
    at: Option<u64>,
    /// Bytes that do not end with a frame yet. The first `parsed` of them are `frames`.
    pending: Vec<u8>,
    parsed: usize,
    frames: Vec<Frame>,
    /// The sizes of the pieces in which they arrived.
    pieces: Vec<u32>,
    /// The NOTIFY whose fragments arrive: its payload so far, and the steps that send its parts.
    fragments: Option<Fragments>,
}

/// A NOTIFY in fragments. Its messages are known when the last one is there.
#[derive(Default)]
struct Fragments {
    payload: Vec<u8>,
    /// The places of its fragments among the steps, each with its range of the payload.
    parts: Vec<(usize, (u32, u32))>,
}

impl Writer<'_> {
    fn step(&mut self, at: u64, step: Step) {
        // Microseconds are what captures have.
        let passed = at.saturating_sub(self.at.unwrap_or(at)) / 1000 * 1000;
        if passed > 0 {
            self.script.steps.push(Step::Wait(passed));
        }
        self.at = Some(self.at.map_or(at, |last| last + passed));
        self.script.steps.push(step);
    }

    fn end(&mut self, at: u64, step: Step) {
        self.flush();
        self.step(at, step);
    }

    fn bytes(&mut self, at: u64, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.pieces.push(bytes.len() as u32);
        while let Ok(Some((frame, len))) = Frame::first(&self.pending[self.parsed..]) {
            self.parsed += len;
            self.frames.push(frame);
        }
        if self.parsed == self.pending.len() && !self.frames.is_empty() {
            self.pending.clear();
            self.parsed = 0;
            let frames = mem::take(&mut self.frames);
            self.frames(at, &frames);
        }
    }

    /// Adds the frames that arrived together, or in these pieces.
    fn frames(&mut self, at: u64, frames: &[Frame]) {
        let pieces = mem::take(&mut self.pieces);
        let (is_cut, is_joined) = (pieces.len() > 1, frames.len() > 1);
        if is_cut {
            self.step(at, Step::Cut(LINK, Cuts { sizes: pieces, repeat: false }));
        }
        if is_joined {
            self.step(at, Step::Hold(LINK));
        }
        for frame in frames {
            let spec = self.frame(frame);
            self.step(at, Step::Send(LINK, spec));
            self.fragment(frame);
        }
        if is_joined {
            self.step(at, Step::Release(LINK));
        }
        if is_cut {
            self.step(at, Step::Cut(LINK, Cuts::default()));
        }
    }

    /// Adds the bytes that do not end with a frame, unchanged. Nothing follows them.
    fn flush(&mut self) {
        let (bytes, at) = (mem::take(&mut self.pending), self.at.unwrap_or(0));
        if !bytes.is_empty() {
            self.masks.keep(bytes.len());
            self.step(at, Step::Raw(LINK, bytes));
        }
    }

    fn frame(&mut self, frame: &Frame) -> FrameSpec {
        let is_whole = frame.flags & FIN != 0;
        let kind = match frame.kind {
            HELLO => self.items(&frame.payload).map(FrameKind::Hello),
            DISCONNECT => self.items(&frame.payload).map(FrameKind::Disconnect),
            NOTIFY if is_whole => self.messages(&frame.payload).map(FrameKind::Notify),
            _ => None,
        };
        if kind.is_none() && !is_fragment(frame) {
            self.masks.keep(frame.payload.len());
        }
        FrameSpec {
            kind: kind.unwrap_or_else(|| FrameKind::Other(frame.kind, frame.payload.clone())),
            flags: frame.flags,
            stream_id: frame.sid,
            frame_id: frame.fid,
            slice: None,
            damage: Damage::None,
        }
    }

    /// Remembers the fragment that was added last. When the NOTIFY is whole, writes all its fragments as parts of its messages.
    fn fragment(&mut self, frame: &Frame) {
        if !is_fragment(frame) {
            return;
        }
        if frame.kind == NOTIFY {
            self.fragments = Some(Fragments::default());
        }
        let Some(fragments) = &mut self.fragments else { return self.masks.keep(frame.payload.len()) };
        let start = fragments.payload.len() as u32;
        fragments.payload.extend_from_slice(&frame.payload);
        fragments.parts.push((self.script.steps.len() - 1, (start, fragments.payload.len() as u32)));
        if frame.flags & FIN == 0 {
            return;
        }
        let Some(Fragments { payload, parts }) = self.fragments.take() else { return };
        let Some(messages) = self.messages(&payload) else { return self.masks.keep(payload.len()) };
        for (number, (place, range)) in parts.into_iter().enumerate() {
            let Some(Step::Send(_, spec)) = self.script.steps.get_mut(place) else { continue };
            let kind = if number == 0 { FrameKind::Notify } else { FrameKind::Unset };
            *spec = FrameSpec { kind: kind(messages.clone()), slice: Some(range), ..spec.clone() };
        }
    }

    /// Reads a list of keys, and replaces the engine-id. `None` if the script would encode the list in another way.
    fn items(&mut self, payload: &[u8]) -> Option<Vec<(Bytes, Value)>> {
        let items = kit::read_kv(payload)?;
        let pairs: Vec<_> = items.iter().map(|(key, value)| (&**key, value.clone())).collect();
        if kit::kv(&pairs) != payload {
            return None;
        }
        let mut plain = Masks::none();
        let masked = items.into_iter().map(|(key, value)| {
            let masks = if key == "engine-id" { &mut *self.masks } else { &mut plain };
            let value = masks.value(value);
            (key.into_bytes().into(), value)
        });
        Some(masked.collect())
    }

    /// Reads messages, and replaces their values. `None` if the script would encode them in another way.
    fn messages(&mut self, payload: &[u8]) -> Option<Vec<MessageSpec>> {
        let messages = kit::read_messages(payload)?;
        let specs = |masks: &mut Masks| -> Vec<MessageSpec> {
            let messages = messages.iter().map(|(name, args)| MessageSpec {
                name: name.clone().into(),
                args: args.iter().map(|(name, value)| (name.clone().into(), masks.value(value.clone()))).collect(),
            });
            messages.collect()
        };
        let mut encoded = Vec::new();
        encode_messages(&specs(&mut Masks::none()), &mut encoded);
        (encoded == payload).then(|| specs(self.masks))
    }
}

/// True for a NOTIFY without FIN, and for the fragments after it.
const fn is_fragment(frame: &Frame) -> bool {
    frame.kind == UNSET || frame.kind == NOTIFY && frame.flags & FIN == 0
}

#[cfg(test)]
mod tests {
    use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};
    use spoa_sim_kit::bytes::{self as kit, FIN, Frame, NOTIFY, UNSET, message};
    use spoa_sim_kit::frames::{Hello, notify};

    use super::*;
    use crate::run::run;

    /// Returns the script of a connection on which HAProxy sends these parts, one per millisecond, and resets it.
    fn script_of(parts: &[&[u8]], masks: &mut Masks) -> Script {
        let mut recording = Recording::default();
        recording.push(0, 7, LinkEvent::Open);
        for (number, part) in (1..).zip(parts) {
            recording.push(number * 1_000_000, 7, LinkEvent::Bytes(Side::Haproxy, part.to_vec()));
        }
        recording.push(90_000_000, 7, LinkEvent::Reset(Side::Haproxy));
        scripts(&recording, masks).remove(&7).expect("the connection has a script")
    }

    fn ask(path: &str) -> Vec<u8> {
        let args =
            [("ip", kit::Value::Ipv4([10, 1, 2, 3])), ("path", kit::Value::text(path)), ("n", kit::Value::Int64(5))];
        message("m", &args)
    }

    #[test]
    fn a_script_sends_the_same_frames_at_the_same_times() {
        let (hello, ask) = (Hello::mux().encode(), notify(1, 1, &[ask("/private")]));
        let joined = [&ask[..], &ask[..]].concat();
        let script = script_of(&[&hello, &ask[..9], &ask[9..], &joined], &mut Masks::none());
        let text = script.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1..4], ["connect c1", "wait 1ms", lines[3]], "{text}");
        assert!(lines[3].starts_with("send c1 hello supported-versions=\"2.0\""), "{text}");
        let send = "send c1 notify sid=1 fid=1 m(ip=10.1.2.3, path=\"/private\", n=i64:5)";
        let expected = [
            "wait 2ms",
            "cut c1 9,32,*",
            send,
            "cut c1 *",
            "wait 1ms",
            "hold c1",
            send,
            send,
            "release c1",
            "wait 86ms",
            "reset c1",
        ];
        assert_eq!(lines[4..], expected, "{text}");
        assert_eq!(run(&script, false).failure, None);
    }

    #[test]
    fn values_are_replaced_by_equal_ones_of_the_same_length() {
        let bytes =
            [notify(1, 1, &[ask("/private")]), notify(3, 1, &[ask("/other")]), notify(5, 1, &[ask("/private")])];
        let mut masks = Masks::default();
        let text = script_of(&[&bytes.concat()], &mut masks).to_string();
        assert!(!text.contains("private") && !text.contains("10.1.2.3"), "{text}");
        assert_eq!(text.matches("ip=198.18.0.0").count(), 3, "{text}");
        assert_eq!(text.matches("path=\"bxxxxxxx\"").count(), 2, "{text}");
        assert_eq!(text.matches("path=\"cxxxxx\"").count(), 1, "{text}");
        assert_eq!(masks.kept(), 0);
    }

    #[test]
    fn fragments_are_parts_of_their_messages() {
        let payload = ask("/private");
        let (first, last) = payload.split_at(10);
        let frames = [Frame::new(NOTIFY, (1, 1), first).flags(0), Frame::new(UNSET, (1, 1), last).flags(FIN)];
        let bytes = frames.iter().flat_map(Frame::encode).collect::<Vec<_>>();
        let text = script_of(&[&bytes], &mut Masks::default()).to_string();
        assert!(text.contains("notify sid=1 fid=1 flags=0x0 slice=0..10 m(ip=198.18.0.0"), "{text}");
        assert!(text.contains("unset sid=1 fid=1 slice=10..30 m(ip=198.18.0.0"), "{text}");
    }

    #[test]
    fn bytes_that_are_no_frames_are_kept_and_counted() {
        let mut masks = Masks::default();
        let text = script_of(&[b"GET / HTTP/1.1\r\n\r\n"], &mut masks).to_string();
        assert!(text.contains("send c1 raw 474554202f"), "{text}");
        assert_eq!(masks.kept(), 18);
    }
}
