//! HAProxy's log lines about SPOE events, and what their statuses mean.
//!
//! HAProxy 3.1 and later writes `SPOE: [AGENT] <EVENT:NAME> sid=N st=N TIME N/N`, older versions have five times and more counts.

use std::collections::BTreeMap;

/// The statuses in a log.
#[derive(Debug, Default)]
pub struct Log {
    counts: BTreeMap<Entry, u64>,
    /// Lines that are about SPOE and could not be read, or are of further agents and events than [`KEPT`].
    unread: u64,
}

/// The number of different entries that are told apart.
const KEPT: usize = 10_000;

/// Lines that differ in their times only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    agent: String,
    /// `EVENT:on-client-session` or `GROUP:name`.
    cause: String,
    status: u32,
    /// The line is of HAProxy 3.0 or older.
    is_old: bool,
}

/// A status of events, and its explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The name of the agent's section.
    pub agent: String,
    /// `EVENT:on-client-session` or `GROUP:name`.
    pub cause: String,
    /// The status; 0 is good.
    pub status: u32,
    /// The number of lines.
    pub count: u64,
    /// The meaning of the status.
    pub happens: &'static str,
    /// The cure; empty for the status 0.
    pub cure: &'static str,
}

impl Log {
    /// Adds a line of a log, which may be about something else.
    pub fn add(&mut self, line: &str) {
        // Lines about requests have texts of clients, in quotes or braces.
        let is_own = |before: &str| !before.contains(['"', '{']);
        let Some((_, rest)) = line.split_once("SPOE: [").filter(|(before, _)| is_own(before)) else { return };
        match Entry::read(rest) {
            Some(entry) if self.counts.len() < KEPT || self.counts.contains_key(&entry) => {
                *self.counts.entry(entry).or_default() += 1;
            }
            _ => self.unread += 1,
        }
    }

    /// Returns each status of each agent and event, with its explanation.
    pub fn explained(&self) -> Vec<Explained> {
        let explain = |(entry, count): (&Entry, &u64)| {
            let (happens, cure) = meaning(entry.status, entry.is_old);
            let Entry { agent, cause, status, .. } = entry.clone();
            Explained { agent, cause, status, count: *count, happens, cure }
        };
        self.counts.iter().map(explain).collect()
    }

    /// Returns the number of lines about SPOE that could not be read.
    pub const fn unread(&self) -> u64 {
        self.unread
    }
}

impl Entry {
    /// Reads a line after `SPOE: [`.
    fn read(rest: &str) -> Option<Self> {
        let (agent, rest) = rest.split_once("] <")?;
        let (cause, rest) = rest.split_once('>')?;
        let mut words = rest.split_whitespace();
        let status = words.by_ref().find_map(|word| word.strip_prefix("st="))?.parse().ok()?;
        let is_old = words.next().is_some_and(|times| times.contains('/'));
        Some(Self { agent: agent.to_owned(), cause: cause.to_owned(), status, is_old })
    }
}

/// Returns what a status means, and what to do.
fn meaning(status: u32, is_old: bool) -> (&'static str, &'static str) {
    match status {
        0 => ("good: the agent answered", ""),
        1 => (
            "no agent answered within `timeout processing`",
            "Does an agent listen at the address of each server, with a health check? Compare its time to an answer with the timeout: `spoa top` shows it.",
        ),
        2 => (
            "HAProxy had no connection or no memory for the event",
            "Is a server of the agents' backend UP? Look at `show stat`, and at `maxconn` of the server and of HAProxy.",
        ),
        3 => (
            "the message is larger than a frame",
            "Send fewer or shorter arguments, or raise `max-frame-size` and `tune.bufsize`.",
        ),
        4 if is_old => ("a fragmented message was aborted", "Raise `--reassembly-max` of the agent, or send less."),
        4 | 5 => (
            "the client or HAProxy ended the event before its answer",
            "Nothing, unless it is frequent: clients give up.",
        ),
        256 => (
            "the agent closed the connection in order while the event waited",
            "It was stopping: with several agents, `option redispatch 1` and `drain` of the agent avoid this.",
        ),
        257 => (
            "the connection failed",
            "Does the agent run, and is the address of the server line right? Its log and `spoa probe` show more.",
        ),
        258 => {
            ("HAProxy closed the idle connection", "Raise `timeout idle` and `timeout server` of the agents' backend.")
        }
        259 => ("a frame was too big", "Set `max-frame-size` of the agent to `tune.bufsize` - 4 or less."),
        260 => (
            "a frame was invalid",
            "Is there another program at this address, or another protocol on the server line, such as `ssl`?",
        ),
        261..=265 => {
            ("the agent's HELLO lacks something, or is not accepted", "Is there an agent of SPOP 2.0 at this address?")
        }
        266..=268 => ("the agent used what was not agreed on", "Report it to the authors of the agent."),
        269 => (
            "the agent had no room for the connection",
            "Its metrics show which limit is reached: `spoa_connections`, `spoa_held_bytes` or `spoa_notifies_in_flight`.",
        ),
        _ => ("an unknown error", "HAProxy's and the agent's log may have more at the same time."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines are as HAProxy 3.2.26 and 2.6.12 write them.
    #[test]
    fn lines_of_both_formats_are_counted_by_status() {
        let mut log = Log::default();
        for line in [
            "<133>Nov 27 19:00:00 haproxy[7]: SPOE: [ip] <EVENT:on-frontend-http-request> sid=0 st=0 1 0/1",
            "<132>Nov 27 19:00:01 haproxy[7]: SPOE: [ip] <EVENT:on-frontend-http-request> sid=1 st=257 0 1/2",
            "SPOE: [ip] <EVENT:on-frontend-http-request> sid=2 st=257 0 2/3",
            "SPOE: [ip] <GROUP:login> sid=3 st=4 0/0/0/-1/1 1/1 0/0 1/4",
            "SPOE: [ip] <GROUP:login> sid=3 st=4 7 1/4",
            "127.0.0.1:1 [27/Nov] www agents/spoa 0/0/0/1 200 1 - - ---- 1/1 0/0 \"GET / HTTP/1.1\"",
            "haproxy[7]: 127.0.0.1:1 www agents/s 0/0/0/1 200 {SPOE: [ip] <EVENT:x> sid=1 st=257 0 1/2} \"GET / HTTP/1.1\"",
            "SPOE: [ip] garbage",
            "SPOE: [ip] <EVENT:x> sid=1 st=99999999999999",
        ] {
            log.add(line);
        }
        let seen: Vec<_> = log.explained().into_iter().map(|e| (e.cause, e.status, e.count, e.happens)).collect();
        let event = || "EVENT:on-frontend-http-request".to_owned();
        let expected = [
            (event(), 0, 1, "good: the agent answered"),
            (event(), 257, 2, "the connection failed"),
            ("GROUP:login".into(), 4, 1, "the client or HAProxy ended the event before its answer"),
            ("GROUP:login".into(), 4, 1, "a fragmented message was aborted"),
        ];
        assert_eq!(seen, expected);
        assert_eq!(log.unread(), 2);
        assert!(log.explained().iter().all(|explained| explained.cure.is_empty() == (explained.status == 0)));
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let mut log = Log::default();
        (0..2 * KEPT).for_each(|n| log.add(&format!("SPOE: [agent-{n}] <EVENT:x> sid=1 st=1 1 1/1")));
        log.add("SPOE: [agent-1] <EVENT:x> sid=1 st=1 1 1/1");
        assert_eq!((log.explained().len(), log.unread()), (KEPT, KEPT as u64));
    }
}
