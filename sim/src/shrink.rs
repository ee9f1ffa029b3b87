//! Failing scripts into small ones that fail the same way.
//!
//! Steps are total, so any of them can go without the rest losing its meaning: shrinking needs no rules of its own. A
//! smaller script counts only if it fails with the same [fingerprint](crate::failure::Fingerprint); otherwise it would
//! slip to another fault on its way down.

mod simpler;

use crate::failure::Failure;
use crate::metamorphic::examine;
use crate::script::{AgentSetup, Haproxy, Link, Script};
use simpler::{rounder_agents, simpler_agents, simpler_steps};

/// The result of shrinking.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The small script; no step of it can go, and none be made simpler, without losing what it is for.
    pub script: Script,
    /// The number of scripts that were run for it.
    pub tries: u32,
}

/// The smallest script to be had from `script` that fails the same way; `None` if it does not fail.
pub fn shrink(script: &Script) -> Option<Shrunk> {
    Some(shrink_failure(script, &examine(script, None)?))
}

/// The smallest script to be had from `script`, which fails with `failure`, that fails the same way.
pub fn shrink_failure(script: &Script, failure: &Failure) -> Shrunk {
    let (check, fingerprint) = (failure.check, failure.fingerprint());
    reduce(script, |script| examine(script, Some(check)).is_some_and(|failure| failure.fingerprint() == fingerprint))
}

/// The smallest script to be had from `script` that still `does` what it is for.
pub fn reduce(script: &Script, does: impl FnMut(&Script) -> bool) -> Shrunk {
    let mut search = Search { best: script.clone(), does, tries: 0 };
    loop {
        let removed = search.remove_steps();
        let simplified = search.simplify();
        if !removed && !simplified {
            break;
        }
    }
    Shrunk { script: search.best, tries: search.tries }
}

struct Search<F> {
    best: Script,
    does: F,
    tries: u32,
}

impl<F: FnMut(&Script) -> bool> Search<F> {
    /// Takes `script` if it still does it.
    fn try_script(&mut self, script: Script) -> bool {
        self.tries += 1;
        let same = (self.does)(&script);
        if same {
            self.best = script;
        }
        same
    }

    /// Removes runs of steps, from half of them down to single ones, until no single one can go.
    fn remove_steps(&mut self) -> bool {
        let mut any = false;
        let mut size = self.best.steps.len().div_ceil(2);
        while size > 0 {
            let mut removed = false;
            // From the end: what happened last is most often what nothing else depends on.
            let mut start = self.best.steps.len();
            while start > 0 {
                start = start.saturating_sub(size);
                let end = (start + size).min(self.best.steps.len());
                let mut script = self.best.clone();
                script.steps.drain(start..end);
                removed |= self.try_script(script);
            }
            any |= removed;
            if size > 1 || !removed {
                size /= 2;
            }
        }
        any
    }

    /// Makes each step, and the agent, as simple as it can be.
    fn simplify(&mut self) -> bool {
        let mut any = self.simplify_agent() | self.simplify_names();
        for at in 0..self.best.steps.len() {
            let mut again = true;
            while again {
                again = simpler_steps(&self.best.steps[at]).into_iter().any(|step| {
                    let mut script = self.best.clone();
                    script.steps[at] = step;
                    self.try_script(script)
                });
                any |= again;
            }
        }
        any
    }

    /// Numbers links and processes from 1, in the order they come.
    fn simplify_names(&mut self) -> bool {
        let (mut links, mut processes) = (Vec::new(), Vec::new());
        for step in &self.best.steps {
            match (step.link(), step.haproxy()) {
                (Some(Link::Scripted(number)), _) if !links.contains(&number) => links.push(number),
                (_, Some(Haproxy(number))) if !processes.contains(&number) => processes.push(number),
                _ => {}
            }
        }
        let place =
            |all: &[u8], number| all.iter().position(|other| *other == number).map_or(number, |at| at as u8 + 1);
        let mut script = self.best.clone();
        script.steps.iter_mut().for_each(|step| step.rename(|n| place(&links, n), |n| place(&processes, n)));
        script != self.best && self.try_script(script)
    }

    fn simplify_agent(&mut self) -> bool {
        if self.best.agent == AgentSetup::default() {
            return false;
        }
        let mut any = false;
        for simpler in simpler_agents() {
            let mut script = self.best.clone();
            simpler(&mut script.agent);
            if script.agent != self.best.agent {
                any |= self.try_script(script);
            }
        }
        for rounder in rounder_agents(&self.best.agent) {
            let script = Script { agent: rounder, ..self.best.clone() };
            any |= self.try_script(script);
        }
        any
    }
}
