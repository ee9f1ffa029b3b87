//! Judges an agent by recorded conversations, for example of a capture, with the rules of the conformance cases.
//!
//! The judge sends nothing, so it checks only the rules that the conversations show. An agent may answer in any order and at any
//! time.

mod link;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};

use crate::bytes::{Action, string};
use link::{InFlight, Link, Stray, View, counted, not_in_flight};

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
    /// Connections that one side ended with the status of an error, or the agent with NOTIFYs in flight. They are findings if what
    /// HAProxy sent was correct.
    pub disputes: Vec<Finding>,
    /// The number of NOTIFYs.
    pub notifys: usize,
    /// The times from each NOTIFY to its ACK, sorted.
    pub latencies: Vec<Duration>,
    /// The number of NOTIFYs without an answer whose connection was closed by HAProxy, or is not recorded to its end.
    pub open: usize,
}

/// Judges the agent in a recording.
pub fn judge(recording: &Recording) -> Judgement {
    let mut judge = Judge::default();
    recording.steps.iter().for_each(|step| judge.step(Duration::from_nanos(step.at), step.link, &step.event));
    judge.finish()
}

/// Judges an agent while conversations go on.
#[derive(Debug, Default)]
pub struct Judge {
    links: BTreeMap<u32, Link>,
    judgement: Judgement,
    expected: Option<Expected>,
}

/// The variable that ACKs have to set.
#[derive(Debug)]
struct Expected {
    /// The encoded name of the message, with which the payload of a NOTIFY starts.
    message: Vec<u8>,
    variable: String,
}

impl Expected {
    fn check(&self, actions: &[Action]) -> Result<(), String> {
        let sets = |action: &Action| matches!(action, Action::SetVar { name, .. } if *name == self.variable);
        let is_set = actions.iter().any(sets);
        if is_set { Ok(()) } else { Err(format!("an ACK without the variable {}", self.variable)) }
    }
}

impl Judge {
    /// Returns a judge that expects this variable in each ACK to a NOTIFY whose first message is `message`.
    pub fn expecting(message: &str, variable: &str) -> Self {
        let expected = Some(Expected { message: string(message), variable: variable.into() });
        Self { expected, ..Self::default() }
    }

    /// Takes note of an event on a connection. `at` is the time since the start of the recording.
    pub fn step(&mut self, at: Duration, link: u32, event: &LinkEvent) {
        let state = self.links.entry(link).or_default();
        let (judgement, expected) = (&mut self.judgement, self.expected.as_ref());
        let mut view = View { link, at, judgement, expected, strays: Vec::new() };
        match event {
            LinkEvent::Open => {}
            LinkEvent::Bytes(Side::Haproxy, bytes) => state.haproxy(bytes, &mut view),
            LinkEvent::Bytes(Side::Agent, bytes) => state.agent(bytes, &mut view),
            LinkEvent::Fin(Side::Agent) | LinkEvent::Reset(Side::Agent) => {
                state.agent_ends(&mut view);
                state.has_agent_closed = true;
            }
            LinkEvent::Fin(Side::Haproxy) | LinkEvent::Reset(Side::Haproxy) => state.has_haproxy_closed = true,
        }
        let View { strays, .. } = view;
        strays.into_iter().for_each(|stray| self.stray(at, link, stray));
    }

    /// Assigns an ACK to a NOTIFY on another connection with the same engine-id.
    fn stray(&mut self, at: Duration, link: u32, Stray { ids, missing }: Stray) {
        let engine = self.links.get(&link).and_then(|state| state.engine_id.clone());
        let is_same = |other: &&mut Link| other.is_async() && engine.is_some() && other.engine_id == engine;
        let mut is_fragmented = false;
        let found = self.links.values_mut().filter(is_same).find_map(|other| {
            is_fragmented |= other.fragments.is_some_and(|notify| notify.ids == ids);
            other.answered(ids)
        });
        let text = match found {
            Some(InFlight { sent, expects, .. }) => {
                self.judgement.latencies.push(at.saturating_sub(sent));
                missing.filter(|_| expects)
            }
            None if is_fragmented => None,
            None => Some(not_in_flight(ids)),
        };
        self.judgement.findings.extend(text.map(|text| Finding { link, at, case: "3.2.7/ack", text }));
    }

    /// Returns the rules that the agent broke so far.
    pub fn findings(&self) -> &[Finding] {
        &self.judgement.findings
    }

    /// Returns what the agent has to do on connections that are open on both sides, as findings for the case that it does not.
    pub fn pending(&self, at: Duration) -> Vec<Finding> {
        let open = self.links.iter().filter_map(|(&link, state)| {
            let (case, text) = state.pending()?;
            Some(Finding { link, at, case, text })
        });
        open.collect()
    }

    /// Returns the judgement on everything so far.
    pub fn finish(self) -> Judgement {
        let mut judgement = self.judgement;
        for (&link, state) in self.links.iter().filter(|(_, state)| state.is_abandoned()) {
            // Nor did an ACK come on another connection.
            let lost = state.in_flight.last().map(|last| Finding {
                link,
                at: last.sent,
                case: "3.2.7/ack",
                text: format!("closed with {} without an answer", counted(state.in_flight.len())),
            });
            judgement.findings.extend(lost);
        }
        judgement.open = self.links.values().map(|link| link.in_flight.len()).sum();
        judgement.latencies.sort_unstable();
        judgement
    }
}

#[cfg(test)]
mod tests {
    use spoa_sim_haproxy::recording::Side::{Agent, Haproxy};

    use super::*;
    use crate::bytes::{ACK, FIN, Frame, NOTIFY, UNSET, Value, message};
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

    /// Plays the bytes of each side in turn on connections, and returns the judge.
    fn played(mut judge: Judge, parts: &[(u32, Side, Vec<u8>)]) -> Judge {
        for (link, side, bytes) in parts {
            judge.step(Duration::ZERO, *link, &LinkEvent::Bytes(*side, bytes.clone()));
        }
        judge
    }

    #[test]
    fn the_expected_variable_is_missed() {
        let hello = || [(0, Haproxy, Hello::mux().encode()), (0, Agent, agent_hello(16380, "pipelining"))].to_vec();
        let ask = |name| notify(1, 1, &[message(name, &[])]);
        for (message, variable, count) in [("check", "ip_score", 0), ("check", "other", 1), ("unknown", "other", 0)] {
            let asked = [(0, Haproxy, ask(message)), (0, Agent, ack(1, 1, &[42]))];
            let judge = played(Judge::expecting("check", variable), &[hello(), asked.to_vec()].concat());
            assert_eq!(judge.findings().len(), count, "{message} {variable}: {:?}", judge.findings());
        }
    }

    #[test]
    fn what_the_agent_has_to_do_is_pending_until_it_is_done_or_void() {
        let (hello, good) = (Hello::mux().encode(), agent_hello(16380, "pipelining"));
        let pending = |parts: &[(u32, Side, Vec<u8>)], end: Option<LinkEvent>| {
            let mut judge = played(Judge::default(), parts);
            end.into_iter().for_each(|end| judge.step(Duration::ZERO, 0, &end));
            judge.pending(Duration::ZERO).into_iter().map(|finding| finding.case).collect::<Vec<_>>()
        };
        let ready = [(0, Haproxy, hello.clone()), (0, Agent, good)];
        let asked = [&ready[..], &[(0, Haproxy, notify(1, 1, &[]))]].concat();
        let leaves = [&asked[..], &[(0, Haproxy, disconnect(0))]].concat();
        assert_eq!(pending(&ready[..1], None), ["3.2.4/hello"]);
        assert_eq!(pending(&[(0, Haproxy, Hello::health_check().encode())], None), ["3.2.4/health-check"]);
        assert_eq!(pending(&ready, None), [""; 0]);
        assert_eq!(pending(&asked, None), ["3.2.7/ack"]);
        assert_eq!(pending(&leaves, None), ["3.2.8/normal"]);
        assert_eq!(pending(&[&leaves[..], &[(0, Agent, agent_disconnect(0))]].concat(), None), [""; 0]);
        for end in [LinkEvent::Fin(Haproxy), LinkEvent::Reset(Haproxy), LinkEvent::Reset(Agent)] {
            assert_eq!(pending(&asked, Some(end)), [""; 0]);
        }
    }

    #[test]
    fn an_ack_of_an_asynchronous_agent_may_be_on_another_connection_of_the_engine() {
        let hello = |engine: &str| Hello::applet().with("engine-id", Value::text(engine)).encode();
        let good = || agent_hello(16380, "pipelining,async");
        for (other, count) in [("one", 0), ("two", 1)] {
            let judge = played(
                Judge::default(),
                &[
                    (0, Haproxy, [hello("one"), notify(7, 1, &[])].concat()),
                    (0, Agent, good()),
                    (1, Haproxy, hello(other)),
                    (1, Agent, [good(), ack(7, 1, &[])].concat()),
                ],
            );
            assert_eq!((judge.findings().len(), judge.finish().open), (count, count), "{other}");
        }
    }

    #[test]
    fn an_error_status_of_either_side_is_a_dispute() {
        let ready = [(0, Haproxy, Hello::mux().encode()), (0, Agent, agent_hello(16380, "pipelining"))];
        let disputes = |side, bytes: Vec<u8>| {
            played(Judge::default(), &[&ready[..], &[(0, side, bytes)]].concat()).finish().disputes.len()
        };
        assert_eq!([4, 9, 12].map(|status| disputes(Haproxy, disconnect(status))), [1; 3]);
        assert_eq!([0, 2, 10].map(|status| disputes(Haproxy, disconnect(status))), [0; 3]);
        assert_eq!([0, 4].map(|status| disputes(Agent, agent_disconnect(status))), [0, 1]);
        for (parts, count) in [(&ready[..1], 1), (&ready, 0), (&[], 0)] {
            let mut judge = played(Judge::default(), parts);
            judge.step(Duration::ZERO, 0, &LinkEvent::Fin(Agent));
            assert_eq!(judge.finish().disputes.len(), count, "expected a HELLO without an answer to be a dispute");
        }
    }

    #[test]
    fn an_asynchronous_agent_that_closes_without_answers_is_found() {
        let hello = Hello::applet().with("engine-id", Value::text("one")).encode();
        let good = agent_hello(16380, "pipelining,async");
        let asked = || [(0, Haproxy, [hello.clone(), notify(7, 1, &[])].concat()), (0, Agent, good.clone())].to_vec();
        let other = || [(1, Haproxy, hello.clone()), (1, Agent, [good.clone(), ack(7, 1, &[])].concat())].to_vec();
        let close = |judge: &mut Judge| judge.step(Duration::ZERO, 0, &LinkEvent::Fin(Agent));
        let mut lost = played(Judge::default(), &asked());
        close(&mut lost);
        assert_eq!(lost.finish().findings.len(), 1);
        let mut answered = played(Judge::default(), &asked());
        close(&mut answered);
        assert!(played(answered, &other()).finish().findings.is_empty());
    }
}
