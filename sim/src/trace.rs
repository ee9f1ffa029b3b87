//! The trace of a run: a hash of everything that happened and, optionally, one record for each of these things.

use std::fmt;

use spoa_core::wire::Frame;
use spoa_core::{CloseReason, Event};

use crate::digest::Digest;
use crate::script::{Link, Nanos};
use crate::text::Time;

/// The trace of a run. All runs of a script have the same trace, in any process and on any machine.
#[derive(Debug, Default)]
pub struct Trace {
    digest: Digest,
    records: Option<Vec<Record>>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The time.
    pub at: Nanos,
    /// The connection, or the process.
    pub link: Link,
    /// The kind of the record.
    pub kind: Kind,
    /// The details.
    pub detail: Detail,
}

/// The details of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The bytes that were received or sent. Records of other kinds have none.
    Bytes(Vec<u8>),
    /// The description of an event of the core or of HAProxy.
    Words(String),
}

/// The kinds of records. Their order is part of the hash of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`word` describes each kind")]
pub enum Kind {
    Connect,
    Received,
    Sent,
    Fin,
    Reset,
    Eof,
    Stop,
    Shed,
    Deadline,
    Event,
    Started,
    Asked,
    Answered,
    Checked,
    SoftStop,
    Lost,
    LameDuck,
    Killed,
    Hung,
    Resumed,
    Launched,
}

impl Kind {
    /// Returns the word for it in the text of a trace.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::Eof => "eof",
            Self::Stop => "stop",
            Self::Shed => "shed",
            Self::Deadline => "deadline",
            Self::Event => "event",
            Self::Started => "started",
            Self::Asked => "asked",
            Self::Answered => "answered",
            Self::Checked => "checked",
            Self::SoftStop => "stopping",
            Self::Lost => "lost",
            Self::LameDuck => "lame duck",
            Self::Killed => "killed",
            Self::Hung => "hangs",
            Self::Resumed => "resumed",
            Self::Launched => "launched",
        }
    }
}

impl Trace {
    /// Creates an empty trace, which keeps records if `recording` is true.
    pub fn new(recording: bool) -> Self {
        Self { digest: Digest::default(), records: recording.then(Vec::new) }
    }

    /// Returns the hash of everything that happened.
    pub const fn digest(&self) -> u128 {
        self.digest.value()
    }

    /// Returns the records; none if they are not kept.
    pub fn records(&self) -> &[Record] {
        self.records.as_deref().unwrap_or_default()
    }

    /// Adds a record with these bytes, which may be empty.
    pub fn note(&mut self, at: Nanos, link: Link, kind: Kind, bytes: &[u8]) {
        self.digest.word(at);
        self.digest.word(link_word(link) << 8 | kind as u64);
        self.digest.bytes(bytes);
        if let Some(records) = &mut self.records {
            records.push(Record { at, link, kind, detail: Detail::Bytes(bytes.to_vec()) });
        }
    }

    /// Adds a record of a HAProxy process. `numbers` are hashed, and `words` returns the text.
    pub fn haproxy(&mut self, at: Nanos, link: Link, kind: Kind, numbers: &[u64], words: impl FnOnce() -> String) {
        self.digest.word(at);
        self.digest.word(link_word(link) << 8 | kind as u64);
        numbers.iter().for_each(|&number| self.digest.word(number));
        if let Some(records) = &mut self.records {
            records.push(Record { at, link, kind, detail: Detail::Words(words()) });
        }
    }

    /// Adds an event of the core.
    pub fn event(&mut self, at: Nanos, link: Link, event: &Event<'_>) {
        self.digest.word(at);
        self.digest.word(link_word(link) << 8 | Kind::Event as u64);
        match event {
            Event::Ready { negotiated, .. } => self.digest.word(u64::from(negotiated.max_frame_size)),
            Event::Notify(notify) => {
                self.digest.word(notify.stream_id().0);
                self.digest.word(notify.frame_id().0);
                self.digest.bytes(notify.payload());
            }
            Event::Closed(reason) => self.digest.word(close_word(*reason)),
        }
        if let Some(records) = &mut self.records {
            let words = match event {
                Event::Ready { negotiated, .. } => {
                    format!(
                        "ready, frames up to {}, capabilities \"{}\"",
                        negotiated.max_frame_size, negotiated.capabilities
                    )
                }
                Event::Notify(notify) => format!("NOTIFY sid={} fid={}", notify.stream_id().0, notify.frame_id().0),
                Event::Closed(CloseReason::Error(error)) => format!("closed with {}: {error}", error.status()),
                Event::Closed(CloseReason::Peer(status)) => format!("closed by HAProxy with {status}"),
                Event::Closed(CloseReason::HealthCheck) => "health check answered".into(),
                Event::Closed(CloseReason::Eof { in_flight, .. }) => {
                    format!("closed by HAProxy without DISCONNECT, {in_flight} in flight")
                }
                Event::Closed(CloseReason::Local(_)) => "closed by the agent".into(),
            };
            records.push(Record { at, link, kind: Kind::Event, detail: Detail::Words(words) });
        }
    }
}

const fn link_word(link: Link) -> u64 {
    match link {
        Link::Scripted(number) => number as u64,
        Link::Of(haproxy, number) => 1 << 40 | (haproxy.0 as u64) << 32 | number as u64,
        Link::All(haproxy) => 2 << 40 | haproxy.0 as u64,
        Link::Agent(agent) => 3 << 40 | agent.0 as u64,
    }
}

fn close_word(reason: CloseReason) -> u64 {
    match reason {
        CloseReason::HealthCheck => 1,
        CloseReason::Peer(status) => 1 << 32 | u64::from(status.0),
        CloseReason::Local(_) => 2,
        CloseReason::Error(error) => 2 << 32 | u64::from(error.status().0),
        CloseReason::Eof { in_flight, unprocessed } => 3 << 32 | (in_flight as u64) << 1 | u64::from(unprocessed),
    }
}

/// Writes one line, for example `12ms  c1  sent  ACK sid=1 fid=1`. Bytes that are not whole frames are written in hex.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10}  {:<7}{:<9} ", Time(self.at).to_string(), self.link.to_string(), self.kind.word())?;
        match &self.detail {
            Detail::Words(words) => f.write_str(words),
            Detail::Bytes(bytes) => show(f, bytes),
        }
    }
}

fn show(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let (mut rest, mut first) = (bytes, true);
    while let Ok(Some((frame, after))) = Frame::split(rest) {
        write!(f, "{}{frame}", if first { "" } else { " + " })?;
        (rest, first) = (after, false);
    }
    if rest.is_empty() {
        return Ok(());
    }
    write!(f, "{}{} bytes:", if first { "" } else { " + " }, rest.len())?;
    rest.iter().take(24).try_for_each(|byte| write!(f, " {byte:02x}"))?;
    if rest.len() > 24 { f.write_str(" ...") } else { Ok(()) }
}
