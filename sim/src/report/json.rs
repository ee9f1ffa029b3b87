//! Records of a trace as JSON.

use spoa_sim::trace::{Detail, Record};

/// Returns an object on one line: time in nanoseconds, link, kind, and either bytes in hexadecimal or a description.
pub(super) fn line(record: &Record) -> String {
    let head = format!("{{\"at\":{},\"link\":\"{}\",\"kind\":\"{}\"", record.at, record.link, record.kind.word());
    match &record.detail {
        Detail::Bytes(bytes) if bytes.is_empty() => format!("{head}}}"),
        Detail::Bytes(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{head},\"bytes\":\"{hex}\"}}")
        }
        Detail::Words(words) => format!("{head},\"words\":\"{}\"}}", escaped(words)),
    }
}

fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c if c < ' ' => format!("\\u{:04x}", c as u32).chars().collect(),
            c => vec![c],
        })
        .collect()
}
