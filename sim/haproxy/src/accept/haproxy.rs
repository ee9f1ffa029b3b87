//! Checks HAProxy's bytes frame by frame.

use super::{Fragments, Link, Phase, Stream, Unanswered, Validation, Validator};
use crate::codec::{
    AgentHello, Cursor, FRAME_LEN_MIN, HEADER_RESERVE, Header, Hello, Kind, Messages, code, encode_disconnect,
    encode_healthcheck, encode_hello,
};
use crate::settings::Engine;
use crate::time::Time;

/// The largest number of NOTIFYs in flight on a mux connection with pipelining.
const STREAMS_MAX: usize = 20;

impl Validator<'_> {
    pub(super) fn haproxy_bytes(&mut self, at: usize, now: Time, bytes: &[u8]) -> Validation {
        if self.links[at].phase == Phase::Closed {
            return Err("bytes after the close".into());
        }
        self.links[at].haproxy_input.extend_from_slice(bytes);
        while let Some((len, rest)) = self.links[at].haproxy_input.split_first_chunk() {
            let len = u32::from_be_bytes(*len);
            if len < FRAME_LEN_MIN || len > self.settings().max_frame_size {
                return Err(format!("a frame of length {len}"));
            }
            if rest.len() < len as usize {
                break;
            }
            let frame: Vec<u8> = self.links[at].haproxy_input.drain(..4 + len as usize).collect();
            self.frame(at, now, &frame)?;
        }
        Ok(())
    }

    fn frame(&mut self, at: usize, now: Time, frame: &[u8]) -> Validation {
        let header = Header::peek(frame).ok_or("a frame that ends inside its header")?;
        let payload = frame.get(header.size..).ok_or("a frame that ends inside its header")?;
        let result = self.frame_in_phase(at, now, frame, &header, payload);
        self.links[at].used = now;
        result
    }

    fn frame_in_phase(&mut self, at: usize, now: Time, frame: &[u8], header: &Header, payload: &[u8]) -> Validation {
        match (self.links[at].phase, header.kind) {
            (Phase::Fresh, _) => self.hello(at, frame),
            (Phase::HealthCheck, _) => Err("a health check sent more than its HELLO".into()),
            // A mux that continues to read garbage fails again, and sends another DISCONNECT.
            (Phase::Disconnected, Kind::DISCONNECT) if self.is_mux() && self.links[at].allowed_codes != 0 => Ok(()),
            (Phase::Disconnected, _) => Err("a frame after HAPROXY-DISCONNECT".into()),
            (_, Kind::DISCONNECT) => self.disconnect(at, now, frame, payload),
            (Phase::Running(hello), Kind::NOTIFY) => self.notify(at, now, &hello, header, payload),
            (Phase::Running(hello), Kind::UNSET) => self.fragment(at, &hello, header, payload),
            (Phase::Running(_), kind) => Err(format!("a frame of type {}", kind.0)),
            _ => Err("a frame before a valid AGENT-HELLO".into()),
        }
    }

    fn hello(&mut self, at: usize, frame: &[u8]) -> Validation {
        let settings = self.settings();
        let mut expected = Vec::with_capacity(256);
        let offer = if self.is_mux() { 16380 } else { settings.bufsize - 4 };
        encode_healthcheck(&mut expected, offer);
        if frame == expected {
            self.links[at].phase = Phase::HealthCheck;
            return Ok(());
        }
        let id = *frame.last_chunk::<36>().ok_or("a HELLO without an engine-id")?;
        expected.clear();
        let (max_frame_size, capabilities) = (settings.max_frame_size, settings.capabilities());
        encode_hello(&mut expected, &Hello { max_frame_size, capabilities, engine_id: Some(&id) });
        if frame != expected {
            let same = frame.iter().zip(&expected).take_while(|(one, other)| one == other).count();
            return Err(format!("the HELLO differs from that of this version at byte {same}"));
        }
        self.check_engine(at, id)?;
        self.links[at].phase = Phase::HelloSent;
        Ok(())
    }

    fn check_engine(&mut self, at: usize, id: [u8; 36]) -> Validation {
        let capitals = self.settings().engine_of_process;
        let digit =
            |byte: u8| byte.is_ascii_digit() || (if capitals { b'A'..=b'F' } else { b'a'..=b'f' }).contains(&byte);
        let good = |(at, &byte): (usize, &u8)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { digit(byte) };
        if !id.iter().enumerate().all(good) {
            return Err("the engine-id is not a UUID".into());
        }
        let known = self.engines.iter().position(|known| *known == id);
        let engine = known.unwrap_or_else(|| {
            self.engines.push(id);
            self.engines.len() - 1
        });
        let settings = self.settings();
        let of_thread = settings.engine == Engine::Applet && !settings.engine_of_process;
        let max = self.variant.processes * if of_thread { settings.threads } else { 1 };
        if self.engines.len() > max as usize {
            return Err(format!("more than {max} engine-ids"));
        }
        self.links[at].engine = Some(engine);
        Ok(())
    }

    fn notify(&mut self, at: usize, now: Time, hello: &AgentHello, header: &Header, payload: &[u8]) -> Validation {
        if self.links[at].fragments.is_some() {
            return Err("a NOTIFY between the fragments of another".into());
        }
        let settings = self.settings();
        let reserve = HEADER_RESERVE + u32::from(self.is_mux());
        if payload.len() > (settings.max_frame_size - reserve) as usize {
            return Err("messages that are too long for HAProxy's own frame size".into());
        }
        self.check_size(hello, header)?;
        if self.is_mux() {
            self.mux_ids(at, hello, header)?;
        } else {
            self.applet_ids(at, header)?;
        }
        self.check_in_flight(at, now, hello)?;
        // The first event on a connection may have waited since the connection was opened; the NOTIFYs of the others
        // are sent when their events start. After a failed connection any event may be a retry, and as old as its
        // timeout allows.
        let (retried, timeout) = (self.retried, self.settings().processing_timeout);
        let link = &mut self.links[at];
        let since = match link.sid_max {
            _ if retried => now.saturating_sub(timeout),
            0 => link.opened,
            _ => now,
        };
        link.first_notify.get_or_insert(now);
        link.sid_max = link.sid_max.max(header.sid);
        link.unanswered.push(Unanswered { sid: header.sid, fid: header.fid, since });
        link.awaits_ack = true;
        match header.flags {
            1 => self.check_messages(payload),
            0 if self.settings().fragmentation && !self.is_mux() && hello.capabilities.fragmentation => {
                let (sid, fid) = (header.sid, header.fid);
                let (bytes, cuts) = (payload.to_vec(), vec![payload.len()]);
                self.links[at].fragments = Some(Fragments { sid, fid, bytes, cuts });
                Ok(())
            }
            0 => Err("a NOTIFY without FIN".into()),
            flags => Err(format!("a NOTIFY with flags {flags:#x}")),
        }
    }

    fn check_size(&self, hello: &AgentHello, header: &Header) -> Validation {
        let ignored = self.settings().defects.ignores_negotiated_size;
        let fits = match self.settings().engine {
            Engine::Mux => ignored || header.len <= hello.max_frame_size,
            // HAProxy checks `p + sz >= end`, so the last byte of the size is never used.
            Engine::Applet => header.len < hello.max_frame_size,
        };
        if fits {
            Ok(())
        } else {
            Err(format!(
                "a frame of {} bytes, which does not fit into the negotiated {}",
                header.len, hello.max_frame_size
            ))
        }
    }

    /// Checks the stream-id, which is 1, 3, 5, … on each connection, and the frame-id, which is always 1. A stream-id
    /// is skipped if its NOTIFY was too large to be sent.
    fn mux_ids(&self, at: usize, hello: &AgentHello, header: &Header) -> Validation {
        let next = (self.links[at].sid_max + 1) | 1;
        let skips = hello.max_frame_size < self.settings().max_frame_size;
        let good = header.sid == next || (skips && header.sid > next && header.sid % 2 == 1);
        if !good {
            return Err(format!("stream-id {}, expected {next}", header.sid));
        }
        if header.fid != 1 {
            return Err(format!("frame-id {}, expected 1", header.fid));
        }
        Ok(())
    }

    /// Checks the stream-id, which is HAProxy's own counter of streams, and the frame-id, which counts the answered
    /// events of the stream from 1.
    fn applet_ids(&mut self, at: usize, header: &Header) -> Validation {
        let engine = self.links[at].engine.unwrap_or_default();
        let (sid, fid) = (header.sid, header.fid);
        if sid > u64::from(u32::MAX) {
            return Err("a stream-id above 32 bits".into());
        }
        if self.variant.processes == 1 && self.streams.iter().any(|stream| stream.sid == sid && stream.engine != engine)
        {
            return Err(format!("stream-id {sid} is used by another thread"));
        }
        let known = self.streams.iter_mut().find(|stream| stream.sid == sid && stream.engine == engine);
        let Some(stream) = known else {
            if fid != 1 {
                return Err(format!("frame-id {fid} in the first NOTIFY of stream {sid}, expected 1"));
            }
            self.streams.push(Stream { engine, sid, fid, answered: false });
            return Ok(());
        };
        // A failed event leaves its frame-id to the next event of the stream. An ACK may have arrived too late for
        // HAProxy, so an answered frame-id may occur again too.
        if fid != stream.fid && !(stream.answered && fid == stream.fid + 1) {
            return Err(format!("frame-id {fid} after {} on stream {sid}", stream.fid));
        }
        stream.answered &= fid == stream.fid;
        stream.fid = fid;
        Ok(())
    }

    fn check_in_flight(&self, at: usize, now: Time, hello: &AgentHello) -> Validation {
        let (link, settings) = (&self.links[at], self.settings());
        let pipelining = settings.pipelining && hello.capabilities.pipelining;
        let asynchronous = !self.is_mux() && settings.asynchronous && hello.capabilities.asynchronous;
        if !self.is_mux() && !pipelining && !asynchronous && link.awaits_ack {
            return Err("a second NOTIFY before an ACK, without pipelining".into());
        }
        // All events that wait on a connection for AGENT-HELLO are sent when it arrives, with or without pipelining.
        let is_first_batch = link.first_notify.is_none_or(|first| first == now);
        let max = if pipelining || is_first_batch { STREAMS_MAX } else { 1 };
        // A recording limits only the mux. An event of the applet engine may have been queued for most of its time
        // before its NOTIFY was sent, so its slot may become free at any time.
        if self.is_mux()
            && link.in_flight(now, settings.processing_timeout, self.variant.slack) >= max
            && !self.variant.aborts
        {
            return Err(format!("more than {max} NOTIFYs in flight"));
        }
        Ok(())
    }

    fn check_messages(&self, payload: &[u8]) -> Validation {
        if payload.is_empty() {
            let is_known_bug = self.is_mux() && self.settings().defects.empty_notify;
            return if is_known_bug { Ok(()) } else { Err("a NOTIFY without messages".into()) };
        }
        Messages::parse(payload).map(drop).ok_or_else(|| "messages that are not encoded as HAProxy encodes them".into())
    }

    fn fragment(&mut self, at: usize, hello: &AgentHello, header: &Header, payload: &[u8]) -> Validation {
        self.check_size(hello, header)?;
        let Some(mut fragments) = self.links[at].fragments.take() else {
            return Err("a fragment without a NOTIFY before it".into());
        };
        if (header.sid, header.fid) != (fragments.sid, fragments.fid) {
            return Err("a fragment of another NOTIFY".into());
        }
        match header.flags {
            3 if payload.is_empty() => {
                let link = &mut self.links[at];
                link.unanswered.retain(|frame| (frame.sid, frame.fid) != (header.sid, header.fid));
                link.awaits_ack = false;
                return Ok(());
            }
            3 => return Err("an abort with a payload".into()),
            0 | 1 => fragments.bytes.extend_from_slice(payload),
            flags => return Err(format!("a fragment with flags {flags:#x}")),
        }
        if header.flags == 0 {
            fragments.cuts.push(fragments.bytes.len());
            self.links[at].fragments = Some(fragments);
            return Ok(());
        }
        self.check_cuts(hello, &fragments)
    }

    /// Checks that each cut is between two items, or inside a text of which at least one byte precedes the cut. If all
    /// connections negotiated the same size, HAProxy cuts as late as that size allows.
    fn check_cuts(&self, hello: &AgentHello, fragments: &Fragments) -> Validation {
        let messages =
            Messages::parse(&fragments.bytes).ok_or("messages that are not encoded as HAProxy encodes them")?;
        let other = |link: &Link| link.size.is_some_and(|size| size != hello.max_frame_size);
        let is_exact = !self.links.iter().any(other);
        let room = (hello.max_frame_size - HEADER_RESERVE) as usize;
        let mut from = 0;
        for &cut in &fragments.cuts {
            let is_allowed = |piece: &crate::codec::Piece| (piece.text as usize..=piece.end as usize).contains(&cut);
            if !messages.pieces().iter().any(is_allowed) {
                return Err(format!("a cut at byte {cut}, inside an item that cannot be split"));
            }
            match messages.cut(from, room) {
                Some(end) if is_exact && end != cut => return Err(format!("a cut at byte {cut}, expected {end}")),
                _ if cut - from > room => {
                    return Err(format!("a fragment of {} bytes, expected at most {room}", cut - from));
                }
                _ => from = cut,
            }
        }
        Ok(())
    }

    fn disconnect(&mut self, at: usize, now: Time, frame: &[u8], payload: &[u8]) -> Validation {
        let mut cursor = Cursor::new(payload);
        let status = (cursor.string() == Some(b"status-code") && cursor.byte() == Some(3)).then(|| cursor.varint());
        let status = status
            .flatten()
            .and_then(|status| u32::try_from(status).ok())
            .ok_or("a DISCONNECT without a status code")?;
        let mut expected = Vec::new();
        encode_disconnect(&mut expected, status);
        if frame != expected {
            return Err("a DISCONNECT that is not encoded as HAProxy encodes it".into());
        }
        let (link, settings) = (&self.links[at], self.settings());
        let idle = now.saturating_add(self.variant.slack) >= link.used.saturating_add(settings.idle_timeout);
        let is_expected = match (link.phase, settings.engine) {
            (Phase::Refused(code), _) => code == Some(status),
            // A stalled mux reads the bytes after a bad frame as its payload, so it is unknown which frame it reports.
            (Phase::Running(_), Engine::Mux) => link.allowed_codes != 0,
            (Phase::HelloSent, Engine::Applet) if link.agent_fin => status == code::IO,
            (Phase::Running(hello), Engine::Applet) => match status {
                code::NORMAL => self.variant.stops || (settings.maxconn > 0 && settings.threads > 1),
                code::IO => true,
                code::TIMEOUT => idle,
                code::FRAGMENTED if settings.fragmentation && !hello.capabilities.fragmentation => true,
                other => link.allows_code(other),
            },
            _ => false,
        };
        if !is_expected {
            return Err(format!("no reason for DISCONNECT {status}"));
        }
        self.links[at].phase = Phase::Disconnected;
        Ok(())
    }
}
