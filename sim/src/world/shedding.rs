//! The checker's idea of which connections are shed, and in which order.

use std::fmt;

use spoa_core::table::Input;

use super::state::State;
use crate::text::Time;
use crate::trace::Kind;

/// Describes the place of a connection in the order in which connections are shed.
struct ShedWords(Option<(u8, u64, u64)>);

impl fmt::Display for ShedWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("no connection"),
            Some((0, since, _)) => write!(f, "one that is stalled for a second, since {}", Time(since)),
            Some((1, bytes, _)) => write!(f, "one with {} bytes that a limit holds back", u64::MAX - bytes),
            Some((2, place, turn)) => {
                write!(f, "queued one, position {} of peer {}", u64::MAX - place, u64::MAX - turn)
            }
            Some((_, since, _)) => write!(f, "one that has just stalled, at {}", Time(since)),
        }
    }
}

impl State {
    /// Returns the order in which connections are shed: peers that have been stalled for a second, the first one first; those with
    /// most bytes that a limit of their own holds back; queued ones, the last one first; other stalled peers.
    pub(super) fn shed_order(&self, at: usize) -> Option<(u8, u64, u64)> {
        let peer = Some(&self.peers[at]).filter(|peer| peer.is_open)?;
        let since = peer.stall.map(|stall| stall.since);
        if let Some(since) = since.filter(|since| self.now - since >= 1_000_000_000) {
            return Some((0, since, 0));
        }
        if let Some((place, turn)) = self.admissions[peer.worker].rank(at) {
            return Some((2, u64::MAX - place as u64, u64::MAX - turn));
        }
        if peer.oracle.is_held_back() {
            return Some((1, u64::MAX - peer.oracle.unprocessed() as u64, 0));
        }
        since.map(|since| (3, since, 0))
    }

    /// Checks the choice of a connection that is shed.
    pub(super) fn shed(&mut self, at: usize) {
        let pass = Some(self.pass);
        let worker = self.peers[at].worker;
        let is_candidate = |&other: &usize| self.peers[other].worker == worker && self.peers[other].shed_in != pass;
        let candidates = self.open.iter().copied().filter(is_candidate);
        let first = candidates.filter_map(|other| self.shed_order(other)).min();
        if self.shed_order(at) != first {
            let (expected, actual) = (ShedWords(first), ShedWords(self.shed_order(at)));
            let detail = format!("expected {expected}, got {actual}");
            self.fail(at, "shed", detail);
        }
        self.peers[at].shed_in = pass;
        self.admissions[worker].shed(at);
        let (now, peer) = (self.now, &mut self.peers[at]);
        peer.is_settled = true;
        self.coverage.cell(peer.state(), Input::Shed);
        self.trace.note(now, peer.link, Kind::Shed, &[]);
        peer.oracle.shed(now);
    }
}
