//! Scripts with the same bytes in other pieces.

use crate::digest::Digest;
use crate::script::{Cuts, Link, Step};

/// Returns the steps without cuts, with everything that is sent on a link at the same time delivered together.
pub(super) fn whole(steps: &[Step]) -> Vec<Step> {
    let mut out = Vec::with_capacity(steps.len() + 16);
    let mut links: Vec<Whole> = Vec::new();
    for step in steps {
        match step.link() {
            // The step may let time pass. Bytes that were sent before arrive before.
            None => links.iter_mut().for_each(|link| link.release(&mut out)),
            Some(link) => {
                let at = links.iter().position(|known| known.link == link).unwrap_or_else(|| {
                    links.push(Whole { link, held: false, together: false });
                    links.len() - 1
                });
                links[at].before_step(step, &mut out);
            }
        }
        if !matches!(step, Step::Cut(..)) {
            out.push(step.clone());
        }
    }
    links.iter_mut().for_each(|link| link.release(&mut out));
    out
}

/// The state of a link in the new script.
struct Whole {
    link: Link,
    /// True if the script itself holds the link, or may hold it. Then no `hold` is added.
    held: bool,
    /// True while an added `hold` is in effect.
    together: bool,
}

impl Whole {
    /// Adds the `hold` or `release` that is needed before `step`.
    fn before_step(&mut self, step: &Step, out: &mut Vec<Step>) {
        match step {
            Step::Send(..) | Step::Raw(..) if self.held || self.together => {}
            Step::Send(..) | Step::Raw(..) => {
                self.together = true;
                out.push(Step::Hold(self.link));
            }
            Step::Cut(..) => {}
            _ => {
                self.release(out);
                match step {
                    Step::Hold(_) => self.held = true,
                    Step::Release(_) | Step::Fin(_) | Step::Reset(_) => self.held = false,
                    _ => {}
                }
            }
        }
    }

    fn release(&mut self, out: &mut Vec<Step>) {
        if self.together {
            self.together = false;
            out.push(Step::Release(self.link));
        }
    }
}

/// Returns the steps with every delivery byte by byte.
pub(super) fn bytes(steps: &[Step]) -> Vec<Step> {
    recut(steps, |step| match step {
        Step::Connect(_) => Some(Cuts { sizes: vec![1], repeat: true }),
        _ => None,
    })
}

/// Returns the steps with each frame cut at one or two positions. They depend only on the bytes of the frame, so that
/// they stay the same while a script is shrunk.
pub(super) fn elsewhere(steps: &[Step]) -> Vec<Step> {
    recut(steps, |step| {
        let bytes = match step {
            Step::Send(_, frame) => &frame.to_bytes(),
            Step::Raw(_, bytes) => bytes,
            _ => return None,
        };
        let [first, second] = positions(bytes, bytes.len());
        let sizes = [first, second - first].map(|size| size as u32);
        Some(Cuts { sizes: sizes.into_iter().filter(|&size| size > 0).collect(), repeat: false })
    })
}

/// Replaces the cuts of the script by those that `cuts` returns for each step. A cut is inserted after a `connect`, and
/// before any other step.
fn recut(steps: &[Step], cuts: impl Fn(&Step) -> Option<Cuts>) -> Vec<Step> {
    let mut out = Vec::with_capacity(2 * steps.len());
    for step in steps.iter().filter(|step| !matches!(step, Step::Cut(..))) {
        let cut = step.link().zip(cuts(step)).map(|(link, cuts)| Step::Cut(link, cuts));
        let is_connect = matches!(step, Step::Connect(_));
        let (before, after) = if is_connect { (None, cut) } else { (cut, None) };
        out.extend(before.into_iter().chain([step.clone()]).chain(after));
    }
    out
}

/// Returns two positions from 0 to `len`, in order, which depend on `bytes`.
pub(super) fn positions(bytes: &[u8], len: usize) -> [usize; 2] {
    let mut digest = Digest::default();
    digest.bytes(bytes);
    let value = digest.value();
    let position = |word: u64| (word % (len as u64 + 1)) as usize;
    let (a, b) = (position((value >> 96) as u64), position((value >> 32) as u32 as u64));
    [a.min(b), a.max(b)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Script;
    use crate::text::parse;

    fn script(lines: &str) -> Script {
        parse(&format!("spop-script 1\n{}\n", lines.replace("; ", "\n"))).expect("the script is valid")
    }

    fn text(steps: Vec<Step>) -> String {
        let text = Script { steps, ..Script::default() }.to_string();
        text.lines().skip(1).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn bytes_that_are_sent_at_the_same_time_arrive_together() {
        for (steps, together) in [
            ("send c1 raw 01; cut c1 1; send c1 raw 02", "hold c1; send c1 raw 01; send c1 raw 02; release c1"),
            ("send c1 raw 01; wait 1ms", "hold c1; send c1 raw 01; release c1; wait 1ms"),
            ("send c1 raw 01; room c1 0", "hold c1; send c1 raw 01; release c1; room c1 0"),
            ("send c1 raw 01; fin c2", "hold c1; send c1 raw 01; fin c2; release c1"),
            // No hold is added while the script itself may hold the link, even if the link was connected again.
            (
                "hold c1; send c1 raw 01; connect c1; send c1 raw 02",
                "hold c1; send c1 raw 01; connect c1; send c1 raw 02",
            ),
            ("hold c1; release c1; send c1 raw 01", "hold c1; release c1; hold c1; send c1 raw 01; release c1"),
        ] {
            assert_eq!(text(whole(&script(steps).steps)), together);
        }
    }

    #[test]
    fn cuts_of_the_script_are_replaced() {
        let steps = script("connect c1; cut c1 7; send c1 raw 0102; fin c1").steps;
        assert_eq!(text(bytes(&steps)), "connect c1; cut c1 1,...; send c1 raw 0102; fin c1");
        let elsewhere = text(elsewhere(&steps));
        assert!(elsewhere.starts_with("connect c1; cut c1 ") && !elsewhere.contains("cut c1 7"), "{elsewhere}");
    }

    #[test]
    fn every_position_of_a_frame_occurs() {
        let mut seen = [false; 11];
        for n in 0..100_u8 {
            let [first, second] = positions(&[n], 10);
            assert!(first <= second && second <= 10);
            (seen[first], seen[second]) = (true, true);
        }
        assert_eq!(seen, [true; 11]);
        assert_eq!(positions(b"", 0), [0, 0]);
    }
}
