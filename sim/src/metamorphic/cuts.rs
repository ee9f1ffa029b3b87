//! The same bytes, cut otherwise.

use crate::digest::Digest;
use crate::script::{Cuts, Link, Step};

/// Everything whole, and what comes at one instant together.
pub(super) fn whole(steps: &[Step]) -> Vec<Step> {
    let mut out = Vec::with_capacity(steps.len() + 16);
    let mut links: Vec<Whole> = Vec::new();
    for step in steps {
        match step.link() {
            // Time passes: what was sent before it comes before it.
            None => links.iter_mut().for_each(|link| link.release(&mut out)),
            Some(link) => {
                let at = links.iter().position(|known| known.link == link).unwrap_or_else(|| {
                    links.push(Whole { link, held: false, together: false });
                    links.len() - 1
                });
                links[at].meet(step, &mut out);
            }
        }
        if !matches!(step, Step::Cut(..)) {
            out.push(step.clone());
        }
    }
    links.iter_mut().for_each(|link| link.release(&mut out));
    out
}

/// How a link is held.
struct Whole {
    link: Link,
    /// By the script, or perhaps so: then it is left as it is.
    held: bool,
    /// By us.
    together: bool,
}

impl Whole {
    /// Holds or releases the link, as `step` needs it.
    fn meet(&mut self, step: &Step, out: &mut Vec<Step>) {
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

/// Everything byte by byte.
pub(super) fn bytes(steps: &[Step]) -> Vec<Step> {
    recut(steps, |step| match step {
        Step::Connect(_) => Some(Cuts { sizes: vec![1], repeat: true }),
        _ => None,
    })
}

/// Each frame at one place or two, which depend on nothing but its bytes: so they stay while a script shrinks.
pub(super) fn elsewhere(steps: &[Step]) -> Vec<Step> {
    recut(steps, |step| {
        let bytes = match step {
            Step::Send(_, frame) => &frame.to_bytes(),
            Step::Raw(_, bytes) => bytes,
            _ => return None,
        };
        let [first, second] = places(bytes, bytes.len());
        let sizes = [first, second - first].map(|size| size as u32);
        Some(Cuts { sizes: sizes.into_iter().filter(|&size| size > 0).collect(), repeat: false })
    })
}

/// The steps with the cuts that `cuts` has for each, in place of their own: behind a connect, before anything else.
fn recut(steps: &[Step], cuts: impl Fn(&Step) -> Option<Cuts>) -> Vec<Step> {
    let mut out = Vec::with_capacity(2 * steps.len());
    for step in steps.iter().filter(|step| !matches!(step, Step::Cut(..))) {
        let cut = step.link().zip(cuts(step)).map(|(link, cuts)| Step::Cut(link, cuts));
        let is_connect = matches!(step, Step::Connect(_));
        let (before, behind) = if is_connect { (None, cut) } else { (cut, None) };
        out.extend(before.into_iter().chain([step.clone()]).chain(behind));
    }
    out
}

/// Two places from 0 to `len`, in order, that depend on `bytes`.
pub(super) fn places(bytes: &[u8], len: usize) -> [usize; 2] {
    let mut digest = Digest::default();
    digest.bytes(bytes);
    let value = digest.value();
    let place = |word: u64| (word % (len as u64 + 1)) as usize;
    let (a, b) = (place((value >> 96) as u64), place((value >> 32) as u32 as u64));
    [a.min(b), a.max(b)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Script;
    use crate::text::parse;

    fn script(lines: &str) -> Script {
        parse(&format!("spop-script 1\n{}\n", lines.replace("; ", "\n"))).expect("the script is good")
    }

    fn text(steps: Vec<Step>) -> String {
        let text = Script { steps, ..Script::default() }.to_string();
        text.lines().skip(1).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_comes_at_one_instant_comes_together() {
        for (steps, together) in [
            ("send c1 raw 01; cut c1 1; send c1 raw 02", "hold c1; send c1 raw 01; send c1 raw 02; release c1"),
            ("send c1 raw 01; wait 1ms", "hold c1; send c1 raw 01; release c1; wait 1ms"),
            ("send c1 raw 01; room c1 0", "hold c1; send c1 raw 01; release c1; room c1 0"),
            ("send c1 raw 01; fin c2", "hold c1; send c1 raw 01; fin c2; release c1"),
            // What the script holds, and perhaps on a link that was connected again, it releases itself.
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
    fn cuts_of_the_script_give_way_to_others() {
        let steps = script("connect c1; cut c1 7; send c1 raw 0102; fin c1").steps;
        assert_eq!(text(bytes(&steps)), "connect c1; cut c1 1,...; send c1 raw 0102; fin c1");
        let elsewhere = text(elsewhere(&steps));
        assert!(elsewhere.starts_with("connect c1; cut c1 ") && !elsewhere.contains("cut c1 7"), "{elsewhere}");
    }

    #[test]
    fn places_are_all_over_a_frame() {
        let mut seen = [false; 11];
        for n in 0..100_u8 {
            let [first, second] = places(&[n], 10);
            assert!(first <= second && second <= 10);
            (seen[first], seen[second]) = (true, true);
        }
        assert_eq!(seen, [true; 11]);
        assert_eq!(places(b"", 0), [0, 0]);
    }
}
