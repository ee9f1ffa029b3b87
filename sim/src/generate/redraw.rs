//! Draws the steps of a script again, from some step on.

use super::profile::{Play, Profile};
use super::{Conversation, FrameKind, Generator};
use crate::script::{Haproxy, Link, Script, Step};

/// Returns the script with its first `kept` steps, and at most as many others as it had after them. They are drawn by `draw` as the
/// generator draws steps: they continue the conversations of the kept steps, with another choice of kinds and faults.
pub fn redrawn(script: &Script, kept: usize, profile: Profile, draw: u64) -> Script {
    drawn(script, kept, script.steps.len(), 1, profile, draw)
}

/// Returns a script with the first `kept` steps, and others that are drawn by `draw`, up to `len` steps. They may open further
/// connections.
pub fn extended(script: &Script, kept: usize, len: usize, profile: Profile, draw: u64) -> Script {
    drawn(script, kept, len, LINKS, profile, draw)
}

/// The number of links of a script that is extended.
const LINKS: usize = 4;

fn drawn(script: &Script, kept: usize, len: usize, links: usize, profile: Profile, draw: u64) -> Script {
    let kept = kept.min(script.steps.len());
    let mut generator = Generator::new(draw, profile);
    generator.swarm.play = play_of(script);
    generator.swarm.steps = (len - kept.min(len)) as u64;
    generator.script = Script { story: Vec::new(), agent: script.agent.clone(), steps: script.steps[..kept].to_vec() };
    generator.links = conversations(script, kept, links);
    if generator.swarm.steps > 0 {
        generator.fill();
    }
    generator.script.steps.truncate(len);
    generator.script
}

/// Returns the player of HAProxy in a script.
fn play_of(script: &Script) -> Play {
    let started = script.steps.iter().find_map(|step| match step {
        Step::Start(_, settings) => Some(settings.engine),
        _ => None,
    });
    match started {
        Some(_) if script.agent.agents > 1 => Play::Fleet,
        Some(engine) => Play::Model(engine),
        None => Play::Script,
    }
}

/// Returns the state of the conversations after the kept steps, of all links of the script, and at least `min`.
fn conversations(script: &Script, kept: usize, min: usize) -> Vec<Conversation> {
    let number = |step: &Step| match step.link() {
        Some(Link::Scripted(number)) => Some(usize::from(number)),
        _ => None,
    };
    let count = script.steps.iter().filter_map(number).max().unwrap_or(1).max(min);
    let mut links = vec![Conversation::default(); count];
    for step in &script.steps[..kept] {
        let Some(link) = number(step).and_then(|number| links.get_mut(number.checked_sub(1)?)) else { continue };
        match step {
            Step::Connect(_) => *link = Conversation { open: true, ..Conversation::default() },
            // Bytes may end inside a frame, which the drawn steps do not go on with.
            Step::Fin(_) | Step::Reset(_) | Step::Lose(_) | Step::Raw(..) => link.open = false,
            Step::Send(_, frame) if matches!(frame.kind, FrameKind::Notify(_)) => {
                // Ids at the edges of their encoding are drawn for themselves, and nothing follows them.
                if frame.stream_id < u64::from(u32::MAX) {
                    link.stream_id = link.stream_id.max(frame.stream_id);
                }
                link.used = Some((frame.stream_id, frame.frame_id));
            }
            _ => {}
        }
    }
    links
}

/// Returns the processes that the steps have started and not stopped, and the number of the next process: no other has had it.
pub(super) fn running(steps: &[Step]) -> (Vec<Haproxy>, u8) {
    let (mut processes, mut next) = (Vec::new(), 1);
    for step in steps {
        match step {
            Step::Start(name, _) => {
                processes.push(*name);
                next = next.max(name.0.saturating_add(1));
            }
            Step::SoftStop(name) => processes.retain(|other| other != name),
            _ => {}
        }
    }
    (processes, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::generate;

    #[test]
    fn the_kept_steps_stay_and_the_others_are_drawn() {
        let mut differ = 0;
        for (seed, profile) in (0..40).flat_map(|seed| Profile::ALL.map(|profile| (seed, profile))) {
            let script = generate(seed, profile);
            let kept = script.steps.len() / 2;
            let [one, same, other] = [1, 1, 2].map(|draw| redrawn(&script, kept, profile, draw));
            assert_eq!((&one.steps[..kept], &one.agent), (&script.steps[..kept], &script.agent));
            assert_eq!(one, same, "a draw is always the same");
            assert_eq!(other.steps[..kept], script.steps[..kept]);
            assert!(one.steps.len() <= script.steps.len());
            assert_eq!(redrawn(&script, script.steps.len(), profile, 3).steps, script.steps);
            differ += usize::from(one.steps.len() > kept && one.steps[kept..] != other.steps[kept..]);
        }
        assert!(differ > 200, "expected that most draws differ, got {differ} of 240");
    }

    /// The steps that are drawn do something, also if no process serves any more.
    #[test]
    fn drawn_steps_use_connections_and_processes_that_exist() {
        for (seed, profile) in (0..40).flat_map(|seed| Profile::ALL.map(|profile| (seed, profile))) {
            let script = generate(seed, profile);
            let stops = |step: &Step| matches!(step, Step::SoftStop(_) | Step::Raw(..));
            let kept = script.steps.iter().position(stops).map_or(script.steps.len() / 2, |at| at + 1);
            let drawn = extended(&script, kept, kept + 20, profile, 1);
            let idle: Vec<_> = drawn.idle_steps().into_iter().filter(|(number, _)| *number > kept).collect();
            assert!(idle.is_empty(), "{idle:?}\n{drawn}");
            let (processes, _) = running(&drawn.steps);
            let asks = drawn.steps[kept..].iter().filter(|step| matches!(step, Step::Ask(..))).count();
            assert!(asks == 0 || !processes.is_empty(), "no process serves\n{drawn}");
        }
    }
}
