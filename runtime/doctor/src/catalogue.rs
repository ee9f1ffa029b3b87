//! Kinds of findings: the report and the manual are made of their texts.

mod kinds;

pub use kinds::KINDS;
pub(crate) use kinds::*;

/// The harm of a finding, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A client that should be refused passes, always or whenever it wants to.
    ProtectsNothing,
    /// If the agent fails, clients pass and nobody notices.
    FailsOpenUnnoticed,
    /// Works until something usual happens.
    Fragile,
    /// Works, and costs more than it has to.
    Slow,
}

impl Severity {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::ProtectsNothing, Self::FailsOpenUnnoticed, Self::Fragile, Self::Slow];

    /// True if the setup does what it is meant to, until something usual happens or at a higher cost.
    pub const fn is_advice(self) -> bool {
        matches!(self, Self::Fragile | Self::Slow)
    }

    /// Returns the text in reports: `protects nothing` and so on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProtectsNothing => "protects nothing",
            Self::FailsOpenUnnoticed => "fails open unnoticed",
            Self::Fragile => "fragile",
            Self::Slow => "slow",
        }
    }
}

/// A kind of finding. In the texts, `{name}` stands for something that a finding replaces.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// A name that does not change.
    pub id: &'static str,
    /// The harm.
    pub severity: Severity,
    /// The fault, as a short clause.
    pub title: &'static str,
    /// The consequence, as a sentence.
    pub happens: &'static str,
    /// The cure, as a sentence.
    pub cure: &'static str,
}

impl Kind {
    /// Returns a text of this kind for readers without a certain finding: what a finding replaces is in capitals.
    pub fn general(text: &str) -> String {
        fill(text, str::to_ascii_uppercase)
    }
}

/// Replaces each name in braces by its value. Doubled braces stand for braces.
pub(crate) fn fill(text: &str, value: impl Fn(&str) -> String) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        filled += &rest[..at];
        let (brace, after) = rest[at..].split_at(1);
        rest = after;
        if let Some(after) = rest.strip_prefix(brace) {
            (filled, rest) = (filled + brace, after);
        } else if let Some((name, after)) = rest.split_once('}') {
            filled += &value(name);
            rest = after;
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value may look like a name, because it is text from a configuration.
    #[test]
    fn names_are_replaced_once() {
        let value = |name: &str| match name {
            "a" => "{b}".to_owned(),
            name => name.to_uppercase(),
        };
        assert_eq!(fill("{a} {{ {b} }} {c", value), "{b} { B } c");
        assert!(KINDS.iter().all(|kind| !Kind::general(kind.happens).contains('{')));
    }
}
