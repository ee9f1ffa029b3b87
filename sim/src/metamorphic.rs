//! Compares a run with the run of another script that must have the same result. This finds mistakes that core and
//! checker share.
//!
//! | relation | the other script | applies to |
//! |---|---|---|
//! | [`Whole`](Relation::Whole) | each delivery in one piece, together with others at the same time | scripts in which cuts do not matter |
//! | [`Bytes`](Relation::Bytes) | each delivery byte by byte | the same scripts |
//! | [`Elsewhere`](Relation::Elsewhere) | each frame cut once or twice, anywhere | the same scripts |
//! | [`Alone`](Relation::Alone) | the steps of one connection, with the duration of the whole run | scripts of several connections, none above the limit |
//! | [`Fragments`](Relation::Fragments) | whole NOTIFYs in three fragments, and fragmented NOTIFYs whole | the same scripts as for cuts, with the conditions below |
//!
//! The results are the events of each connection, with all details, and the bytes that it sends. How events and output
//! alternate depends on the cuts, and is not compared. Scripts with a model of HAProxy are not compared, because the
//! model reacts to the times and pieces in which bytes arrive.
//!
//! # Cuts
//!
//! All pieces of a delivery are read at the same time, but the agent acts after each of them. This makes a difference
//! in two cases, and scripts with them are not compared:
//!
//! - A drain that begins during a delivery, because of [`notify_max`](spoa_sim_checker::Limits::notify_max), ends as
//!   soon as nothing is in flight and no whole frame is buffered. NOTIFYs of the same piece are declined, and those of
//!   the next piece are dropped.
//! - A drain that is blocked only by unsent bytes ends as soon as the type of the next frame has arrived and is neither
//!   NOTIFY nor UNSET, even if the rest of that frame has not. This needs a socket without room and a stop.
//!
//! Scripts with a limit of NOTIFYs in flight on all connections are not compared either: the order in which connections
//! read at the same time would decide which NOTIFYs are held back.
//!
//! Other limits, deadlines, damage and resets make no difference, because they depend only on the bytes that have
//! arrived by the end of a step.
//!
//! # Fragments
//!
//! The agent has to offer fragmentation. A NOTIFY is exchanged only if it fits, whole, into the smallest frame that was
//! negotiated on its link, and its payload fits into the reassembly limit. The fragments of a NOTIFY have to follow
//! each other in the script. On a link with raw bytes or wrong lengths nothing is exchanged, because the bytes after
//! them may not be frames.
//!
//! Fragments have more bytes than the whole NOTIFY, so the runs are not compared if a receive buffer was full in one of
//! them: the bytes that do not fit are lost in a reset, and an end is noticed only when there is room.
//!
//! # Alone
//!
//! Connections share only the time, the limit of connections and the limit of NOTIFYs in flight on all connections. A
//! connection that is rejected or held back because of such a limit behaves differently without the others. The run
//! with one connection lasts as long as the whole run, in which HAProxy closes no connection before all NOTIFYs are
//! answered.

mod cuts;
mod fragments;

use crate::conversation::Conversation;
use crate::failure::{Failure, compare_output};
use crate::outcome::Outcome;
use crate::run::{run, run_until};
use crate::script::{Link, Script, Step};
use crate::wording;

/// A relation between a script and another one that must have the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same bytes in as few pieces as possible.
    Whole,
    /// The same bytes one by one.
    Bytes,
    /// The same bytes, cut at other positions.
    Elsewhere,
    /// Each connection without the others.
    Alone,
    /// Fragmented NOTIFYs whole, and whole NOTIFYs fragmented.
    Fragments,
}

/// A script that must have the same result as another one.
struct Variant {
    script: Script,
    /// The link of the script, if it has only one of the links of the other script.
    link: Option<Link>,
}

impl Relation {
    /// All relations.
    pub const ALL: [Self; 5] = [Self::Whole, Self::Bytes, Self::Elsewhere, Self::Alone, Self::Fragments];

    /// Returns the name of the check in a failure.
    pub const fn check(self) -> &'static str {
        match self {
            Self::Whole | Self::Bytes | Self::Elsewhere => "other-cuts",
            Self::Alone => "alone",
            Self::Fragments => "fragments",
        }
    }

    /// Runs the other scripts and compares them with the outcome of `script`. Returns false if nothing was compared.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(self, script: &Script, outcome: &Outcome) -> Result<bool, Failure> {
        // Connections of an endpoint depend on each other.
        if script.agent.endpoint || outcome.failure.is_some() || !self.applies(script, outcome) {
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

    /// True if the relation applies to `script`.
    fn applies(self, script: &Script, outcome: &Outcome) -> bool {
        let has_model = script.steps.iter().any(|step| matches!(step, Step::Start(..)));
        let connects = script.steps.iter().filter(|step| matches!(step, Step::Connect(_))).count();
        match self {
            _ if has_model || script.agent.limits_total() => false,
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
                // A single link is alone already.
                let links = if links.len() > 1 { links } else { Vec::new() };
                let steps = |link| {
                    let of_link = script.steps.iter().filter(|step| step.link().is_none_or(|other| other == link));
                    of_link.cloned().collect()
                };
                links.into_iter().map(|link| Variant { script: with(steps(link)), link: Some(link) }).collect()
            }
            Self::Fragments => fragments::exchanged(script, outcome).map(all).unwrap_or_default(),
        }
    }
}

/// Runs `script` and, if it does not fail, compares it by each relation whose check is `check`, or by all relations.
pub fn examine(script: &Script, check: Option<&str>) -> Option<Failure> {
    let mut outcome = run(script, false);
    if let Some(failure) = outcome.failure.take() {
        return Some(failure);
    }
    let relations = Relation::ALL.into_iter().filter(|relation| check.is_none_or(|check| check == relation.check()));
    relations.map(|relation| relation.compare(script, &outcome)).find_map(Result::err)
}

/// True if cuts may make a difference, as the module documents.
fn cuts_matter(script: &Script, outcome: &Outcome) -> bool {
    let limit = u64::from(script.agent.connection.notify_max);
    let limited = limit > 0 && outcome.conversations.iter().any(|conversation| conversation.notifies >= limit);
    let no_room = script.steps.iter().any(|step| matches!(step, Step::Room(_, Some(_))));
    let stopped = script.steps.iter().any(|step| matches!(step, Step::Stop(_)));
    limited || no_room && stopped
}

fn links(script: &Script) -> Vec<Link> {
    let mut links: Vec<_> = script.steps.iter().filter_map(Step::link).collect();
    links.sort_unstable();
    links.dedup();
    links
}

/// Returns the first difference of two outcomes, and its link.
fn difference(outcome: &Outcome, variant: &Variant, other: &Outcome) -> Option<(Link, String)> {
    if let Some(failure) = &other.failure {
        return Some((failure.link, format!("the other run fails: {failure}")));
    }
    let here = |conversation: &&Conversation| variant.link.is_none_or(|link| link == conversation.link);
    let mut mine: Vec<_> = outcome.conversations.iter().filter(here).collect();
    let mut others: Vec<_> = other.conversations.iter().collect();
    // The order of connections of different links may differ. The sort is stable: it keeps the order within a link.
    mine.sort_by_key(|conversation| conversation.link);
    others.sort_by_key(|conversation| conversation.link);
    if mine.len() != others.len() {
        let link = variant.link.unwrap_or(Link::Scripted(0));
        return Some((link, format!("expected {} as the number of connections, got {}", mine.len(), others.len())));
    }
    let (mine, other) = mine.into_iter().zip(others).find(|(mine, other)| !are_same(mine, other))?;
    let same_output = mine.sent == other.sent;
    let detail = if same_output { other_events(mine, other) } else { compare_output(&other.sent, &mine.sent) };
    Some((mine.link, detail))
}

fn are_same(a: &Conversation, b: &Conversation) -> bool {
    let events = |conversation: &Conversation| {
        (conversation.link, conversation.ready, conversation.notifies, conversation.received)
    };
    events(a) == events(b) && a.closed == b.closed && a.sent == b.sent
}

/// Describes the first difference of the events.
fn other_events(mine: &Conversation, other: &Conversation) -> String {
    if mine.ready != other.ready {
        format!("expected {}, got {}", wording::negotiated(mine.ready), wording::negotiated(other.ready))
    } else if mine.notifies != other.notifies {
        format!("expected {} as the number of NOTIFYs, got {}", mine.notifies, other.notifies)
    } else if mine.closed != other.closed {
        format!("expected {}, got {}", wording::closed(mine.closed), wording::closed(other.closed))
    } else {
        "the engine-ids or the NOTIFYs differ".into()
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
        parse(&format!("spop-script 1\n{}\n", lines.join("\n"))).expect("the script is valid")
    }

    /// Returns the bytes that the agent sent on the first connection, and the reason of its end.
    fn result_of(steps: Vec<Step>, script: &Script) -> (Vec<u8>, Option<CloseReason>) {
        let mut outcome = run(&Script { steps, ..script.clone() }, false);
        assert_eq!(outcome.failure, None);
        let first = outcome.conversations.swap_remove(0);
        (first.sent, first.closed)
    }

    #[test]
    fn every_relation_holds_and_applies_to_enough_seeds() {
        for relation in Relation::ALL {
            let compared = (0..60).filter(|&seed| {
                let script = generate(seed, Profile::Standard);
                let outcome = run(&script, false);
                relation.compare(&script, &outcome).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"))
            });
            let compared = compared.count();
            assert!(compared >= 20, "{relation:?}: expected at least 20 of 60 seeds to be compared, got {compared}");
        }
    }

    /// In the two cases that the module documents, cuts do make a difference.
    #[test]
    fn scripts_in_which_cuts_matter_are_not_compared() {
        let notify = "send c1 notify sid=1 fid=1 m()";
        let limited = ["agent notify-max=1", "connect c1", HELLO, "hold c1", notify, notify, "release c1"];
        let (disconnect, unsent_max) = ("send c1 disconnect status-code=u32:2", "agent unsent-max=1");
        let no_room = [unsent_max, "connect c1", HELLO, "room c1 0", notify, "stop grace=1s", disconnect];
        for lines in [&limited[..], &no_room] {
            let script = script(lines);
            assert_ne!(result_of(cuts::whole(&script.steps), &script), result_of(cuts::bytes(&script.steps), &script));
            for relation in [Relation::Whole, Relation::Bytes, Relation::Elsewhere, Relation::Fragments] {
                assert_eq!(relation.compare(&script, &run(&script, false)), Ok(false), "{relation:?} of {lines:?}");
            }
        }
    }

    #[test]
    fn the_first_difference_is_described() {
        let script = script(&["connect c1", HELLO, "send c1 notify sid=1 fid=1 m()", "fin c1"]);
        let outcome = run(&script, false);
        for (at, expected) in [(1, "got AGENT-DISCONNECT"), (2, "got nothing"), (3, "")] {
            let mut other = script.clone();
            other.steps.remove(at);
            let found = difference(&outcome, &Variant { script: other.clone(), link: None }, &run(&other, false));
            // The end of a script ends its connections too.
            assert_eq!(found.is_some(), at < 3, "{found:?}");
            let is_described = |(link, detail): (Link, String)| link == Link::Scripted(1) && detail.contains(expected);
            assert!(found.is_none_or(is_described), "expected {expected}");
        }
    }
}
