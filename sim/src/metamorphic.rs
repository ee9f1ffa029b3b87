//! Pairs of scripts that must come to the same: what neither run shows alone, and a checker that makes the same mistake
//! as the core would not either.
//!
//! | relation | the other script | holds for |
//! |---|---|---|
//! | [`Whole`](Relation::Whole) | each delivery in one piece, those of one instant together | scripts where cuts do not matter |
//! | [`Bytes`](Relation::Bytes) | each delivery byte by byte | the same |
//! | [`Elsewhere`](Relation::Elsewhere) | each frame cut once or twice, anywhere | the same |
//! | [`Alone`](Relation::Alone) | the steps of one connection, and the time the whole run took | scripts of several connections, as many as there may be |
//! | [`Fragments`](Relation::Fragments) | whole NOTIFYs in three fragments, those in fragments whole | scripts where cuts do not matter, as below |
//!
//! **Where cuts do not matter.** All that is read between two steps is read at one instant, so pieces are borders in
//! which the agent may act on a part of it. It does so in two cases, and scripts with them are left out:
//!
//! - A drain that begins amid a delivery, because of [`notify_max`](crate::script::AgentSetup::notify_max), ends as soon as
//!   nothing is in flight and no whole frame is there. What comes in the same piece is declined, what comes in the next
//!   is dropped.
//! - A drain that waits for nothing but room to send ends at the first sign of a frame that needs none, be it a part.
//!   That takes a socket without room and a stop.
//!
//! Nor may connections wait for each other's NOTIFYs: which of those of one instant came first would matter.
//!
//! Back-pressure, deadlines, damage and resets change nothing: each is a matter of what has come by the end of a step.
//!
//! **Where fragments do not matter.** The agent has to offer fragmentation. A NOTIFY changes only if it fits, whole, into
//! the smallest frame negotiated on its link and, in fragments, into the reassembly limit; one in fragments, if they
//! follow each other. A link with raw bytes or wrong lengths keeps its NOTIFYs: behind those, bytes are no frames.
//! Fragments are more bytes, so neither run may have filled a receive buffer: a reset loses what is behind it, and an end
//! is seen only when it has room again. All else is at one instant, as above.
//!
//! **Alone.** Connections share the time and the agent's limits, each for itself, but for the number of them and of their
//! NOTIFYs in flight: one that is refused, or waits, for that would not if it were alone. A run lasts until the slowest connection has nothing in flight, so
//! that one alone has to be given the same time.
//!
//! Runs in which a model of HAProxy speaks are left out: it acts on what it hears, and so on when and in which pieces.
//!
//! Compared are the events, in full, and the bytes sent, each in order; how they lie to each other depends on the cuts.

mod cuts;
mod fragments;

use crate::conversation::Conversation;
use crate::failure::{Failure, compare_output};
use crate::script::{Link, Script, Step};
use crate::world::{Outcome, run, run_until};

/// How another script is made that has to come to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same bytes in as few pieces as can be.
    Whole,
    /// The same bytes one by one.
    Bytes,
    /// The same bytes cut at other places.
    Elsewhere,
    /// Each connection without the others.
    Alone,
    /// NOTIFYs the other way: whole, or in fragments.
    Fragments,
}

/// One script that has to come to the same as another on the links it has.
struct Variant {
    script: Script,
    /// The only link it is about, if it has not all of them.
    link: Option<Link>,
}

impl Relation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Whole, Self::Bytes, Self::Elsewhere, Self::Alone, Self::Fragments];

    /// Returns the name of a violation of it.
    pub const fn check(self) -> &'static str {
        match self {
            Self::Whole | Self::Bytes | Self::Elsewhere => "other-cuts",
            Self::Alone => "alone",
            Self::Fragments => "fragments",
        }
    }

    /// Runs the other script and compares it with what `script` came to; false if there is nothing to compare.
    ///
    /// # Errors
    /// They differ.
    pub fn compare(self, script: &Script, outcome: &Outcome) -> Result<bool, Failure> {
        if outcome.failure.is_some() || !self.holds(script, outcome) {
            return Ok(false);
        }
        let mut compared = false;
        for variant in self.variants(script, outcome) {
            let other = run_until(&variant.script, false, if self == Self::Alone { outcome.end } else { 0 });
            let full = |outcome: &Outcome| outcome.conversations.iter().any(|conversation| conversation.was_full);
            if self == Self::Fragments && (full(outcome) || full(&other)) {
                continue;
            }
            compared = true;
            if let Some((link, detail)) = difference(outcome, &variant, &other) {
                let step = script.steps.len() + 1;
                return Err(Failure { check: self.check(), state: "compared", link, step, at: outcome.end, detail });
            }
        }
        Ok(compared)
    }

    /// True if what `script` came to may be compared by it.
    fn holds(self, script: &Script, outcome: &Outcome) -> bool {
        // What a model of HAProxy does depends on when and in which pieces it hears from the agent.
        let modelled = script.steps.iter().any(|step| matches!(step, Step::Start(..)));
        let connects = script.steps.iter().filter(|step| matches!(step, Step::Connect(_))).count();
        match self {
            _ if modelled || script.agent.limits_total() => false,
            Self::Alone => connects <= script.agent.connections_max as usize,
            _ => !cuts_matter(script, outcome),
        }
    }

    fn variants(self, script: &Script, outcome: &Outcome) -> Vec<Variant> {
        let with = |steps| Script { story: Vec::new(), agent: script.agent.clone(), steps };
        let all = |steps| vec![Variant { script: with(steps), link: None }];
        match self {
            Self::Whole => all(cuts::whole(&script.steps)),
            Self::Bytes => all(cuts::bytes(&script.steps)),
            Self::Elsewhere => all(cuts::elsewhere(&script.steps)),
            Self::Alone => {
                let links = links(script);
                // One connection is alone as it is.
                let links = if links.len() > 1 { links } else { Vec::new() };
                let steps = |link| {
                    let of_link = script.steps.iter().filter(|step| step.link().is_none_or(|other| other == link));
                    of_link.cloned().collect()
                };
                links.into_iter().map(|link| Variant { script: with(steps(link)), link: Some(link) }).collect()
            }
            Self::Fragments => fragments::other_way(script, outcome).map(all).unwrap_or_default(),
        }
    }
}

/// Runs `script` and, if it holds by itself, compares it by every relation that `check` is about; by all without one.
pub fn examine(script: &Script, check: Option<&str>) -> Option<Failure> {
    let mut outcome = run(script, false);
    if let Some(failure) = outcome.failure.take() {
        return Some(failure);
    }
    let relations = Relation::ALL.into_iter().filter(|relation| check.is_none_or(|check| check == relation.check()));
    relations.map(|relation| relation.compare(script, &outcome)).find_map(Result::err)
}

/// True where the agent may act on a part of what is delivered, see above.
fn cuts_matter(script: &Script, outcome: &Outcome) -> bool {
    let limit = u64::from(script.agent.notify_max);
    let limited = limit > 0 && outcome.conversations.iter().any(|conversation| conversation.handed >= limit);
    let no_room = script.steps.iter().any(|step| matches!(step, Step::Room(_, Some(_))));
    let stopped = script.steps.iter().any(|step| matches!(step, Step::Stop { .. }));
    limited || no_room && stopped
}

fn links(script: &Script) -> Vec<Link> {
    let mut links: Vec<_> = script.steps.iter().filter_map(Step::link).collect();
    links.sort_unstable();
    links.dedup();
    links
}

/// Where two runs part, and how.
fn difference(outcome: &Outcome, variant: &Variant, other: &Outcome) -> Option<(Link, String)> {
    if let Some(failure) = &other.failure {
        return Some((failure.link, format!("the other run fails: {failure}")));
    }
    let here = |conversation: &&Conversation| variant.link.is_none_or(|link| link == conversation.link);
    let mut mine: Vec<_> = outcome.conversations.iter().filter(here).collect();
    let mut others: Vec<_> = other.conversations.iter().collect();
    // In a script of fewer steps the order of connections is still that of each link.
    mine.sort_by_key(|conversation| conversation.link);
    others.sort_by_key(|conversation| conversation.link);
    if mine.len() != others.len() {
        let link = variant.link.unwrap_or(Link::Scripted(0));
        return Some((link, format!("{} connections, instead of {}", others.len(), mine.len())));
    }
    let (mine, other) = mine.into_iter().zip(others).find(|(mine, other)| !are_same(mine, other))?;
    let same_output = mine.sent == other.sent;
    let detail = if same_output { other_events(mine, other) } else { compare_output(&other.sent, &mine.sent) };
    Some((mine.link, detail))
}

fn are_same(a: &Conversation, b: &Conversation) -> bool {
    let told =
        |conversation: &Conversation| (conversation.link, conversation.ready, conversation.handed, conversation.heard);
    told(a) == told(b) && a.closed == b.closed && a.sent == b.sent
}

/// Returns the first event in which they differ.
fn other_events(mine: &Conversation, other: &Conversation) -> String {
    if mine.ready != other.ready {
        format!("{:?}, instead of {:?}", other.ready, mine.ready)
    } else if mine.handed != other.handed {
        format!("{} NOTIFYs handed out, instead of {}", other.handed, mine.handed)
    } else if mine.closed != other.closed {
        format!("ended by {:?}, instead of {:?}", other.closed, mine.closed)
    } else {
        "another engine-id, or other NOTIFYs".into()
    }
}

#[cfg(test)]
mod tests {
    use spoa_core::CloseReason;

    use super::*;
    use crate::generate::{Profile, generate};
    use crate::text::parse;

    const HELLO: &str = "send c1 hello supported-versions=\"2.0\" max-frame-size=u32:16380 capabilities=\"pipelining\"";

    fn script(lines: &[&str]) -> Script {
        parse(&format!("spop-script 1\n{}\n", lines.join("\n"))).expect("the script is good")
    }

    /// Returns the bytes that HAProxy received on the first connection, and how it ended.
    fn came_to(steps: Vec<Step>, script: &Script) -> (Vec<u8>, Option<CloseReason>) {
        let mut outcome = run(&Script { steps, ..script.clone() }, false);
        assert_eq!(outcome.failure, None);
        let first = outcome.conversations.swap_remove(0);
        (first.sent, first.closed)
    }

    #[test]
    fn every_relation_holds_and_compares() {
        for relation in Relation::ALL {
            let compared = (0..60).filter(|&seed| {
                let script = generate(seed, Profile::Standard);
                let outcome = run(&script, false);
                relation.compare(&script, &outcome).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"))
            });
            let compared = compared.count();
            assert!(compared >= 20, "{relation:?} compares {compared} of 60");
        }
    }

    /// Both cases in which the pieces of a delivery do matter are real, and left out.
    #[test]
    fn scripts_in_which_cuts_matter_are_left_out() {
        let notify = "send c1 notify sid=1 fid=1 m()";
        let limited = ["agent notify-max=1", "connect c1", HELLO, "hold c1", notify, notify, "release c1"];
        let (disconnect, work) = ("send c1 disconnect status-code=u32:2", "agent unsent-max=1");
        let no_room = [work, "connect c1", HELLO, "room c1 0", notify, "stop grace=1s", disconnect];
        for lines in [&limited[..], &no_room] {
            let script = script(lines);
            assert_ne!(came_to(cuts::whole(&script.steps), &script), came_to(cuts::bytes(&script.steps), &script));
            for relation in [Relation::Whole, Relation::Bytes, Relation::Elsewhere, Relation::Fragments] {
                assert_eq!(relation.compare(&script, &run(&script, false)), Ok(false), "{relation:?} of {lines:?}");
            }
        }
    }

    #[test]
    fn what_differs_is_told() {
        let script = script(&["connect c1", HELLO, "send c1 notify sid=1 fid=1 m()", "fin c1"]);
        let outcome = run(&script, false);
        for (at, told) in [(1, "AGENT-DISCONNECT"), (2, "nothing, instead of ACK"), (3, "")] {
            let mut other = script.clone();
            other.steps.remove(at);
            let found = difference(&outcome, &Variant { script: other.clone(), link: None }, &run(&other, false));
            // The end of a script ends its connections too.
            assert_eq!(found.is_some(), at < 3, "{found:?}");
            assert!(found.is_none_or(|(link, detail)| link == Link::Scripted(1) && detail.starts_with(told)), "{told}");
        }
    }
}
