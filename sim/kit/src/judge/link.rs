//! One connection of a recording, and the rules that its agent breaks.

use std::time::Duration;

use super::{Expected, Finding, Judgement};
use crate::bytes::{
    ABORT, ACK, AGENT_DISCONNECT, AGENT_HELLO, DISCONNECT, FIN, Frame, HELLO, NOTIFY, UNSET, Value, read_actions,
    read_kv,
};
use crate::conformance::{Announced, HEADER_MAX, disconnect_code};

/// The longest time for which a NOTIFY and a frame of the agent may be on their way at the same time.
const CROSSING_MAX: Duration = Duration::from_millis(100);

/// The place of an event, and where its findings go.
pub(super) struct View<'j> {
    pub(super) link: u32,
    pub(super) at: Duration,
    pub(super) judgement: &'j mut Judgement,
    pub(super) expected: Option<&'j Expected>,
    /// ACKs that may belong to another connection.
    pub(super) strays: Vec<Stray>,
}

/// An ACK to no NOTIFY of its connection.
pub(super) struct Stray {
    pub(super) ids: (u64, u64),
    /// A description, if the expected variable is missing.
    pub(super) missing: Option<String>,
}

impl View<'_> {
    fn report(&mut self, case: &'static str, text: impl Into<String>) {
        let finding = self.finding(case, text);
        self.judgement.findings.push(finding);
    }

    fn dispute(&mut self, case: &'static str, text: impl Into<String>) {
        let finding = self.finding(case, text);
        self.judgement.disputes.push(finding);
    }

    fn finding(&self, case: &'static str, text: impl Into<String>) -> Finding {
        Finding { link: self.link, at: self.at, case, text: text.into() }
    }
}

/// Returns a number of NOTIFYs in words.
pub(super) fn counted(notifys: usize) -> String {
    if notifys == 1 { "1 NOTIFY".into() } else { format!("{notifys} NOTIFYs") }
}

pub(super) fn not_in_flight((sid, fid): (u64, u64)) -> String {
    format!("an ACK to {sid}/{fid}, which is not in flight")
}

/// A NOTIFY without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) ids: (u64, u64),
    pub(super) sent: Duration,
    /// True if the ACK has to set the expected variable.
    pub(super) expects: bool,
}

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Bytes of each side that are no whole frame yet.
    unparsed: [Vec<u8>; 2],
    /// The HELLO: the offered frame size, and the list of capabilities.
    offered: Option<(u64, String)>,
    pub(super) engine_id: Option<Value>,
    is_healthcheck: bool,
    announced: Option<Announced>,
    pub(super) in_flight: Vec<InFlight>,
    /// The NOTIFY whose fragments arrive.
    pub(super) fragments: Option<InFlight>,
    /// The status of HAPROXY-DISCONNECT.
    haproxy_status: Option<u64>,
    /// True if AGENT-HELLO was cut.
    is_cut: bool,
    has_agent_disconnected: bool,
    pub(super) has_agent_closed: bool,
    pub(super) has_haproxy_closed: bool,
    /// True if the agent sent bytes that are no frame, so that later ones cannot be read.
    is_lost: bool,
}

impl Link {
    /// Returns what the agent has to do, and the case with the rule.
    pub(super) fn pending(&self) -> Option<(&'static str, String)> {
        if self.has_agent_disconnected || self.has_agent_closed || self.has_haproxy_closed || self.is_lost {
            return None;
        }
        let is_answered = self.announced.is_some();
        match (&self.offered, self.haproxy_status, self.in_flight.len()) {
            (Some(_), None, _) if !is_answered && self.is_healthcheck => {
                Some(("3.2.4/health-check", "no answer to a health check".into()))
            }
            (Some(_), None, _) if !is_answered => Some(("3.2.4/hello", "no answer to HAPROXY-HELLO".into())),
            (_, Some(status), _) => Some(("3.2.8/normal", format!("no answer to HAPROXY-DISCONNECT {status}"))),
            (_, None, 0) => None,
            (_, None, count) => Some(("3.2.7/ack", format!("no answer to {}", counted(count)))),
        }
    }

    /// True if an asynchronous agent has closed the connection, and nothing excuses NOTIFYs without an answer.
    pub(super) fn is_abandoned(&self) -> bool {
        let is_excused = self.has_haproxy_closed || self.has_agent_disconnected || self.haproxy_status.is_some();
        self.is_async() && self.has_agent_closed && !is_excused
    }

    /// Removes a NOTIFY that is answered, and returns it.
    pub(super) fn answered(&mut self, ids: (u64, u64)) -> Option<InFlight> {
        let position = self.in_flight.iter().position(|notify| notify.ids == ids)?;
        Some(self.in_flight.remove(position))
    }

    pub(super) fn haproxy(&mut self, bytes: &[u8], view: &mut View<'_>) {
        self.unparsed[0].extend_from_slice(bytes);
        while let Ok(Some(frame)) = Frame::take_first(&mut self.unparsed[0]) {
            match frame.kind {
                HELLO if self.offered.is_none() => self.hello(&frame),
                NOTIFY => {
                    view.judgement.notifys += 1;
                    self.notify(&frame, view);
                }
                UNSET if frame.flags & FIN != 0 => {
                    let notify = self.fragments.take();
                    if frame.flags & ABORT == 0 {
                        self.in_flight.extend(notify.map(|notify| InFlight { sent: view.at, ..notify }));
                    }
                }
                DISCONNECT => self.haproxy_disconnects(&frame, view),
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
        self.engine_id = value("engine-id").cloned();
        self.is_healthcheck = value("healthcheck") == Some(&Value::Bool(true));
        self.offered = Some((size, capabilities));
    }

    fn notify(&mut self, frame: &Frame, view: &View<'_>) {
        let expects = view.expected.is_some_and(|expected| frame.payload.starts_with(&expected.message));
        let notify = InFlight { ids: (frame.sid, frame.fid), sent: view.at, expects };
        if frame.flags & FIN == 0 {
            self.fragments = Some(notify);
        } else {
            self.in_flight.push(notify);
        }
    }

    pub(super) fn agent(&mut self, bytes: &[u8], view: &mut View<'_>) {
        if self.is_lost {
            return;
        }
        if self.has_agent_disconnected {
            view.report("3.2.8/frames-afterwards", format!("{} bytes after AGENT-DISCONNECT", bytes.len()));
            self.is_lost = true;
            return;
        }
        self.unparsed[1].extend_from_slice(bytes);
        self.check_pieces(view);
        loop {
            match Frame::take_first(&mut self.unparsed[1]) {
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
        let pending = &self.unparsed[1];
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
        let actions = read_actions(&frame.payload);
        if actions.is_none() {
            view.report("3.2.7/ack", format!("an ACK to {sid}/{fid} with malformed actions"));
        }
        let missing = actions.zip(view.expected).and_then(|(actions, expected)| expected.check(&actions).err());
        match self.answered(ids) {
            Some(InFlight { sent, expects, .. }) => {
                view.judgement.latencies.push(view.at.saturating_sub(sent));
                missing.filter(|_| expects).into_iter().for_each(|text| view.report("3.2.7/ack", text));
            }
            None if self.fragments.is_some_and(|notify| notify.ids == ids) => {}
            None if self.is_async() => view.strays.push(Stray { ids, missing }),
            None => view.report("3.2.7/ack", not_in_flight(ids)),
        }
    }

    /// True if both sides agreed on async: then an ACK may be on another connection than its NOTIFY.
    pub(super) fn is_async(&self) -> bool {
        let is_offered =
            self.offered.as_ref().is_some_and(|(_, list)| list.split(',').any(|name| name.trim() == "async"));
        is_offered && self.announced.as_ref().is_some_and(|announced| announced.has("async"))
    }

    fn haproxy_disconnects(&mut self, frame: &Frame, view: &mut View<'_>) {
        let status = disconnect_code(frame).unwrap_or(0);
        self.haproxy_status = Some(status);
        // The other statuses do not accuse the agent: 10 for example means that HAProxy cannot send a message without fragmentation.
        if matches!(status, 3..=9 | 12) {
            view.dispute(self.usual_case(), format!("HAPROXY-DISCONNECT {status}"));
        }
    }

    /// Returns the case with the rule that the agent has to follow now.
    const fn usual_case(&self) -> &'static str {
        if self.announced.is_some() { "3.2.7/ack" } else { "3.2.4/hello" }
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
            (Some(code), None) => {
                // A NOTIFY may cross the frame, and an ACK may come on another connection.
                let is_old = |notify: &&InFlight| view.at.saturating_sub(notify.sent) >= CROSSING_MAX;
                let old = if self.is_async() { 0 } else { self.in_flight.iter().filter(is_old).count() };
                // A timeout may be the fault of the network.
                if !matches!(code, 0 | 2) || old > 0 {
                    view.dispute(self.usual_case(), format!("AGENT-DISCONNECT {code} with {} in flight", counted(old)));
                }
            }
            _ => {}
        }
    }

    pub(super) fn agent_ends(&mut self, view: &mut View<'_>) {
        if self.has_haproxy_closed || self.has_agent_disconnected || self.is_lost {
            return;
        }
        if self.announced.is_none() && self.haproxy_status.is_none() {
            // A HELLO that is wrong may be answered in this way.
            return self
                .pending()
                .into_iter()
                .for_each(|(case, text)| view.dispute(case, text + ", the connection was closed"));
        }
        if self.is_healthcheck {
            return;
        }
        match (self.haproxy_status, self.in_flight.len()) {
            (Some(_), _) => view.report("3.2.8/normal", "closed without an answer to HAPROXY-DISCONNECT"),
            (None, 0) => view.report("3.2.9/stop", "closed an idle connection without AGENT-DISCONNECT"),
            // The ACKs may come on another connection.
            (None, _) if self.is_async() => return,
            (None, count) => view.report("3.2.7/ack", format!("closed with {} without an answer", counted(count))),
        }
        self.in_flight.clear();
    }
}
