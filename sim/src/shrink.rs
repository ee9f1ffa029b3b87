//! Makes scripts that fail as small as possible.
//!
//! Steps are total, so any step can be removed and the rest is still a script. A smaller script is accepted only if it
//! fails with the same [fingerprint](crate::failure::Fingerprint). Otherwise the result could be a script for another
//! fault.

use crate::failure::Failure;
use crate::metamorphic::examine;
use crate::script::{Haproxy, Link, Script};
use crate::simpler;
use crate::text::steps;

/// The result of shrinking.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The small script. If any step is removed or simplified further, the script does not have the required property
    /// any more.
    pub script: Script,
    /// The number of scripts that were tried.
    pub tries: u32,
}

/// Shrinks a script that fails. Returns `None` if it does not fail.
pub fn shrink(script: &Script) -> Option<Shrunk> {
    Some(shrink_failure(script, &examine(script, None)?))
}

/// Shrinks a script that fails with `failure`, and keeps the fingerprint of the failure.
pub fn shrink_failure(script: &Script, failure: &Failure) -> Shrunk {
    let (check, fingerprint) = (failure.check, failure.fingerprint());
    reduce(script, |script| examine(script, Some(check)).is_some_and(|failure| failure.fingerprint() == fingerprint))
}

/// Shrinks a script as long as it has the required property, for which `holds` returns true.
pub fn reduce(script: &Script, holds: impl FnMut(&Script) -> bool) -> Shrunk {
    let mut search = Search { best: script.clone(), holds, tries: 0 };
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
    /// The smallest script so far.
    best: Script,
    holds: F,
    tries: u32,
}

impl<F: FnMut(&Script) -> bool> Search<F> {
    /// Accepts `script` if it has the required property. Returns true if it has.
    fn try_script(&mut self, script: Script) -> bool {
        self.tries += 1;
        let accepted = (self.holds)(&script);
        if accepted {
            self.best = script;
        }
        accepted
    }

    /// Removes groups of consecutive steps, from half of the steps down to single ones, until no step can be removed.
    fn remove_steps(&mut self) -> bool {
        let mut any = false;
        let mut size = self.best.steps.len().div_ceil(2);
        while size > 0 {
            let mut removed = false;
            // The last steps are removed first, because nothing depends on them most often.
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

    /// Simplifies each step, the limits of the agent, and the names, until nothing can be simplified further.
    fn simplify(&mut self) -> bool {
        let mut any = self.simplify_agent() | self.simplify_names();
        for at in 0..self.best.steps.len() {
            let mut again = true;
            while again {
                again = steps::simpler(&self.best.steps[at]).into_iter().any(|step| {
                    let mut script = self.best.clone();
                    script.steps[at] = step;
                    self.try_script(script)
                });
                any |= again;
            }
        }
        any
    }

    /// Numbers links and processes from 1, in the order in which they occur.
    fn simplify_names(&mut self) -> bool {
        let (mut links, mut processes) = (Vec::new(), Vec::new());
        for step in &self.best.steps {
            match (step.link(), step.haproxy()) {
                (Some(Link::Scripted(number)), _) if !links.contains(&number) => links.push(number),
                (_, Some(Haproxy(number))) if !processes.contains(&number) => processes.push(number),
                _ => {}
            }
        }
        let position =
            |all: &[u8], number| all.iter().position(|other| *other == number).map_or(number, |at| at as u8 + 1);
        let mut script = self.best.clone();
        script.steps.iter_mut().for_each(|step| step.rename(|n| position(&links, n), |n| position(&processes, n)));
        script != self.best && self.try_script(script)
    }

    /// Sets each limit of the agent to its default or to a rounder time, where the property allows it.
    fn simplify_agent(&mut self) -> bool {
        let (mut any, mut refused) = (false, 0);
        loop {
            let agent = &self.best.agent;
            let simpler = simpler::agents(agent).into_iter().chain(simpler::agents_with_rounder_times(agent));
            // An accepted change is not proposed again, so those that were refused keep their places.
            let Some(agent) = simpler.into_iter().nth(refused) else { return any };
            if self.try_script(Script { agent, ..self.best.clone() }) {
                any = true;
            } else {
                refused += 1;
            }
        }
    }
}
