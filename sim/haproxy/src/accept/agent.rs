//! Interprets the agent's bytes as HAProxy does. Nothing here is a mismatch, because the agent may send anything.

use super::{Link, Phase, Validator};
use crate::codec::{AgentHello, Header, HelloRules, Kind, code, decode_agent_disconnect, decode_agent_hello};
use crate::settings::Engine;
use crate::time::Time;

impl Validator<'_> {
    pub(super) fn agent_bytes(&mut self, at: usize, now: Time, bytes: &[u8]) {
        let link = &mut self.links[at];
        link.agent_replied = true;
        let buffered = link.agent_input.len();
        // With bug #3478 the mux resets the connection over an AGENT-HELLO that is cut after its header of 11 bytes.
        // HAProxy may have read it in other pieces than the recorder, so this is only a possibility.
        if link.phase == Phase::HelloSent && buffered >= 11 {
            link.may_reset = self.variant.settings.defects.split_hello_resets;
        }
        link.agent_input.extend_from_slice(bytes);
        while self.agent_frame(at, now) {}
    }

    /// Reads one frame. Returns false if there is no further frame to read.
    fn agent_frame(&mut self, at: usize, now: Time) -> bool {
        let engine = self.settings().engine;
        let max = match self.links[at].phase {
            Phase::Fresh | Phase::HealthCheck | Phase::Closed => return false,
            _ => self.links[at].size.unwrap_or(self.settings().max_frame_size),
        };
        let link = &mut self.links[at];
        let Some((len, rest)) = link.agent_input.split_first_chunk() else { return false };
        let len = u32::from_be_bytes(*len);
        // The mux compares the payload alone with the limit, and only once eleven bytes have arrived. So the length may
        // exceed the limit by the size of the header.
        let allowance = if engine == Engine::Mux { 20 } else { 0 };
        if len < 7 || len > max + allowance {
            link.allow_code(if len < 7 { code::INVALID } else { code::TOO_BIG });
            link.allow_code(code::BAD_FRAME_SIZE);
            if link.phase == Phase::HelloSent {
                let code = if len < 7 { code::INVALID } else { code::TOO_BIG };
                link.phase = Phase::Refused(Some(code).filter(|_| engine == Engine::Applet));
            }
            // HAProxy may continue at another position, so the frames that it reads from here on are unknown.
            link.agent_input.clear();
            return false;
        }
        if rest.len() < len as usize {
            // The mux checks a header as soon as it is complete.
            if engine == Engine::Mux
                && let Some(header) = Header::peek(&link.agent_input)
            {
                match link.phase {
                    Phase::Running(_) => link.note_header(&header),
                    Phase::HelloSent if !is_hello(&header) => link.phase = Phase::Refused(None),
                    _ => {}
                }
            }
            return false;
        }
        let frame: Vec<u8> = link.agent_input.drain(..4 + len as usize).collect();
        if link.phase != Phase::Disconnected {
            link.used = now;
        }
        match Header::peek(&frame) {
            Some(header) if matches!(link.phase, Phase::HelloSent) => self.handle_hello_reply(at, &header, &frame),
            Some(header) => self.handle_frame(at, &header, &frame),
            None => link.note_cut_ids(&frame, engine),
        }
        true
    }

    /// Handles the agent's reply to HELLO.
    fn handle_hello_reply(&mut self, at: usize, header: &Header, frame: &[u8]) {
        let max = self.settings().max_frame_size;
        let resets = self.is_mux() && self.settings().defects.bad_hello_resets;
        let is_mux = self.is_mux();
        let link = &mut self.links[at];
        if header.kind == Kind::AGENT_DISCONNECT {
            link.agent_disconnect = decode_agent_disconnect(&frame[header.size..], None);
            if is_mux {
                link.phase = Phase::Refused(None);
            }
            return;
        }
        link.phase = match check_hello(header, frame, is_mux, max) {
            Ok(hello) => {
                link.size = Some(hello.max_frame_size);
                Phase::Running(hello)
            }
            Err(code) => Phase::Refused(code.filter(|_| !resets)),
        };
    }

    /// Handles a frame after the handshake, usually an ACK.
    fn handle_frame(&mut self, at: usize, header: &Header, frame: &[u8]) {
        let is_mux = self.is_mux();
        let link = &mut self.links[at];
        if is_mux {
            link.note_header(header);
        }
        if header.kind == Kind::AGENT_DISCONNECT {
            link.agent_disconnect = decode_agent_disconnect(&frame[header.size..], None).or(link.agent_disconnect);
            return;
        }
        if header.kind != Kind::ACK {
            return;
        }
        if !header.is_fin() {
            return link.allow_code(code::FRAGMENTED);
        }
        link.awaits_ack = false;
        if !link.awaits(header) {
            link.allow_code(code::UNKNOWN_FRAME_ID);
        }
        self.mark_answered(at, header);
    }

    /// Marks a NOTIFY as answered on each connection that may have sent it: with async, the ACK may arrive on another
    /// connection of the same engine.
    fn mark_answered(&mut self, at: usize, header: &Header) {
        let id = (header.sid, header.fid);
        let (own, engine) = (self.links[at].id, self.links[at].engine);
        let asynchronous = !self.is_mux() && self.settings().asynchronous;
        for link in self.links.iter_mut().filter(|link| link.id == own || (asynchronous && link.engine == engine)) {
            link.unanswered.retain(|frame| (frame.sid, frame.fid) != id);
        }
        let of_engine = |stream: &&mut super::Stream| Some(stream.engine) == engine;
        for stream in self.streams.iter_mut().filter(of_engine).filter(|stream| (stream.sid, stream.fid) == id) {
            stream.answered = true;
        }
    }
}

/// True if the mux accepts this header for an AGENT-HELLO. It resets the connection over any other header.
const fn is_hello(header: &Header) -> bool {
    header.kind.0 == Kind::AGENT_HELLO.0 && header.sid == 0 && header.fid == 0 && header.is_fin()
}

/// Checks the agent's reply to HELLO. The error is the code of HAProxy's DISCONNECT, or `None` for a reset.
fn check_hello(header: &Header, frame: &[u8], is_mux: bool, max: u32) -> Result<AgentHello, Option<u32>> {
    let payload = &frame[header.size..];
    if is_mux {
        if !is_hello(header) {
            return Err(None);
        }
        return decode_agent_hello(payload, &HelloRules::mux(max)).map_err(Some);
    }
    if header.kind != Kind::AGENT_HELLO {
        return Err(Some(code::INVALID));
    }
    if !header.is_fin() {
        return Err(Some(code::FRAGMENTED));
    }
    if frame[9] != 0 || frame[10] != 0 {
        return Err(Some(code::INVALID));
    }
    decode_agent_hello(payload, &HelloRules::applet(max)).map_err(Some)
}

impl Link {
    /// Notes a frame that ends inside its ids. The mux reads the rest of the ids from the bytes after the frame; the
    /// applet checks only single bytes.
    fn note_cut_ids(&mut self, frame: &[u8], engine: Engine) {
        let bad = if frame[8] & 1 == 0 { code::FRAGMENTED } else { code::INVALID };
        self.allow_code(bad);
        if self.phase == Phase::HelloSent && engine == Engine::Applet && frame[4] != Kind::AGENT_DISCONNECT.0 {
            let is_hello = frame[4] == Kind::AGENT_HELLO.0;
            self.phase = Phase::Refused(Some(if is_hello { bad } else { code::INVALID }));
        }
    }

    /// True if the NOTIFY of this ACK is unanswered.
    fn awaits(&self, header: &Header) -> bool {
        self.unanswered.iter().any(|frame| (frame.sid, frame.fid) == (header.sid, header.fid))
    }

    /// Notes whether the mux may reject a header. It accepts the ACK of an unanswered NOTIFY, and an AGENT-DISCONNECT
    /// without a stream-id, both with FIN. Its reaction to other headers depends on events that a recording does not
    /// show.
    fn note_header(&mut self, header: &Header) {
        let good = match header.kind {
            Kind::ACK => self.awaits(header),
            Kind::AGENT_DISCONNECT => header.sid == 0,
            _ => false,
        };
        if !good || !header.is_fin() {
            self.allow_code(code::INVALID);
        }
    }

    /// True if the agent has sent something that HAProxy may answer with a DISCONNECT of this code.
    pub(super) const fn allows_code(&self, code: u32) -> bool {
        code < 16 && self.allowed_codes & (1 << code) != 0
    }
}
