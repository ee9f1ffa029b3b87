//! A finding: a kind, a place and what is special about it.

use crate::catalogue::{Kind, fill};
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
        let value = |name: &str| {
            let value = values.iter().find(|(known, _)| *known == name);
            value.map_or_else(|| name.to_owned(), |(_, value)| (*value).to_owned())
        };
        let (happens, cure) = (fill(kind.happens, value), fill(kind.cure, value));
        Self { kind, place: place.clone(), happens, cure }
    }
}

/// Returns names for a text: each in backticks, with commas between them.
pub(crate) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
