//! Versions of HAProxy.

use std::fmt;

/// A version of HAProxy: the branch, such as 3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

/// The version that is assumed if none is given: newer than all.
pub(crate) const NEWEST: Version = Version(u32::MAX, 0);

impl Version {
    /// Returns the version in the output of `haproxy -v`, or in text such as `3.2` or `2.6.12-1`.
    pub fn find(text: &str) -> Option<Self> {
        let text = text.find("version ").map_or(text, |at| &text[at + 8..]);
        let mut numbers = text.split('.');
        let major = numbers.next()?.trim().parse().ok()?;
        let minor = numbers.next()?;
        let digits = minor.find(|char: char| !char.is_ascii_digit()).unwrap_or(minor.len());
        Some(Self(major, minor[..digits].parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        for (text, expected) in [
            ("HAProxy version 3.2.26-1 2026/01/01 - https://haproxy.org/\nStatus: x", Some(Version(3, 2))),
            ("HA-Proxy version 2.6.12", Some(Version(2, 6))),
            ("3.5-dev5", Some(Version(3, 5))),
            ("3.1", Some(Version(3, 1))),
            ("three", None),
            ("3", None),
            ("3.x", None),
        ] {
            assert_eq!(Version::find(text), expected, "{text}");
        }
        assert!(Version(2, 10) > Version(2, 9) && Version(3, 0) > Version(2, 99));
    }
}
