//! The fields of a line of text.

use std::fmt::{self, Debug, Write};

use spoa_runtime::text::Escaping;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes the message, then the fields that say which connection it is about. Others repeat what the message says, and are
/// for JSON. Everything is escaped, so that text of a peer or a file cannot forge lines or control a terminal.
pub(super) struct TextFields;

/// The fields that are written besides the message.
const CONNECTION: [&str; 3] = ["conn", "peer", "engine"];

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Visitor { writer, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Visitor<'w> {
    writer: Writer<'w>,
    result: fmt::Result,
}

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_err() {
            return;
        }
        self.result = match field.name() {
            "message" => write!(Escaping(&mut self.writer), "{value:?}"),
            name if CONNECTION.contains(&name) => {
                write!(self.writer, " {name}=").and_then(|()| write!(Escaping(&mut self.writer), "{value:?}"))
            }
            _ => Ok(()),
        };
    }
}
