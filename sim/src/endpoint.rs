//! Runs a script against an [`Endpoint`]: all connections of a run together, on sockets that report readiness once, late, several
//! changes at once, or falsely.
//!
//! The script is the same as for single connections; `endpoint=1` in its `agent` line chooses this world. Two models judge it: the
//! checker of single connections, which is asked at each call of the endpoint, and naive models of what the connections share:
//! [admission], [handover], shedding, and quiescence.

mod admission;
mod checks;
mod handover;
mod host;
mod state;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use spoa_core::Instant;
use spoa_core::endpoint::{Answer, Drain, Endpoint, Key, Limits, Origin, Readiness, Turn};

use crate::failure::panic_text;
use crate::script::{AgentSetup, Link, Nanos, Script, Step};
use crate::trace::Kind;
use crate::world::Outcome;
use admission::Admission;
use host::{SimHost, SimSocket};
use state::{Peer, State, Work};

/// The largest number of turns of a run, and of passes. A run that exceeds it never ends.
const TURNS_MAX: u32 = 100_000;
/// The longest duration of a run, about 36 years, so that sums of times do not overflow.
const RUN_MAX: Nanos = 1 << 60;

/// Runs `script`. Keeps the records of the trace if `recording` is true.
pub(crate) fn run(script: &Script, recording: bool) -> Outcome {
    let mut world = World::new(&script.agent, recording);
    let result = catch_unwind(AssertUnwindSafe(|| world.play(script)));
    let state = Rc::clone(&world.state);
    drop(world);
    // A panic inside a call of the host leaves the state borrowed.
    let mut state = match Rc::try_unwrap(state) {
        Ok(state) => state.into_inner(),
        Err(_) => unreachable!("the world and its sockets are dropped"),
    };
    if let Err(panic) = result {
        state.fail(0, "panic", panic_text(&*panic).into());
    }
    let State { trace, coverage, failure, now, .. } = state;
    Outcome { trace, coverage, failure, conversations: Vec::new(), end: now }
}

/// A failure, which the state has.
struct Failed;

struct World {
    agent: AgentSetup,
    endpoint: Endpoint<SimHost>,
    host: SimHost,
    state: Rc<RefCell<State>>,
    /// The grace period and the patience of the drain, once it has begun.
    drain: Option<(Nanos, Nanos)>,
    turns: u32,
    passes: u32,
    /// Changes of sockets that were not reported yet, by connection.
    changes: Vec<Readiness>,
}

impl World {
    fn new(agent: &AgentSetup, recording: bool) -> Self {
        let limits =
            Limits { in_flight_max: agent.total_in_flight_max.max(1) as usize, bytes_max: agent.total_bytes_max() };
        let state = Rc::new(RefCell::new(State::new(Admission::new(agent), recording)));
        Self {
            agent: agent.clone(),
            endpoint: Endpoint::new(agent.config(), limits),
            host: SimHost(Rc::clone(&state)),
            state,
            drain: None,
            turns: 0,
            passes: 0,
            changes: Vec::new(),
        }
    }

    fn play(&mut self, script: &Script) -> Result<(), Failed> {
        for (number, step) in script.steps.iter().enumerate() {
            self.state.borrow_mut().step = number + 1;
            self.execute(step)?;
            if (number as u32).is_multiple_of(self.agent.lazy.max(1)) {
                self.run_passes()?;
            }
        }
        self.state.borrow_mut().step += 1;
        self.reach_quiescence()
    }

    fn now(&self) -> Nanos {
        self.state.borrow().now
    }

    fn instant(&self) -> Instant {
        Instant::from_nanos(self.now())
    }

    /// True if passes follow each change at once.
    const fn is_prompt(&self) -> bool {
        self.agent.lazy <= 1
    }

    fn fail<T>(&self, at: usize, check: &'static str, detail: String) -> Result<T, Failed> {
        self.state.borrow_mut().fail(at, check, detail);
        Err(Failed)
    }

    /// Returns an error if a call of the endpoint has failed a check.
    fn checked(&self) -> Result<(), Failed> {
        if self.state.borrow().failure.is_some() { Err(Failed) } else { Ok(()) }
    }

    /// Returns the number of the open connection of a link.
    fn find(&self, link: Link) -> Option<usize> {
        self.state.borrow().peers.iter().rposition(|peer| peer.link == link && !peer.has_closed && peer.is_open)
    }

    fn execute(&mut self, step: &Step) -> Result<(), Failed> {
        match step {
            Step::Connect(link) => {
                if self.find(*link).is_none() {
                    self.accept(*link);
                }
                Ok(())
            }
            Step::Wait(time) => self.wait_until(self.now().saturating_add(*time).min(RUN_MAX)),
            Step::Stop { grace } => {
                self.drain = Some((*grace, self.agent.patience));
                let (grace, patience) = (Duration::from_nanos(*grace), Duration::from_nanos(self.agent.patience));
                self.endpoint.drain(Drain { grace, patience });
                Ok(())
            }
            _ => step.link().and_then(|link| self.find(link)).map_or(Ok(()), |at| self.execute_at(at, step)),
        }
    }

    /// Executes a step that concerns one open connection.
    fn execute_at(&mut self, at: usize, step: &Step) -> Result<(), Failed> {
        let mut state = self.state.borrow_mut();
        let State { peers, coverage, .. } = &mut *state;
        let Peer { inlet, outlet, .. } = &mut peers[at];
        match step {
            Step::Send(_, frame) => {
                coverage.sent(frame);
                frame.encode(inlet.send_buf());
            }
            Step::Raw(_, bytes) => inlet.send_buf().extend_from_slice(bytes),
            Step::Cut(_, cuts) => inlet.cut(cuts),
            Step::Hold(_) => inlet.hold(),
            Step::Release(_) => _ = inlet.release(),
            Step::Room(_, room) => outlet.room = *room,
            Step::Take(_, take) => outlet.take = *take,
            _ => {}
        }
        drop(state);
        match step {
            Step::Room(..) | Step::Take(..) => self.changes[at].writable = true,
            Step::Fin(_) => return self.finish(at),
            Step::Reset(_) => self.reset(at),
            _ => return self.deliver(at),
        }
        Ok(())
    }

    fn accept(&mut self, link: Link) {
        let Link::Scripted(number) = link else { return };
        let origin = number % self.agent.origins.clamp(1, 255) as u8;
        let welcome = self.endpoint.len() < self.agent.connections_max as usize;
        let (at, now) = {
            let mut state = self.state.borrow_mut();
            let (at, now) = (state.peers.len(), state.now);
            let mut peer = Peer::new(link, origin, self.agent.limits(), now);
            if !welcome {
                peer.oracle = peer.oracle.rejected();
            }
            state.peers.push(peer);
            state.trace.note(now, link, Kind::Connect, &[]);
            (at, now)
        };
        let socket = SimSocket { at, state: Rc::clone(&self.state) };
        let key =
            self.endpoint.accept(Instant::from_nanos(now), socket, Origin(origin.into()), welcome, &mut self.host);
        self.state.borrow_mut().peers[at].key = Some(key);
        self.changes.push(Readiness::default());
    }

    /// Delivers bytes in transit, piece by piece.
    fn deliver(&mut self, at: usize) -> Result<(), Failed> {
        let mut pieces = 0;
        while self.arrive(at, pieces) {
            self.changes[at].readable = true;
            if self.is_prompt() {
                self.run_passes()?;
            }
            pieces += 1;
        }
        Ok(())
    }

    fn arrive(&self, at: usize, piece: usize) -> bool {
        self.state.borrow_mut().peers[at].inlet.arrive(piece)
    }

    fn finish(&mut self, at: usize) -> Result<(), Failed> {
        self.state.borrow_mut().peers[at].inlet.release();
        self.deliver(at)?;
        let mut state = self.state.borrow_mut();
        let State { peers, trace, now, .. } = &mut *state;
        trace.note(*now, peers[at].link, Kind::Fin, &[]);
        peers[at].inlet.finish();
        peers[at].has_closed = true;
        self.changes[at] = Readiness { ended: true, ..self.changes[at] };
        Ok(())
    }

    fn reset(&mut self, at: usize) {
        let mut state = self.state.borrow_mut();
        let State { peers, trace, now, .. } = &mut *state;
        let peer = &mut peers[at];
        trace.note(*now, peer.link, Kind::Reset, &[]);
        peer.inlet.reset();
        (peer.has_closed, peer.was_reset) = (true, true);
        self.changes[at] = Readiness { readable: true, writable: true, ended: true, reset: true };
    }

    /// Reports changes of sockets, then runs passes until no connection has a turn or is due.
    fn run_passes(&mut self) -> Result<(), Failed> {
        loop {
            self.report_changes();
            while self.endpoint.has_turns() || self.is_due(self.endpoint.next_deadline().map(Instant::as_nanos)) {
                self.pass()?;
            }
            // A socket that accepts a few bytes at once has room again as soon as they have left.
            let mut state = self.state.borrow_mut();
            if state.has_room_again.is_empty() {
                break;
            }
            state.has_room_again.drain(..).for_each(|at| self.changes[at].writable = true);
        }
        self.check_rest()
    }

    /// True if the endpoint has been woken for this deadline.
    fn is_due(&self, deadline: Option<Nanos>) -> bool {
        deadline.is_some_and(|at| at.saturating_add(self.agent.late) <= self.now())
    }

    fn report_changes(&mut self) {
        for at in 0..self.changes.len() {
            let change = std::mem::take(&mut self.changes[at]);
            let key = self.state.borrow().peers[at].key;
            if let Some(key) = key.filter(|_| change != Readiness::default()) {
                self.endpoint.socket_ready(key, change);
            }
        }
    }

    fn pass(&mut self) -> Result<(), Failed> {
        self.passes += 1;
        if self.passes > TURNS_MAX {
            return self.fail(0, "budget", "the run does not end".into());
        }
        if self.agent.spurious > 0 && self.passes.is_multiple_of(self.agent.spurious) {
            let keys: Vec<_> = self.state.borrow().peers.iter().filter_map(|peer| peer.key).collect();
            let false_report = Readiness { readable: true, writable: true, ended: false, reset: false };
            keys.into_iter().for_each(|key| self.endpoint.socket_ready(key, false_report));
        }
        self.state.borrow_mut().pass = self.passes;
        self.endpoint.begin_pass(self.instant());
        while let Some(key) = self.endpoint.next_turn() {
            self.turn(key)?;
        }
        self.endpoint.end_pass(self.instant(), &mut self.host);
        let mut state = self.state.borrow_mut();
        let load = state.load();
        state.admission.pass_ended(load);
        drop(state);
        self.check_work()
    }

    fn turn(&mut self, key: Key) -> Result<(), Failed> {
        self.turns += 1;
        let at = self.endpoint.get_mut(key).map_or(0, |(_, socket)| socket.at);
        if self.turns > TURNS_MAX {
            return self.fail(at, "budget", "the run does not end".into());
        }
        self.state.borrow_mut().begin_turn(at, self.drain);
        let outcome = self.endpoint.turn(key, self.instant(), &mut self.host);
        match outcome {
            Turn::Open { is_blocked } => {
                self.state.borrow_mut().end_turn(at, is_blocked);
                self.checked()?;
                self.check_connection(at, key)
            }
            Turn::Closed(_) => {
                self.state.borrow_mut().removed(at);
                self.checked()
            }
        }
    }

    /// Returns the next time at which the endpoint or a handler has something to do.
    fn next_due(&self) -> Option<Nanos> {
        let deadline = self.endpoint.next_deadline().map(|at| at.as_nanos().saturating_add(self.agent.late));
        let state = self.state.borrow();
        state.work.iter().filter_map(|work| work.due).chain(deadline).min()
    }

    /// Advances the time to `end`. An endpoint that is not prompt is busy elsewhere until then.
    fn wait_until(&mut self, end: Nanos) -> Result<(), Failed> {
        if self.is_prompt() {
            self.run_passes()?;
        }
        while let Some(due) = self.next_due().filter(|due| *due <= end) {
            self.advance(due);
            self.answer_due();
            self.run_passes()?;
        }
        self.advance(end);
        if self.is_prompt() {
            self.run_passes()?;
        }
        Ok(())
    }

    fn advance(&self, to: Nanos) {
        let mut state = self.state.borrow_mut();
        state.now = state.now.max(to);
    }

    /// Hands over the answers that handlers have finished.
    fn answer_due(&mut self) {
        let mut state = self.state.borrow_mut();
        let State { work, peers, now, .. } = &mut *state;
        let mut due: Vec<_> = work.extract_if(.., |work| work.due.is_some_and(|due| due <= *now)).collect();
        due.sort_by_key(|work| (work.due, work.id));
        let mut answers = Vec::new();
        for Work { at, key, index, ticket, since, answer, .. } in due {
            peers[at].answers.push_back(index);
            let actions = answer.actions().ok_or(());
            answers.push(Answer { key, ticket, since: Instant::from_nanos(since), actions });
        }
        drop(state);
        answers.into_iter().for_each(|answer| self.endpoint.answer(answer));
    }

    /// Ends all faults, then checks that every NOTIFY is answered, every byte is read, every connection is closed, and nothing is
    /// held.
    fn reach_quiescence(&mut self) -> Result<(), Failed> {
        (self.agent.lazy, self.agent.spurious) = (1, 0);
        let count = self.changes.len();
        for at in 0..count {
            let mut state = self.state.borrow_mut();
            let peer = &mut state.peers[at];
            (peer.outlet.room, peer.outlet.take) = (None, None);
            peer.inlet.release();
            drop(state);
            self.changes[at].writable = true;
            self.deliver(at)?;
        }
        self.run_passes()?;
        let in_flight = |world: &Self| world.state.borrow().load().in_flight;
        while in_flight(self) > 0 {
            let Some(due) = self.next_due() else {
                return self.fail(0, "liveness", "a NOTIFY is never answered".into());
            };
            self.wait_until(due)?;
        }
        for at in 0..count {
            let has_closed = self.state.borrow().peers[at].has_closed;
            if !has_closed {
                self.finish(at)?;
            }
        }
        self.run_passes()?;
        // A connection that holds ACKs back may not read until it sends them.
        while self.state.borrow().peers.iter().any(|peer| peer.is_open && peer.ending.holds_acks())
            && let Some(due) = self.next_due()
        {
            self.wait_until(due)?;
        }
        let (usage, deadline) = (self.endpoint.usage(), self.endpoint.next_deadline());
        let open = self.state.borrow().peers.iter().position(|peer| peer.is_open);
        if let Some(at) = open {
            return self.fail(at, "liveness", "a connection that HAProxy closed stays open".into());
        }
        let has_work = !self.state.borrow().work.is_empty();
        if has_work || usage.bytes() > 0 || self.endpoint.queued() > 0 || deadline.is_some() {
            let detail = format!("expected nothing held at the end, got {usage:?}, deadline {deadline:?}");
            return self.fail(0, "quiescence", detail);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    #[test]
    fn a_conversation_through_an_endpoint_is_judged_by_both_models() {
        let script = "spop-script 3\nagent endpoint=1 total-in-flight-max=1\nconnect c1\nconnect c2\n\
                      send c1 hello supported-versions=\"2.0\" max-frame-size=u32:16380 capabilities=\"pipelining\"\n\
                      send c2 hello supported-versions=\"2.0\" max-frame-size=u32:16380 capabilities=\"pipelining\"\n\
                      send c1 notify m(plan=score@10ms)\nsend c2 notify m(plan=score@10ms)\nwait 50ms\n";
        let script = parse(script).unwrap();
        assert_eq!(run(&script, false).failure, None);
    }
}
