//! A trace as a capture.

use std::io::{self, BufWriter, stdout};

use spoa_sim::script::Link;
use spoa_sim::trace::{Detail, Kind, Record};
use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};
use spoa_sim_kit::capture::write_pcapng;

/// Writes the connections of a trace to standard output as pcapng.
pub(super) fn write(records: &[Record]) -> io::Result<()> {
    write_pcapng(&recording(records), BufWriter::new(stdout().lock()))
}

fn recording(records: &[Record]) -> Recording {
    let mut recording = Recording::default();
    // A link that connects again is another connection.
    let mut links: Vec<(Link, u32)> = Vec::new();
    for record in records {
        if record.kind == Kind::Connect {
            let number = links.len() as u32;
            links.push((record.link, number));
        }
        let known = links.iter().rfind(|(link, _)| *link == record.link);
        if let (Some((_, number)), Some(event)) = (known, event(record)) {
            recording.push(record.at, *number, event);
        }
    }
    recording
}

fn event(record: &Record) -> Option<LinkEvent> {
    let bytes = |side| match &record.detail {
        Detail::Bytes(bytes) if !bytes.is_empty() => Some(LinkEvent::Bytes(side, bytes.clone())),
        _ => None,
    };
    match record.kind {
        Kind::Connect => Some(LinkEvent::Open),
        Kind::Received => bytes(Side::Haproxy),
        Kind::Sent => bytes(Side::Agent),
        Kind::Fin => Some(LinkEvent::Fin(Side::Haproxy)),
        Kind::Reset => Some(LinkEvent::Reset(Side::Haproxy)),
        _ => None,
    }
}
