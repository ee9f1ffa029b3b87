//! The meaning of the agent's bytes to HAProxy. Nothing here is a mismatch: the agent may do as it likes.

use super::{Judge, Link, Phase};
use crate::codec::{AgentHello, Header, HelloRules, Kind, code, decode_agent_disconnect, decode_agent_hello};
use crate::settings::Engine;
use crate::time::Time;

impl Judge<'_> {
    pub(super) fn agent_bytes(&mut self, at: usize, now: Time, bytes: &[u8]) {
        let link = &mut self.links[at];
        link.agent_spoke = true;
        let kept = link.agent_input.len();
        // The mux of #3478 falls over an AGENT-HELLO that is cut behind its header, if it is read in the same pieces.
        if link.phase == Phase::Greeting && kept >= 11 {
            link.may_reset = self.variant.settings.defects.split_hello_resets;
        }
        link.agent_input.extend_from_slice(bytes);
        while self.agent_frame(at, now) {}
    }

    /// Reads one frame; false when there is none left to read.
    fn agent_frame(&mut self, at: usize, now: Time) -> bool {
        let engine = self.settings().engine;
        let max = match self.links[at].phase {
            Phase::Fresh | Phase::Check | Phase::Closed => return false,
            _ => self.links[at].size.unwrap_or(self.settings().max_frame_size),
        };
        let link = &mut self.links[at];
        let Some((len, rest)) = link.agent_input.split_first_chunk() else { return false };
        let len = u32::from_be_bytes(*len);
        // The mux counts the payload alone, and needs eleven bytes to look at all.
        let allowance = if engine == Engine::Mux { 20 } else { 0 };
        if len < 7 || len > max + allowance {
            link.earn(if len < 7 { code::INVALID } else { code::TOO_BIG });
            link.earn(code::BAD_FRAME_SIZE);
            if link.phase == Phase::Greeting {
                let code = if len < 7 { code::INVALID } else { code::TOO_BIG };
                link.phase = Phase::Refused(Some(code).filter(|_| engine == Engine::Applet));
            }
            link.agent_input.clear(); // from here on HAProxy and we may see different frames
            return false;
        }
        if rest.len() < len as usize {
            // The mux judges a header as soon as it is there.
            if engine == Engine::Mux
                && let Some(header) = Header::peek(&link.agent_input)
            {
                match link.phase {
                    Phase::Running(_) => link.judge_header(&header),
                    Phase::Greeting if !is_hello(&header) => link.phase = Phase::Refused(None),
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
            Some(header) if matches!(link.phase, Phase::Greeting) => self.greeted(at, &header, &frame),
            Some(header) => self.answered(at, &header, &frame),
            None => link.judge_cut_ids(&frame, engine),
        }
        true
    }

    fn greeted(&mut self, at: usize, header: &Header, frame: &[u8]) {
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
        link.phase = match judge_hello(header, frame, is_mux, max) {
            Ok(hello) => {
                link.size = Some(hello.max_frame_size);
                Phase::Running(hello)
            }
            Err(code) => Phase::Refused(code.filter(|_| !resets)),
        };
    }

    /// A frame after the handshake: an ACK most of the time.
    fn answered(&mut self, at: usize, header: &Header, frame: &[u8]) {
        let is_mux = self.is_mux();
        let link = &mut self.links[at];
        if is_mux {
            link.judge_header(header);
        }
        if header.kind == Kind::AGENT_DISCONNECT {
            link.agent_disconnect = decode_agent_disconnect(&frame[header.size..], None).or(link.agent_disconnect);
            return;
        }
        if header.kind != Kind::ACK {
            return;
        }
        if !header.is_fin() {
            return link.earn(code::FRAGMENTED);
        }
        link.waits_for_ack = false;
        if !link.waits_for(header) {
            link.earn(code::UNKNOWN_FRAME_ID);
        }
        self.settle(at, header);
    }

    /// Forgets the NOTIFY wherever it waits: with async, the ACK may come on another connection of its engine.
    fn settle(&mut self, at: usize, header: &Header) {
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

/// True if the mux accepts the header of an AGENT-HELLO; it resets the connection for any other.
const fn is_hello(header: &Header) -> bool {
    header.kind.0 == Kind::AGENT_HELLO.0 && header.sid == 0 && header.fid == 0 && header.is_fin()
}

/// The error: a DISCONNECT with this code, or a reset.
fn judge_hello(header: &Header, frame: &[u8], is_mux: bool, max: u32) -> Result<AgentHello, Option<u32>> {
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
    /// A frame whose ids run past its end. The mux reads on into whatever follows; the applet looks at single bytes.
    fn judge_cut_ids(&mut self, frame: &[u8], engine: Engine) {
        let bad = if frame[8] & 1 == 0 { code::FRAGMENTED } else { code::INVALID };
        self.earn(bad);
        if self.phase == Phase::Greeting && engine == Engine::Applet && frame[4] != Kind::AGENT_DISCONNECT.0 {
            let is_hello = frame[4] == Kind::AGENT_HELLO.0;
            self.phase = Phase::Refused(Some(if is_hello { bad } else { code::INVALID }));
        }
    }

    fn waits_for(&self, header: &Header) -> bool {
        self.unanswered.iter().any(|frame| (frame.sid, frame.fid) == (header.sid, header.fid))
    }

    /// Returns what the mux rejects about a header, or may, if the event is not what we take it for: anything but an ACK that
    /// is waited for, or AGENT-DISCONNECT in good order.
    fn judge_header(&mut self, header: &Header) {
        let good = match header.kind {
            Kind::ACK => self.waits_for(header),
            Kind::AGENT_DISCONNECT => header.sid == 0,
            _ => false,
        };
        if !good || !header.is_fin() {
            self.earn(code::INVALID);
        }
    }

    /// The agent has done something that HAProxy may answer with this code.
    pub(super) const fn has_earned(&self, code: u32) -> bool {
        code < 16 && self.earned & (1 << code) != 0
    }
}
