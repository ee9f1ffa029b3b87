//! The time of a run: deadlines of endpoints, deferred answers, and the timers of HAProxy.

use spoa_core::Instant;
use spoa_core::endpoint::Answer;

use super::state::{State, Work};
use super::{Failed, World};
use crate::coverage::Mark;
use crate::script::Nanos;

impl World {
    /// Returns the times at which an endpoint, a handler or HAProxy has something to do.
    fn all_due(&self) -> Vec<Nanos> {
        let endpoints = (0..self.workers.len()).filter(|&worker| self.runs(worker));
        let deadlines = endpoints.filter_map(|worker| self.deadline(worker));
        let state = self.state.borrow();
        let work = state.work.iter().filter(|work| self.runs(state.peers[work.at].worker));
        let deadlines = deadlines.map(|at| at.saturating_add(self.setup.late));
        deadlines.chain(work.filter_map(|work| work.due)).chain(self.haproxy_due()).chain(self.transit_due()).collect()
    }

    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.all_due().into_iter().min()
    }

    /// Advances the time to `end`. An agent that is not prompt is busy elsewhere until then.
    pub(super) fn wait_until(&mut self, end: Nanos) -> Result<(), Failed> {
        if self.is_prompt() {
            self.run_all()?;
        }
        loop {
            let all = self.all_due();
            let Some(&due) = all.iter().min().filter(|due| **due <= end) else { break };
            if all.iter().filter(|other| **other == due).count() > 1 {
                self.state.borrow_mut().coverage.reach(Mark::Coincidence);
            }
            self.advance(due);
            self.answer_due();
            self.deliver_arrived()?;
            self.run_all()?;
            self.expire_haproxy()?;
            self.run_all()?;
        }
        self.advance(end);
        if self.is_prompt() { self.run_all() } else { Ok(()) }
    }

    fn advance(&self, to: Nanos) {
        let mut state = self.state.borrow_mut();
        state.now = state.now.max(to);
    }

    /// Hands over the answers that handlers have finished.
    fn answer_due(&mut self) {
        let mut state = self.state.borrow_mut();
        let State { work, peers, now, .. } = &mut *state;
        let is_due = |work: &mut Work| work.due.is_some_and(|due| due <= *now) && self.runs(peers[work.at].worker);
        let mut due: Vec<_> = work.extract_if(.., is_due).collect();
        due.sort_by_key(|work| (work.due, work.id));
        let mut answers = Vec::new();
        for Work { at, key, index, ticket, since, answer, .. } in due {
            peers[at].answers.push_back(index);
            let actions = answer.actions().ok_or(());
            answers.push((peers[at].worker, Answer { key, ticket, since: Instant::from_nanos(since), actions }));
        }
        drop(state);
        answers.into_iter().for_each(|(worker, answer)| self.workers[worker].endpoint.answer(answer));
    }
}
