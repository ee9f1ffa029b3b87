//! A finding: a kind, a place and what is special about it.

use crate::catalogue::Kind;
use crate::source::Place;

/// Something that is wrong with a setup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub kind: &'static Kind,
    /// The line that it is about.
    pub place: Place,
    /// The consequence, as a sentence.
    pub happens: String,
    /// The cure, as a sentence.
    pub cure: String,
}

impl Finding {
    /// Returns a finding. `values` replace the names in braces of the texts of its kind.
    pub(crate) fn new(kind: &'static Kind, place: &Place, values: &[(&str, &str)]) -> Self {
        let fill = |text: &str| {
            let fill = |text: String, (name, value): &(&str, &str)| text.replace(&format!("{{{name}}}"), value);
            // Doubled braces stand for braces.
            let (open, closed) = ("\u{1}", "\u{2}");
            let text = text.replace("{{", open).replace("}}", closed);
            values.iter().fold(text, fill).replace(open, "{").replace(closed, "}")
        };
        Self { kind, place: place.clone(), happens: fill(kind.happens), cure: fill(kind.cure) }
    }
}
