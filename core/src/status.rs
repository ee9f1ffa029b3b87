//! The status codes of the DISCONNECT frames (SPOE.txt section 3.5).

use core::fmt;

/// A `status-code`. It may be unknown to SPOE.txt. For an event that failed with code N, HAProxy logs 256+N as its
/// status (`st=260` for code 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(pub u32);

impl Status {
    /// A normal end.
    pub const NORMAL: Self = Self(0);
    /// The socket failed. The agent never sends this code: it closes the socket without one.
    pub const IO: Self = Self(1);
    /// No HELLO arrived in time.
    pub const TIMEOUT: Self = Self(2);
    /// A frame is larger than the limit.
    pub const TOO_BIG: Self = Self(3);
    /// A frame is malformed, or not allowed at this point.
    pub const INVALID: Self = Self(4);
    /// The HELLO has no `supported-versions`.
    pub const NO_VERSION: Self = Self(5);
    /// The HELLO has no `max-frame-size`.
    pub const NO_FRAME_SIZE: Self = Self(6);
    /// The HELLO has no `capabilities`.
    pub const NO_CAPABILITIES: Self = Self(7);
    /// The peers have no version in common.
    pub const BAD_VERSION: Self = Self(8);
    /// The `max-frame-size` is out of range.
    pub const BAD_FRAME_SIZE: Self = Self(9);
    /// A frame is a fragment, but fragmentation was not negotiated.
    pub const FRAGMENTED: Self = Self(10);
    /// A fragment is out of sequence.
    pub const INTERLACED: Self = Self(11);
    /// An ACK has an unknown stream-id or frame-id. Only HAProxy sends this code.
    pub const UNKNOWN_FRAME_ID: Self = Self(12);
    /// The agent has no room or memory for this connection, or it is stopping and refuses a new one.
    pub const RESOURCE: Self = Self(13);
    /// Any other error.
    pub const UNKNOWN: Self = Self(99);

    /// True for the codes that SPOE.txt defines: 0..=13 and 99.
    pub const fn is_known(self) -> bool {
        matches!(self.0, 0..=13 | 99)
    }

    /// Returns this code if SPOE.txt defines it, otherwise [`Status::UNKNOWN`].
    ///
    /// HAProxy up to 3.0 looks up the code of a health check's AGENT-DISCONNECT in its table of texts, where 14..=98
    /// have no entry, and crashes. So the agent never sends a code that is not in SPOE.txt, not even as an echo.
    #[must_use]
    pub const fn known_or_unknown(self) -> Self {
        let known = if self.is_known() { self } else { Self::UNKNOWN };
        debug_assert!(known.is_known(), "HAProxy up to 3.0 crashes at an unknown code");
        known
    }

    /// Returns the text that HAProxy and its reference agent use for this code. An unknown code has the text of 99.
    pub const fn reason(self) -> &'static str {
        match self.0 {
            0 => "normal",
            1 => "I/O error",
            2 => "a timeout occurred",
            3 => "frame is too big",
            4 => "invalid frame received",
            5 => "version value not found",
            6 => "max-frame-size value not found",
            7 => "capabilities value not found",
            8 => "unsupported version",
            9 => "max-frame-size too big or too small",
            10 => "fragmentation not supported",
            11 => "invalid interlaced frames",
            12 => "frame-id not found",
            13 => "resource allocation error",
            _ => "an unknown error occurred",
        }
    }
}

/// Shows the code and its text, such as `4 (invalid frame received)`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn unknown_codes_are_replaced_by_99() {
        for code in (14..99).chain([100, 1000, u32::MAX]) {
            assert_eq!(Status(code).known_or_unknown(), Status::UNKNOWN, "{code}");
        }
        for code in (0..=13).chain([99]) {
            assert_eq!(Status(code).known_or_unknown(), Status(code));
        }
    }

    #[test]
    fn codes_have_the_texts_of_haproxy() {
        for (code, text) in vectors::statuses() {
            assert!(Status(code).is_known(), "{code}");
            assert_eq!(Status(code).reason(), text, "{code}");
        }
    }
}
