//! The command `when`: the step at which a failure begins.

use spoa_sim::generate::Profile;
use spoa_sim::metamorphic::examine;
use spoa_sim::shrink::shrink_failure;
use spoa_sim::when::{chances, shortest_beginning};

use super::{exit_of, script_of};
use crate::Exit;

/// The width of a bar.
const BAR: u32 = 20;
/// The longest text of a step.
const STEP_MAX: usize = 100;

/// Shows how often the script still fails, by the number of its steps that are kept.
pub(super) fn when(source: &str, profile: Profile, draws: u32, is_whole: bool) -> Exit {
    let given = match script_of(source, profile) {
        Ok((script, _)) => script,
        Err(exit) => return exit,
    };
    let Some(failure) = examine(&given, None) else {
        println!("{source} does not fail");
        return Exit::Held;
    };
    println!("FAILED: {failure}");
    // In a small script every step matters, and a few drawn ones seldom fail by chance.
    let script = if is_whole { given } else { shrink_failure(&given, &failure).script };
    println!(
        "how often it fails by this check if the steps up to a line are kept, and the others drawn again, {draws} times:\n"
    );
    let chances = chances(&script, &failure, profile, draws);
    let jump = chances.jump();
    for (kept, failed) in chances.failed.iter().enumerate() {
        let words = kept.checked_sub(1).map_or("(no step)".into(), |at| script.steps[at].to_string());
        let short: String = words.chars().take(STEP_MAX).collect();
        let full = (failed * BAR / draws) as usize;
        let mark = if kept == jump { '>' } else { ' ' };
        println!(
            "{mark}{kept:>4} {:>4} % {}{} {short}",
            failed * 100 / draws,
            "#".repeat(full),
            ".".repeat(BAR as usize - full)
        );
    }
    println!("\nthe failure begins at step {jump}");
    if let Some(len) = shortest_beginning(&script, &failure) {
        println!("the steps up to {len} fail alone");
    }
    exit_of(&failure)
}
