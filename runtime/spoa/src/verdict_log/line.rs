//! A verdict as a line of JSON.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use humantime::Rfc3339Timestamp;
use serde::{Serialize, Serializer};
use spoa_reputation::lists::Match;
use spoa_reputation::{Decision, Judged, Prefix};

use crate::log::escaped_json;

/// A line.
#[derive(Serialize)]
struct Line<'l> {
    #[serde(serialize_with = "as_text")]
    time: Rfc3339Timestamp,
    message: &'l str,
    /// The name of the policy that the message selected.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'l str>,
    #[serde(flatten)]
    verdict: Fields<'l>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would: Option<Fields<'l>>,
    /// One of so many verdicts is logged.
    #[serde(skip_serializing_if = "is_one")]
    sample: u64,
    generation: u64,
    peer: &'l str,
    engine: Option<&'l str>,
}

/// A verdict and the list that decided it; empty strings if none did.
#[derive(Serialize)]
struct Fields<'l> {
    address: Option<IpAddr>,
    verdict: &'static str,
    score: u32,
    list: &'l str,
    #[serde(serialize_with = "as_text_if_any")]
    prefix: Option<Prefix>,
    category: &'l str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde needs")]
const fn is_one(sample: &u64) -> bool {
    *sample == 1
}

fn as_text<S: Serializer>(value: &impl fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

fn as_text_if_any<S: Serializer>(value: &Option<impl fmt::Display>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_str(""),
    }
}

impl<'l> Fields<'l> {
    fn of(Judged { address, verdict, score }: Judged<'l>) -> Self {
        let config = verdict.matched().map(|matched| matched.list().config());
        Self {
            address,
            verdict: verdict.name(),
            score,
            list: config.map_or("", |config| &config.name),
            prefix: verdict.matched().map(Match::prefix),
            category: config.map_or("", |config| &config.category),
        }
    }
}

/// Calls `push` with the line of a verdict, of which one in `sample` is logged.
pub(crate) fn with_line(decision: &Decision<'_>, sample: u64, now: SystemTime, push: impl FnOnce(&[u8])) {
    let line = Line {
        time: humantime::format_rfc3339_millis(now),
        message: decision.rule.message(),
        policy: decision.policy,
        verdict: Fields::of(decision.judged),
        would: (!decision.would.verdict.is_decided_as(decision.judged.verdict)).then(|| Fields::of(decision.would)),
        sample,
        generation: decision.edition.generation,
        peer: decision.context.peer(),
        engine: decision.context.engine_id(),
    };
    thread_local! {
        /// Reused, so that a line allocates nothing.
        static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    LINE.with_borrow_mut(|bytes| {
        bytes.clear();
        serde_json::to_writer(&mut *bytes, &line).expect("a line has no maps, whose keys could be no strings");
        bytes.push(b'\n');
        match escaped_json(bytes) {
            Some(escaped) => push(escaped.as_bytes()),
            None => push(bytes),
        }
    });
}
