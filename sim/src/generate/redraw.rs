//! Draws the steps of a script again, from some step on.

use super::profile::{Play, Profile};
use super::{Conversation, FrameKind, Generator};
use crate::script::{Haproxy, Link, Script, Step};

/// Returns the script with its first `kept` steps, and as many others as it had after them. They are drawn by `draw` as the
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
            Step::Fin(_) | Step::Reset(_) | Step::Lose(_) => link.open = false,
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

/// Returns the processes that the steps have started and not stopped.
pub(super) fn running(steps: &[Step]) -> Vec<Haproxy> {
    let mut processes = Vec::new();
    for step in steps {
        match step {
            Step::Start(name, _) => processes.push(*name),
            Step::SoftStop(name) => processes.retain(|other| other != name),
            _ => {}
        }
    }
    processes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::generate;

    #[test]
    fn the_kept_steps_stay_and_the_others_are_drawn() {
        for (seed, profile) in (0..40).flat_map(|seed| Profile::ALL.map(|profile| (seed, profile))) {
            let script = generate(seed, profile);
            let kept = script.steps.len() / 2;
            let [one, same, other] = [1, 1, 2].map(|draw| redrawn(&script, kept, profile, draw));
            assert_eq!((&one.steps[..kept], &one.agent), (&script.steps[..kept], &script.agent));
            assert_eq!(one, same, "a draw is always the same");
            assert_eq!(other.steps[..kept], script.steps[..kept]);
            assert!(one.steps.len() <= script.steps.len());
            assert_eq!(redrawn(&script, script.steps.len(), profile, 3).steps, script.steps);
        }
    }
}
