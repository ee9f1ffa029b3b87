//! Puts the segments of a capture together to conversations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;

use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};

use super::packets::{self, CaptureError, Flags, Segment};

/// The largest number of segments of one direction that wait for a missing one. Each has up to 64 KiB.
const HELD_MAX: usize = 1024;

/// The conversations of a capture.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The conversations. A connection ends early where bytes are missing.
    pub recording: Recording,
    /// The end points of each connection of the recording: HAProxy's, and the agent's.
    pub connections: Vec<(SocketAddr, SocketAddr)>,
    /// The parts that are missing in the capture.
    pub notes: Vec<Note>,
    /// The number of segments of the port.
    pub segments: usize,
}

/// A part of a conversation that is missing in the capture. It is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The capture begins after this connection.
    WithoutBeginning(SocketAddr),
    /// Bytes of this connection of the recording are missing, so the rest of it is left out.
    Gap {
        /// The connection.
        link: u32,
        /// The sender of the bytes.
        side: Side,
        /// The number of bytes of that side before the gap.
        after: u64,
    },
    /// The file cannot be read after this number of packets.
    Damaged {
        /// The number of packets that were read.
        packets: usize,
        /// The reason.
        reason: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithoutBeginning(addr) => {
                write!(f, "the connection from {addr} began before the capture, and is left out")
            }
            Self::Gap { link, side, after } => {
                let side = match side {
                    Side::Haproxy => "HAProxy",
                    Side::Agent => "the agent",
                };
                write!(f, "connection {link}: after {after} bytes of {side} some are missing; the rest is left out")
            }
            Self::Damaged { packets, reason } => {
                write!(f, "the file cannot be read after {packets} packets: {reason}")
            }
        }
    }
}

/// Reads the connections to a port from a capture in pcap or pcapng format.
///
/// A file that ends inside a packet is read up to there.
///
/// # Errors
/// If the file cannot be read, or is no capture.
pub fn import(file: impl Read, port: u16) -> Result<Import, CaptureError> {
    let mut importer = Importer::new(port);
    importer.add(file)?;
    Ok(importer.finish())
}

/// Reads a capture that is divided into several files.
#[derive(Default)]
pub struct Importer {
    port: u16,
    assembly: Assembly,
}

impl Importer {
    /// Returns an importer of the connections to a port.
    pub fn new(port: u16) -> Self {
        Self { port, ..Self::default() }
    }

    /// Reads the next file in the order of time. A file that ends inside a packet is read up to there, and so is any file after the
    /// first, because a program that is killed may leave a file without a packet.
    ///
    /// # Errors
    /// If the file cannot be read, or is no capture.
    pub fn add(&mut self, file: impl Read) -> Result<(), CaptureError> {
        let Self { port, assembly } = self;
        match packets::read(file, |segment| assembly.segment(*port, &segment)) {
            Err(CaptureError::Format { packets, reason }) if packets > 0 || assembly.import.segments > 0 => {
                assembly.import.notes.push(Note::Damaged { packets, reason });
                Ok(())
            }
            read => read,
        }
    }

    /// Returns the conversations of all files.
    pub fn finish(self) -> Import {
        self.assembly.finish()
    }
}

#[derive(Default)]
struct Assembly {
    import: Import,
    /// The time of the first segment.
    start: Option<u64>,
    last: u64,
    /// The open connections, by HAProxy's and the agent's address.
    flows: BTreeMap<(SocketAddr, SocketAddr), Flow>,
    /// Connections whose beginning is missing.
    unknown: BTreeSet<(SocketAddr, SocketAddr)>,
}

/// A connection.
struct Flow {
    link: u32,
    /// HAProxy's bytes, and those of the agent.
    directions: [Direction; 2],
    /// True if both directions have ended, or bytes are missing.
    is_over: bool,
}

/// The bytes of one side.
#[derive(Default)]
struct Direction {
    /// The sequence number of the first byte; `None` before the SYN.
    first: Option<u32>,
    /// The number of bytes so far.
    len: u64,
    /// Segments that are not delivered, by the number of bytes before each.
    held: BTreeMap<u64, Held>,
    has_ended: bool,
}

/// A segment that waits for those before it.
struct Held {
    payload: Vec<u8>,
    /// The number of bytes after the payload that the capture does not have.
    missing: usize,
    fin: bool,
}

impl Assembly {
    fn segment(&mut self, port: u16, segment: &Segment) {
        let (side, key) = match (segment.to.port() == port, segment.from.port() == port) {
            (true, _) => (Side::Haproxy, (segment.from, segment.to)),
            (_, true) => (Side::Agent, (segment.to, segment.from)),
            _ => return,
        };
        self.import.segments += 1;
        let start = *self.start.get_or_insert(segment.at);
        // Packets of several processors may be slightly out of order.
        self.last = self.last.max(segment.at.saturating_sub(start));
        let Flags { syn, ack, .. } = segment.flags;
        if syn && !ack {
            self.open(key, segment.sequence);
            return;
        }
        let Some(flow) = self.flows.get_mut(&key) else {
            if self.unknown.insert(key) {
                self.import.notes.push(Note::WithoutBeginning(key.0));
            }
            return;
        };
        if !flow.is_over {
            flow.segment(side, segment, self.last, &mut self.import);
        }
    }

    fn open(&mut self, key: (SocketAddr, SocketAddr), sequence: u32) {
        let first = sequence.wrapping_add(1);
        // A SYN that is sent again opens no other connection.
        if self.flows.get(&key).is_some_and(|flow| flow.directions[0].first == Some(first)) {
            return;
        }
        self.unknown.remove(&key);
        if let Some(flow) = self.flows.remove(&key) {
            flow.note_gaps(&mut self.import);
        }
        let link = self.import.connections.len() as u32;
        self.import.connections.push(key);
        self.import.recording.push(self.last, link, LinkEvent::Open);
        let haproxy = Direction { first: Some(first), ..Direction::default() };
        self.flows.insert(key, Flow { link, directions: [haproxy, Direction::default()], is_over: false });
    }

    fn finish(mut self) -> Import {
        for flow in self.flows.values() {
            flow.note_gaps(&mut self.import);
        }
        self.import
    }
}

impl Flow {
    fn segment(&mut self, side: Side, segment: &Segment, at: u64, import: &mut Import) {
        let direction = &mut self.directions[usize::from(side == Side::Agent)];
        let Flags { syn, fin, rst, .. } = segment.flags;
        if syn {
            direction.first.get_or_insert(segment.sequence.wrapping_add(1));
            return;
        }
        if rst {
            import.recording.push(at, self.link, LinkEvent::Reset(side));
            self.is_over = true;
            return;
        }
        let Some(first) = direction.first else {
            // The answer to the SYN is missing.
            if !segment.payload.is_empty() {
                import.notes.push(Note::Gap { link: self.link, side, after: 0 });
                self.is_over = true;
            }
            return;
        };
        // The distance is negative for bytes that were sent before.
        let next = first.wrapping_add(direction.len as u32);
        let distance = i64::from(segment.sequence.wrapping_sub(next) as i32);
        let old = usize::try_from(-distance).unwrap_or(0).min(segment.payload.len());
        let held = Held { payload: segment.payload[old..].to_vec(), missing: segment.missing, fin };
        if held.payload.is_empty() && held.missing == 0 && !fin {
            return;
        }
        let before = direction.len + u64::try_from(distance).unwrap_or(0);
        // Of two copies the longer one has more of the conversation.
        if direction.held.get(&before).is_none_or(|known| known.payload.len() < held.payload.len()) {
            direction.held.insert(before, held);
        }
        self.deliver(side, at, import);
    }

    /// Delivers what follows without a gap.
    fn deliver(&mut self, side: Side, at: u64, import: &mut Import) {
        let direction = &mut self.directions[usize::from(side == Side::Agent)];
        while let Some(entry) = direction.held.first_entry().filter(|entry| *entry.key() <= direction.len) {
            let old = (direction.len - entry.key()) as usize;
            let Held { mut payload, missing, fin } = entry.remove();
            payload.drain(..old.min(payload.len()));
            direction.len += payload.len() as u64;
            if !payload.is_empty() {
                import.recording.push(at, self.link, LinkEvent::Bytes(side, payload));
            }
            if missing > 0 {
                import.notes.push(Note::Gap { link: self.link, side, after: direction.len });
                self.is_over = true;
                return;
            }
            if fin && !direction.has_ended {
                direction.has_ended = true;
                import.recording.push(at, self.link, LinkEvent::Fin(side));
            }
        }
        if direction.held.len() > HELD_MAX {
            import.notes.push(Note::Gap { link: self.link, side, after: direction.len });
            self.is_over = true;
            return;
        }
        self.is_over |= self.directions.iter().all(|direction| direction.has_ended);
    }

    /// Notes the bytes that are still missing at the end.
    fn note_gaps(&self, import: &mut Import) {
        for (direction, side) in self.directions.iter().zip([Side::Haproxy, Side::Agent]) {
            if !self.is_over && !direction.held.is_empty() {
                import.notes.push(Note::Gap { link: self.link, side, after: direction.len });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{AGENT_PORT, write_pcapng};

    fn recording(events: Vec<LinkEvent>) -> Recording {
        let mut recording = Recording::default();
        for (number, event) in events.into_iter().enumerate() {
            recording.push(number as u64 * 1000, 0, event);
        }
        recording
    }

    fn conversation() -> Vec<LinkEvent> {
        let bytes = |side, text: &[u8]| LinkEvent::Bytes(side, text.to_vec());
        vec![
            LinkEvent::Open,
            bytes(Side::Haproxy, b"hello"),
            bytes(Side::Agent, b"agent"),
            bytes(Side::Haproxy, b"no"),
            bytes(Side::Haproxy, b"tify"),
            bytes(Side::Agent, b"ack"),
            LinkEvent::Fin(Side::Haproxy),
            LinkEvent::Fin(Side::Agent),
        ]
    }

    /// Returns a capture, and the place of each of its packets.
    fn capture(recording: &Recording) -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
        let mut bytes = Vec::new();
        write_pcapng(recording, &mut bytes).expect("a buffer can be written");
        let (mut packets, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
            let len = word(at + 4) as usize;
            if word(at) == 6 {
                packets.push(at..at + len);
            }
            at += len;
        }
        (bytes, packets)
    }

    fn import_bytes(bytes: &[u8]) -> Import {
        import(bytes, AGENT_PORT).expect("a capture")
    }

    /// Returns the capture with its packets in this order.
    fn reordered(bytes: &[u8], packets: &[std::ops::Range<usize>], order: &[usize]) -> Vec<u8> {
        let mut out = bytes[..packets[0].start].to_vec();
        order.iter().for_each(|number| out.extend_from_slice(&bytes[packets[*number].clone()]));
        out
    }

    #[test]
    fn a_capture_is_read_as_it_was_written() {
        let recording = recording(conversation());
        let import = import_bytes(&capture(&recording).0);
        assert_eq!(import.recording, recording);
        assert_eq!((import.notes.len(), import.segments), (0, 10));
    }

    /// Packets 0 to 2 are the handshake; 6 and 7 are the two pieces of the second frame of HAProxy.
    #[test]
    fn segments_are_put_in_order() {
        let (bytes, packets) = capture(&recording(conversation()));
        let expected = import_bytes(&bytes).recording;
        let bytes_of = |recording: &Recording, side| -> Vec<u8> {
            let steps = recording.steps.iter();
            let parts = steps.filter_map(|step| match &step.event {
                LinkEvent::Bytes(from, bytes) if *from == side => Some(bytes.clone()),
                _ => None,
            });
            parts.collect::<Vec<_>>().concat()
        };
        for order in [
            &[0, 1, 2, 3, 4, 6, 5, 7, 8, 9][..],
            &[0, 1, 2, 3, 4, 5, 6, 5, 6, 7, 8, 9],
            &[0, 0, 1, 2, 3, 8, 6, 5, 4, 7, 9],
        ] {
            let import = import_bytes(&reordered(&bytes, &packets, order));
            assert_eq!(import.notes, []);
            for side in [Side::Haproxy, Side::Agent] {
                assert_eq!(bytes_of(&import.recording, side), bytes_of(&expected, side), "{order:?}");
            }
            let ends = import.recording.steps.iter().filter(|step| matches!(step.event, LinkEvent::Fin(_))).count();
            assert_eq!(ends, 2, "{order:?}");
        }
    }

    /// Packets are captured twice with `tcpdump -i any`.
    #[test]
    fn many_copies_of_a_segment_are_held_once() {
        let big = recording(vec![
            LinkEvent::Open,
            LinkEvent::Bytes(Side::Haproxy, vec![1; 30_000]),
            LinkEvent::Bytes(Side::Haproxy, vec![2; 30_000]),
        ]);
        let (bytes, packets) = capture(&big);
        let order = [&[0, 1, 2][..], &[4; HELD_MAX + 1], &[3]].concat();
        let import = import_bytes(&reordered(&bytes, &packets, &order));
        assert_eq!((import.notes.len(), import.recording.steps.len()), (0, 3));
    }

    #[test]
    fn the_longer_copy_of_a_segment_counts() {
        let addr = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let segment = |sequence, payload: &[u8], missing, syn| Segment {
            at: 0,
            from: addr(40000),
            to: addr(AGENT_PORT),
            sequence,
            flags: Flags { syn, ..Flags::default() },
            payload: payload.to_vec(),
            missing,
        };
        let mut assembly = Assembly::default();
        // The last segment of three arrives first: cut off, whole, and cut off again.
        for (sequence, payload, missing, syn) in [
            (0, &b""[..], 0, true),
            (4, b"d", 2, false),
            (4, b"def", 0, false),
            (4, b"de", 1, false),
            (1, b"abc", 0, false),
        ] {
            assembly.segment(AGENT_PORT, &segment(sequence, payload, missing, syn));
        }
        let import = assembly.finish();
        let bytes: Vec<_> = import.recording.steps.into_iter().map(|step| step.event).collect();
        let part = |text: &[u8]| LinkEvent::Bytes(Side::Haproxy, text.to_vec());
        assert_eq!((bytes, import.notes), (vec![LinkEvent::Open, part(b"abc"), part(b"def")], vec![]));
    }

    #[test]
    fn missing_parts_are_noted_and_not_guessed() {
        let (bytes, packets) = capture(&recording(conversation()));
        let without_beginning = import_bytes(&reordered(&bytes, &packets, &[3, 4, 5]));
        assert!(matches!(without_beginning.notes[..], [Note::WithoutBeginning(_)]), "{:?}", without_beginning.notes);
        assert!(without_beginning.recording.steps.is_empty());
        let gap = import_bytes(&reordered(&bytes, &packets, &[0, 1, 2, 3, 4, 6, 7, 8, 9]));
        assert_eq!(gap.notes, [Note::Gap { link: 0, side: Side::Haproxy, after: 5 }]);
        // The snapshot length was too short for the second piece.
        let mut short = bytes.clone();
        let at = packets[6].start + 24;
        short[at..at + 4].copy_from_slice(&1000_u32.to_le_bytes());
        let truncated = import_bytes(&short);
        assert_eq!(truncated.notes, [Note::Gap { link: 0, side: Side::Haproxy, after: 11 }]);
    }

    #[test]
    fn a_file_that_is_no_capture_is_refused() {
        let (bytes, _) = capture(&recording(conversation()));
        for file in [&b""[..], b"GET / HTTP/1.1", &bytes[..20]] {
            let error = import(file, AGENT_PORT).expect_err("no capture").to_string();
            assert!(error.contains("not a capture in pcap or pcapng format"), "{error}");
        }
        let notes = import_bytes(&bytes[..bytes.len() - 3]).notes;
        assert!(matches!(notes[..], [Note::Damaged { packets: 9, .. }]), "{notes:?}");
        for cut in 0..bytes.len() {
            let _ = import(&bytes[..cut], AGENT_PORT);
        }
    }
}
