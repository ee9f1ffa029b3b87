//! Judges an agent by recorded conversations, for example of a capture, with the rules of the conformance cases.
//!
//! The judge sends nothing, so it checks only the rules that the conversations show. An agent may answer in any order and at any
//! time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};

use crate::bytes::{
    ABORT, ACK, AGENT_DISCONNECT, AGENT_HELLO, DISCONNECT, FIN, Frame, HELLO, NOTIFY, UNSET, Value, read_actions,
    read_kv,
};
use crate::conformance::{Announced, HEADER_MAX, disconnect_code};

/// A rule that the agent broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The connection.
    pub link: u32,
    /// The time since the start of the recording.
    pub at: Duration,
    /// The conformance case with the rule.
    pub case: &'static str,
    /// The event that breaks it.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} connection {}: {}: {}", self.at.as_secs_f64(), self.link, self.case, self.text)
    }
}

/// The judgement on the conversations of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The rules that the agent broke, in order of time.
    pub findings: Vec<Finding>,
    /// The number of NOTIFYs.
    pub notifys: usize,
    /// The times from each NOTIFY to its ACK, sorted.
    pub latencies: Vec<Duration>,
    /// The number of NOTIFYs whose connection was closed by HAProxy, or not recorded to its end, before an answer.
    pub open: usize,
}

/// Judges the agent in a recording.
pub fn judge(recording: &Recording) -> Judgement {
    let mut judgement = Judgement::default();
    let mut links: BTreeMap<u32, Link> = BTreeMap::new();
    for step in &recording.steps {
        let at = Duration::from_nanos(step.at);
        let link = links.entry(step.link).or_default();
        let mut view = View { link: step.link, at, judgement: &mut judgement };
        match &step.event {
            LinkEvent::Open => {}
            LinkEvent::Bytes(Side::Haproxy, bytes) => link.haproxy(bytes, &mut view),
            LinkEvent::Bytes(Side::Agent, bytes) => link.agent(bytes, &mut view),
            LinkEvent::Fin(Side::Agent) | LinkEvent::Reset(Side::Agent) => link.agent_ends(&mut view),
            LinkEvent::Fin(Side::Haproxy) | LinkEvent::Reset(Side::Haproxy) => link.has_haproxy_closed = true,
        }
    }
    judgement.open = links.values().map(|link| link.in_flight.len()).sum();
    judgement.latencies.sort_unstable();
    judgement
}

/// The place of an event, and where its findings go.
struct View<'j> {
    link: u32,
    at: Duration,
    judgement: &'j mut Judgement,
}

impl View<'_> {
    fn report(&mut self, case: &'static str, text: impl Into<String>) {
        let Self { link, at, .. } = *self;
        self.judgement.findings.push(Finding { link, at, case, text: text.into() });
    }
}

/// A connection.
#[derive(Default)]
struct Link {
    /// Bytes of each side that are no whole frame yet.
    pending: [Vec<u8>; 2],
    /// The HELLO: the offered frame size, and the list of capabilities.
    offered: Option<(u64, String)>,
    is_healthcheck: bool,
    announced: Option<Announced>,
    /// NOTIFYs without an answer: their ids, and the time of each.
    in_flight: Vec<((u64, u64), Duration)>,
    /// The ids of the NOTIFY whose fragments arrive.
    fragments: Option<(u64, u64)>,
    /// The status of HAPROXY-DISCONNECT.
    haproxy_status: Option<u64>,
    /// True if AGENT-HELLO was cut.
    is_cut: bool,
    has_agent_disconnected: bool,
    has_haproxy_closed: bool,
    /// True if the agent sent bytes that are no frame, so that later ones cannot be read.
    is_lost: bool,
}

impl Link {
    fn haproxy(&mut self, bytes: &[u8], view: &mut View<'_>) {
        self.pending[0].extend_from_slice(bytes);
        while let Ok(Some(frame)) = Frame::take_first(&mut self.pending[0]) {
            match frame.kind {
                HELLO if self.offered.is_none() => self.hello(&frame),
                NOTIFY => {
                    view.judgement.notifys += 1;
                    self.notify(&frame, view.at);
                }
                UNSET if frame.flags & FIN != 0 => {
                    let ids = self.fragments.take();
                    if frame.flags & ABORT == 0 {
                        self.in_flight.extend(ids.map(|ids| (ids, view.at)));
                    }
                }
                DISCONNECT => self.haproxy_status = Some(disconnect_code(&frame).unwrap_or(0)),
                _ => {}
            }
        }
    }

    fn hello(&mut self, frame: &Frame) {
        let items = read_kv(&frame.payload).unwrap_or_default();
        let value = |key: &str| items.iter().find(|(known, _)| known == key).map(|(_, value)| value);
        let size = value("max-frame-size").and_then(Value::as_unsigned).unwrap_or(0);
        let capabilities = match value("capabilities") {
            Some(Value::String(list)) => String::from_utf8_lossy(list).into_owned(),
            _ => String::new(),
        };
        self.is_healthcheck = value("healthcheck") == Some(&Value::Bool(true));
        self.offered = Some((size, capabilities));
    }

    fn notify(&mut self, frame: &Frame, at: Duration) {
        let ids = (frame.sid, frame.fid);
        if frame.flags & FIN == 0 {
            self.fragments = Some(ids);
        } else {
            self.in_flight.push((ids, at));
        }
    }

    fn agent(&mut self, bytes: &[u8], view: &mut View<'_>) {
        if self.is_lost {
            return;
        }
        if self.has_agent_disconnected {
            view.report("3.2.8/frames-afterwards", format!("{} bytes after AGENT-DISCONNECT", bytes.len()));
            self.is_lost = true;
            return;
        }
        self.pending[1].extend_from_slice(bytes);
        self.check_pieces(view);
        loop {
            match Frame::take_first(&mut self.pending[1]) {
                Ok(Some(frame)) => self.agent_frame(&frame, view),
                Ok(None) => return,
                Err(text) => {
                    view.report("3.2.7/ack", text);
                    self.is_lost = true;
                    return;
                }
            }
        }
    }

    /// Reports an AGENT-HELLO that is cut where HAProxy does not expect it.
    fn check_pieces(&mut self, view: &mut View<'_>) {
        let pending = &self.pending[1];
        let is_hello = self.announced.is_none() && pending.get(4) == Some(&AGENT_HELLO);
        let is_cut = is_hello && matches!(Frame::first(pending), Ok(None));
        if is_cut && pending.len() > HEADER_MAX && !self.is_cut {
            self.is_cut = true;
            let text = format!("AGENT-HELLO arrived in pieces, cut after {} bytes", pending.len());
            view.report("3.2.5/hello-in-one-piece", text);
        }
    }

    fn agent_frame(&mut self, frame: &Frame, view: &mut View<'_>) {
        match frame.kind {
            AGENT_DISCONNECT => self.agent_disconnects(frame, view),
            AGENT_HELLO if self.announced.is_none() => self.agent_hello(frame, view),
            _ if self.is_healthcheck => view.report("3.2.4/health-check", "a frame after the answer to a health check"),
            ACK if self.announced.is_some() => self.ack(frame, view),
            kind => {
                view.report("3.2.2/frames-of-the-agent", format!("a frame of type {kind} that does not belong here"));
            }
        }
    }

    fn agent_hello(&mut self, frame: &Frame, view: &mut View<'_>) {
        let (size, offered) = self.offered.clone().unwrap_or_default();
        match Announced::read(frame, size) {
            Ok(announced) => {
                let is_offered = |name: &str| offered.split(',').any(|token| token.trim() == name);
                if announced.has("pipelining") && !is_offered("pipelining") {
                    view.report(
                        "3.2.1/pipelining-not-offered",
                        "AGENT-HELLO with pipelining, which HAProxy has not offered",
                    );
                }
                self.announced = Some(announced);
            }
            Err(text) => {
                view.report("3.2.4/hello", text);
                self.is_lost = true;
            }
        }
    }

    fn ack(&mut self, frame: &Frame, view: &mut View<'_>) {
        let (ids, len) = ((frame.sid, frame.fid), frame.encode().len() as u64 - 4);
        let (sid, fid) = ids;
        let max = self.announced.as_ref().map_or(u64::MAX, |announced| announced.max_frame_size);
        if len > max {
            view.report("3.2.7/ack-fits", format!("an ACK of {len} bytes, {max} being negotiated"));
        }
        if frame.flags & FIN == 0 {
            view.report("3.2.7/ack", format!("an ACK to {sid}/{fid} without FIN"));
        }
        if read_actions(&frame.payload).is_none() {
            view.report("3.2.7/ack", format!("an ACK to {sid}/{fid} with malformed actions"));
        }
        let position = self.in_flight.iter().position(|(known, _)| *known == ids);
        if let Some(position) = position {
            let (_, sent) = self.in_flight.remove(position);
            view.judgement.latencies.push(view.at.saturating_sub(sent));
        } else if self.fragments != Some(ids) && !self.is_async() {
            view.report("3.2.7/ack", format!("an ACK to {sid}/{fid}, which is not in flight"));
        }
    }

    /// True if both sides agreed on async: then an ACK may be on another connection than its NOTIFY.
    fn is_async(&self) -> bool {
        let is_offered =
            self.offered.as_ref().is_some_and(|(_, list)| list.split(',').any(|name| name.trim() == "async"));
        is_offered && self.announced.as_ref().is_some_and(|announced| announced.has("async"))
    }

    fn agent_disconnects(&mut self, frame: &Frame, view: &mut View<'_>) {
        self.has_agent_disconnected = true;
        let code = disconnect_code(frame);
        match (code, self.haproxy_status) {
            (Some(14..=98), _) => {
                view.report("3.2.9/unknown-status", "AGENT-DISCONNECT with a status that crashes old health checks");
            }
            (Some(code), Some(expected)) if code != expected && expected <= 13 => {
                view.report("3.2.9/same-status", format!("AGENT-DISCONNECT {code} in answer to {expected}"));
            }
            (None, _) => view.report("3.2.8/normal", "AGENT-DISCONNECT without a status"),
            _ => {}
        }
    }

    fn agent_ends(&mut self, view: &mut View<'_>) {
        if self.has_haproxy_closed || self.has_agent_disconnected || self.is_lost || self.is_healthcheck {
            return;
        }
        match (self.haproxy_status, self.in_flight.len()) {
            (Some(_), _) => view.report("3.2.8/normal", "closed without an answer to HAPROXY-DISCONNECT"),
            (None, 0) if self.announced.is_some() => {
                view.report("3.2.9/stop", "closed an idle connection without AGENT-DISCONNECT");
            }
            (None, 0) => {}
            (None, count) => view.report("3.2.7/ack", format!("closed with {count} NOTIFYs that were not answered")),
        }
        self.in_flight.clear();
    }
}

#[cfg(test)]
mod tests {
    use spoa_sim_haproxy::recording::Side::{Agent, Haproxy};

    use super::*;
    use crate::frames::{Hello, ack, agent_disconnect, agent_hello, disconnect, notify};

    /// Returns the cases of the findings about a conversation: the bytes of each side in turn, HAProxy first, and an end.
    fn cases(parts: &[Vec<u8>], end: Option<LinkEvent>) -> Vec<&'static str> {
        let mut recording = Recording::default();
        recording.push(0, 0, LinkEvent::Open);
        for (part, side) in parts.iter().zip([Haproxy, Agent].into_iter().cycle()) {
            recording.push(0, 0, LinkEvent::Bytes(side, part.clone()));
        }
        if let Some(end) = end {
            recording.push(0, 0, end);
        }
        judge(&recording).findings.iter().map(|finding| finding.case).collect()
    }

    #[test]
    fn each_broken_rule_is_found_and_nothing_else() {
        let (hello, check) = (Hello::mux().encode(), Hello::health_check().encode());
        let (good, ask) = (agent_hello(16380, "pipelining"), notify(1, 1, &[]));
        let small = Hello::mux().with("max-frame-size", Value::Uint32(256)).encode();
        let serial = Hello::mux().with("capabilities", Value::text("")).encode();
        let answer = ack(1, 1, &[42]);
        let closed = || Some(LinkEvent::Fin(Agent));
        let frame = |kind, flags, payload: &[u8]| Frame::new(kind, (1, 1), payload).flags(flags).encode();
        for (parts, end, expected) in [
            (vec![hello.clone(), good.clone(), ask.clone(), answer.clone()], None, &[][..]),
            (
                vec![hello.clone(), good.clone(), ask.clone(), answer.clone(), disconnect(2), agent_disconnect(2)],
                closed(),
                &[],
            ),
            (vec![hello.clone(), agent_hello(16381, "")], None, &["3.2.4/hello"]),
            (
                vec![hello.clone(), good[..20].to_vec(), Vec::new(), good[20..].to_vec()],
                None,
                &["3.2.5/hello-in-one-piece"],
            ),
            (vec![hello.clone(), good[..4].to_vec(), Vec::new(), good[4..].to_vec()], None, &[]),
            (vec![serial, good.clone()], None, &["3.2.1/pipelining-not-offered"]),
            (vec![check.clone(), [agent_hello(16380, ""), answer.clone()].concat()], None, &["3.2.4/health-check"]),
            (vec![check, agent_hello(16380, "")], closed(), &[]),
            (vec![hello.clone(), good.clone(), ask.clone(), [&answer[..], &answer].concat()], None, &["3.2.7/ack"]),
            (vec![hello.clone(), good.clone(), ask.clone(), frame(ACK, 0, b"")], None, &["3.2.7/ack"]),
            (vec![hello.clone(), good.clone(), ask.clone(), frame(ACK, 1, b"x")], None, &["3.2.7/ack"]),
            (vec![hello.clone(), good.clone(), ask.clone(), vec![0; 4]], None, &["3.2.7/ack"]),
            (vec![hello.clone(), good.clone(), ask.clone()], closed(), &["3.2.7/ack"]),
            (vec![small, agent_hello(256, ""), ask.clone(), ack(1, 1, &[1; 20])], None, &["3.2.7/ack-fits"]),
            (vec![hello.clone(), good.clone(), ask, frame(NOTIFY, 1, b"")], None, &["3.2.2/frames-of-the-agent"]),
            (vec![hello.clone(), good.clone()], closed(), &["3.2.9/stop"]),
            (vec![hello.clone(), good.clone(), disconnect(0)], closed(), &["3.2.8/normal"]),
            (vec![hello.clone(), good.clone(), disconnect(2), agent_disconnect(0)], None, &["3.2.9/same-status"]),
            (vec![hello.clone(), good.clone(), disconnect(2), agent_disconnect(77)], None, &["3.2.9/unknown-status"]),
            (
                vec![hello, good, disconnect(0), agent_disconnect(0), Vec::new(), answer],
                None,
                &["3.2.8/frames-afterwards"],
            ),
        ] {
            assert_eq!(cases(&parts, end), expected, "{parts:02x?}");
        }
    }

    #[test]
    fn a_notify_in_fragments_is_one_notify() {
        let part = |kind, flags| Frame::new(kind, (1, 1), []).flags(flags).encode();
        let hello = [Hello::applet().encode(), part(NOTIFY, 0), part(UNSET, 0), part(UNSET, FIN)].concat();
        let mut recording = Recording::default();
        recording.push(0, 0, LinkEvent::Bytes(Haproxy, hello));
        recording.push(5, 0, LinkEvent::Bytes(Agent, [agent_hello(256, "fragmentation"), ack(1, 1, &[])].concat()));
        let expected = Judgement { notifys: 1, latencies: vec![Duration::from_nanos(5)], ..Judgement::default() };
        assert_eq!(judge(&recording), expected);
    }
}
