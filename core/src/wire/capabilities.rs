//! The capabilities of a HELLO (SPOE.txt section 3.2.1).

use core::fmt;
use core::ops::{BitAnd, BitOr};

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u8);

impl Capabilities {
    /// No capability.
    pub const NONE: Self = Self(0);
    /// HAProxy may send further NOTIFYs before the ACK of the first one, and ACKs may be sent in any order.
    pub const PIPELINING: Self = Self(1);
    /// The agent accepts NOTIFYs in fragments. HAProxy never lists this capability, because it accepts no fragments
    /// itself. HAProxy up to 3.0 sends fragments to an agent that lists it (#659).
    pub const FRAGMENTATION: Self = Self(2);
    /// An ACK may be sent on any connection with the same engine-id (HAProxy up to 3.0).
    pub const ASYNC: Self = Self(4);

    const NAMES: [(Self, &'static str); 3] =
        [(Self::PIPELINING, "pipelining"), (Self::FRAGMENTATION, "fragmentation"), (Self::ASYNC, "async")];

    /// Parses a comma-separated list. Unknown names, and whitespace around names, are ignored.
    pub fn parse(list: &[u8]) -> Self {
        list.split(|&byte| byte == b',')
            .filter_map(|token| Self::from_name(core::str::from_utf8(token.trim_ascii()).ok()?))
            .fold(Self::NONE, Self::bitor)
    }

    /// Returns the capability with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(capability, _)| *capability)
    }

    /// True if all capabilities of `other` are in `self`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Capabilities {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Shows the list as in a HELLO, such as `pipelining,fragmentation`.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Self::NAMES.iter().filter(|(capability, _)| self.contains(*capability));
        if let Some((_, first)) = names.next() {
            f.write_str(first)?;
        }
        names.try_for_each(|(_, name)| write!(f, ",{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn lists_are_parsed_name_by_name() {
        for (list, expected) in [
            ("", ""),
            ("pipelining", "pipelining"),
            (" pipelining , foo", "pipelining"),
            ("pipeliningX", ""),
            ("pipelinin", ""),
            ("async,pipelining,async", "pipelining,async"),
            (",,fragmentation,", "fragmentation"),
        ] {
            assert_eq!(Capabilities::parse(list.as_bytes()).to_string(), expected, "{list:?}");
        }
        assert_eq!(Capabilities::parse(b"\xff,async"), Capabilities::ASYNC);
    }
}
