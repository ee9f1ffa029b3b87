//! The trace of a run, as a number and, if asked for, as lines.

use std::fmt;

use spoa_core::wire::Frame;
use spoa_core::{CloseReason, Event};

use crate::digest::Digest;
use crate::script::{Link, Nanos};
use crate::text::Time;

/// The record of a run. Two runs of one script have the same, in any process, on any machine.
#[derive(Debug, Default)]
pub struct Trace {
    digest: Digest,
    records: Option<Vec<Record>>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at: Nanos,
    /// Where.
    pub link: Link,
    /// What.
    pub kind: Kind,
    /// In words, or the bytes.
    pub detail: Detail,
}

/// The details of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Bytes that were read or sent.
    Bytes(Vec<u8>),
    /// An event of the core, or of HAProxy.
    Words(String),
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is shown by its word")]
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
}

impl Kind {
    /// Its word.
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
        }
    }
}

impl Trace {
    /// Nothing yet; keeps lines if `recording`.
    pub fn new(recording: bool) -> Self {
        Self { digest: Digest::default(), records: recording.then(Vec::new) }
    }

    /// The fingerprint of everything that happened.
    pub const fn digest(&self) -> u128 {
        self.digest.value()
    }

    /// The records, if they were kept.
    pub fn records(&self) -> &[Record] {
        self.records.as_deref().unwrap_or_default()
    }

    /// Something happened, with these bytes if any.
    pub fn note(&mut self, at: Nanos, link: Link, kind: Kind, bytes: &[u8]) {
        self.digest.word(at);
        self.digest.word(link_word(link) << 8 | kind as u64);
        self.digest.bytes(bytes);
        if let Some(records) = &mut self.records {
            records.push(Record { at, link, kind, detail: Detail::Bytes(bytes.to_vec()) });
        }
    }

    /// Something happened in an HAProxy process: the numbers that tell it from others of its kind, and how to say it.
    pub fn haproxy(&mut self, at: Nanos, link: Link, kind: Kind, numbers: &[u64], words: impl FnOnce() -> String) {
        self.digest.word(at);
        self.digest.word(link_word(link) << 8 | kind as u64);
        numbers.iter().for_each(|&number| self.digest.word(number));
        if let Some(records) = &mut self.records {
            records.push(Record { at, link, kind, detail: Detail::Words(words()) });
        }
    }

    /// The core told something.
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
                Event::Closed(CloseReason::Eof { in_flight, .. }) => format!("gone, {in_flight} in flight"),
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
    }
}

fn close_word(reason: CloseReason) -> u64 {
    match reason {
        CloseReason::HealthCheck => 1,
        CloseReason::Peer(status) => 1 << 32 | u64::from(status.0),
        CloseReason::Local(_) => 2,
        CloseReason::Error(error) => 2 << 32 | u64::from(error.status().0),
        CloseReason::Eof { in_flight, mid_frame } => 3 << 32 | (in_flight as u64) << 1 | u64::from(mid_frame),
    }
}

/// `12.5ms  c1  sent  ACK sid=1 fid=1`; whole frames are shown as such, anything else as bytes.
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
    while let Ok(Some((frame, behind))) = Frame::split(rest) {
        write!(f, "{}{frame}", if first { "" } else { " + " })?;
        (rest, first) = (behind, false);
    }
    if rest.is_empty() {
        return Ok(());
    }
    write!(f, "{}{} bytes:", if first { "" } else { " + " }, rest.len())?;
    rest.iter().take(24).try_for_each(|byte| write!(f, " {byte:02x}"))?;
    if rest.len() > 24 { f.write_str(" ...") } else { Ok(()) }
}
